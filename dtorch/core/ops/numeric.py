"""Elementwise functions of two operands that are no operators: signs, steps, logarithms, divisors.

Also what concerns how numbers are stored: frexp, ldexp, nextafter, float_power.
"""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

import math
from collections import namedtuple

from ..dtype import complex128, float64
from ..errors import not_a_tensor
from ..op import op
from ..tensor import Tensor
from .arithmetic import mul, pow
from .pointwise import exp2, sgn, sigmoid, where
from .reduce import sum_to

# ---- sizes and signs -----------------------------------------------------------------------------


@op(saves="xy", promote="float2", kinds="f")
def copysign(xp, a, b):
    """|a| with the sign of b."""
    return xp.copysign(a, b)


copysign.vjp(lambda g, y, a, b: g * (sgn(a) * sgn(y)), lambda g, y, a, b: g * 0)


@op(saves="xy", promote="result", numbers=False, kinds="f")
def hypot(xp, a, b):
    """sqrt(a^2 + b^2), without overflow."""
    return xp.hypot(a, b)


hypot.vjp(lambda g, y, a, b: g * (a / y), lambda g, y, a, b: g * (b / y))


@op(saves="x", promote="result", half="keep", kinds="biuf")
def _heaviside(xp, x, values):
    return xp.where(x == 0, values, x > 0).astype(x.dtype)


_heaviside.vjp(lambda g, y, x, values: g * 0, lambda g, y, x, values: where(x == 0, g, 0))


def heaviside(input, values):
    """0 where the input is negative, 1 where it is positive, `values` where it is 0."""
    if not isinstance(values, Tensor):
        raise not_a_tensor("heaviside(): argument 'values' (position 2)", values)
    if input.dtype is not values.dtype:
        raise RuntimeError(
            "heaviside is not yet implemented for tensors with different dtypes, got "
            f"{input.dtype} and {values.dtype}."
        )
    return _heaviside.fn(input, values)


def _extremum(name, wins):
    """fmax and fmin: as maximum and minimum, but NaN loses."""

    @op(saves="x", promote="result", numbers=False, kinds="biuf", name=name)
    def kernel(xp, a, b):
        return getattr(xp, name)(a, b)

    def first(a, b):
        return wins(a, b) | (b != b)

    return kernel.vjp(
        lambda g, y, a, b: where(first(a, b), g, 0), lambda g, y, a, b: where(first(a, b), 0, g)
    )


fmax = _extremum("fmax", lambda a, b: a >= b)
fmin = _extremum("fmin", lambda a, b: a <= b)


# ---- logarithms of sums --------------------------------------------------------------------------


@op(saves="x", promote="result", numbers=False, kinds="fc")
def logaddexp(xp, a, b):
    """log(exp(a) + exp(b)), without overflow."""
    if a.dtype.kind == "f":
        return xp.logaddexp(a, b)
    above = a.real >= b.real
    high, low = xp.where(above, a, b), xp.where(above, b, a)
    same = (high == low) & xp.isinf(high.real)
    return high + xp.log1p(xp.exp(xp.where(same, 0, low - high)))


logaddexp.vjp(lambda g, y, a, b: g * sigmoid(a - b), lambda g, y, a, b: g * sigmoid(b - a))


@op(saves="x", promote="result", numbers=False, kinds="f")
def logaddexp2(xp, a, b):
    """log2(2^a + 2^b), without overflow."""
    return xp.logaddexp2(a, b)


logaddexp2.vjp(
    lambda g, y, a, b: g * sigmoid((a - b) * math.log(2)),
    lambda g, y, a, b: g * sigmoid((b - a) * math.log(2)),
)


# ---- integers ------------------------------------------------------------------------------------


def _divisor(name):
    @op(promote="result", numbers=False, kinds="iu", name=name)
    def kernel(xp, a, b):
        return getattr(xp, name)(a, b)

    return kernel


gcd, lcm = _divisor("gcd"), _divisor("lcm")


# ---- how numbers are stored ----------------------------------------------------------------------


@op(saves="x", promote="result", half="keep", numbers=False, kinds="f")
def nextafter(xp, a, b):
    """The number that follows a in the direction of b."""
    return xp.nextafter(a, b)


nextafter.vjp(lambda g, y, a, b: where(a == b, 0, g), lambda g, y, a, b: g * 0)

MantissaExponent = namedtuple("frexp", ("mantissa", "exponent"))


@op(saves="r")
def _frexp(xp, x):
    return xp.frexp(x)


_frexp.vjp_joint(lambda needs, g, y, x: (g / exp2(y[1]),))


def frexp(input):
    """(mantissa, exponent) with input = mantissa * 2^exponent and 0.5 <= |mantissa| < 1."""
    if not input.is_floating_point():
        raise RuntimeError(f"frexp() only supports floating-point dtypes, got {input.dtype}")
    return MantissaExponent(*_frexp.fn(input))


@op(saves="s")
def _ldexp(xp, x, *, exponent):
    return xp.ldexp(x, exponent)


_ldexp.vjp(lambda g, y, x, exponent: sum_to(_ldexp(g, exponent=exponent), x))


def ldexp(input, other):
    """input * 2^other; of the input's dtype, where that is floating point and `other` integers."""
    if not isinstance(other, Tensor):
        raise not_a_tensor("ldexp(): argument 'other' (position 2)", other)
    if input.is_floating_point() and other.dtype.category == 1:
        return _ldexp(input, exponent=other._a)
    return mul(input, pow(2.0, other))


def float_power(input, exponent):
    """input^exponent in float64, or in complex128 if one of the two is complex."""
    d = _widest(input, exponent)
    return pow.fn(*(x.to(d) if isinstance(x, Tensor) else x for x in (input, exponent)))


def _widest(*operands):
    number = any(isinstance(x, complex) for x in operands)
    tensor = any(isinstance(x, Tensor) and x.is_complex() for x in operands)
    return complex128 if number or tensor else float64


def _float_power_into(input, exponent):
    wanted = _widest(input, exponent)
    if input.dtype is not wanted:
        raise RuntimeError(
            f"the base given to float_power_ has dtype {input.dtype} but the operation's result "
            f"requires dtype {wanted}"
        )
    return float_power(input, exponent)


_BOTH = {
    **{o.name: o.fn for o in (copysign, hypot, gcd, lcm, nextafter)},
    "heaviside": heaviside, "ldexp": ldexp,
}  # fmt: skip
IN_PLACE = _BOTH | {"float_power": _float_power_into}
FUNCTIONS = METHODS = _BOTH | {
    **{o.name: o.fn for o in (fmax, fmin, logaddexp, logaddexp2)},
    "float_power": float_power, "frexp": frexp,
}  # fmt: skip
