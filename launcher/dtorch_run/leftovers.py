"""What killed MPI jobs have left in /dev/shm, where it takes memory until somebody removes it.

dtorch-run's own jobs leave nothing; a plain `mpirun python train.py` does.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

_PATTERNS = ("mpich_shm_*", "mpich_vci_*", "vader_segment.*", "sm_segment.*", "psm3_shm.*")


def find(folder: Path = Path("/dev/shm")) -> list[Path]:
    """This user's segments that no process has open, as far as can be seen from here.

    Processes of other containers that have the folder in common can't be.
    """
    ours = [path for pattern in _PATTERNS for path in folder.glob(pattern) if _is_ours(path)]
    used = _in_use() if ours else set()
    return sorted(path for path in ours if _inode(path) not in used)


def size(paths: list[Path]) -> int:
    """Bytes of memory that they take."""
    return sum(path.stat().st_blocks * 512 for path in paths)


def remove(paths: list[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)


def _is_ours(path: Path) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return path.lstat().st_uid == os.geteuid()
    return False


def _inode(path: Path) -> int:
    with contextlib.suppress(FileNotFoundError):
        return path.lstat().st_ino
    return 0


def _in_use() -> set[int]:
    """The inodes that processes have mapped or open: proc(5)."""
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended, or is another user's
            for line in (process / "maps").read_text().splitlines():
                found.add(int(line.split(maxsplit=5)[4]))
        with contextlib.suppress(OSError):
            for fd in (process / "fd").iterdir():
                with contextlib.suppress(OSError):
                    found.add(fd.stat().st_ino)
    return found
