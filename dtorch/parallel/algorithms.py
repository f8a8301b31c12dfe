"""How the collectives are made of movements of bytes, the same on every transport.

Reductions are computed here, over a fixed binary tree of the ranks, so their bits depend on the
number of ranks alone: not on the MPI library, not on the size of the message, not on who is late.
Each function is a generator of the movements that it has started (see work.Steps); arrays are flat,
contiguous and on the CPU.
"""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

from dtorch.core.backend import cpu

from .work import Steps

if TYPE_CHECKING:
    from .transport import Transport

UFUNCS = {
    "sum": "add", "avg": "add", "product": "multiply", "min": "minimum", "max": "maximum",
    "band": "bitwise_and", "bor": "bitwise_or", "bxor": "bitwise_xor",
}  # fmt: skip

_BLOCK = 1 << 16  # elements: a block of each rank's part stays in the cache while it is summed
SMALL = 1 << 14  # bytes up to which everybody gets everything and reduces it all: one step, not two


def reduce_tree(parts: Any, op: str, out: Any) -> None:
    """Reduce parts: (ranks, n) into out: (n,), overwriting parts; halves in float32."""
    ufunc = getattr(cpu, UFUNCS[op])
    half = out.dtype.itemsize == 2 and out.dtype.kind in "fV"
    for start in range(0, out.size, _BLOCK):
        rows = [part[start : start + _BLOCK] for part in parts]
        if half:
            rows = [row.astype(cpu.float32) for row in rows]
        while len(rows) > 1:
            pairs = zip(rows[::2], rows[1::2])
            odd = rows[-1:] if len(rows) % 2 else []
            rows = [ufunc(a, b, out=a) for a, b in pairs] + odd
        total = rows[0] if op != "avg" else rows[0] / len(parts)
        out[start : start + _BLOCK] = total


def slices(size: int, n: int) -> list[int]:
    """How many of `size` elements each of n ranks takes: equally many, the last ones fewer."""
    k = -(-size // n)
    return [max(0, min(k, size - i * k)) for i in range(n)]


def all_reduce(t: Transport, x: Any, op: str) -> Steps:
    """x: (n,), in place."""
    if x.nbytes <= SMALL:
        parts = cpu.empty((t.size, x.size), x.dtype)
        yield t.all_gather(x, parts.reshape(-1), [x.size] * t.size)
        reduce_tree(parts, op, x)
        return
    # Rank i reduces slice i of everybody's x, then everybody gets everybody's slice.
    counts = slices(x.size, t.size)
    mine = counts[t.rank]
    parts = cpu.empty((t.size, mine), x.dtype)
    yield t.all_to_all(x, counts, parts.reshape(-1), [mine] * t.size)
    done = cpu.empty(mine, x.dtype)
    reduce_tree(parts, op, done)
    yield t.all_gather(done, x, counts)


def reduce_scatter(t: Transport, x: Any, out: Any, op: str) -> Steps:
    """x: (ranks * n,), out: (n,)"""
    parts = cpu.empty((t.size, out.size), x.dtype)
    yield t.all_to_all(x, [out.size] * t.size, parts.reshape(-1), [out.size] * t.size)
    reduce_tree(parts, op, out)


def reduce(t: Transport, x: Any, op: str, root: int) -> Steps:
    """x: (n,), in place on the root only."""
    parts = cpu.empty((t.size, x.size), x.dtype) if t.rank == root else None
    yield t.gather(x, None if parts is None else parts.reshape(-1), root)
    if parts is not None:
        reduce_tree(parts, op, x)


def all_gather_bytes(t: Transport, data: bytes, into: list[bytes]) -> Steps:
    """Put every rank's data, of any length, into the list, by rank."""
    size = cpu.array([len(data)], cpu.int64)
    sizes = cpu.empty(t.size, cpu.int64)
    yield t.all_gather(size, sizes, [1] * t.size)
    counts = sizes.tolist()
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
