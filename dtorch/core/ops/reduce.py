"""Reductions: sum, mean, prod, max, min, all, any, var, std."""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

from builtins import any as any_of
from builtins import max as max_of
from collections import namedtuple
from math import nan
from math import prod as prod_of

from ..dtype import check_kind
from ..op import op
from ..tensor import Tensor, _dim_error, wrap
from .arithmetic import div
from .gather import picked
from .pointwise import maximum, minimum, where
from .shape import _expand, axis, number, raw, reshape, sizes, unsqueeze


def axes(dim, ndim):
    """`dim` (None, an int or several) as a sorted tuple of axes; IndexError or RuntimeError."""
    if type(dim) is int and -ndim <= dim < ndim:
        return (dim % ndim,)
    if dim is None or (isinstance(dim, (tuple, list)) and not dim):
        return tuple(range(ndim))
    dims = (dim,) if isinstance(dim, int) or not hasattr(dim, "__len__") else tuple(dim)
    result = []
    for d in map(int, dims):
        if not -max_of(ndim, 1) <= d < max_of(ndim, 1):
            raise _dim_error(d, ndim)
        d %= max_of(ndim, 1)
        if d in result:
            raise RuntimeError(f"dim {d} appears multiple times in the list of dims")
        result.append(d)
    return tuple(sorted(result)) if ndim else ()


def kept(shape, dims):
    """The shape after a reduction over `dims` with keepdim=True."""
    return tuple([1 if i in dims else n for i, n in enumerate(shape)])


@op(saves="s")
def _sum(xp, x, *, dims, keepdim):
    dtype = "int64" if x.dtype.kind in "iub" else None
    if dims is None and not keepdim:  # an array to write to costs less than NumPy's scalar
        return xp.add.reduce(x, None, dtype, xp.empty((), dtype or x.dtype))
    return xp.add.reduce(x, dims, dtype, None, keepdim)


_sum.vjp(lambda g, y, shape, dims, keepdim: spread(g, shape, dims))


def spread(g, shape, dims):
    """The gradient of a reduction, repeated over the dims that were reduced; None: over all."""
    g = g if dims is None else reshape(g, kept(shape, dims))
    return _expand(g, shape=shape)


def sum(input, dim=None, keepdim=False, *, dtype=None):
    """The sum over `dim` (default: all); integers and bools are summed as int64."""
    x = input if dtype is None else input.to(dtype)
    run = _sum.fn if isinstance(x, Tensor) else _sum
    y = run(x, dims=None if dim is None else axes(dim, raw(x).ndim), keepdim=keepdim)
    return y if dtype is None else y.to(dtype)


def sum_to(g, shape):
    """Undo broadcasting: sum `g` to `shape`."""
    lead = g.ndim - len(shape)
    dims = tuple(range(lead)) + tuple(
        i + lead for i, n in enumerate(shape) if n == 1 and g.shape[i + lead] != 1
    )
    if dims:
        g = _sum(g, dims=dims, keepdim=True)
    return reshape(g, shape) if lead else g


def sum_to_size(input, *size):
    """The sum over the dimensions that `size` has not, or has as 1: undoes broadcasting."""
    shape = sizes(size)
    lead = input.ndim - len(shape)
    if lead < 0 or any_of(n not in (1, m) for n, m in zip(shape, input.shape[lead:])):
        raise RuntimeError(
            f"size {{{list(shape)}}} is not expandable to size {{{list(input.shape)}}}."
        )
    return sum_to(input, shape) if shape else sum(input)


# ---- mean and product ------------------------------------------------------------------------


def count(shape, dims):
    """How many elements a reduction over `dims` takes together."""
    return prod_of([shape[d] for d in dims])


@op(saves="s")
def _mean(xp, x, *, dims, keepdim):
    return xp.add.reduce(x, dims, None, None, keepdim) / count(x.shape, dims)


_mean.vjp(lambda g, y, shape, dims, keepdim: spread(g / max_of(count(shape, dims), 1), shape, dims))


def mean(input, dim=None, keepdim=False, *, dtype=None):
    """The mean over `dim` (default: all) of floating point or complex numbers."""
    x = input if dtype is None else input.to(dtype)
    a = raw(x)
    if a.dtype.kind in "iub":
        raise RuntimeError(
            "mean(): could not infer output dtype. Input dtype must be either a floating point or "
            f"complex dtype. Got: {x.dtype.name}"
        )
    run = _mean.fn if isinstance(x, Tensor) else _mean
    return run(x, dims=axes(dim, a.ndim), keepdim=keepdim)


@op(saves="x")
def _prod(xp, x, *, dim):
    dtype = "int64" if x.dtype.kind in "iub" else None
    return xp.prod(x, axis=dim, dtype=dtype)


def _prod_vjp(g, y, x, dim):
    # The product of the others, from both sides, so that a 0 does no harm.
    from .layout import _flip
    from .scan import before

    others = before(x, dim) * _flip(before(_flip(x, dims=(dim,)), dim), dims=(dim,))
    return others * unsqueeze(g, dim)


