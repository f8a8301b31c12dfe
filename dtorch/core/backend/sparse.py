"""Arrays in sparse layouts: the elements that are stored, and where they are.

They are arrays to everyone else: with a shape, a dtype, sums and copies, so that a Tensor may hold
one where others hold an ndarray, and the autograd engine need not know.  Anything beyond that has
to be asked for by name (`to_dense`): a method of ndarrays that is missing here says so.

    Coo         indices (sparse_dim, nnz), values (nnz, *dense)
    Compressed  csr: compressed (*batch, rows + 1), plain (*batch, nnz), values (*batch, nnz, *dense)
                csc: the same by columns.  bsr, bsc: values are blocks (*batch, nnz, h, w, *dense)
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any, NamedTuple

from . import of


class NoDenseMethod(NotImplementedError, AttributeError):
    """What an operation raises that needs an ordinary array: hasattr() is False, as it should be."""


class SparseArray:
    """What all layouts share.  The fields of an array that is written to are replaced: see [...]."""

    __slots__ = ("values", "shape", "layout", "__weakref__")
    __array_ufunc__ = None  # ndarray + SparseArray is left to __radd__
    fields: tuple[str, ...] = ()
    base = None  # it owns its memory
    strides = ()

    values: Any
    shape: tuple[int, ...]
    layout: str

    def __getattr__(self, name: str) -> Any:
        raise NoDenseMethod(
            f"an operation that needs a dense tensor ({name}) was called on a sparse one; convert "
            "it with .to_dense() first"
        )

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        return self.__getattr__("__array__")

    @property
    def dtype(self) -> Any:
        return self.values.dtype

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return prod(self.shape)

    @property
    def itemsize(self) -> int:
        return self.values.itemsize

    @property
    def nnz(self) -> int:
        """How many values (or blocks, of each matrix of a batch) are stored."""
        raise NotImplementedError

    def parts(self) -> dict[str, Any]:
        """The arrays that it consists of, under torch's names."""
        raise NotImplementedError

    def mapped(self, function: Callable[[Any], Any]) -> Any:
        """The same sparse array with `function` done to each of its parts."""
        raise NotImplementedError

    def with_values(self, values: Any) -> Any:
        """Other values at the same places."""
        raise NotImplementedError

    def to_dense(self) -> Any:
        raise NotImplementedError

    def to_coo(self) -> Coo:
        raise NotImplementedError

    def astype(self, dtype: Any, copy: bool = True) -> Any:
        return self.with_values(self.values.astype(dtype, copy=copy))

    def copy(self, order: str = "K") -> Any:
        return self.mapped(lambda a: a.copy())

    def __setitem__(self, key: Any, value: Any) -> None:
        """a[...] = b: take over the places and the values of b."""
        if key is not Ellipsis or type(value) is not type(self) or value.layout != self.layout:
            self.__getattr__("__setitem__")
        value = value.astype(self.dtype, copy=False)
        for name in self.fields:
            setattr(self, name, getattr(value, name))

    def __len__(self) -> int:
        return self.shape[0]

    def __neg__(self) -> Any:
        return self.with_values(-self.values)

    def __mul__(self, factor: Any) -> Any:
        if getattr(factor, "ndim", 0):
            return NotImplemented
        return self.with_values(self.values * factor)

    __rmul__ = __mul__

    def __add__(self, other: Any) -> Any:
        if not isinstance(other, SparseArray):
            return other + self.to_dense()
        from .layouts import convert, spec

        total = self.to_coo() + other.to_coo()
        return total if self.layout != other.layout else convert(total, spec(self))

    __radd__ = __add__


