"""What a transport does: it moves flat, contiguous CPU arrays between the ranks of a group."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
    common_memory: bool  # whether ranks can read each other's; then there is CommonMemory, too
    several_nodes: bool  # whether some ranks, not all, share a machine; then there is Nodes, too

    def all_gather(self, send: Any, recv: Any, counts: Sequence[int]) -> Request:
        """recv: every rank's `send` one after the other, counts[i] elements of rank i.

        `send` may be its own place in recv.
        """

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

    def invite(self, ranks: Sequence[int]) -> Any:
        """What split needs of this rank on all others: something to be pickled."""

    def split(self, ranks: Sequence[int], invitations: Sequence[Any]) -> Transport | None:
        """A transport among some of the ranks, None on the others.  Every rank calls it."""

    def pause(self, soon: bool) -> None:
        """Let others work for a little while: a very little one if something is due soon."""

    def abort(self, why: str) -> None:
        """This rank has failed: the others must not wait for it."""

    def close(self) -> None: ...


class CommonMemory(Transport, Protocol):
    """A transport whose ranks can read each other's memory."""

    def exchange(self, number: int, into: list[int]) -> Request:
        """Put every rank's number, of 64 bits, into the list, by rank."""

    def all_reduce(self, x: Any, tree: Callable[..., None]) -> Request:
        """Reduce x over the ranks in place, by tree(parts, *outs) on a share of it on each rank."""

    def zeros(self, size: int, dtype: Any) -> tuple[Any, Any]:
        """An array that all_reduce needs no copies of, and what `adopt` needs of it, to be pickled."""

    def adopt(self, array: Any, tickets: Sequence[Any]) -> None:
        """Make known the arrays that the ranks, at the same time, got from `zeros`."""


class Nodes(Transport, Protocol):
    """A transport over several machines, with faster ones within them."""

    nodes: Sequence[Sequence[int]]  # the ranks of each machine, in ascending order
    node: Transport  # among the ranks of this machine, in that order


def cut(array: Any, counts: Sequence[int]) -> list[Any]:
    """The array as runs of counts[i] elements."""
    ends = [sum(counts[: i + 1]) for i in range(len(counts))]
    return [array[end - count : end] for end, count in zip(ends, counts)]
