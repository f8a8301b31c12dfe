"""The record of a collective: what every rank of a group must agree on, and who asked for it."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

_PACKAGE = os.path.dirname(os.path.dirname(__file__)) + os.sep


class Collective(NamedTuple):
    """One collective of one rank.  All fields but `line` must be the same on every rank."""

    seq: int  # the how-manieth of its group
    op: str
    name: str  # of the tensor or bucket, where it has one
    shape: tuple[int, ...] | None  # None: may differ between ranks
    dtype: str
    reduce: str
    root: int  # rank within the group; -1: no root
    line: str  # file:line of the user's call; may differ

    def fingerprint(self) -> bytes:
        """16 bytes that differ between ranks (all but certainly) when what must agree does not."""
        return hashlib.blake2b(repr(self[:-1]).encode(), digest_size=16).digest()

    def __str__(self) -> str:
        words = [f"#{self.seq} {self.op}"]
        if self.name:
            words.append(repr(self.name))
        if self.shape is not None:
            words.append(f"{self.dtype}{list(self.shape)}")
        if self.reduce:
            words.append(self.reduce)
        if self.root >= 0:
            words.append(f"root {self.root}")
        return f"{' '.join(words)} at {self.line}"


def user_line() -> str:
    """file:line of the innermost caller outside of dtorch."""
    frame: Any = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame = frame.f_back
    if frame.f_code.co_filename.startswith(_PACKAGE):
        return "the end of the program"
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"


def mismatch(group: str, records: Sequence[Collective]) -> RuntimeError:
    """The error for ranks of a group that ask for different collectives: every side, every line."""
    sides: dict[str, list[int]] = {}
    for rank, record in enumerate(records):
        sides.setdefault(str(record), []).append(rank)
    told = "\n".join(
        f"  rank{'s' if len(ranks) > 1 else ''} {', '.join(map(str, ranks))}: {record}"
        for record, ranks in sides.items()
    )
    return RuntimeError(
        f"the ranks of group {group!r} disagree on their next collective:\n{told}\n"
        "No data was exchanged.  Every rank must call the same collectives in the same order, with "
        "equal shapes, dtypes, reductions and roots."
    )
