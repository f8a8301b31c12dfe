"""Sparse tensors: between layouts, and down to the values and back.

A sparse tensor is a Tensor whose array is a SparseArray (backend/sparse.py).  Four ops cross the
border between sparse and dense; all else about sparse tensors is made of them and of ops on the
values, and gets its gradients from there:

    converted   a tensor in another layout          values_of   sparse -> its values
    taken       a tensor's elements at some places  assembled   values -> sparse, at given places

The gradient of a sparse tensor is sparse, with the places of the tensor: what is not stored is not
a variable.
"""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

from .. import dtype as dtypes
from ..backend import of
from ..backend.layouts import Spec, convert, spec, take
from ..backend.sparse import COMPRESSED, SparseArray
from ..op import op
from ..tensor import Tensor, wrap
from .shape import cast, raw

# The places are no variables and the ops are linear with real factors, so that complex gradients
# need no conjugates.
_border = {"half": "keep", "holomorphic": False, "any_layout": True}


def _as_before(g, x):
    """A gradient in the layout of x, and at its places."""
    x = raw(x)
    return taken(g, like=x) if isinstance(x, SparseArray) else converted(g, to=spec(x))


@op("x", **_border)
def converted(xp, x, *, to, masked=True):
    return convert(x, to)


@op("x", name="sparse_mask", **_border)
def taken(xp, x, *, like):
    return take(x, like)


@op("x", name="values", **_border)
def values_of(xp, x):
    return x.values


@op(**_border)
def assembled(xp, values, *, like):
    return like.with_values(values)


@op(name="coalesce", **_border)
def _coalesced(xp, x):
    return x.coalesce()


@op("x", **_border)
def added(xp, a, b):
    return a + b


converted.vjp(
    lambda g, y, x, to, masked=True: _as_before(g, x) if masked else converted(g, to=spec(raw(x)))
)
taken.vjp(lambda g, y, x, like: _as_before(g, x))
values_of.vjp(lambda g, y, x: assembled(g, like=raw(x)))
assembled.vjp(lambda g, y, values, like: values_of(taken(g, like=like)))
_coalesced.vjp(lambda g, y, x: g)
added.vjp(lambda g, y, a, b: _summand(g, a), lambda g, y, a, b: _summand(g, b))


def _summand(g, x):
    """The gradient of a sum for one summand: a sparse one takes all of a sparse gradient."""
    sparse = isinstance(raw(x), SparseArray) and isinstance(raw(g), SparseArray)
    return g if sparse else _as_before(g, x)


# ---- what kind of tensor -------------------------------------------------------------------------


def is_sparse(x):
    """Whether an argument is a tensor in any sparse layout."""
    return isinstance(x, Tensor) and isinstance(x._a, SparseArray)


_TITLES = {"strided": "Strided", "sparse_coo": "Sparse", "sparse_csr": "SparseCsr",
           "sparse_csc": "SparseCsc", "sparse_bsr": "SparseBsr", "sparse_bsc": "SparseBsc"}  # fmt: skip


def title(x):
    """torch's name for a tensor's layout in its messages."""
    return _TITLES[x.layout.name]


def _require(name, x, layouts, words):
    if x.layout.name not in layouts:
        raise RuntimeError(f"{name} expected sparse {words} tensor layout but got {title(x)}")


def _require_coo(name, x):
    _require(name, x, ("sparse_coo",), "coordinate")


def _require_coalesced(name, x):
    _require_coo(name, x)
    if not x._a.coalesced:
        raise RuntimeError(
            f"Cannot get {name} on an uncoalesced tensor, please call .coalesce() first"
        )


# ---- conversion ----------------------------------------------------------------------------------


def to_dense(input, dtype=None, *, masked_grad=None):
    """The tensor in the strided layout.

    masked_grad: whether a sparse input's gradient has elements only at the input's places (default)
    """
    x = input
    if is_sparse(x):
        x = converted(x, to=Spec("strided"), masked=masked_grad is not False)
    return x if dtype is None else cast(x, dtype.np)


def to_sparse(input, sparse_dim=None, *, layout=None, blocksize=None, dense_dim=None):
    """The tensor in a sparse layout, by default coordinates; what is zero is left out.

    sparse_dim: of coordinates, how many dimensions are sparse, the others are dense
    blocksize: (height, width) of the blocks of sparse_bsr and sparse_bsc
    dense_dim: of a compressed layout, how many trailing dimensions are dense
    """
    if isinstance(sparse_dim, dtypes.layout):
        raise TypeError("to_sparse(): argument 'sparse_dim' must be int, not layout")
    if layout in (None, dtypes.sparse_coo):
        if blocksize is not None or dense_dim is not None:
            raise RuntimeError(
                "to_sparse: blocksize and dense_dim are for compressed layouts, not for sparse_coo"
            )
        return _to_coo(input, sparse_dim)
    if layout.name not in COMPRESSED:
        raise RuntimeError(f"to_sparse: conversion from {title(input)} to {layout} not supported")
    if sparse_dim is not None:
        raise RuntimeError(f"to_sparse: sparse_dim is for sparse_coo, not for {layout}")
    return _to_compressed(input, layout.name, blocksize, dense_dim)


