"""Distinct elements: unique, unique_consecutive, isin."""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

from ..backend import of
from ..tensor import Tensor, wrap
from .shape import axis, raw


def _checked(a, dim):
    """The dimension `dim`, None for all elements; torch's errors for what has no distinct slices."""
    if a.dtype.kind == "c":
        raise NotImplementedError(f"\"unique\" not implemented for '{a.dtype.name}'")
    if dim is None:
        return None
    d = axis(dim, a.ndim)
    if not a.ndim:
        raise IndexError(f"Dimension specified as {dim} but tensor has no dimensions")
    if 0 in a.shape and (a.shape[d] or a.shape.count(0) > 1):
        raise RuntimeError(
            "There are 0 sized dimensions, and they aren't selected, so unique cannot be applied: "
            f"shape {list(a.shape)}, dim {dim}"
        )
    return d


def unique(input, sorted=True, return_inverse=False, return_counts=False, dim=None):
    """The distinct elements in order, or slices along `dim`; inverse and counts if asked.

    NaN differs from NaN.
    """
    a, xp = raw(input), of(raw(input))
    d = _checked(a, dim)
    if a.size:
        values, inverse, counts = xp.unique(
            a, return_inverse=True, return_counts=True, axis=d, equal_nan=False
        )
        inverse = inverse.reshape(a.shape if d is None else -1)
    else:
        values, (inverse, counts) = (a.reshape(-1) if d is None else a), xp.zeros((2, 0), "int64")
    return _chosen(wrap(values), wrap(inverse), wrap(counts), return_inverse, return_counts)


def unique_consecutive(input, return_inverse=False, return_counts=False, dim=None):
    """The input without the elements, or slices along `dim`, that equal the one before."""
    a, xp = raw(input), of(raw(input))
    d = _checked(a, dim)
    rows = a.reshape(-1) if d is None else xp.moveaxis(a, d, 0)
    n = len(rows)
    differs = (rows[1:] != rows[:-1]).any(tuple(range(1, rows.ndim)))
    new = xp.concatenate([xp.ones(min(n, 1), bool), differs])
    starts = xp.flatnonzero(new)
    values = xp.moveaxis(rows[starts], 0, d or 0)
    inverse = (xp.cumsum(new) - 1).reshape(a.shape if d is None else -1)
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
    if not any(isinstance(x, Tensor) for x in (elements, test_elements)):
        raise TypeError("isin(): elements or test_elements must be a Tensor, got two numbers")
    for x in (elements, test_elements):
        if isinstance(x, Tensor) and raw(x).dtype.kind in "bc":
            raise RuntimeError(f"Unsupported input type encountered for isin(): {x.dtype.name}")
    xp = of(*given)
    return wrap(xp.asarray(xp.isin(*given, assume_unique=assume_unique, invert=invert)))


METHODS = {"unique": unique, "unique_consecutive": unique_consecutive}
FUNCTIONS = METHODS | {"isin": isin}
