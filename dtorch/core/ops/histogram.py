"""Counting: bincount, histc, and histograms in one or more dimensions."""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

from collections import namedtuple
from math import isfinite, prod

from ..backend import of
from ..tensor import Tensor, wrap
from .shape import raw

Histogram = namedtuple("histogram", ("hist", "bin_edges"))
HistogramDD = namedtuple("histogramdd", ("hist", "bin_edges"))


def bincount(input, weights=None, minlength=0):
    """(N,) non-negative integers -> how often each comes, or the sum of its weights."""
    a, xp = raw(input), of(raw(input))
    if a.dtype.kind not in "iu":
        raise NotImplementedError(f"\"bincount\" not implemented for '{input.dtype.name}'")
    if a.ndim != 1 or (a.size and a.min() < 0):
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
    if a.dtype.kind in "iub":
        raise NotImplementedError(f"\"histc\" not implemented for '{input.dtype.name}'")
    _check_bins(bins)
    if min > max:
        raise RuntimeError("torch.histc: max must be larger than min")
    bounds = _range("torch.histc", a, (min, max) if min != max else None, 1, (0, 0))
    return wrap(xp.histogram(a, bins, bounds)[0].astype(a.dtype))


def _check_bins(bins, d=0):
    if bins < 1:
        raise RuntimeError(f"torch.histogram(): bins must be > 0, but got {bins} for dimension {d}")


def _range(name, a, given, margin, empty):
    """The bounds of the bins: those given, or the data's; one point is widened by the margin."""
    low, high = given or ((float(a.min()), float(a.max())) if a.size else empty)
    if not isfinite(low) or not isfinite(high):
        raise RuntimeError(f"{name}: range of [{low}, {high}] is not finite")
    if low > high:
        raise RuntimeError(f"{name}: min should not exceed max, but got min {low} max {high}")
    return (low, high) if low < high else (low - margin, high + margin)


# ---- histograms ------------------------------------------------------------------------------


def histogram(input, bins=100, *, range=None, weight=None, density=False):
    """How many elements, or how much of their weight, lie between neighbouring bin edges.

    bins: how many of equal width, within range or from the least to the greatest element; or a
        vector of edges.  Each bin holds its left edge, the last one the right edge too.
    density: the counts over their sum and over the widths
    A named tuple (hist, bin_edges).
    """
    edges = _edges(raw(input).reshape(-1), bins, range, 0)
    w = None if weight is None else weight.reshape(-1)
    if weight is not None and weight.shape != input.shape:
        raise _weight_error(input.shape, weight.shape)
    return Histogram(_histogram(input, input.reshape(-1, 1), [edges], w, density), wrap(edges))


def histogramdd(input, bins, *, range=None, weight=None, density=False):
    """The histogram of points in D dimensions: see histogram.  input: (*, D), weight: (*)

    bins: a number, a number for each dimension, or a vector of edges for each
    range: the lowest and the highest edge of each dimension, one after the other
    A named tuple (hist, bin_edges), of a tensor of D dimensions and a tuple of vectors.
    """
    if input.ndim < 2:
        raise RuntimeError("torch.histogramdd: input tensor should have at least 2 dimensions")
    n = input.shape[-1]
    bins = [bins] * n if isinstance(bins, int) else list(bins)
    if len(bins) != n:
        raise RuntimeError(
            "histogramdd: The size of bins must be equal to the innermost dimension of the input, "
            f"{n}, but is {len(bins)}"
        )
    if range is not None and len(range) != 2 * n:
        raise RuntimeError(
            f"torch.histogramdd: for a {n}-dimensional histogram range should have {2 * n} "
            f"elements, but got {len(range)}"
        )
    if weight is not None and weight.shape != input.shape[:-1]:
        raise _weight_error(input.shape, weight.shape)
    points = input.reshape(-1, n)
    edges = [
        _edges(raw(points)[:, d], b, None if range is None else range[2 * d : 2 * d + 2], d)
        for d, b in enumerate(bins)
    ]
    w = None if weight is None else weight.reshape(-1)
    return HistogramDD(_histogram(input, points, edges, w, density), tuple(map(wrap, edges)))


def _weight_error(shape, weight):
    return RuntimeError(
        "torch.histogramdd: if weight tensor is provided it should have the same shape as the input "
        f"tensor excluding its innermost dimension, but got input with shape {list(shape)} and "
        f"weight with shape {list(weight)}"
    )


def _edges(a, bins, range, d):
    """The edges of the bins for the values `a`, as an array of their dtype."""
    if a.dtype.name not in ("float32", "float64"):
        raise NotImplementedError(
            f"\"histogramdd\" not implemented for '{a.dtype.name}': use float32 or float64"
        )
    if not isinstance(bins, Tensor):
        _check_bins(bins, d)
        if range is not None and len(range) != 2:
            raise RuntimeError(
                "torch.histogramdd: for a 1-dimensional histogram range should have 2 elements, but "
                f"got {len(range)}"
            )
        low, high = _range("torch.histogramdd", a, range, 0.5, (0.0, 1.0))
        return of(a).linspace(low, high, bins + 1, dtype=a.dtype)
    if range is not None:
        raise TypeError("histogram() received both a tensor of bins and a range: give one")
    if bins.ndim != 1:
        raise RuntimeError(
            f"torch.histogramdd: bins tensor should have one dimension, but got {bins.ndim} "
            f"dimensions in the bins tensor for dimension {d}"
        )
    if raw(bins).dtype != a.dtype:
        raise RuntimeError(
            "torch.histogramdd: input tensor and bins tensors should have the same dtype, but got "
            f"input with dtype {a.dtype.name} and bins for dimension {d} with dtype {bins.dtype.name}"
        )
    _check_bins(len(bins) - 1, d)
    return raw(bins)


def _histogram(input, points, edges, weight, density):
    """points: (N, D), edges: D vectors, weight: (N,) or None -> D dimensions"""
    if weight is not None and weight.dtype is not input.dtype:
        raise RuntimeError(
            "torch.histogramdd: if weight tensor is provided, input tensor and weight tensor should "
            f"have the same dtype, but got input({input.dtype.name}), and weight({weight.dtype.name})"
        )
    a, xp = raw(points), of(raw(points))
    shape, flat, inside = tuple(len(e) - 1 for e in edges), 0, True
    for d, e in enumerate(edges):
        x = a[:, d]
        bin_ = xp.minimum(xp.searchsorted(e, x, "right") - 1, shape[d] - 1)
        inside = inside & (x >= e[0]) & (x <= e[-1])
        flat = flat * shape[d] + bin_
    w = None if weight is None else raw(weight)[inside].astype("float64")
    hist = xp.bincount(flat[inside], w, prod(shape)).astype(a.dtype).reshape(shape)
    if density:
        hist = hist / hist.sum()
        for d, e in enumerate(edges):
            hist = hist / xp.diff(e).reshape([-1 if i == d else 1 for i in range(len(edges))])
    return wrap(hist)


METHODS = {"bincount": bincount, "histc": histc, "histogram": histogram}
FUNCTIONS = METHODS | {"histogramdd": histogramdd}