_prod.vjp(_prod_vjp)


def prod(input, dim=None, keepdim=False, *, dtype=None):
    """The product over one dimension, or over all."""
    x = input if dtype is None else input.to(dtype)
    if dim is None:
        y = _prod(reshape(x, (-1,)), dim=0)
    else:
        d = axis(dim, x.ndim)
        y = _prod(x if x.ndim else reshape(x, (1,)), dim=d)
        y = unsqueeze(y, d) if keepdim and x.ndim else y
    return y if dtype is None else y.to(dtype)


# ---- largest and smallest --------------------------------------------------------------------


def _extreme(name, function):
    @op(saves="xy", half="keep", kinds="biuf", name=name)
    def kernel(xp, x, *, dims, keepdim):
        return getattr(xp, function)(x, axis=dims, keepdims=keepdim)

    def rule(g, y, x, dims, keepdim):
        shape = kept(x.shape, dims)
        hit = x == reshape(y, shape)
        share = div(reshape(g, shape), _sum(hit, dims=dims, keepdim=True))
        return where(hit, share, 0)

    kernel.vjp(rule)

    def extreme(input, dim=(), keepdim=False):
        dims = axes(dim, input.ndim)
        if 0 in [input.shape[d] for d in dims]:
            raise IndexError(
                f"{name}(): Expected reduction dim to be specified for input.numel() == 0, or to "
                "have "
                f"non-zero size. Specify the reduction dim with the 'dim' argument."
            )
        return kernel(input, dims=dims, keepdim=keepdim)

    extreme.__name__ = extreme.__qualname__ = name
    extreme.__doc__ = (
        f"The {name[1:]}imum over `dim` (default: all); equal ones share the gradient."
    )
    return extreme


amax, amin = _extreme("amax", "max"), _extreme("amin", "min")


def aminmax(input, *, dim=None, keepdim=False):
    """The smallest and the largest over `dim` (default: all), as a named tuple (min, max)."""
    d = () if dim is None else dim
    if 0 in [input.shape[k] for k in axes(d, input.ndim)]:
        raise RuntimeError(
            "aminmax(): cannot compute aminmax over an empty dimension as the operation has no "
            "identity."
        )
    return MinMax(amin(input, d, keepdim), amax(input, d, keepdim))


MinMax = namedtuple("aminmax", ("min", "max"))


def _check_not_empty(name, input, dim):
    shape = raw(input).shape
    d = axis(dim, len(shape))
    if shape and not shape[d]:
        raise IndexError(f"{name}(): Expected reduction dim {d} to have non-zero size.")


def _position(name):
    @op(half="keep", kinds="biuf", name=f"_{name}")
    def kernel(xp, x, *, dim):
        return getattr(x, name)(dim)  # NumPy's function of this name takes seven times as long

    def position(input, dim=None, keepdim=False):
        if raw(input).dtype.kind == "b":
            raise RuntimeError(f"{name}(): does not support bool input")
        if dim is None:
            if not prod_of(input.shape):
                raise IndexError(
                    f"{name}(): Expected reduction dim to be specified for input.numel() == 0. "
                    "Specify the reduction dim with the 'dim' argument."
                )
            y = kernel(reshape(input, (-1,)), dim=0)
            return reshape(y, (1,) * input.ndim) if keepdim else y
        d = axis(dim, input.ndim)
        x = input if input.ndim else reshape(input, (1,))
        _check_not_empty(name, x, d)
        y = kernel(x, dim=d)
        return unsqueeze(y, d) if keepdim and input.ndim else y

    position.__name__ = position.__qualname__ = name
    position.__doc__ = f"The index of the {name[3:]}imum along `dim`, or in the flattened tensor."
    return position


argmax, argmin = _position("argmax"), _position("argmin")


def _best(name, elementwise, whole):
    """max and min: of all, along a dimension with indices, or of two tensors."""
    Best = namedtuple(name, ("values", "indices"))

    def best(input, dim=None, keepdim=False, *, other=None):
        if isinstance(dim, Tensor) or other is not None:
            return elementwise(input, dim if other is None else other)
        if dim is None:
            if not input.numel():
                raise RuntimeError(
                    f"{name}(): Expected reduction dim to be specified for input.numel() == 0. "
                    "Specify "
                    "the reduction dim with the 'dim' argument."
                )
            return whole(input)
        if not isinstance(dim, int):
            raise TypeError(f"{name}(): argument 'dim' must be int, not {type(dim).__name__}")
        _check_not_empty(name, input, dim)
        a = raw(input)
        if a.dtype.kind == "c":
            check_kind(name, "biuf", a)
        a = a.view("uint8") if a.dtype.kind == "b" else a  # argmax has no bools
        index = getattr(a, f"arg{name}")(dim if a.ndim else 0, keepdims=True)
        return Best(*taken(input, wrap(index), dim, keepdim))

    best.__name__ = best.__qualname__ = name
    best.__doc__ = (
        f"The {name}imum of all; with dim, a named tuple (values, indices); of two tensors, "
        f"{name}imum()."
    )
    return best


