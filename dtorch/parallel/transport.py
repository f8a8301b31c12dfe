"""What a transport does: it moves flat, contiguous CPU arrays between the ranks of a group."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from .work import Request


class Transport(Protocol):
    """The movements that algorithms are made of.  Each call starts one and returns at once.

    Counts are in elements, by rank.  All ranks start the same movements in the same order, except
    for send and recv, which are matched by peer and tag.
    """

    name: str
    rank: int
    size: int

    def all_gather(self, send: Any, recv: Any, counts: Sequence[int]) -> Request:
        """recv: every rank's `send` one after the other, counts[i] elements of rank i."""

    def all_to_all(
        self, send: Any, send_counts: Sequence[int], recv: Any, recv_counts: Sequence[int]
    ) -> Request:
        """send_counts[i] elements to rank i, recv_counts[i] elements from it, by rank."""

    def broadcast(self, data: Any, root: int) -> Request:
        """The root's data into everybody's."""

    def gather(self, send: Any, recv: Any, root: int) -> Request:
        """recv (the root's; None elsewhere): every rank's `send`, all of one size."""

    def scatter(self, send: Any, recv: Any, root: int) -> Request:
        """recv: this rank's part of the root's `send` (None elsewhere)."""

    def send(self, data: Any, peer: int, tag: int) -> Request: ...

    def recv(self, data: Any, peer: int | None, tag: int) -> Request:
        """From any rank if peer is None; the request's `source` then says which it was."""

    def split(self, ranks: Sequence[int]) -> Transport | None:
        """A transport among some of the ranks, None on the others.  Every rank calls it."""

    def pause(self, soon: bool) -> None:
        """Let others work for a little while: a very little one if something is due soon."""

    def close(self) -> None: ...