def _to_coo(input, sparse_dim):
    if is_sparse(input):
        if sparse_dim not in (None, spec(input._a).sparse_dim or 2):
            raise RuntimeError(
                f"to_sparse: conversion from {title(input)} to Sparse with sparse_dim argument "
                f"!= self.sparse_dim() is not supported, got {sparse_dim}"
            )
        return input if input.is_sparse else converted(input, to=Spec("sparse_coo"))
    n = input.ndim
    if sparse_dim is None:
        sparse_dim = n
    if not 0 <= sparse_dim <= n:
        raise RuntimeError(
            f"dense_to_sparse: sparse_dim argument must be in [0,{n}] range, but {sparse_dim} is "
            "given"
        )
    if n and not sparse_dim:
        raise RuntimeError(
            "dense_to_sparse: sparse_dim argument must be in >0 when self.dim()>0, got 0"
        )
    return converted(input, to=Spec("sparse_coo", sparse_dim))


def _to_compressed(input, layout, blocksize=None, dense_dim=None):
    name, have = f"to_{layout}", spec(raw(input))
    if have.layout == "sparse_coo":
        have = have._replace(dense_dim=input.ndim - have.sparse_dim)
    if is_sparse(input) and dense_dim not in (None, have.dense_dim):
        raise RuntimeError(
            f"{name}: conversion from {title(input)} with dense_dim argument != self.dense_dim() is "
            f"not supported, got {dense_dim}"
        )
    dense_dim = have.dense_dim if is_sparse(input) or dense_dim is None else dense_dim
    matrix = input.ndim - dense_dim
    if matrix < 2 or (have.layout == "sparse_coo" and matrix != 2):
        raise RuntimeError(
            f"{name}: expected a tensor with two dimensions besides those of a batch and the "
            f"{dense_dim} dense ones, got one of {input.ndim} dimensions"
        )
    if not COMPRESSED[layout].blocks:
        if blocksize is not None:
            raise RuntimeError(f"{name}: {layout} has no blocks, got blocksize {blocksize}")
        blocksize = 1, 1
    elif blocksize is None:
        if not COMPRESSED.get(have.layout, (0, False))[1]:
            raise RuntimeError(f"{name}: blocksize is required: (height, width)")
        blocksize = have.blocksize
    blocksize = tuple(map(int, blocksize))
    h, w = input.shape[matrix - 2 : matrix]
    if len(blocksize) != 2 or min(blocksize) < 1 or h % blocksize[0] or w % blocksize[1]:
        raise RuntimeError(
            f"tensor sparse size ({h}, {w}) must be divisible by given blocksize {blocksize}"
        )
    to = Spec(layout, None, blocksize, dense_dim)
    return input if to == have else converted(input, to=to)


def _to_unblocked(layout):
    def method(input, dense_dim=None):
        return _to_compressed(input, layout, None, dense_dim)

    return method


def _to_blocked(layout):
    def method(input, blocksize, dense_dim=None):
        return _to_compressed(input, layout, blocksize, dense_dim)

    return method


def coalesce(input):
    """Coordinates in order, and the values of each place summed up; itself if it is so already."""
    _require_coo("coalesce", input)
    return input if input._a.coalesced else _coalesced(input)


def sparse_mask(input, mask):
    """The elements at the places of the sparse tensor `mask`, in its layout."""
    if not is_sparse(mask):
        raise RuntimeError(f"sparse_mask: expected mask to be sparse, got layout {mask.layout}")
    if input.shape != mask.shape:
        raise RuntimeError(
            f"sparse_mask(): operands have incompatible sizes; self has size {list(input.shape)} "
            f"but mask has size {list(mask.shape)}"
        )
    return taken(input, like=mask._a)


# ---- the parts -----------------------------------------------------------------------------------


def is_coalesced(input):
    _require_coo("is_coalesced", input)
    return input._a.coalesced


def _coalesced_(input, coalesced):
    """Say whether the places are in order and unique, without looking."""
    _require_coo("_coalesced_", input)
    input._a.coalesced = bool(coalesced)
    return input


def indices(input):
    """The places of coalesced coordinates.  (sparse_dim, nnz) int64"""
    _require_coalesced("indices", input)
    return wrap(input._a.indices)


def _indices(input):
    """The places, whether coalesced or not."""
    _require_coo("_indices", input)
    return wrap(input._a.indices)


