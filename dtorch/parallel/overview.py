"""explain(ddp): what a DistributedDataParallel communicates, how, and what that took last time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TextIO

from .flight import Entry

if TYPE_CHECKING:
    from .buckets import Bucket
    from .ddp import DistributedDataParallel
    from .reducer import Reducer

_WAYS = {
    "shm": "over common memory, in place: each rank sums its share of everybody's",
    "mpi": "over MPI: each rank gets a share of everybody's, sums it, and sends it to all",
    "local": "between threads: each rank gets a share of everybody's, sums it, and sends it to all",
}


def explain(ddp: DistributedDataParallel, file: TextIO | None = None) -> None:
    """Print the buckets of gradients, in the order in which they are sent, and how the last went.

    Of this rank alone, so that any rank may ask.

    file: where to; the standard output if None
    """
    reducer, group = ddp.reducer, ddp.process_group
    buckets = reducer.buckets
    size = sum(bucket.grads.nbytes for bucket in buckets)
    lines = [
        f"{len(reducer.names)} parameters, {_bytes(size)} of gradients in {len(buckets)} buckets, on "
        f"rank {group.rank()} of {group.size()}",
        _WAYS.get(group.transport.name, f"over {group.transport.name}"),
        "each bucket as soon as it is full, while the backward goes on"
        if reducer.overlaps
        else "all at the end of backward: their sums would take its time",
        "in the order in which gradients were ready in the first backward:"
        if reducer.rounds
        else "in the reverse order of the parameters, before the first backward:",
        *_table(reducer.names, buckets),
        _last_time(reducer, group.flight.entries),
    ]
    print("\n".join(lines), file=file)


def _table(names: Sequence[str], buckets: Sequence[Bucket]) -> list[str]:
    rows = [("bucket", "dtype", "bytes", "parameters")]
    for number, bucket in enumerate(buckets):
        inside = [names[i] for i in bucket.views]
        told = ", ".join(inside) if len(inside) < 4 else f"{inside[0]} ... {inside[-1]}"
        parameters = f"{len(inside)}: {told}"
        rows.append((str(number), str(bucket.flat.dtype), _bytes(bucket.grads.nbytes), parameters))
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    return [
        f"  {a:>{widths[0]}}  {b:{widths[1]}}  {c:>{widths[2]}}  {parameters}"
        for a, b, c, parameters in rows
    ]


def _last_time(reducer: Reducer, entries: Sequence[Entry]) -> str:
    began, there, ended = reducer.times
    if not reducer.rounds:
        return "nothing has been averaged yet"
    took, hidden = communication(
        [(e.started, e.ended) for e in entries if e.ended and began <= e.started <= ended], there
    )
    return (
        f"last time {took * 1e3:.1f} ms under way, {hidden:.0%} of it hidden behind the backward; "
        f"{(ended - there) * 1e3:.1f} ms from the last gradient to the last average"
    )


def communication(spans: Sequence[tuple[float, float]], there: float) -> tuple[float, float]:
    """The seconds that spans (start, end) cover together, and the share of them before `there`."""
    total = early = 0.0
    reached = float("-inf")
    for start, end in sorted(spans):
        start = max(start, reached)
        if end > start:
            total += end - start
            early += max(0.0, min(end, there) - start)
            reached = end
    return total, early / total if total else 0.0


def _bytes(n: int) -> str:
    for unit, size in (("MB", 1e6), ("KB", 1e3)):
        if n >= size:
            return f"{n / size:.1f} {unit}"
    return f"{n} B"
