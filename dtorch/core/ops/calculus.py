"""Differences, numerical gradients, and integrals by the trapezoidal rule."""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

from ..tensor import Tensor
from .compare import logical_xor
from .create import number
from .index import narrow
from .join import cat
from .reduce import axes, sum
from .scan import cumsum
from .shape import axis, reshape


def _along(values, d, ndim):
    """A vector as a tensor of ndim dimensions, along dimension d."""
    return reshape(values, [-1 if i == d else 1 for i in range(ndim)])


def _neighbours(x, d):
    """x[:-1] and x[1:] along dimension d"""
    n = max(x.shape[d] - 1, 0)
    return narrow(x, d, 0, n), narrow(x, d, x.shape[d] - n, n)


def _steps(x, d):
    """x[1:] - x[:-1] along dimension d"""
    before, after = _neighbours(x, d)
    return after - before


# ---- differences -----------------------------------------------------------------------------


def diff(input, n=1, dim=-1, prepend=None, append=None):
    """The differences of neighbours along `dim`, taken n times; of bools, whether they differ.

    prepend, append: tensors put before and behind the input first
    """
    if not input.ndim:
        raise RuntimeError("diff expects input to be at least one-dimensional")
    if n < 0:
        raise RuntimeError(f"order must be non-negative but got {n}")
    d = axis(dim, input.ndim)
    if not n:
        return input.clone()
    for more in (prepend, append):
        if more is not None:
            _check_more(input, more, d)
    x = cat([t for t in (prepend, input, append) if t is not None], d)
    for _ in range(min(n, x.shape[d])):
        x = logical_xor(*_neighbours(x, d)) if x.dtype.category == 0 else _steps(x, d)
    return x


def _check_more(input, more, d):
    if more.ndim != input.ndim:
        raise RuntimeError(
            "diff expects prepend or append to be the same dimension as input, got "
            f"{more.ndim} and {input.ndim}"
        )
    for i, (n, m) in enumerate(zip(input.shape, more.shape)):
        if n != m and i != d:
            raise RuntimeError(
                "diff expects the shape of tensor to prepend or append to match that of input "
                f"except along the differencing dimension; input.size({i}) = {n}, but got "
                f"tensor.size({i}) = {m}"
            )


def gradient(input, *, spacing=None, dim=None, edge_order=1):
    """The numerical derivative along each of the dims (default: all), in a tuple.

    Within, the slopes to both neighbours are averaged, the nearer one counting more (which is of
    second order); at both ends the differences are one-sided, of order edge_order, 1 or 2.
    spacing: the distance of neighbours; or a distance, or a vector of coordinates, for each dim
    """
    if input.dtype.name == "uint8":
        raise RuntimeError("torch.gradient does not support uint8 input.")
    if edge_order not in (1, 2):
        raise RuntimeError("torch.gradient only supports edge_order=1 and edge_order=2.")
    if isinstance(spacing, Tensor) and not spacing.ndim:
        spacing = number(spacing)
    if isinstance(spacing, Tensor):
        raise TypeError("gradient(): argument 'spacing' must be a number or a tuple, not Tensor")
    dims = range(input.ndim) if dim is None else (dim,) if isinstance(dim, int) else tuple(dim)
    axes(tuple(dims), input.ndim)  # refuses what is out of range, and repeated ones
    dims = [axis(d, input.ndim) for d in dims]
    if not isinstance(spacing, (tuple, list)):
        spacing = [1 if spacing is None else spacing] * len(dims)
    if len(spacing) != len(dims):
        raise RuntimeError(
            "torch.gradient expected spacing to be unspecified, a scalar, or a list with an "
            f"element for each dim, but got {len(spacing)} for {len(dims)} dims"
        )
    return tuple(_gradient(input, gap, d, edge_order) for gap, d in zip(spacing, dims))


def _gradient(x, spacing, d, edge_order):
    n, gaps, left_part = x.shape[d], spacing, 0.5
    if n < edge_order + 1:
        raise RuntimeError(
            "torch.gradient expected each dimension size to be at least edge_order+1"
        )
    if isinstance(spacing, Tensor):
        if spacing.ndim != 1 or len(spacing) != n:
            raise RuntimeError(
                "torch.gradient expected each element of spacing to have one dimension, and the "
                f"input's size there ({n}), but got one of size {list(spacing.shape)}"
            )
        gaps = _along(_steps(spacing, 0), d, x.ndim)
        left, right = _neighbours(gaps, d)
        left_part = right / (left + right)
    slopes = _steps(x, d) / gaps  # n - 1 along d
    before, after = _neighbours(slopes, d)
    within = after + (before - after) * left_part  # n - 2
    first, last = narrow(slopes, d, 0, 1), narrow(slopes, d, n - 2, 1)
    if edge_order == 2:  # the parabola through three points
        first = 2 * first - narrow(within, d, 0, 1)
        last = 2 * last - narrow(within, d, n - 3, 1)
    return cat([first, within, last], d)


# ---- integrals -------------------------------------------------------------------------------


def _areas(name, y, x, dx, dim):
    """Twice the areas between neighbours, and the dimension they lie along."""
    if not y.ndim:
        raise IndexError(f"{name}: Dimension specified as {dim} but tensor has no dimensions")
    if y.dtype.category == 0:
        raise RuntimeError(f"{name}: received a bool input for `y`, but bool is not supported")
    if x is not None and dx is not None:
        raise TypeError(f"{name}() received both x, the coordinates, and dx, their distance")
    d = axis(dim, y.ndim)
    before, after = _neighbours(y, d)
    if x is None:
        dx = 1 if dx is None else number(dx)
        if isinstance(dx, complex):
            raise RuntimeError(f"{name}: Currently, we only support dx as a real number.")
        return (before + after) * dx, d
    if x.dtype.category == 0:
        raise RuntimeError(f"{name}: received a bool input for `x`, but bool is not supported")
    if x.ndim == 1:
        if len(x) != y.shape[d]:
            raise RuntimeError(
                f"{name}: There must be one `x` value for each sample point, that is "
                f"{y.shape[d]}, but got {len(x)}"
            )
        x = _along(x, d, y.ndim)
    else:
        x = reshape(x, (*(1,) * (y.ndim - x.ndim), *x.shape))
    return (before + after) * _steps(x, d), d


def trapezoid(y, x=None, *, dx=None, dim=-1):
    """The integral along `dim` of a function known at points: of coordinates x, or dx (1) apart."""
    areas, d = _areas("trapezoid", y, x, dx, dim)
    return sum(areas, d) / 2


def cumulative_trapezoid(y, x=None, *, dx=None, dim=-1):
    """The integrals from the first point to each later one: see trapezoid."""
    areas, d = _areas("cumulative_trapezoid", y, x, dx, dim)
    return cumsum(areas, d) / 2


METHODS = {"diff": diff}
FUNCTIONS = METHODS | {
    "gradient": gradient, "trapezoid": trapezoid, "trapz": trapezoid,
    "cumulative_trapezoid": cumulative_trapezoid,
}  # fmt: skip