def values(input):
    """The stored values, (nnz, *dense), or (*batch, nnz, *block, *dense) of a compressed layout."""
    if not is_sparse(input):
        raise RuntimeError(f"values expected sparse tensor layout but got {title(input)}")
    if input.is_sparse:
        _require_coalesced("values", input)
    return values_of(input)


def _values(input):
    """The stored values without history, whether coalesced or not."""
    if not is_sparse(input):
        raise RuntimeError(f"_values expected sparse tensor layout but got {title(input)}")
    return wrap(input._a.values)


def _nnz(input):
    """How many elements (or blocks, of each matrix of a batch) are stored."""
    if not is_sparse(input):
        raise RuntimeError(f"_nnz expected sparse tensor layout but got {title(input)}")
    return input._a.nnz


def _part(name, layouts, words):
    """crow_indices and its kin: an index array of a compressed layout."""

    def method(input):
        _require(name, input, layouts, words)
        return wrap(input._a.parts()[name])

    method.__name__ = method.__qualname__ = name
    return method


_BY_ROWS = ("sparse_csr", "sparse_bsr"), "row compressed"
_BY_COLUMNS = ("sparse_csc", "sparse_bsc"), "column compressed"


def sparse_dim(input):
    """How many dimensions are sparse."""
    if not is_sparse(input):
        return 0
    return input._a.sparse_dim if input.is_sparse else 2


def dense_dim(input):
    """How many trailing dimensions are dense."""
    if not is_sparse(input):
        return input.ndim
    return input.ndim - input._a.sparse_dim if input.is_sparse else spec(input._a).dense_dim


# ---- resizing ------------------------------------------------------------------------------------


def _check_resize(input, size, sparse_dim, dense_dim):
    _require_coo("sparse_resize_", input)
    if sparse_dim + dense_dim != len(size):
        raise RuntimeError(
            f"'len(size) == sparse_dim + dense_dim' is not satisfied: len(size) = {len(size)}, "
            f"sparse_dim = {sparse_dim}, dense_dim = {dense_dim}"
        )


def sparse_resize_(input, size, sparse_dim, dense_dim):
    """Another size; where there are stored elements it may only grow, and no dimension change side."""
    _check_resize(input, size, sparse_dim, dense_dim)
    a = input._a
    size = tuple(size)
    if len(a.values):
        if sparse_dim != a.sparse_dim or dense_dim != a.ndim - a.sparse_dim:
            raise RuntimeError(
                "changing the number of sparse or dense dimensions of a non-empty sparse tensor is "
                f"not supported: it has {a.sparse_dim} and {a.ndim - a.sparse_dim}"
            )
        if any(new < old for new, old in zip(size, a.shape)):
            raise RuntimeError(
                "shrinking the size of a sparse tensor that has elements is not supported: got "
                f"{list(size)} for {list(a.shape)}; use sparse_resize_and_clear_"
            )
        xp = of(a.values)
        wider = xp.zeros((len(a.values), *size[sparse_dim:]), a.dtype)
        wider[tuple(slice(n) for n in a.values.shape)] = a.values
        a.values, a.shape = wider, size
        return input
    return sparse_resize_and_clear_(input, size, sparse_dim, dense_dim)


def sparse_resize_and_clear_(input, size, sparse_dim, dense_dim):
    """Another size, and no stored elements."""
    _check_resize(input, size, sparse_dim, dense_dim)
    a = input._a
    xp, size = of(a.values), tuple(size)
    a.indices = xp.zeros((sparse_dim, 0), "int64")
    a.values = xp.zeros((0, *size[sparse_dim:]), a.dtype)
    a.shape, a.coalesced = size, True
    return input


METHODS = {
    "to_dense": to_dense, "to_sparse": to_sparse, "to_sparse_coo": lambda self: to_sparse(self),
    "to_sparse_csr": _to_unblocked("sparse_csr"), "to_sparse_csc": _to_unblocked("sparse_csc"),
    "to_sparse_bsr": _to_blocked("sparse_bsr"), "to_sparse_bsc": _to_blocked("sparse_bsc"),
    "coalesce": coalesce, "is_coalesced": is_coalesced, "_coalesced_": _coalesced_,
    "indices": indices, "_indices": _indices, "values": values, "_values": _values, "_nnz": _nnz,
    "crow_indices": _part("crow_indices", *_BY_ROWS),
    "col_indices": _part("col_indices", *_BY_ROWS),
    "ccol_indices": _part("ccol_indices", *_BY_COLUMNS),
    "row_indices": _part("row_indices", *_BY_COLUMNS),
    "sparse_dim": sparse_dim, "dense_dim": dense_dim,
    "_dimI": sparse_dim, "_dimV": dense_dim, "sparse_mask": sparse_mask,
    "sparse_resize_": sparse_resize_, "sparse_resize_and_clear_": sparse_resize_and_clear_,
}  # fmt: skip
