"""Sorting and what needs it: topk, kthvalue, median, quantile, unique, searchsorted, bincount.

Each finds positions, which have no gradient, and then gathers.
"""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

from collections import namedtuple

from ..backend import of
from ..op import op
from ..tensor import Tensor, wrap
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


@op(half="float32")
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


@op(half="float32")
def _top_indices(xp, x, *, k, dim, largest):
    """The k best along `dim`, in order; a partition first, where that is less work than sorting."""
    n = x.shape[dim]
    key = x if x.dtype.kind == "f" else x.astype("int64")
    best = _argsort.kernel
    if 8 * k > n:
        return xp.take(best(xp, key, dim=dim, descending=largest), xp.arange(k), axis=dim)
    part = xp.argpartition(-key if largest else key, k, axis=dim) if not _has_nan(xp, key) else (
        best(xp, key, dim=dim, descending=largest)
    )  # fmt: skip
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


def median(input, dim=None, keepdim=False):
    """The middle of the elements, the lower of two; with dim, a named tuple (values, indices).

    NaN where there is one.
    """
    if dim is None:
        if not input.numel():
            return reshape(input, (-1,)).sum() + float("nan")
        return median(reshape(input, (-1,)), 0).values
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
        return nanmedian(reshape(input, (-1,)), 0).values
    d = axis(dim, input.ndim)
    if not input.ndim:
        return NanMedian(*_nth(input, 0, dim, keepdim))
    there = sum(input.detach() == input.detach(), d, True)
    return NanMedian(*_nth(input, (there - 1).clamp(min=0) // 2, d, keepdim))


def mode(input, dim=-1, keepdim=False):
    """The most frequent value along `dim`, the smallest of several, and the index of its last."""
    d = axis(dim, input.ndim)
    if not input.ndim:
        return Mode(input.clone(), argsort(input))
    return Mode(*taken(input, _mode(input.detach(), dim=d), d, keepdim))


@op(half="float32")
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

# ---- sets ------------------------------------------------------------------------------------


def unique(input, sorted=True, return_inverse=False, return_counts=False, dim=None):
    """The distinct elements in order, or slices along `dim`; inverse and counts if asked."""
    a, xp = raw(input), of(raw(input))
    if dim is not None:
        dim = axis(dim, input.ndim)
    values, inverse, counts = xp.unique(a, return_inverse=True, return_counts=True, axis=dim)
    inverse = inverse.reshape(a.shape if dim is None else -1)
    return _chosen(wrap(values), wrap(inverse), wrap(counts), return_inverse, return_counts)


def unique_consecutive(input, return_inverse=False, return_counts=False, dim=None):
    """The input without the elements, or slices along `dim`, that equal the one before."""
    a, xp = raw(input), of(raw(input))
    rows = a.reshape(-1) if dim is None else xp.moveaxis(a, dim, 0)
    n = len(rows)
    change = (rows[1:] != rows[:-1]).reshape(max(n - 1, 0), -1).any(1)
    new = xp.concatenate([xp.ones(min(n, 1), bool), change])
    starts = xp.flatnonzero(new)
    values = rows[starts] if dim is None else xp.moveaxis(rows[starts], 0, dim)
    inverse = (xp.cumsum(new) - 1).reshape(a.shape if dim is None else -1)
    counts = xp.diff(xp.append(starts, n))
    return _chosen(wrap(values), wrap(inverse), wrap(counts), return_inverse, return_counts)


def _chosen(values, inverse, counts, return_inverse, return_counts):
    if return_inverse and return_counts:
        return values, inverse, counts
    if return_inverse:
        return values, inverse
    return (values, counts) if return_counts else values


def isin(elements, test_elements, *, assume_unique=False, invert=False):
    """Which elements are among the test elements: bool."""
    given = [raw(x) for x in (elements, test_elements)]
    xp = of(*given)
    return wrap(xp.asarray(xp.isin(*given, assume_unique=assume_unique, invert=invert)))


def searchsorted(sorted_sequence, input, *, out_int32=False, right=False, side=None, sorter=None):
    """Where each value would have to be put to keep the rows of the sequence sorted.

    sorted_sequence: (*, N), input: (*, M), or anything for one row -> int64 like input
    """
    if side not in (None, "left", "right"):
        raise RuntimeError(f"side can only be 'left' or 'right' but got {side}")
    if side == "left" and right:
        raise RuntimeError(
            "side and right can't be set to opposites, got side of left while right was True"
        )
    rows, xp = raw(sorted_sequence), of(raw(sorted_sequence))
    values = raw(input) if isinstance(input, Tensor) else xp.asarray(input, dtype=rows.dtype)
    if isinstance(input, Tensor) and values.dtype != rows.dtype:
        raise RuntimeError(
            "torch.searchsorted(): boundary tensor and input value tensor should have same dtype, "
            "but got "
            f"boundary tensor dtype {sorted_sequence.dtype} and input value tensor dtype "
            f"{input.dtype}"
        )
    if rows.ndim != 1 and (rows.ndim != values.ndim or rows.shape[:-1] != values.shape[:-1]):
        raise RuntimeError(
            "torch.searchsorted(): boundaries tensor should be 1 dimension or the first N-1 "
            "dimensions "
            f"of boundaries tensor and input value tensor must match, but we got boundaries tensor "
            f"{list(rows.shape)} and input value tensor {list(values.shape)}"
        )
    if sorter is not None:
        rows = xp.take_along_axis(rows, raw(sorter), -1)
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
    return searchsorted(boundaries, input, out_int32=out_int32, right=right)


def bincount(input, weights=None, minlength=0):
    """(N,) non-negative integers -> how often each comes, or the sum of its weights."""
    a, xp = raw(input), of(raw(input))
    if a.ndim != 1 or a.dtype.kind not in "iu" or (a.size and a.min() < 0):
        raise RuntimeError("bincount only supports 1-d non-negative integral inputs.")
    if minlength < 0:
        raise RuntimeError("minlength should be >= 0")
    if weights is None:
        return wrap(xp.bincount(a, minlength=minlength).astype("int64"))
    w = raw(weights)
    if w.shape != a.shape:
        raise RuntimeError("weights should be 1-d and have the same length as input")
    d = w.dtype if w.dtype == "float32" else "float64"
    return wrap(xp.bincount(a, w.astype("float64"), minlength).astype(d))


def histc(input, bins=100, min=0, max=0):
    """(bins,): how many elements lie in each of the equal parts of [min, max], or of the data."""
    a, xp = raw(input).reshape(-1), of(raw(input))
    if min == max:
        min, max = (float(a.min()), float(a.max())) if a.size else (0, 0)
    if min == max:
        min, max = min - 1, max + 1
    return wrap(xp.histogram(a, bins, (min, max))[0].astype(a.dtype))


METHODS = {
    "sort": sort, "argsort": argsort, "msort": msort, "topk": topk, "kthvalue": kthvalue,
    "median": median, "nanmedian": nanmedian, "mode": mode, "quantile": quantile,
    "nanquantile": nanquantile, "unique": unique, "unique_consecutive": unique_consecutive,
    "bincount": bincount, "histc": histc,
}  # fmt: skip
FUNCTIONS = METHODS | {"searchsorted": searchsorted, "bucketize": bucketize, "isin": isin}
