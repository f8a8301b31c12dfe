"""Cumulative sums and products along a dimension."""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

from collections import namedtuple
from math import prod

from ..op import op
from .index import narrow
from .join import _cat
from .layout import _flip
from .numeric import logaddexp
from .pointwise import exp
from .shape import axis, cast, raw, reshape


def _scan(name, op_, doc):
    def scan(input, dim, *, dtype=None):
        x = input if dtype is None else input.to(dtype)
        d = axis(dim, x.ndim)
        y = op_(x, dim=d) if x.ndim else reshape(op_(reshape(x, (1,)), dim=0), ())
        return y if dtype is None else y.to(dtype)

    scan.__name__ = scan.__qualname__ = name
    scan.__doc__ = doc
    return scan


def _wide(x):
    return "int64" if x.dtype.kind in "iub" else None


@op(half="float32")
def _cumsum(xp, x, *, dim):
    return xp.cumsum(x, axis=dim, dtype=_wide(x))


def _backward_sum(g, dim):
    """The sum from each element on."""
    return _flip(_cumsum(_flip(g, dims=(dim,)), dim=dim), dims=(dim,))


_cumsum.vjp(lambda g, y, x, dim: _backward_sum(g, dim))


@op(saves="xy")
def _cumprod(xp, x, *, dim):
    return xp.cumprod(x, axis=dim, dtype=_wide(x))


def before(x, dim):
    """The product of the elements before each, 1 at the start."""
    n = x.shape[dim]
    if not n:
        return x
    first = narrow(x, dim, 0, 1)
    return _cat(first * 0 + 1, _cumprod(narrow(x, dim, 0, n - 1), dim=dim), dim=dim)


def _cumprod_vjp(g, y, x, dim):
    """sum over k >= i of g_k y_k / x_i; where an x is 0, by the recurrence without the division.

    With r_i = g_i + x_{i+1} r_{i+1}, the gradient is (x_0 ... x_{i-1}) r_i.
    """
    if prod(x.shape) <= 1:
        return g
    if not bool((x == 0).any()):
        return _backward_sum(g * y, dim) / x
    n = x.shape[dim]
    r = narrow(g, dim, n - 1, 1)
    rs = [r]
    for i in range(n - 2, -1, -1):
        r = narrow(g, dim, i, 1) + narrow(x, dim, i + 1, 1) * r
        rs.append(r)
    return before(x, dim) * _cat(*rs[::-1], dim=dim)


_cumprod.vjp(_cumprod_vjp)


@op(saves="xy", promote="float")
def _logcumsumexp(xp, x, *, dim):
    if x.dtype.kind != "c":
        return xp.accumulate("logaddexp", x, dim)
    y = xp.moveaxis(x.copy(), dim, 0)
    for i in range(1, len(y)):
        y[i] = logaddexp(y[i - 1], y[i])
    return xp.moveaxis(y, 0, dim)


# sum over k >= i of g_k exp(x_i - y_k): finite where y is, as y_k >= x_i
def _logcumsumexp_vjp(g, y, x, dim):
    n = x.shape[dim]
    r = narrow(g, dim, n - 1, 1)
    rs = [r]
    for i in range(n - 2, -1, -1):
        step = narrow(y, dim, i, 1) - narrow(y, dim, i + 1, 1)
        r = narrow(g, dim, i, 1) + exp(step) * r
        rs.append(r)
    return exp(x - y) * _cat(*rs[::-1], dim=dim)


_logcumsumexp.vjp(_logcumsumexp_vjp)


def _running(name, function):
    """cummax and cummin: the last of equal ones is the one named, NaN stays."""
    Running = namedtuple(name, ("values", "indices"))

    @op(half="keep", kinds="biuf", name=f"_{name}_indices")
    def indices(xp, x, *, dim):
        best = xp.accumulate(function, x, dim)
        shape = [1] * x.ndim
        shape[dim] = -1
        here = xp.arange(x.shape[dim]).reshape(shape)
        hit = (x == best) | (x != x)
        return xp.accumulate("maximum", xp.where(hit, here, 0), dim)

    def running(input, dim):
        from .gather import gather

        d = axis(dim, input.ndim)
        if not input.ndim:
            return Running(
                input.clone(),
                cast(input.detach() * 0, raw(indices(reshape(input, (1,)), dim=0)).dtype),
            )
        where_ = indices(input.detach(), dim=d)
        return Running(gather(input, d, where_), where_)

    running.__name__ = running.__qualname__ = name
    running.__doc__ = f"The {name[3:]}imum up to each element, and its index, as a named tuple."
    return running


cummax, cummin = _running("cummax", "maximum"), _running("cummin", "minimum")
cumsum = _scan("cumsum", _cumsum, "The sum up to each element along `dim`.")
cumprod = _scan("cumprod", _cumprod, "The product up to each element along `dim`.")
logcumsumexp = _scan("logcumsumexp", _logcumsumexp, "log(cumsum(exp(x))), without overflow.")

IN_PLACE = {"cumsum": cumsum, "cumprod": cumprod}
FUNCTIONS = METHODS = IN_PLACE | {
    "cummax": cummax, "cummin": cummin, "logcumsumexp": logcumsumexp,
}  # fmt: skip
