"""The record of a collective: what every rank of a group must agree on, and who asked for it."""

from __future__ import annotations

import functools
import hashlib
from contextvars import ContextVar
from typing import Any, NamedTuple

from .callsite import CallSite

LABEL: ContextVar[str] = ContextVar("label", default="")  # what collectives are called meanwhile


class Collective(NamedTuple):
    """One collective of one rank.  All fields but `site` must be the same on every rank."""

    seq: int  # the how-manieth of its group; 0 for a message
    op: str
    name: str  # of the tensor or bucket, where it has one; a message's peer and tag
    shape: tuple[int, ...] | None  # None: may differ between ranks
    dtype: str
    reduce: str
    root: int  # rank within the group; -1: no root
    site: CallSite  # of the user's call; may differ

    def what(self) -> tuple[Any, ...]:
        """What must agree, but for the number."""
        return self[1:-1]

    def fingerprint(self) -> int:
        """A number of 63 bits for the ranks to compare.

        The upper 31 differ (all but certainly) where what must agree does not.  The lower 32 are
        the key of the call site, of collectives without a name.
        """
        agreed = (_digest(self[1:-1]) + self.seq * 0x9E3779B1) & 0x7FFFFFFF
        return agreed << 32 | (0 if self.name else self.site.key)

    def title(self) -> str:
        """What it is, without the line."""
        words = [f"#{self.seq} {self.op}" if self.seq else self.op]
        if self.name and self.seq:
            words.append(repr(self.name))
        if self.shape is not None:
            words.append(f"{self.dtype}{list(self.shape)}")
        if self.reduce:
            words.append(self.reduce)
        if self.root >= 0:
            words.append(f"root {self.root}")
        if not self.seq:
            words.append(self.name)
        return " ".join(words)

    def __str__(self) -> str:
        return f"{self.title()} at {self.site.line}"


@functools.lru_cache(4096)
def _digest(what: tuple[Any, ...]) -> int:
    digest = hashlib.blake2b(repr(what).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little")


dtype_name = functools.cache(str)  # NumPy takes 5 us to find it
