"""From one layout to another, for dense and sparse arrays alike."""

from __future__ import annotations

from typing import Any, NamedTuple

from . import of
from .sparse import COMPRESSED, Compressed, Coo, SparseArray


class Spec(NamedTuple):
    """A layout, with what has to be known to bring an array into it."""

    layout: str
    sparse_dim: int | None = None  # of a Coo; None: all dimensions
    blocksize: tuple[int, int] = (1, 1)
    dense_dim: int = 0  # of a Compressed
    index_dtype: str = "int64"


def spec(a: Any) -> Spec:
    """The layout that an array is in."""
    if isinstance(a, Coo):
        return Spec(a.layout, a.sparse_dim)
    if isinstance(a, Compressed):
        dense = a.values.ndim - a.plain.ndim - 2 * a.kind.blocks
        return Spec(a.layout, None, a.blocksize, dense, str(a.plain.dtype))
    return Spec("strided")


def convert(a: Any, to: Spec) -> Any:
    """An array in any layout in another."""
    if to.layout == "strided":
        return a.to_dense() if isinstance(a, SparseArray) else a
    if to.layout == "sparse_coo":
        if isinstance(a, SparseArray):
            return a.to_coo()
        return Coo.of_dense(a, a.ndim if to.sparse_dim is None else to.sparse_dim)
    if isinstance(a, SparseArray) and not (isinstance(a, Compressed) and a.batch):
        return _compress(a.to_coo(), to)
    dense = a.to_dense() if isinstance(a, SparseArray) else a
    ndim = dense.ndim - to.dense_dim
    if ndim == 2:
        return _compress(Coo.of_dense(dense, 2), to)
    lead = dense.shape[: ndim - 2]
    parts = [_compress(Coo.of_dense(m, 2), to) for m in dense.reshape(-1, *dense.shape[ndim - 2 :])]
    if len({len(p.plain) for p in parts}) > 1:
        raise RuntimeError(
            f"Expect the same number of specified elements per batch, got "
            f"{sorted({len(p.plain) for p in parts})}."
        )
    c, p, values = (
        of(dense).stack(arrays).reshape(*lead, *arrays[0].shape)
        for arrays in zip(*[(m.compressed, m.plain, m.values) for m in parts])
    )
    return Compressed(to.layout, c, p, values, dense.shape)


def _compress(a: Coo, to: Spec) -> Compressed:
    """A sparse matrix, sorted by the blocks of lines."""
    xp, a = of(a.values), a.coalesce()
    by_rows, blocks = COMPRESSED[to.layout]
    h, w = to.blocksize if blocks else (1, 1)
    shape = a.shape[0] // h, a.shape[1] // w
    rows, cols = a.indices
    line, place = (rows // h, cols // w) if by_rows else (cols // w, rows // h)
    lines, places = shape if by_rows else shape[::-1]
    keys, first, group = xp.unique(line * places + place, return_index=True, return_inverse=True)
    if blocks:
        values = xp.zeros((len(keys), h, w, *a.values.shape[1:]), a.dtype)
        values[group.reshape(-1), rows % h, cols % w] = a.values
    else:
        values = a.values[first]
    counts = xp.bincount(line[first], minlength=lines)
    compressed = xp.concatenate([xp.zeros(1, "int64"), xp.cumsum(counts)])
    c, p = compressed.astype(to.index_dtype), place[first].astype(to.index_dtype)
    return Compressed(to.layout, c, p, values, a.shape)


def take(a: Any, like: Any) -> Any:
    """The elements of an array in any layout at the places of a sparse array: one like that."""
    if isinstance(like, Compressed):
        if isinstance(a, Compressed) and a.compressed is like.compressed and a.plain is like.plain:
            return a
        if like.batch:
            dense = convert(a, Spec("strided")).reshape(-1, *like.shape[len(like.batch) :])
            parts = [take(m, p).values for m, p in zip(dense, like.each())]
            return like.with_values(of(like.values).stack(parts).reshape(like.values.shape))
        at = Coo(of(like.values).stack(like.places()), like.elements(), like.shape)
        return like.with_values(take(a, at).values.reshape(like.values.shape))
    if not isinstance(a, SparseArray):
        return Coo(like.indices, a[tuple(like.indices)] if like.sparse_dim else a[None].repeat(
            like.indices.shape[1], 0), like.shape, like.coalesced)  # fmt: skip
    a = a.to_coo()
    if a.sparse_dim != like.sparse_dim:
        return take(a.to_dense(), like)
    if a.indices is like.indices:
        return a
    xp, a = of(a.values), a.coalesce()
    if not len(a.values):
        return like.with_values(xp.zeros_like(like.values, dtype=a.dtype))
    keys, wanted = a.keys(), like.keys()
    at = xp.minimum(xp.searchsorted(keys, wanted), len(keys) - 1)
    found = (keys[at] == wanted).reshape(-1, *(1,) * (a.values.ndim - 1))
    return like.with_values(xp.where(found, a.values[at], xp.zeros(1, a.dtype)))
