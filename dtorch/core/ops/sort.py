"""Sorting and what needs it: topk, kthvalue, median, quantile, searchsorted.

Each finds positions, which have no gradient, and then gathers.
"""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

from collections import namedtuple

from ..backend import of
from ..op import op
from ..tensor import Tensor, wrap
from .arithmetic import div
from .create import as_tensor
from .gather import gather, gathered
from .pointwise import where
from .reduce import sum, taken
from .shape import axis, cast, movedim, raw, reshape, unsqueeze

Sorted = namedtuple("sort", ("values", "indices"))
Top = namedtuple("topk", ("values", "indices"))
Kth = namedtuple("kthvalue", ("values", "indices"))
Median = namedtuple("median", ("values", "indices"))
NanMedian = namedtuple("nanmedian", ("values", "indices"))
Mode = namedtuple("mode", ("values", "indices"))


@op(half="float32", kinds="biuf")
def _argsort(xp, x, *, dim, descending):
    """Equal elements keep their order; NaN counts as the largest."""
    if not descending:
        return xp.argsort(x, axis=dim, kind="stable")
    n = x.shape[dim]
    return xp.flip(n - 1 - xp.argsort(xp.flip(x, dim), axis=dim, kind="stable"), dim)


def argsort(input, dim=-1, descending=False, stable=False):
    """The indices that sort along `dim`."""
    d = axis(dim, input.ndim)
    if not input.ndim:
        return reshape(_argsort(reshape(input.detach(), (1,)), dim=0, descending=descending), ())
    return _argsort(input.detach(), dim=d, descending=descending)


def sort(input, dim=-1, descending=False, stable=False):
    """The elements in order along `dim`, and their indices, as a named tuple."""
    i = argsort(input, dim, descending)
    if not input.ndim:
        return Sorted(input.clone(), i)
    return Sorted(gathered(input, index=raw(i), dim=axis(dim, input.ndim)), i)


def msort(input):
    """The elements in order along the first dimension."""
    return sort(input, 0).values


@op(half="float32", kinds="biuf")
def _top_indices(xp, x, *, k, dim, largest):
    """The k best along `dim`, in order; a partition first, where that is less work than sorting."""
    n = x.shape[dim]
    key = x if x.dtype.kind == "f" else x.astype("int64")
    best = _argsort.kernel
    if 8 * k > n:
        return xp.take(best(xp, key, dim=dim, descending=largest), xp.arange(k), axis=dim)
    if _has_nan(xp, key):
        part = best(xp, key, dim=dim, descending=largest)
    else:
        back = -key if key.dtype.kind == "f" else ~key  # -key would overflow at the least integer
        part = xp.argpartition(back if largest else key, k, axis=dim)
    part = xp.sort(xp.take(part, xp.arange(k), axis=dim), axis=dim)
    order = best(xp, xp.take_along_axis(key, part, dim), dim=dim, descending=largest)
    return xp.take_along_axis(part, order, dim)


def _has_nan(xp, x):
    return x.dtype.kind == "f" and bool(xp.isnan(x).any())


def topk(input, k, dim=-1, largest=True, sorted=True):
    """The k largest (or smallest) along `dim`, in order, and their indices, as a named tuple."""
    d = axis(dim, input.ndim)
    n = input.shape[d] if input.ndim else 1
    if not 0 <= k <= n:
        raise RuntimeError("selected index k out of range")
    if not input.ndim:
        i = argsort(input)
        return Top(input.clone(), i) if k else Top(reshape(input, (1,))[:0], reshape(i, (1,))[:0])
    i = _top_indices(input.detach(), k=k, dim=d, largest=largest)
    return Top(gathered(input, index=raw(i), dim=d), i)


def _nth(input, n, dim, keepdim):
    """The elements at position n (an array with keepdim, or an int) of the order along `dim`."""
    order = argsort(input, dim)
    if not input.ndim:
        return input.clone(), order
    d = axis(dim, input.ndim)
    if isinstance(n, int):
        i = order.narrow(d, n, 1)
    else:
        i = gather(order, d, n)
    return taken(input, i, d, keepdim)


def kthvalue(input, k, dim=-1, keepdim=False):
    """The k-th smallest along `dim` and its index, as a named tuple; k counts from 1."""
    n = input.shape[axis(dim, input.ndim)] if input.ndim else 1
    if not 1 <= k <= n:
        raise RuntimeError(f"kthvalue(): selected number k out of range for dimension {dim}")
    return Kth(*_nth(input, k - 1, dim, keepdim))


@op(saves="x", half="keep", kinds="biuf")
def _shared(xp, x, value):
    """`value`, one of the elements of x: those that equal it share the gradient."""
    return value.copy()


