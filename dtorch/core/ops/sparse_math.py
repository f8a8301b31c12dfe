"""The ops of other files on sparse tensors: elementwise, sums, shapes, indexing.

Each is registered with the op itself (`Op.on_sparse`), so that every function made of that op finds
it.  What has no entry here raises, and names .to_dense().
"""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

from .. import dtype as dtypes
from ..backend import of
from ..backend.layouts import Spec, spec
from ..backend.sparse import Coo
from ..op import REGISTRY, op
from ..tensor import Tensor, wrap
from . import arithmetic as ar
from . import compare
from . import pointwise as pw
from .activation import log_softmax as dense_log_softmax
from .activation import relu
from .activation import softmax as dense_softmax
from .index import _slice, take_rows
from .join import _cat, cat
from .norms import _p_norm
from .reduce import _sum
from .resample import _take_along_add
from .shape import _cast, _permute, _view, axis, cast, clone, moved, raw, reshape
from .sparse import (
    _border,
    added,
    assembled,
    coalesce,
    converted,
    is_sparse,
    taken,
    title,
    values_of,
)
from .special import erfinv

# Their kernels are methods that sparse arrays have too.
for _o in (clone, _cast, moved):
    _o.any_layout = True


def as_coo(x):
    """A sparse tensor as coalesced coordinates."""
    return coalesce(x if x.is_sparse else converted(x, to=Spec("sparse_coo")))


def back_to(x, like):
    """Coordinates in the layout that `like` has."""
    return x if like.is_sparse else converted(x, to=spec(like._a))


def on_values(function, x, *, linear=False):
    """function of the stored values, which stay where they are.

    A linear one may see values of one place apart, where no gradient has to tell them apart.
    """
    if x.is_sparse and not (linear and not x._rg):
        x = coalesce(x)
    return assembled(function(values_of(x)), like=x._a)


# ---- elementwise ---------------------------------------------------------------------------------

# What maps zero to zero.
_LINEAR = (ar.neg, pw.deg2rad, pw.rad2deg)
_OTHERS = (
    compare.isinf, compare.isnan, compare.isneginf, compare.isposinf, compare.signbit, pw.abs, pw.asin,
    pw.asinh, pw.atan, pw.atanh, pw.ceil, pw.erf, erfinv, pw.expm1, pw.floor, pw.frac, pw.log1p,
    pw._nan_to_num, relu, pw._round, pw.sgn, pw.sign, pw.sin, pw.sinh, pw.sqrt, pw.square, pw.tan,
    pw.tanh, pw.trunc,
)  # fmt: skip


def _unary_on_values(o, linear):
    o.on_sparse(lambda x, **params: on_values(lambda v: o.fn(v, **params), x, linear=linear))


for _o in _LINEAR + _OTHERS:
    _unary_on_values(_o, _o in _LINEAR)


def _same_size(name, a, b):
    if a.shape != b.shape:
        raise RuntimeError(
            f"{name}: expected sizes of 'self' and 'other' to match, but {list(a.shape)} != "
            f"{list(b.shape)}"
        )


@ar.add.on_sparse
def add(a, b):
    if not isinstance(b, Tensor) or not isinstance(a, Tensor) or not is_sparse(b):
        raise RuntimeError(
            "add(sparse, dense) is not supported. Use add(dense, sparse) instead, or .to_dense()."
        )
    _same_size("add", a, b)
    d = dtypes.result_dtype([a._a, b._a]).np
    return added(cast(a, d), cast(b, d))


ar.sub.on_sparse(lambda a, b: add(a, -b if isinstance(b, Tensor) else b))


@ar.mul.on_sparse
def mul(a, b):
    """Of sparse by sparse, dense or a number: sparse, with the places that all sparse ones have."""
    if not is_sparse(a):
        a, b = b, a
    if not isinstance(b, Tensor) or not b.ndim:
        return on_values(lambda v: v * b, a, linear=True)
    if not is_sparse(b):
        x = a if not a.is_sparse else coalesce(a)
        elements = values_of(taken(b.expand(a.shape), like=x._a))
        return assembled(values_of(x) * elements, like=x._a)
    _same_size("mul", a, b)
    x, y = as_coo(a), as_coo(b)
    if x._a.sparse_dim != y._a.sparse_dim:
        raise RuntimeError(
            "mul: expected equal numbers of sparse dimensions, got "
            f"{x._a.sparse_dim} and {y._a.sparse_dim}"
        )
    xp = of(x._a)
    _, i, j = xp.intersect1d(x._a.keys(), y._a.keys(), assume_unique=True, return_indices=True)
    product = take_rows(values_of(x), index=i, dim=0) * take_rows(values_of(y), index=j, dim=0)
    places = Coo(x._a.indices[:, i], raw(product), a.shape, True)
    return back_to(assembled(product, like=places), a)


