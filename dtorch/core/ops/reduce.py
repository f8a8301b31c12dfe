"""Reductions: sum, mean, max, var, norm, cumulative sums."""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

from .. import dtype as dtypes
from ..op import op
from ..tensor import _dim_error
from .pointwise import sqrt, square, where
from .shape import expand, reshape


def axes(dim, ndim):
    """`dim` (None, an int or several) as a sorted tuple of axes; IndexError, RuntimeError if bad."""
    if dim is None or (isinstance(dim, (tuple, list)) and not dim):
        return tuple(range(ndim))
    dims = (dim,) if isinstance(dim, int) or not hasattr(dim, "__len__") else tuple(dim)
    result = []
    for d in map(int, dims):
        if not -max(ndim, 1) <= d < max(ndim, 1):
            raise _dim_error(d, ndim)
        d %= max(ndim, 1)
        if d in result:
            raise RuntimeError(f"dim {d} appears multiple times in the list of dims")
        result.append(d)
    return tuple(sorted(result)) if ndim else ()


def kept(shape, dims):
    """The shape after a reduction over `dims` with keepdim=True."""
    return tuple(1 if i in dims else n for i, n in enumerate(shape))


@op(saves="s")
def _sum(xp, x, *, dims, keepdim):
    if x.dtype.kind in "iub":
        return xp.sum(x, axis=dims, keepdims=keepdim, dtype="int64")
    return xp.sum(x, axis=dims, keepdims=keepdim)


_sum.vjp(lambda g, y, shape, dims, keepdim: spread(g, shape, dims))


def spread(g, shape, dims):
    """The gradient of a reduction, repeated over the dims that were reduced."""
    return expand(reshape(g, kept(shape, dims)), shape)


def sum(input, dim=None, keepdim=False, *, dtype=None):
    """The sum over `dim` (default: all); integers and bools are summed as int64."""
    x = input if dtype is None else input.to(dtype)
    return _sum(x, dims=axes(dim, x.ndim), keepdim=keepdim)


def sum_to(g, shape):
    """Undo broadcasting: sum `g` to `shape`."""
    lead = g.ndim - len(shape)
    dims = tuple(range(lead)) + tuple(
        i + lead for i, n in enumerate(shape) if n == 1 and g.shape[i + lead] != 1
    )
    if dims:
        g = _sum(g, dims=dims, keepdim=True)
    return reshape(g, shape) if lead else g


FUNCTIONS = METHODS = {"sum": sum}
