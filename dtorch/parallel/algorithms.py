"""How the collectives are made of movements of bytes, the same on every transport.

Reductions are computed here, over a fixed binary tree of the ranks, so their bits depend on the
number of ranks alone: not on the MPI library, not on the size of the message, not on who is late.
Each function is a generator of the movements that it has started (see work.Steps); arrays are flat,
contiguous and on the CPU.
"""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from functools import partial
from typing import Any, cast

from dtorch.core.backend import cpu

from .transport import CommonMemory, Transport, cut
from .work import Steps

UFUNCS = {
    "sum": "add", "avg": "add", "product": "multiply", "min": "minimum", "max": "maximum",
    "band": "bitwise_and", "bor": "bitwise_or", "bxor": "bitwise_xor",
}  # fmt: skip

_BLOCK = 1 << 16  # elements: a block of each rank's part stays in the cache while it is summed
SMALL = 1 << 14  # bytes up to which everybody gets everything and reduces it all: one step, not two


def reduce_tree(op: str, parts: Any, *outs: Any) -> None:
    """Reduce parts: (ranks, n) into each of outs: (n,), overwriting parts; halves in float32."""
    ufunc = getattr(cpu, UFUNCS[op])
    like = parts[0]
    half = like.dtype.itemsize == 2 and like.dtype.kind in "fV"
    for start in range(0, like.size, _BLOCK):
        rows = [part[start : start + _BLOCK] for part in parts]
        first, *others = [out[start : start + _BLOCK] for out in outs]
        if half:
            rows = [row.astype(cpu.float32) for row in rows]
        while len(rows) > 1:
            pairs = zip(rows[::2], rows[1::2])
            odd = rows[-1:] if len(rows) % 2 else []
            # The last sum of all goes to its place at once.
            into = first if len(rows) == 2 and not half else None
            rows = [ufunc(a, b, out=a if into is None else into) for a, b in pairs] + odd
        total = rows[0] if op != "avg" else cpu.divide(rows[0], len(parts), out=rows[0])
        for out in (first, *others):
            out[...] = total


def slices(size: int, n: int) -> list[int]:
    """How many of `size` elements each of n ranks takes: equally many, the last ones fewer."""
    k = -(-size // n)
    return [max(0, min(k, size - i * k)) for i in range(n)]


def all_reduce(t: Transport, x: Any, op: str) -> Steps:
    """x: (n,), in place."""
    if t.common_memory:
        yield cast("CommonMemory", t).all_reduce(x, partial(reduce_tree, op))
        return
    if x.nbytes <= SMALL:
        parts = cpu.empty((t.size, x.size), x.dtype)
        yield t.all_gather(x, parts.reshape(-1), [x.size] * t.size)
        reduce_tree(op, parts, x)
        return
    if t.several_nodes:
        from . import by_nodes  # made of the functions here

        yield from by_nodes.all_reduce(t, x, op)
        return
    # Rank i reduces slice i of everybody's x, then everybody gets everybody's slice.
    counts = slices(x.size, t.size)
    mine = counts[t.rank]
    parts = cpu.empty((t.size, mine), x.dtype)
    yield t.all_to_all(x, counts, parts.reshape(-1), [mine] * t.size)
    done = cut(x, counts)[t.rank]
    reduce_tree(op, parts, done)
    yield t.all_gather(done, x, counts)


def reduce_scatter(t: Transport, x: Any, counts: Sequence[int], out: Any, op: str) -> Steps:
    """x: counts[i] elements for rank i, out: counts[this rank] elements"""
    parts = cpu.empty((t.size, out.size), x.dtype)
    yield t.all_to_all(x, counts, parts.reshape(-1), [out.size] * t.size)
    reduce_tree(op, parts, out)


def reduce(t: Transport, x: Any, op: str, root: int) -> Steps:
    """x: (n,), in place on the root only."""
    parts = cpu.empty((t.size, x.size), x.dtype) if t.rank == root else None
    yield t.gather(x, None if parts is None else parts.reshape(-1), root)
    if parts is not None:
        reduce_tree(op, parts, x)


def all_gather_number(t: Transport, number: int, into: list[int]) -> Steps:
    """Put every rank's number, of 64 bits, into the list, by rank."""
    if t.common_memory:
        yield cast("CommonMemory", t).exchange(number, into)
        return
    numbers = cpu.empty(t.size, cpu.int64)
    yield t.all_gather(cpu.array([number], cpu.int64), numbers, [1] * t.size)
    into.extend(numbers.tolist())


def all_gather_bytes(t: Transport, data: bytes, into: list[bytes]) -> Steps:
    """Put every rank's data, of any length, into the list, by rank."""
    counts: list[int] = []
    yield from all_gather_number(t, len(data), counts)
    everything = cpu.empty(sum(counts), cpu.uint8)
    yield t.all_gather(cpu.frombuffer(data, cpu.uint8), everything, counts)
    start = 0
    for count in counts:
        into.append(everything[start : start + count].tobytes())
        start += count


def all_gather_objects(t: Transport, value: Any, into: list[Any]) -> Steps:
    """Put every rank's value into the list, by rank."""
    pickles: list[bytes] = []
    yield from all_gather_bytes(t, pickle.dumps(value), pickles)
    into.extend(map(pickle.loads, pickles))


def broadcast_objects(t: Transport, values: list[Any], root: int) -> Steps:
    """Replace the values in the list by the root's."""
    data = pickle.dumps(values) if t.rank == root else b""
    size = cpu.array([len(data)], cpu.int64)
    yield t.broadcast(size, root)
    buffer = cpu.empty(int(size[0]), cpu.uint8)
    if t.rank == root:
        buffer[:] = cpu.frombuffer(data, cpu.uint8)
    yield t.broadcast(buffer, root)
    values[:] = pickle.loads(buffer.tobytes())


def one(request: Any) -> Steps:
    """A single movement."""
    yield request


def later(start: Any, *args: Any) -> Steps:
    """A single movement, started only when its turn comes."""
    yield start(*args)
