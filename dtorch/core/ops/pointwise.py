"""Elementwise functions of one operand, and those of several that are no operators."""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

import math

from .. import backend
from ..dtype import result_dtype
from ..op import op, python_number
from ..tensor import Tensor, wrap
from .complex import conj_any, is_complex, real_of


def _unary(name, doc, vjp, *, saves="x", ufunc=None, promote="float", **options):
    """An op that is one ufunc of the backend."""
    function = ufunc or name

    def kernel(xp, x):
        return getattr(xp, function)(x)

    kernel.__doc__ = doc
    return op(saves=saves, promote=promote, ufunc=function, name=name, **options)(kernel).vjp(vjp)


exp = _unary("exp", "e ** x", lambda g, y, x: g * y, saves="y")
exp2 = _unary("exp2", "2 ** x", lambda g, y, x: g * (y * math.log(2)), saves="y")
expm1 = _unary("expm1", "e ** x - 1, exact near 0 too.", lambda g, y, x: g * (y + 1), saves="y")
log = _unary("log", "The natural logarithm.", lambda g, y, x: g / x)
log2 = _unary("log2", "The logarithm to base 2.", lambda g, y, x: g / (x * math.log(2)))
log10 = _unary("log10", "The logarithm to base 10.", lambda g, y, x: g / (x * math.log(10)))
sqrt = _unary("sqrt", "The square root; NaN below 0.", lambda g, y, x: g / (2 * y), saves="y")
sin = _unary("sin", "The sine of x radians.", lambda g, y, x: g * cos(x))
cos = _unary("cos", "The cosine of x radians.", lambda g, y, x: -g * sin(x))
tan = _unary("tan", "The tangent of x radians.", lambda g, y, x: g * (1 + y * y), saves="y")
sinh = _unary("sinh", "(e**x - e**-x) / 2", lambda g, y, x: g * cosh(x))
cosh = _unary("cosh", "(e**x + e**-x) / 2", lambda g, y, x: g * sinh(x))
tanh = _unary("tanh", "sinh(x) / cosh(x), in -1 to 1.", lambda g, y, x: g * (1 - y * y), saves="y")
asin = _unary(
    "asin",
    "The angle in [-pi/2, pi/2] whose sine is x.",
    lambda g, y, x: g * (1 - x * x) ** -0.5,
    ufunc="arcsin",
)
acos = _unary(
    "acos",
    "The angle in [0, pi] whose cosine is x.",
    lambda g, y, x: -g * (1 - x * x) ** -0.5,
    ufunc="arccos",
)
atan = _unary(
    "atan",
    "The angle in (-pi/2, pi/2) whose tangent is x.",
    lambda g, y, x: g / (1 + x * x),
    ufunc="arctan",
)
asinh = _unary(
    "asinh", "The number whose sinh is x.", lambda g, y, x: g * (1 + x * x) ** -0.5, ufunc="arcsinh"
)
acosh = _unary(
    "acosh",
    "The number of at least 0 whose cosh is x.",
    lambda g, y, x: g * (x - 1) ** -0.5 * (x + 1) ** -0.5,
    ufunc="arccosh",
)
atanh = _unary(
    "atanh", "The number whose tanh is x.", lambda g, y, x: g / (1 - x * x), ufunc="arctanh"
)
deg2rad = _unary(
    "deg2rad", "Degrees in radians.", lambda g, y, x: g * (math.pi / 180), saves="", kinds="f"
)
rad2deg = _unary(
    "rad2deg", "Radians in degrees.", lambda g, y, x: g * (180 / math.pi), saves="", kinds="f"
)
floor = _unary(
    "floor",
    "The largest whole number that is not above x.",
    lambda g, y, x: g * 0,
    saves="",
    promote="keep",
    kinds="iuf",
)
ceil = _unary(
    "ceil",
    "The smallest whole number that is not below x.",
    lambda g, y, x: g * 0,
    saves="",
    promote="keep",
    kinds="iuf",
)
trunc = _unary(
    "trunc",
    "x without what is right of its decimal point.",
    lambda g, y, x: g * 0,
    saves="",
    promote="keep",
    kinds="iuf",
)


@op(saves="x", promote="float", ufunc="log1p")
def log1p(xp, x):
    """log(1 + x), exact near 0 too."""
    return xp.special("log1p")(x) if x.dtype.kind == "c" else xp.log1p(x)  # NumPy's cancels


log1p.vjp(lambda g, y, x: g / (x + 1))


@op(saves="x", promote="keep", ufunc="square")
def square(xp, x):
    """x * x"""
    return xp.square(x) if x.dtype != bool else x.astype("int64")


square.vjp(lambda g, y, x: g * (2 * x))


@op(saves="y", promote="float")
def rsqrt(xp, x):
    """1 / sqrt(x)"""
    return 1 / xp.sqrt(x)