def taken(input, indices, dim, keepdim):
    """The values that `indices` (with keepdim) name along `dim`, and the indices."""
    i = raw(indices)
    if not input.ndim:
        return input.clone(), reshape(indices, ())
    d = axis(dim, input.ndim)
    values = picked.fn(input, index=i, dim=d, keepdim=keepdim)
    return values, indices if keepdim else wrap(i.reshape(values._a.shape))


max = _best("max", maximum.fn, amax)
min = _best("min", minimum.fn, amin)


# ---- truth and counting ----------------------------------------------------------------------


def _truth(name):
    @op(half="keep", name=name)
    def kernel(xp, x, *, dims, keepdim):
        y = getattr(xp, name)(x.astype(bool), axis=dims, keepdims=keepdim)
        return y.astype("uint8") if x.dtype == "uint8" else y

    def truth(input, dim=None, keepdim=False):
        return kernel(input, dims=axes(dim, input.ndim), keepdim=keepdim)

    truth.__name__ = truth.__qualname__ = name
    truth.__doc__ = f"Whether {name} of the elements over `dim` (default: all) are true."
    return truth


all, any = _truth("all"), _truth("any")


def count_nonzero(input, dim=None):
    """How many elements are not 0, over `dim` (default: all)."""
    return sum(input != 0, dim)


def nansum(input, dim=None, keepdim=False, *, dtype=None):
    """The sum over `dim`, with NaN as 0."""
    return sum(where(input != input, 0, input), dim, keepdim, dtype=dtype)


def nanmean(input, dim=None, keepdim=False, *, dtype=None):
    """The mean over `dim` of what is not NaN."""
    return div(nansum(input, dim, keepdim, dtype=dtype), sum(input == input, dim, keepdim))


# ---- variance --------------------------------------------------------------------------------


@op(saves="x", holomorphic=False)
def _var(xp, x, *, dims, correction, keepdim):
    n = count(x.shape, dims)
    away = x - xp.sum(x, axis=dims, keepdims=True) / n
    squares = away.real**2 + away.imag**2 if x.dtype.kind == "c" else away * away
    total = xp.sum(squares, axis=dims, keepdims=keepdim)
    return total / max_of(n - correction, 0)


def _var_vjp(g, y, x, dims, correction, keepdim):
    shape = kept(x.shape, dims)
    freedom = count(x.shape, dims) - correction
    away = x - _mean(x, dims=dims, keepdim=True)
    return reshape(g, shape) * away * (2 / freedom if freedom > 0 else nan)


_var.vjp(_var_vjp)


@op(saves="y", promote="float")
def root(xp, x):
    """The square root, whose gradient at 0 counts as 0."""
    return xp.sqrt(x)


def _root_vjp(g, y, x):
    zero = y == 0
    return where(zero, 0, g / (2 * where(zero, 1, y)))


root.vjp(_root_vjp)


def _spread_options(name, dim, unbiased, correction):
    """(dim, correction): torch has var(dim, unbiased), var(unbiased) and var(dim, correction=)."""
    if isinstance(dim, bool):
        dim, unbiased = None, dim
    if unbiased is not None and correction is not None:
        raise TypeError(f"{name}() got both unbiased and correction; use correction alone")
    if correction is None:
        correction = 1 if unbiased is None else int(unbiased)
    return dim, number(correction)


def var(input, dim=None, unbiased=None, keepdim=False, *, correction=None):
    """The mean square distance from the mean over `dim`, by N - correction (default 1)."""
    dim, correction = _spread_options("var", dim, unbiased, correction)
    if raw(input).dtype.kind in "iub":
        raise RuntimeError(
            f"std and var only support floating point and complex dtypes, got {input.dtype}"
        )
    return _var(input, dims=axes(dim, input.ndim), correction=correction, keepdim=keepdim)


def std(input, dim=None, unbiased=None, keepdim=False, *, correction=None):
    """The square root of var"""
    return root(var(input, dim, unbiased, keepdim, correction=correction))


def _with_mean(function):
    name = f"{function.__name__}_mean"

    def both(input, dim=None, unbiased=None, keepdim=False, *, correction=None):
        dim, correction = _spread_options(name, dim, unbiased, correction)
        return function(input, dim, None, keepdim, correction=correction), mean(input, dim, keepdim)

    both.__name__ = both.__qualname__ = name
    both.__doc__ = f"The pair of {function.__name__} and mean"
    return both


var_mean, std_mean = _with_mean(var), _with_mean(std)

FUNCTIONS = METHODS = {
    "sum": sum, "mean": mean, "prod": prod, "amax": amax, "amin": amin, "aminmax": aminmax,
    "argmax": argmax, "argmin": argmin, "max": max, "min": min, "all": all, "any": any,
    "count_nonzero": count_nonzero, "nansum": nansum, "nanmean": nanmean, "var": var, "std": std,
}  # fmt: skip
METHODS = METHODS | {"sum_to_size": sum_to_size}
FUNCTIONS = FUNCTIONS | {"var_mean": var_mean, "std_mean": std_mean}
