"""All-reduce where ranks are on several machines: within each first, so that less goes over the wire.

The same tree as everywhere (algorithms.reduce_tree), and so the same bits: a machine sums up those
whole branches of it whose leaves are all its own, and the ranks' slices are finished from those.
Ranks numbered machine by machine make one branch of each machine's, or few.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, cast

from dtorch.core.backend import cpu

from .algorithms import UFUNCS, reduce_tree, slices
from .transport import Nodes, Transport, cut
from .work import Steps


class Branch(NamedTuple):
    """The ranks from `start` on, up to `width` of them: what one inner node of the tree sums up."""

    start: int
    width: int  # a power of two

    def ranks(self, n: int) -> range:
        return range(self.start, min(self.start + self.width, n))

    def halves(self) -> tuple[Branch, Branch]:
        half = self.width // 2
        return Branch(self.start, half), Branch(self.start + half, half)


def whole_tree(n: int) -> Branch:
    return Branch(0, 1 << (n - 1).bit_length())


def branches(branch: Branch, n: int, members: Sequence[int]) -> list[Branch]:
    """The largest branches, of the tree over n ranks, all of whose ranks are members."""
    inside = [r in members for r in branch.ranks(n)]
    if all(inside):
        return [branch] if inside else []
    if not any(inside):
        return []
    return [b for half in branch.halves() for b in branches(half, n, members)]


def all_reduce(t: Transport, x: Any, op: str) -> Steps:
    """x: (size,), in place.

    Rank i finishes slice i.  On each machine one rank carries it: it sums it up over the machine's
    ranks, sends that to rank i, and gets back what rank i makes of everybody's.
    """
    nodes, node = cast(Nodes, t).nodes, cast(Nodes, t).node
    n, total = t.size, "sum" if op == "avg" else op
    half = x.dtype.itemsize == 2 and x.dtype.kind in "fV"
    wire = cpu.dtype(cpu.float32 if half else x.dtype)
    counts = slices(x.size, n)
    ours = next(ranks for ranks in nodes if t.rank in ranks)
    carried = [[i for i in range(n) if _carrier(ours, i, n) == r] for r in ours]
    shares = [sum(counts[i] for i in some) for some in carried]  # of x, by rank of this machine
    mine = carried[node.rank]

    # Within the machine: (ranks, share) of everybody's, to the sums of whole branches.
    parts = cpu.empty((node.size, shares[node.rank]), x.dtype)
    yield node.all_to_all(x, shares, parts.reshape(-1), [shares[node.rank]] * node.size)
    own = branches(whole_tree(n), n, ours)
    sums = cpu.empty((len(own), shares[node.rank]), wire)
    for branch, out in zip(own, sums):
        rows = [parts[ours.index(r)] for r in branch.ranks(n)]
        reduce_tree(total, rows, out)

    # Over the wire, and back.
    by_slice = [cut(row, [counts[i] for i in mine]) for row in sums]
    sent = cpu.concatenate([row[k] for k in range(len(mine)) for row in by_slice])
    send_counts = [len(own) * counts[i] if i in mine else 0 for i in range(n)]
    come = {_carrier(ranks, t.rank, n): branches(whole_tree(n), n, ranks) for ranks in nodes}
    receive_counts = [len(come.get(r, ())) * counts[t.rank] for r in range(n)]
    received = cpu.empty(sum(receive_counts), wire)
    yield t.all_to_all(sent, send_counts, received, receive_counts)
    have: dict[Branch, Any] = {}
    for r, run in enumerate(cut(received, receive_counts)):
        have.update(zip(come.get(r, ()), run.reshape(-1, counts[t.rank])))
    done = _finish(whole_tree(n), n, have, getattr(cpu, UFUNCS[op]))
    done = (done / n if op == "avg" else done).astype(x.dtype)
    back = [counts[t.rank] if r in come else 0 for r in range(n)]
    place = cut(x, shares)[node.rank]
    answers = [counts[i] if i in mine else 0 for i in range(n)]
    yield t.all_to_all(cpu.concatenate([done] * len(come)), back, place, answers)

    yield node.all_gather(place, x, shares)


def _carrier(ranks: Sequence[int], i: int, n: int) -> int:
    """Which of a machine's ranks carries slice i: runs of slices, so that they lie side by side."""
    return ranks[i * len(ranks) // n]


def _finish(branch: Branch, n: int, have: Mapping[Branch, Any], ufunc: Any) -> Any:
    """The sum over a branch, of the sums over those of its parts that are there."""
    if branch in have:
        return have[branch]
    left, right = branch.halves()
    a = _finish(left, n, have, ufunc)
    return ufunc(a, _finish(right, n, have, ufunc), out=a) if right.start < n else a