def _by_scalar(o, words):
    """A sparse tensor and a number, or a 0-d tensor."""

    def function(a, b):
        shape = list(b.shape) if isinstance(b, Tensor) else []
        if shape or not is_sparse(a):
            raise RuntimeError(
                f"Sparse {words} requires a scalar or zero-dim dense tensor divisor (got shape "
                f"{shape} for divisor)"
            )
        return on_values(lambda v: o.fn(v, b), a, linear=o is ar.div)

    o.on_sparse(function)


_by_scalar(ar.div, "division")
_by_scalar(ar.floor_divide, "floor division")


@ar.pow.on_sparse
def pow(a, b):
    if isinstance(b, Tensor) or not is_sparse(a):
        raise RuntimeError("pow: of a sparse tensor only powers by a number are implemented")
    if b == 0:
        raise RuntimeError(
            "pow: cannot raise to zeroth power on sparse tensor; it would make the result tensor "
            "dense"
        )
    return on_values(lambda v: v**b, a)


# ---- sums ----------------------------------------------------------------------------------------


@_sum.on_sparse
def sum(x, *, dims, keepdim):
    """Over all dimensions a dense 0-d tensor; over some of them sparse, while a sparse one is left."""
    if dims is None or len(dims) == x.ndim:
        total = values_of(coalesce(x) if x.is_sparse and x._rg else x).sum()
        return reshape(total, (1,) * x.ndim) if keepdim else total
    if not x.is_sparse:
        if not keepdim:
            raise RuntimeError(
                f"reduction operations on {title(x)[6:].upper()} tensors with keepdim=False is "
                "unsupported; sum .to_sparse_coo()"
            )
        return back_to(sum(as_coo(x), dims=dims, keepdim=True), x)
    x = coalesce(x)
    a, n = x._a, x._a.sparse_dim
    v = values_of(x)
    v = v if v.dtype.category > 1 else v.to(dtypes.int64)
    if dims[-1] >= n:
        v = v.sum([d - n + 1 for d in dims if d >= n], keepdim)
    shape = tuple(1 if d in dims else k for d, k in enumerate(x.shape) if keepdim or d not in dims)
    if not n or all(d in dims for d in range(n)):
        return reshape(v.sum(0), shape)
    rows = [i * 0 if d in dims else i for d, i in enumerate(a.indices) if keepdim or d not in dims]
    return _at(of(a).stack(rows), v, shape)


def _at(indices, v, shape):
    """Coordinates from places that may be out of order or come twice."""
    return coalesce(assembled(v, like=Coo(indices, raw(v), shape)))


# ---- shapes and indexing -------------------------------------------------------------------------


@op(**_border)
def transposed(xp, x, *, dims):
    return x.transpose(dims)


def _transposed_vjp(g, y, x, dims):
    return transposed(g, dims=tuple(sorted(range(len(dims)), key=dims.__getitem__)))


transposed.vjp(_transposed_vjp)
_permute.on_sparse(lambda x, dims: transposed(x, dims=dims))


@_view.on_sparse
def view(x, shape):
    """Dimensions of size 1 come or go among the sparse ones (unsqueeze, squeeze)."""
    if not x.is_sparse:
        raise RuntimeError(f"no dimension can be added to or taken from layout {x.layout}")
    x = coalesce(x)
    a = x._a
    n = len(shape) - (x.ndim - a.sparse_dim)
    if n < 0 or shape[n:] != a.shape[a.sparse_dim :]:
        raise RuntimeError(
            "the dense dimensions of a sparse tensor can't be reshaped; reshape its values() instead"
        )
    places = of(a).stack(of(a).unravel_index(a.keys(), shape[:n])) if n else a.indices
    return assembled(values_of(x), like=Coo(places, a.values, shape, True))