def _shared_vjp(g, y, x, value):
    hit = (x == value) | ((x != x) & (value != value))
    return where(hit, div(g, sum(hit)), 0)


_shared.vjp(_shared_vjp, None)


def _of_all(input, along):
    """The median, or nanmedian, `along` the flattened input: NaN of nothing."""
    x = reshape(input, (-1,))
    if not input.numel():
        return sum(x) + float("nan")
    return _shared(x, along(x.detach(), 0).values)


def median(input, dim=None, keepdim=False):
    """The middle of the elements, the lower of two; with dim, a named tuple (values, indices).

    NaN where there is one.
    """
    if input.dtype.category == 0:
        raise NotImplementedError("\"median\" not implemented for 'bool'")
    if dim is None:
        return _of_all(input, median)
    d = axis(dim, input.ndim)
    n = input.shape[d] if input.ndim else 1
    if not n:
        raise IndexError("median(): Expected reduction dim to have non-zero size.")
    if not input.ndim:
        return Median(*_nth(input, 0, dim, keepdim))
    middle = sum(input.detach() == input.detach(), d, True) * 0 + (n - 1) // 2
    has_nan = (input.detach() != input.detach()).any(d, True)
    nans = sum(input.detach() != input.detach(), d, True)
    return Median(*_nth(input, where(has_nan, n - nans, middle), d, keepdim))


