"""Texts: one that comes with Python, and WikiText from disk."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..utils.data import Dataset


def python_topics() -> list[str]:
    """Python's reference manual, as help() shows it: 0.4 MB of English, topic by topic.

    It comes with Python, so its text depends on Python's version; nothing is downloaded.
    """
    from pydoc_data.topics import topics

    return [topics[name] for name in sorted(topics)]


class WikiText(Dataset[str]):
    """The lines of WikiText-2 or WikiText-103 that are not empty, as published.

    Args:
        root: the folder that the archive was unpacked to, with wiki.train.tokens (or .raw) in it.
        split: "train", "valid" or "test".

    Raises:
        ValueError: another split.
        FileNotFoundError: the folder has no such file.
    """

    def __init__(self, root: Any, split: str = "train") -> None:
        if split not in ("train", "valid", "test"):
            raise ValueError(f"split: expected train, valid or test, got {split!r}")
        candidates = [Path(root) / f"wiki.{split}.{end}" for end in ("tokens", "raw")]
        path = next((p for p in candidates if p.is_file()), None)
        if path is None:
            raise FileNotFoundError(
                f"WikiText: expected {candidates[0].name} or {candidates[1].name} in {root}; unpack "
                "the published archive there"
            )
        # Not splitlines(): the text has other characters that it takes for the end of a line.
        lines = path.read_text(encoding="utf8").split("\n")
        self.lines = [line.strip() for line in lines if line.strip()]

    def __getitem__(self, index: Any) -> Any:
        return self.lines[index]

    def __len__(self) -> int:
        return len(self.lines)

    def __iter__(self) -> Iterator[str]:
        return iter(self.lines)
