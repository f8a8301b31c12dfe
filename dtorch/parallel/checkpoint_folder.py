"""The folder of a CheckpointManager: which checkpoints are there, and which of them are whole.

    runs/digits/step-00000300/manifest.json        {"step", "ranks", "files", "sha256"}
    runs/digits/step-00000300/rank0-5f0c2e.dtorch  what rank 0 wrote, in the format of dtorch.save

A checkpoint is there once its manifest is, which names every file with its size and SHA-256, and is
put in place last, at once.  What has no manifest was cut short, and counts as nothing.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

from dtorch.core.serialize.replacement import replacement

_MANIFEST = "manifest.json"
_PREFIX, _DAMAGED = "step-", "damaged-"


class CheckpointFolder:
    """Checkpoints by step, of which the newest `keep` stay."""

    def __init__(self, path: str | os.PathLike[str], keep: int) -> None:
        if not isinstance(keep, int) or keep < 1:
            raise ValueError(f"expected keep to be a number of at least 1, got {keep!r}")
        self.path, self.keep = Path(path), keep

    def at(self, step: int) -> Path:
        return self.path / f"{_PREFIX}{step:08}"

    def steps(self) -> list[int]:
        """Those that were finished, the oldest first."""
        return sorted(_step(path) for path in self._all() if (path / _MANIFEST).exists())

    def _all(self) -> list[Path]:
        found = self.path.glob(f"{_PREFIX}*")
        return [path for path in found if path.name.removeprefix(_PREFIX).isdigit()]

    # ---- writing ---------------------------------------------------------------------------------

    def finish(self, step: int, ranks: int, files: dict[str, tuple[int, str]]) -> None:
        """Put the manifest in place, and remove what it makes superfluous.

        files: of each file, how many bytes it has, and its SHA-256
        """
        manifest = {"step": step, "ranks": ranks, "files": files}
        text = json.dumps({**manifest, "sha256": _sum_of(manifest)})
        with replacement(self.at(step) / _MANIFEST) as temporary:
            Path(temporary).write_text(text)
        for file in self.at(step).iterdir():
            if file.name not in files and file.name != _MANIFEST:
                file.unlink()  # of an attempt at the same step, or of what was here before
        kept = self.steps()[-self.keep :]
        for path in self._all():
            if _step(path) not in kept:
                # Without its manifest it is gone at once, though a kill may leave some of its files.
                (path / _MANIFEST).unlink(missing_ok=True)
                shutil.rmtree(path)

    def give_up(self, step: int) -> None:
        """Remove what an attempt has left, unless an earlier one at this step was finished."""
        if step not in self.steps():
            shutil.rmtree(self.at(step), ignore_errors=True)

    # ---- reading ---------------------------------------------------------------------------------

    def manifest(self, step: int) -> dict[str, Any]:
        """ValueError where it is not as it was written."""
        try:
            manifest = json.loads((self.at(step) / _MANIFEST).read_text())
            whole = manifest.pop("sha256") == _sum_of(manifest)
        except (ValueError, KeyError, AttributeError):
            whole = False
        if not whole:
            raise ValueError(f"{_MANIFEST} is not as it was written")
        return manifest

    def damage(self, step: int) -> str:
        """What is wrong with a checkpoint; empty if nothing is."""
        try:
            files = self.manifest(step)["files"]
            for name, (nbytes, digest) in files.items():
                found = os.stat(self.at(step) / name).st_size
                if found != nbytes:
                    return f"{name} has {found} bytes, not the {nbytes} that were written"
                if checksum(self.at(step) / name)[1] != digest:
                    return f"{name} is not as it was written (its SHA-256 differs)"
        except (ValueError, OSError) as error:
            return str(error)
        return ""

    def set_aside(self, step: int) -> Path:
        """Rename a damaged checkpoint, so that it counts no more; where it is then."""
        aside = self.path / f"{_DAMAGED}{step:08}"
        if aside.exists():
            shutil.rmtree(aside)
        self.at(step).rename(aside)
        return aside


def checksum(path: Path) -> tuple[int, str]:
    """A file's size in bytes, and its SHA-256."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
        return file.tell(), digest.hexdigest()


def _sum_of(manifest: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()


def _step(path: Path) -> int:
    return int(path.name.removeprefix(_PREFIX))