def nanmedian(input, dim=None, keepdim=False):
    """The median of what is not NaN."""
    if dim is None:
        return _of_all(input, nanmedian)
    d = axis(dim, input.ndim)
    if not input.ndim:
        return NanMedian(*_nth(input, 0, dim, keepdim))
    there = sum(input.detach() == input.detach(), d, True)
    return NanMedian(*_nth(input, (there - 1).clamp(min=0) // 2, d, keepdim))


def mode(input, dim=-1, keepdim=False):
    """The most frequent value along `dim`, the smallest of several, and the index of its last."""
    d = axis(dim, input.ndim)
    if input.ndim and not input.shape[d]:
        raise IndexError(f"mode(): Expected reduction dim {dim} to have non-zero size.")
    if not input.ndim:
        return Mode(input.clone(), argsort(input))
    return Mode(*taken(input, _mode(input.detach(), dim=d), d, keepdim))


@op(half="float32", kinds="biuf")
def _mode(xp, x, *, dim):
    rows = xp.moveaxis(x, dim, -1)
    counts = (rows[..., :, None] == rows[..., None, :]).sum(-1)
    best = counts == counts.max(-1, keepdims=True)
    value = xp.where(best, rows, rows.max(-1, keepdims=True)).min(-1, keepdims=True)
    n = rows.shape[-1]
    found = n - 1 - xp.argmax(xp.flip(rows == value, -1), axis=-1)
    return xp.expand_dims(found, dim)


_BETWEEN = ("linear", "lower", "higher", "midpoint", "nearest")


def _quantile(name, skip_nan):
    def quantile(input, q, dim=None, keepdim=False, *, interpolation="linear"):
        if raw(input).dtype.name not in ("float32", "float64"):
            raise RuntimeError(f"{name}() input tensor must be either float or double dtype")
        if interpolation not in _BETWEEN:
            raise RuntimeError(
                f"{name}() interpolation must be one of linear, lower, higher, midpoint or "
                "nearest, but "
                f"got {interpolation}"
            )
        if not isinstance(q, Tensor):
            if not 0 <= q <= 1:
                raise RuntimeError(f"{name}() q must be in the range [0, 1] but got {q}")
            q = as_tensor(q, dtype=input.dtype, device=input.device)
        if q.ndim > 1:
            raise RuntimeError(f"{name}() q must be a scalar or 1D tensor")
        if q.dtype != input.dtype:
            raise RuntimeError(f"{name}() q tensor must be same dtype as the input tensor")
        if not bool(((q >= 0) & (q <= 1)).all()):
            raise RuntimeError(f"{name}() q values must be in the range [0, 1]")
        if not input.numel():
            raise RuntimeError(f"{name}() input tensor must be non-empty")
        n = input.ndim
        x = reshape(input, (-1,)) if dim is None or not n else movedim(input, dim, -1)
        order = sort(x, -1).values  # (*, N): NaN last
        there = sum(order.detach() == order.detach(), -1, True)  # (*, 1)
        length = x.shape[-1]
        rank = cast(there if skip_nan else there * 0 + length, raw(q).dtype) - 1
        rank = (rank * reshape(q, (-1,))).clamp(min=0)  # (*, Q)
        if not skip_nan:
            rank = where(there < length, float(length - 1), rank)
        low, high = rank.floor(), rank.ceil()
        if interpolation in ("lower", "higher", "nearest"):
            at = {"lower": low, "higher": high, "nearest": rank.round()}[interpolation]
            y = gather(order, -1, at.long())
        else:
            weight = 0.5 if interpolation == "midpoint" else rank - low
            a, b = gather(order, -1, low.long()), gather(order, -1, high.long())
            y = a + where(low == high, 0, weight) * (b - a)
        y = movedim(y, -1, 0)  # (Q, *)
        if keepdim:
            y = (
                reshape(y, (-1, *(1,) * n))
                if dim is None
                else unsqueeze(y, axis(dim, n) + 1)
                if n
                else y
            )
        return y if q.ndim else y[0]

    quantile.__name__ = quantile.__qualname__ = name
    quantile.__doc__ = "The values below which fractions q of the elements" + (
        ", without NaN," * skip_nan
        + " lie, over `dim` or all; between two elements: interpolation."
    )
    return quantile


quantile, nanquantile = _quantile("quantile", False), _quantile("nanquantile", True)

# ---- searching -----------------------------------------------------------------------------


def searchsorted(sorted_sequence, input, *, out_int32=False, right=False, side=None, sorter=None):
    """Where each value would have to be put to keep the rows of the sequence sorted.

    sorted_sequence: (*, N), input: (*, M), or anything for one row -> int64 like input
    """
    name = "torch.searchsorted()"
    if side not in (None, "left", "right"):
        raise RuntimeError(f"{name}: side can only be 'left' or 'right' but got {side}")
    if side == "left" and right:
        raise RuntimeError(
            f"{name}: side and right can't be set to opposites, got side of left while right was "
            "True"
        )
    rows, xp = raw(sorted_sequence), of(raw(sorted_sequence))
    values = xp.asarray(raw(input))
    if not values.ndim and rows.ndim != 1:
        raise RuntimeError(
            f"{name}: input value can be a scalar only when boundaries tensor dimension is 1, but "
            f"we got boundaries tensor dim({rows.ndim}) and input value's dim(0)"
        )
    if rows.ndim != 1 and (rows.ndim != values.ndim or rows.shape[:-1] != values.shape[:-1]):
        raise RuntimeError(
            f"{name}: boundaries tensor should be 1 dimension or the first N-1 dimensions of "
            "boundaries tensor and input value tensor must match, but we got boundaries tensor "
            f"{list(rows.shape)} and input value tensor {list(values.shape)}"
        )
    if sorter is not None:
        order = raw(sorter)
        if order.dtype != "int64":
            raise RuntimeError(
                f"{name}: sorter must be a tensor of long dtype but got dtype {sorter.dtype.name}"
            )
        if order.shape != rows.shape:
            raise RuntimeError(
                f"{name}: boundary and sorter must have the same size, but got boundary tensor "
                f"{list(rows.shape)} and got sorter tensor {list(order.shape)}"
            )
        if order.size and (order.min() < 0 or order.max() >= rows.shape[-1]):
            raise RuntimeError(f"{name}: sorter index out of range")
        rows = xp.take_along_axis(rows, order, -1)
    where_ = "right" if right or side == "right" else "left"
    kind = "int32" if out_int32 else "int64"
    if rows.dtype.kind == "V":
        rows, values = rows.astype("float32"), values.astype("float32")
    if not values.size:
        found = values
    elif rows.ndim == 1:
        found = xp.searchsorted(rows, values, where_)
    else:
        flat = values.reshape(-1, values.shape[-1])
        found = xp.zeros(flat.shape, "int64")
        for i, row in enumerate(rows.reshape(-1, rows.shape[-1])):
            found[i] = xp.searchsorted(row, flat[i], where_)
        found = found.reshape(values.shape)
    return wrap(xp.asarray(found).astype(kind))


def bucketize(input, boundaries, *, out_int32=False, right=False):
    """The number of the bucket, between sorted boundaries, that each value falls in."""
    if boundaries.ndim != 1:
        raise RuntimeError(f"boundaries tensor must be 1 dimension, but got dim({boundaries.ndim})")
    return searchsorted(boundaries, input, out_int32=out_int32, right=right)


METHODS = {
    "sort": sort, "argsort": argsort, "msort": msort, "topk": topk, "kthvalue": kthvalue,
    "median": median, "nanmedian": nanmedian, "mode": mode, "quantile": quantile,
    "nanquantile": nanquantile,
}  # fmt: skip
FUNCTIONS = METHODS | {"searchsorted": searchsorted, "bucketize": bucketize}