@_slice.on_sparse
def _sliced(x, index):
    """x[index] for integers, slices and None: a copy.  Without a sparse dimension left: dense."""
    if not x.is_sparse:
        return _sliced(as_coo(x), index)
    x = coalesce(x)
    a, xp = x._a, of(x._a)
    index = index if isinstance(index, tuple) else (index,)
    full = _without_ellipsis(index, x.ndim)
    kept = xp.ones(a.nnz, bool)
    rows, shape, dim = [], [], 0
    while full and dim < a.sparse_dim:
        item = full.pop(0)
        if item is None:
            rows.append(xp.zeros(a.nnz, "int64"))
            shape.append(1)
            continue
        n, place = a.shape[dim], a.indices[dim]
        dim += 1
        if isinstance(item, slice):
            steps = range(n)[item]
            rows.append((place - steps.start) // steps.step)
            shape.append(len(steps))
            kept &= (place >= steps.start) & (place < steps.stop)
            kept &= (place - steps.start) % steps.step == 0
        else:
            if not -n <= item < n:
                raise IndexError(
                    f"select(): index {item} out of range for tensor of size {list(a.shape)} at "
                    f"dimension {dim - 1}"
                )
            kept &= place == item % n
    v = take_rows(values_of(x), index=xp.flatnonzero(kept), dim=0)
    v = v[(slice(None), *full)]
    if not rows:
        return v.sum(0).to(x.dtype)
    places = xp.stack(rows)[:, kept]
    return _at(places, v, (*shape, *v.shape[1:]))


def _without_ellipsis(index, ndim):
    """The items of a basic index as a list with one for each dimension."""
    items = list(index)
    missing = ndim - len([i for i in items if i is not None and i is not Ellipsis])
    at = next((k for k, i in enumerate(items) if i is Ellipsis), len(items))
    return items[:at] + [slice(None)] * missing + items[at + 1 :]


@take_rows.on_sparse
def _rows_taken(x, index, dim):
    """index_select: each stored element once for every time that the index names its slice."""
    x = as_coo(x)
    a, xp = x._a, of(x._a)
    shape = (*a.shape[:dim], len(index), *a.shape[dim + 1 :])
    if dim >= a.sparse_dim:
        v = take_rows(values_of(x), index=index, dim=dim - a.sparse_dim + 1)
        return assembled(v, like=Coo(a.indices, raw(v), shape, True))
    order = xp.argsort(index % a.shape[dim], kind="stable")
    which, within = _runs(xp, index[order] % a.shape[dim], a.indices[dim])
    places = a.indices[:, which]
    places[dim] = order[within]
    return _at(places, take_rows(values_of(x), index=which, dim=0), shape)


def _runs(xp, ordered, wanted):
    """All pairs (i, j) with wanted[i] == ordered[j], as two arrays; `ordered` is sorted."""
    low = xp.searchsorted(ordered, wanted, side="left")
    counts = xp.searchsorted(ordered, wanted, side="right") - low
    i = xp.repeat(xp.arange(len(wanted)), counts.tolist())
    first = xp.cumsum(counts) - counts
    return i, low[i] + xp.arange(len(i)) - first[i]


@_cat.on_sparse
def _joined(*tensors, dim):
    if not all(is_sparse(x) for x in tensors):
        raise RuntimeError("cat(): sparse and dense tensors can't be joined; .to_dense() some")
    tensors = [as_coo(x) for x in tensors]
    first = tensors[0]._a
    xp, n = of(first), first.sparse_dim
    if any(x._a.sparse_dim != n for x in tensors) or dim >= n:
        raise RuntimeError(
            "cat(): sparse tensors are joined along a sparse dimension, and have equally many; got "
            f"dim {dim}, sparse_dim {[x._a.sparse_dim for x in tensors]}"
        )
    places, start = [], 0
    for x in tensors:
        shift = xp.zeros((n, 1), "int64")
        shift[dim] = start
        places.append(x._a.indices + shift)
        start += x.shape[dim]
    shape = (*first.shape[:dim], start, *first.shape[dim + 1 :])
    return _at(xp.concatenate(places, 1), cat([values_of(x) for x in tensors]), shape)


# ---- softmax -------------------------------------------------------------------------------------


def _softmax(name, dense, spread):
    """softmax and log_softmax of the stored elements: the others count as -inf."""

    def function(input, dim, *, dtype=None):
        x = input if dtype is None else input.to(dtype)
        if not x.is_sparse:
            raise RuntimeError(f"{name}: expected layout dtorch.sparse_coo, got {x.layout}")
        x = coalesce(x)
        a, xp = x._a, of(x._a)
        d = axis(dim, x.ndim)
        if d >= a.sparse_dim:
            return on_values(lambda v: dense(v, d - a.sparse_dim + 1), x)
        others = [i for k, i in enumerate(a.indices) if k != d]
        sizes = [n for k, n in enumerate(a.shape[: a.sparse_dim]) if k != d]
        lines = Coo(xp.stack(others) if others else a.indices[:0], a.values, sizes).keys()
        _, line = xp.unique(lines, return_inverse=True)
        return on_values(lambda v: spread(v, line.reshape(-1)), x)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"{name} along `dim` of the stored elements of a sparse_coo tensor."
    return function


def _log_normalized(v, line):
    """v - log(sum over its line of exp(v)).  v: (nnz, *dense), line: (nnz,) integers"""
    xp = of(line)
    n = int(line.max()) + 1 if line.size else 0
    top = xp.full((n, *v.shape[1:]), -xp.inf, v._a.dtype)
    xp.maximum.at(top, line, v._a)
    v = v - wrap(top[line])
    total = _take_along_add(v.exp(), index=line, dim=0, size=n)
    return v - take_rows(total.log(), index=line, dim=0)


softmax = _softmax("softmax", dense_softmax, lambda v, line: _log_normalized(v, line).exp())
log_softmax = _softmax("log_softmax", dense_log_softmax, _log_normalized)


# ---- the whole -----------------------------------------------------------------------------------


@_p_norm.on_sparse
def _norm(x, p, dims, keepdim):
    """The norm of all elements."""
    if len(dims) != x.ndim or keepdim:
        raise RuntimeError(
            f"norm(): of a sparse tensor only over all dimensions, without keepdim; got {dims}"
        )
    return values_of(coalesce(x) if x.is_sparse else x).norm(p)


REGISTRY["any"].on_sparse(lambda x, **options: values_of(x).any())