rsqrt.vjp(lambda g, y, x: g * (-0.5 * y * y * y))


@op(saves="y", promote="float")
def reciprocal(xp, x):
    """1 / x"""
    return 1 / x


reciprocal.vjp(lambda g, y, x: -g * (y * y))


@op(saves="y", promote="float")
def sigmoid(xp, x):
    """1 / (1 + exp(-x))"""
    y = xp.exp(-x)  # where this overflows, 1 / inf is the answer
    y += 1
    return 1 / y


sigmoid.vjp(lambda g, y, x: g * (y * (1 - y)))


@op(saves="x", promote="float", kinds="f")
def erf(xp, x):
    """The error function, 2 / sqrt(pi) times the integral of exp(-t**2) from 0 to x."""
    return xp.erf(x)


erf.vjp(lambda g, y, x: g * (exp(-x * x) * (2 / math.sqrt(math.pi))))


@op(saves="x", promote="keep", kinds="iufc", holomorphic=False)
def abs(xp, x):
    """|x|, of complex numbers the magnitude."""
    return xp.absolute(x)


abs.vjp(lambda g, y, x: g * sgn(x))


def _sign(xp, x):
    return x if x.dtype == bool else xp.subtract(x > 0, x < 0, dtype=x.dtype)


@op(promote="keep", kinds="biuf")
def sign(xp, x):
    """-1, 0 or 1; 0 for NaN."""
    return _sign(xp, x)


sign.vjp(lambda g, y, x: g * 0)


@op(saves="xy", promote="keep", holomorphic=False)
def sgn(xp, x):
    """x / |x|, and 0 at 0: the sign, also of complex numbers."""
    return xp.sign(x) if x.dtype.kind == "c" else _sign(xp, x)


def _sgn_vjp(g, y, x):
    if not is_complex(x):
        return g * 0
    r = abs(x)
    r = where(r == 0, r * 0 + 1, r)
    return where(x == 0, g * 0, (g - real_of(g * conj_any(y)) * y) / r)


sgn.vjp(_sgn_vjp)


@op(saves="x", promote="float", holomorphic=False)
def angle(xp, x):
    """The angle of a complex number in the plane; of a real one, pi below 0."""
    if x.dtype.kind == "c":
        return xp.angle(x)
    return xp.where(xp.isnan(x), x, xp.where(x < 0, math.pi, 0).astype(x.dtype))


def _angle_vjp(g, y, x):
    if not is_complex(x):
        return g * 0
    square = real_of(x * conj_any(x))
    return where(x == 0, 0, g * 1j * x / where(square == 0, 1, square))


angle.vjp(_angle_vjp)


@op(promote="keep", kinds="iuf")
def _round(xp, x, *, decimals):
    return xp.round(x, decimals)


_round.vjp(lambda g, y, x, decimals: g * 0)


def round(input, *, decimals=0):
    """The nearest whole number, halves to the even one; or that of `decimals` places."""
    return _round(input, decimals=decimals)


@op(promote="keep", kinds="f")
def frac(xp, x):
    """What is right of the decimal point: x - trunc(x)"""
    return x - xp.trunc(x)


frac.vjp(lambda g, y, x: g)


def positive(input):
    """The operator +: the tensor itself.  RuntimeError for bools."""
    if input.dtype.category == 0:
        raise RuntimeError("The `+` operator, on a bool tensor is not supported.")
    return input


@op(saves="x", promote="float2", ufunc="arctan2", numbers=False, kinds="f")
def atan2(xp, a, b):
    """The angle of the point (b, a), in (-pi, pi]."""
    return xp.arctan2(a, b)


atan2.vjp(
    lambda g, y, a, b: g * b / (a * a + b * b),
    lambda g, y, a, b: -g * a / (a * a + b * b),
)


def _extremum(name):
    """maximum and minimum; equal operands share the gradient, NaN wins."""

    def kernel(xp, a, b):
        return getattr(xp, name)(a, b)

    kernel.__doc__ = f"The {name} of each pair; NaN where one is."
    extremum = op(saves="x", promote="result", ufunc=name, numbers=False, kinds="biuf", name=name)(
        kernel
    )
    wins = (lambda a, b: a > b) if name == "maximum" else (lambda a, b: a < b)
    return extremum.vjp(
        lambda g, y, a, b: where(wins(a, b), g, where(a == b, g / 2, 0)),
        lambda g, y, a, b: where(wins(b, a), g, where(a == b, g / 2, 0)),
    )


maximum, minimum = _extremum("maximum"), _extremum("minimum")


@op(saves="x", promote="result", kinds="biuf")
def clamp_min(xp, a, low):
    return xp.maximum(a, low)


clamp_min.vjp(lambda g, y, a, low: where(a >= low, g, 0), lambda g, y, a, low: where(a < low, g, 0))


