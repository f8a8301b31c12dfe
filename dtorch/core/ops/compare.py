"""Comparisons, logic, and which elements are special: results are bool, without gradient."""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

from math import inf

from ..errors import not_a_tensor
from ..op import op
from ..tensor import Tensor

# half="keep": comparing needs no precision


def _comparison(name, function, **options):
    @op(promote="result", half="keep", ufunc=function, name=name, **options)
    def kernel(xp, a, b):
        return getattr(xp, function)(a, b)

    return kernel


eq = _comparison("eq", "equal")
ne = _comparison("ne", "not_equal")
lt = _comparison("lt", "less", kinds="biuf")
le = _comparison("le", "less_equal", kinds="biuf")
gt = _comparison("gt", "greater", kinds="biuf")
ge = _comparison("ge", "greater_equal", kinds="biuf")


logical_and, logical_or, logical_xor = (
    _comparison(name, name, numbers=False) for name in ("logical_and", "logical_or", "logical_xor")
)


def _predicate(name, **options):
    @op(promote="keep", name=name, **options)
    def kernel(xp, a):
        return getattr(xp, name)(a)

    return kernel


isnan, isinf, isfinite, logical_not = map(_predicate, ("isnan", "isinf", "isfinite", "logical_not"))
signbit = _predicate("signbit", kinds="biuf")


def _infinity(name, value):
    @op(promote="keep", half="keep", kinds="biuf", name=name)
    def kernel(xp, a):
        return a == value

    return kernel


isposinf, isneginf = _infinity("isposinf", inf), _infinity("isneginf", -inf)


@op(promote="keep", half="keep")
def isreal(xp, a):
    """Whether the imaginary part is 0."""
    return xp.isreal(a)


@op(promote="result", numbers=False)
def _isclose(xp, a, b, *, rtol, atol, equal_nan):
    return xp.isclose(a, b, rtol, atol, equal_nan)


def isclose(input, other, rtol=1e-05, atol=1e-08, equal_nan=False):
    """Whether |input - other| <= atol + rtol * |other|, of each pair; both have one dtype."""
    if not isinstance(other, Tensor):
        raise not_a_tensor("isclose(): argument 'other' (position 2)", other)
    if input.dtype is not other.dtype:
        raise RuntimeError(f"{input.dtype} did not match {other.dtype}")
    for name, value in (("rtol", rtol), ("atol", atol)):
        if value < 0:
            raise RuntimeError(f"{name} must be greater than or equal to zero, but got {value}")
    return _isclose(input, other, rtol=rtol, atol=atol, equal_nan=equal_nan)


def equal(input, other):
    """Whether both have the same shape and the same elements: a Python bool."""
    return input.shape == other.shape and bool((input == other).all())


def allclose(input, other, rtol=1e-05, atol=1e-08, equal_nan=False):
    """Whether |input - other| <= atol + rtol * |other| everywhere: a Python bool."""
    return bool(isclose(input, other, rtol, atol, equal_nan).all())


_OPS = [eq, ne, lt, le, gt, ge, logical_and, logical_or, logical_xor, logical_not]
_ALIASES = {
    "greater": gt.fn, "greater_equal": ge.fn, "less": lt.fn, "less_equal": le.fn,
    "not_equal": ne.fn,
}  # fmt: skip
IN_PLACE = {o.name: o.fn for o in _OPS} | _ALIASES
FUNCTIONS = METHODS = (
    IN_PLACE
    | {o.name: o.fn for o in (isnan, isinf, isfinite, isposinf, isneginf, isreal, signbit)}
    | {"equal": equal, "allclose": allclose, "isclose": isclose}
)