class Coo(SparseArray):
    """Coordinates.  The first sparse_dim dimensions are sparse, those of `values` behind are dense.

    coalesced: whether the places are in order and unique; otherwise values at one place add up
    """

    __slots__ = ("indices", "coalesced")
    fields = ("indices", "values", "shape", "coalesced")

    def __init__(
        self, indices: Any, values: Any, shape: tuple[int, ...], coalesced: bool = False
    ) -> None:
        self.layout = "sparse_coo"
        self.indices = indices
        self.values = values
        self.shape = tuple(shape)
        self.coalesced = coalesced

    @staticmethod
    def of_dense(a: Any, sparse_dim: int) -> Coo:
        """What is not zero in any of the dense dimensions."""
        xp = of(a)
        stored = (a != 0).any(axis=tuple(range(sparse_dim, a.ndim)))
        indices = xp.stack(stored.nonzero()) if sparse_dim else xp.zeros((0, int(stored)), "int64")
        values = a[tuple(indices)] if sparse_dim else a[None][: int(stored)]
        return Coo(indices.astype("int64"), values, a.shape, True)

    def __reduce__(self) -> Any:
        return Coo, (self.indices, self.values, self.shape, self.coalesced)

    @property
    def sparse_dim(self) -> int:
        return len(self.indices)

    @property
    def nnz(self) -> int:
        return self.indices.shape[1]

    def parts(self) -> dict[str, Any]:
        return {"indices": self.indices, "values": self.values}

    def mapped(self, function: Callable[[Any], Any]) -> Coo:
        return Coo(function(self.indices), function(self.values), self.shape, self.coalesced)

    def with_values(self, values: Any) -> Coo:
        shape = self.shape[: self.sparse_dim] + values.shape[1:]
        return Coo(self.indices, values, shape, self.coalesced)

    def keys(self) -> Any:
        """The place of each value as one number, in the order of memory.  (nnz,)"""
        keys = of(self.values).zeros(self.indices.shape[1], "int64")
        for n, i in zip(self.shape, self.indices):
            keys = keys * n + i
        return keys

    def coalesce(self) -> Coo:
        """The places in order, those that come twice once, with the sum of their values."""
        if self.coalesced:
            return self
        xp = of(self.values)
        keys, first, group = xp.unique(self.keys(), return_index=True, return_inverse=True)
        values = xp.zeros((len(keys), *self.values.shape[1:]), self.dtype)
        xp.index_rows_add(values, group.reshape(-1), self.values)
        return Coo(self.indices[:, first], values, self.shape, True)

    def to_coo(self) -> Coo:
        return self

    def transpose(self, dims: Any) -> Coo:
        n = self.sparse_dim
        if any((d < n) != (i < n) for i, d in enumerate(dims)):
            raise RuntimeError(
                "permute(sparse_coo): sparse and dense dimensions can't change places: got "
                f"{list(dims)} for {n} sparse dimensions"
            )
        values = self.values.transpose(0, *(d - n + 1 for d in dims[n:]))
        shape = tuple(self.shape[d] for d in dims)
        same = self.coalesced and list(dims[:n]) == list(range(n))
        return Coo(self.indices[list(dims[:n])], values, shape, same)

    def to_dense(self) -> Any:
        a = self.coalesce()
        out = of(a.values).zeros(a.shape, a.dtype)
        out[tuple(a.indices)] = a.values if a.sparse_dim else a.values.sum(0)
        return out

    def __add__(self, other: Any) -> Any:
        if not isinstance(other, Coo):
            return SparseArray.__add__(self, other)
        if self.sparse_dim != other.sparse_dim:
            raise RuntimeError(
                "add: expected equal numbers of sparse dimensions, got "
                f"{self.sparse_dim} and {other.sparse_dim}"
            )
        xp = of(self.values)
        indices = xp.concatenate([self.indices, other.indices], 1)
        return Coo(indices, xp.concatenate([self.values, other.values]), self.shape).coalesce()

    __radd__ = __add__


class _Kind(NamedTuple):
    by_rows: bool  # whether the rows are compressed, or the columns
    blocks: bool


COMPRESSED = {
    "sparse_csr": _Kind(True, False), "sparse_csc": _Kind(False, False),
    "sparse_bsr": _Kind(True, True), "sparse_bsc": _Kind(False, True),
}  # fmt: skip