@op(saves="x", promote="result", kinds="biuf")
def clamp_max(xp, a, high):
    return xp.minimum(a, high)


clamp_max.vjp(
    lambda g, y, a, high: where(a <= high, g, 0),
    lambda g, y, a, high: where(a > high, g, 0),
)


def at_least(input, min):
    """The larger of the input and `min`, of each pair."""
    return clamp_min.fn(input, min)


def at_most(input, max):
    """The smaller of the input and `max`, of each pair."""
    return clamp_max.fn(input, max)


def clamp(input, min=None, max=None):
    """input, with what is below `min` raised to it and what is above `max` lowered to it."""
    if min is None and max is None:
        raise RuntimeError("torch.clamp: At least one of 'min' or 'max' must not be None")
    y = input if min is None else clamp_min(input, min)
    return y if max is None else clamp_max(y, max)


@op(saves="s", half="keep")
def _where(xp, a, b, *, condition):
    return xp.where(condition, a, b)


def _kept_by(g, shape, condition):
    """g where the condition holds, else 0, in the shape of an operand."""
    from .reduce import sum_to

    return sum_to(where(condition, g, 0), shape)


_where.vjp(
    lambda g, y, a, b, condition: _kept_by(g, a, condition),
    lambda g, y, a, b, condition: _kept_by(g, b, ~condition),
)


def where(condition, input=None, other=None):
    """input where the condition holds, else other; of the condition alone, the indices of True."""
    from .shape import cast, raw

    if input is None and other is None:
        return condition.nonzero(as_tuple=True)
    mask = raw(condition)
    if isinstance(mask, bool):
        raise TypeError("where(): argument 'condition' must be Tensor, not bool")
    if mask.dtype == "uint8":
        mask = mask.astype(bool)
    if mask.dtype != bool:
        raise RuntimeError(
            "where expected condition to be a boolean tensor, but got a tensor with dtype "
            f"{condition.dtype}"
        )
    a, b = input, other
    if isinstance(condition, Tensor):  # of arrays, NumPy's scalars are 0-d results
        a, b = python_number(a), python_number(b)
    if not (isinstance(a, Tensor) and isinstance(b, Tensor) and a._a.dtype is b._a.dtype):
        d = result_dtype([raw(a), raw(b)]).np
        xp = backend.of(mask)
        a, b = (cast(x, d) if hasattr(x, "dtype") else xp.asarray(x, dtype=d) for x in (a, b))
        if any(isinstance(x, Tensor) for x in (condition, a, b)):
            a, b = (x if isinstance(x, Tensor) else wrap(x) for x in (a, b))
    try:
        return _where(a, b, condition=mask)
    except ValueError as error:
        raise RuntimeError(
            f"where(): the sizes of the operands do not broadcast: {error}"
        ) from None


@op(saves="x", promote="keep")
def _nan_to_num(xp, x, *, nan, posinf, neginf):
    return xp.nan_to_num(x, nan=nan, posinf=posinf, neginf=neginf) if x.dtype.kind in "fc" else x


_nan_to_num.vjp(lambda g, y, x, nan, posinf, neginf: where(_finite(x), g, 0))


def _finite(x):
    return x - x == 0


def nan_to_num(input, nan=0.0, posinf=None, neginf=None):
    """The input with NaN and the infinities replaced, these by the largest numbers by default."""
    return _nan_to_num(input, nan=nan or 0.0, posinf=posinf, neginf=neginf)


_UNARY = [
    exp, exp2, expm1, log, log2, log10, log1p, sqrt, sin, cos, tan, sinh, cosh, tanh, asin, acos, atan,
    asinh, acosh, atanh, deg2rad, rad2deg, floor, ceil, trunc, square, rsqrt, reciprocal, sigmoid, erf,
    abs, sign, sgn,
]  # fmt: skip
_ALIASES = {
    "arcsin": asin, "arccos": acos, "arctan": atan, "arcsinh": asinh, "arccosh": acosh,
    "arctanh": atanh, "absolute": abs, "fix": trunc, "arctan2": atan2,
}  # fmt: skip
IN_PLACE = (
    {o.name: o.fn for o in _UNARY}
    | {name: o.fn for name, o in _ALIASES.items()}
    | {"round": round, "frac": frac.fn, "atan2": atan2.fn, "clamp": clamp, "clip": clamp}
    | {"nan_to_num": nan_to_num, "clamp_min": at_least, "clamp_max": at_most}
)
FUNCTIONS = METHODS = IN_PLACE | {
    "angle": angle.fn, "positive": positive, "maximum": maximum.fn, "minimum": minimum.fn,
    "where": where,
}  # fmt: skip
METHODS = METHODS | {"where": lambda self, condition, other: where(condition, self, other)}
