"""Comparisons, logic, and which elements are special: results are bool, without gradient."""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

from math import inf

from ..errors import not_a_tensor
from ..op import op
from ..tensor import Tensor

# half="keep": comparing needs no precision


def _comparison(name, doc, function, **options):
    def kernel(xp, a, b):
        return getattr(xp, function)(a, b)

    kernel.__doc__ = f"Whether {doc}, of each pair."
    return op(promote="result", half="keep", ufunc=function, name=name, **options)(kernel)


eq = _comparison("eq", "a == b", "equal")
ne = _comparison("ne", "a != b", "not_equal")
lt = _comparison("lt", "a < b", "less", kinds="biuf")
le = _comparison("le", "a <= b", "less_equal", kinds="biuf")
gt = _comparison("gt", "a > b", "greater", kinds="biuf")
ge = _comparison("ge", "a >= b", "greater_equal", kinds="biuf")
logical_and = _comparison("logical_and", "both are not 0", "logical_and", numbers=False)
logical_or = _comparison("logical_or", "one is not 0", "logical_or", numbers=False)
logical_xor = _comparison("logical_xor", "exactly one is not 0", "logical_xor", numbers=False)


def _predicate(name, doc, **options):
    def kernel(xp, a):
        return getattr(xp, name)(a)

    kernel.__doc__ = f"Whether an element is {doc}."
    return op(promote="keep", name=name, **options)(kernel)


isnan = _predicate("isnan", "NaN")
isinf = _predicate("isinf", "infinite")
isfinite = _predicate("isfinite", "neither infinite nor NaN")
logical_not = _predicate("logical_not", "0")
signbit = _predicate("signbit", "below 0, or -0.0", kinds="biuf")


def _infinity(name, value):
    def kernel(xp, a):
        return a == value

    kernel.__doc__ = f"Whether an element is {value}."
    return op(promote="keep", half="keep", kinds="biuf", name=name)(kernel)


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