class Compressed(SparseArray):
    """A matrix, or a batch of them, whose places are sorted by rows (or columns) and counted.

    Line i holds values[compressed[i] : compressed[i + 1]], whose places in the line are in `plain`.
    """

    __slots__ = ("compressed", "plain")
    fields = ("compressed", "plain", "values", "shape")

    def __init__(
        self, layout: str, compressed: Any, plain: Any, values: Any, shape: tuple[int, ...]
    ) -> None:
        self.layout = layout
        self.compressed = compressed
        self.plain = plain
        self.values = values
        self.shape = tuple(shape)

    def __reduce__(self) -> Any:
        return Compressed, (self.layout, self.compressed, self.plain, self.values, self.shape)

    @property
    def kind(self) -> _Kind:
        return COMPRESSED[self.layout]

    @property
    def batch(self) -> tuple[int, ...]:
        return self.plain.shape[:-1]

    @property
    def blocksize(self) -> tuple[int, int]:
        """Height and width of a block; (1, 1) where there are none."""
        first = self.plain.ndim
        return self.values.shape[first : first + 2] if self.kind.blocks else (1, 1)

    @property
    def nnz(self) -> int:
        return self.plain.shape[-1]

    def parts(self) -> dict[str, Any]:
        c, p = ("crow", "col") if self.kind.by_rows else ("ccol", "row")
        arrays = self.compressed, self.plain, self.values
        return dict(zip((f"{c}_indices", f"{p}_indices", "values"), arrays))

    def mapped(self, function: Callable[[Any], Any]) -> Compressed:
        c, p, values = map(function, (self.compressed, self.plain, self.values))
        return Compressed(self.layout, c, p, values, self.shape)

    def with_values(self, values: Any) -> Compressed:
        return Compressed(self.layout, self.compressed, self.plain, values, self.shape)

    def each(self) -> list[Compressed]:
        """The matrices of a batch, in order."""
        n, shape = len(self.batch), self.shape[len(self.batch) :]
        flat = [a.reshape(-1, *a.shape[n:]) for a in (self.compressed, self.plain, self.values)]
        return [Compressed(self.layout, c, p, values, shape) for c, p, values in zip(*flat)]

    def places(self) -> tuple[Any, Any]:
        """Row and column of each element of the values of one matrix, in their order.  (n,) each"""
        xp = of(self.values)
        counts = xp.diff(self.compressed).astype("int64")
        lines = xp.repeat(xp.arange(len(counts)), counts.tolist())
        plain = self.plain.astype("int64")
        rows, cols = (lines, plain) if self.kind.by_rows else (plain, lines)
        if self.kind.blocks:
            h, w = self.blocksize
            rows = rows[:, None, None] * h + xp.arange(h)[:, None]
            cols = cols[:, None, None] * w + xp.arange(w)
            rows, cols = map(xp.ravel, xp.broadcast_arrays(rows, cols))
        return rows, cols

    def elements(self) -> Any:
        """The values of one matrix, blocks taken apart.  (n, *dense)"""
        return self.values.reshape(-1, *self.values.shape[3 if self.kind.blocks else 1 :])

    def to_coo(self) -> Coo:
        if self.batch:
            return Coo.of_dense(self.to_dense(), self.ndim)
        indices = of(self.values).stack(self.places())
        return Coo(indices, self.elements(), self.shape, self.layout == "sparse_csr")

    def transpose(self, dims: Any) -> Compressed:
        """The two dimensions of the matrix swapped: what were rows are columns."""
        n = len(self.batch)
        swapped = [*range(n), n + 1, n, *range(n + 2, self.ndim)]
        if list(dims) == list(range(self.ndim)):
            return self
        if list(dims) != swapped:
            raise RuntimeError(
                f"transpose(): layout {self.layout} can only swap the two dimensions of its matrix, "
                f"{n} and {n + 1}; got {list(dims)}"
            )
        values = self.values
        if self.kind.blocks:
            values = of(values).swapaxes(values, n + 1, n + 2)
        other = next(
            name for name, kind in COMPRESSED.items()
            if kind == (not self.kind.by_rows, self.kind.blocks)
        )  # fmt: skip
        shape = tuple(self.shape[d] for d in dims)
        return Compressed(other, self.compressed, self.plain, values, shape)

    def to_dense(self) -> Any:
        if not self.batch:
            return self.to_coo().to_dense()
        xp = of(self.values)
        if not prod(self.batch):
            return xp.zeros(self.shape, self.dtype)
        return xp.stack([m.to_dense() for m in self.each()]).reshape(self.shape)
