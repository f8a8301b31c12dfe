"""Comparisons, logic, and which elements are special: results are bool, without gradient."""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

from ..op import op

# half="keep": comparing needs no precision


def _comparison(name, function):
    @op(promote="result", half="keep", ufunc=function, name=name)
    def kernel(xp, a, b):
        return getattr(xp, function)(a, b)

    return kernel


eq = _comparison("eq", "equal")
ne = _comparison("ne", "not_equal")
lt = _comparison("lt", "less")
le = _comparison("le", "less_equal")
gt = _comparison("gt", "greater")
ge = _comparison("ge", "greater_equal")


def _logical(name):
    @op(half="keep", name=name)
    def kernel(xp, *arrays):
        return getattr(xp, name)(*[xp.asarray(a).astype(bool) for a in arrays])

    return kernel


logical_and, logical_or, logical_xor, logical_not = map(
    _logical, ("logical_and", "logical_or", "logical_xor", "logical_not")
)


def _predicate(name):
    @op(promote="keep", name=name)
    def kernel(xp, a):
        return getattr(xp, name)(a)

    return kernel


isnan, isinf, isfinite, signbit = map(_predicate, ("isnan", "isinf", "isfinite", "signbit"))


@op(promote="result")
def isclose(xp, a, b, *, rtol=1e-05, atol=1e-08, equal_nan=False):
    """|a - b| <= atol + rtol * |b|"""
    for name, value in (("rtol", rtol), ("atol", atol)):
        if value < 0:
            raise RuntimeError(f"{name} must be greater than or equal to zero, but got {value}")
    return xp.isclose(a, b, rtol, atol, equal_nan)


def equal(input, other):
    """Whether both have the same shape and the same elements: a Python bool."""
    return input.shape == other.shape and bool((input == other).all())


def allclose(input, other, rtol=1e-05, atol=1e-08, equal_nan=False):
    """Whether |input - other| <= atol + rtol * |other| everywhere: a Python bool."""
    if input.dtype is not other.dtype:
        raise RuntimeError(
            f"{input.dtype} did not match {other.dtype}: allclose compares tensors of one dtype"
        )
    return bool(isclose(input, other, rtol=rtol, atol=atol, equal_nan=equal_nan).all())


_OPS = [eq, ne, lt, le, gt, ge, logical_and, logical_or, logical_xor, logical_not]
IN_PLACE = {o.name: o.fn for o in _OPS}
FUNCTIONS = METHODS = IN_PLACE | {o.name: o.fn for o in (isnan, isinf, isfinite, signbit, isclose)} | {
    "greater": gt.fn, "greater_equal": ge.fn, "less": lt.fn, "less_equal": le.fn,
    "not_equal": ne.fn, "equal": equal, "allclose": allclose,
}  # fmt: skip
