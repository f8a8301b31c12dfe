"""add, sub, mul, div, pow and their kin: the operators."""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

import cmath
import math

from ..op import op
from ..tensor import Tensor
from .pointwise import log, where


@op(promote="result", ufunc="add")
def add(xp, a, b):
    return xp.add(a, b)


add.vjp(lambda g, y, a, b: g, lambda g, y, a, b: g)


@op(promote="result", ufunc="subtract")
def sub(xp, a, b):
    if "b" in (getattr(x, "dtype", xp.dtype(float)).kind for x in (a, b)):
        raise RuntimeError(
            "Subtraction, the `-` operator, with a bool tensor is not supported. If you are trying "
            "to invert a mask, use the `~` or `logical_not()` operator instead."
        )
    return xp.subtract(a, b)


sub.vjp(lambda g, y, a, b: g, lambda g, y, a, b: -g)


@op(saves="x", promote="result", ufunc="multiply")
def mul(xp, a, b):
    """a * b, of each pair."""
    return xp.multiply(a, b)


mul.vjp(lambda g, y, a, b: g * b, lambda g, y, a, b: g * a, own=(False, False))


@op(saves="x", promote="float2", ufunc="true_divide")
def div(xp, a, b):
    return xp.true_divide(a, b)


div.vjp(lambda g, y, a, b: g / b, lambda g, y, a, b: -g * ((a / b) / b), own=(False, True))


def _check_divisor(xp, a, b):
    """RuntimeError where integers are divided by 0; a GPU, as in torch, is not waited for to tell."""
    whole = xp.name == "cpu" and hasattr(b, "dtype") and b.dtype.kind in "iu"
    if whole and a.size and not b.all():
        raise RuntimeError("ZeroDivisionError: an integer divided by 0")


@op(saves="x", promote="result", kinds="iuf")
def floor_divide(xp, a, b):
    """floor(a / b), of each pair."""
    _check_divisor(xp, a, b)
    return xp.floor_divide(a, b)


@op(saves="x", promote="result", kinds="iuf")
def remainder(xp, a, b):
    """a - b * floor(a / b): the sign is that of b, as with Python's %."""
    _check_divisor(xp, a, b)
    return xp.remainder(a, b)


remainder.vjp(lambda g, y, a, b: g, lambda g, y, a, b: -g * floor_divide(a, b))


@op(saves="x", promote="result", kinds="iuf")
def fmod(xp, a, b):
    """a - b * trunc(a / b): the sign is that of a."""
    _check_divisor(xp, a, b)
    return xp.fmod(a, b)


fmod.vjp(lambda g, y, a, b: g, lambda g, y, a, b: -g * ((a - fmod(a, b)) / b))


@op(saves="x", promote="result", ufunc="power", kinds="iufc")
def pow(xp, a, b):
    return xp.power(a, b)


@pow.check
def _check_power(a, b):
    # A tensor of exponents is let pass, as in torch: what is below 1 is then 0.
    if isinstance(b, int) and b < 0 and a.dtype.kind in "iub":
        raise RuntimeError("Integers to negative integer powers are not allowed.")


@pow.override("cpu")
def _pow(xp, a, b):
    if xp.result_type(a, b).kind in "iu" and xp.any(xp.less(b, 0)):
        inverse = xp.where(xp.absolute(a) == 1, a, 0)  # of 1, -1, and all others
        return xp.power(xp.where(xp.less(b, 0), inverse, a), xp.absolute(b))
    return xp.power(a, b)


def _pow_base(g, y, a, b):
    if isinstance(b, (int, float)):
        return g * 0 if b == 0 else g * (b * a ** (b - 1))
    return where(b == 0, g * 0, g * (b * a ** where(b == 0, b * 0 + 1, b - 1)))


def _pow_exponent(g, y, a, b):
    # d/db a**b = a**b log a, and 0 at a = 0 with b >= 0
    at_zero, y = a == 0, pow(a, b)  # y isn't saved: most powers are of a number, where it is unused
    if isinstance(at_zero, bool):
        return g * 0 if at_zero else g * (y * _log(a))
    return where(at_zero, g * 0, g * (y * log(where(at_zero, a * 0 + 1, a))))


def _log(a):
    """The logarithm of a Python number: NaN, as everywhere, of a negative one."""
    if isinstance(a, complex):
        return cmath.log(a)
    return math.log(a) if a > 0 else math.nan


pow.vjp(_pow_base, _pow_exponent)


@op(promote="keep", half="keep", ufunc="negative")
def neg(xp, a):
    """-x"""
    if a.dtype == bool:
        raise RuntimeError(
            "Negation, the `-` operator, on a bool tensor is not supported. If you are trying to "
            "invert a mask, use the `~` or `logical_not()` operator instead."
        )
    return xp.negative(a)


neg.vjp(lambda g, y, a: -g)


def power(input, exponent):
    """input ^ exponent"""
    return pow.fn(input, exponent)


def rsub(input, other, *, alpha=1):
    """other - alpha * input"""
    return sub(other, input if alpha == 1 else mul(input, alpha))


def add_scaled(input, other, *, alpha=1):
    """input + alpha * other"""
    return add(input, other if alpha == 1 else scaled(other, alpha))


def sub_scaled(input, other, *, alpha=1):
    """input - alpha * other"""
    return sub(input, other if alpha == 1 else scaled(other, alpha))


def scaled(x, alpha):
    if isinstance(x, Tensor):
        if isinstance(alpha, float) and x.dtype.category < 2:
            raise RuntimeError(
                "For integral input tensors, argument alpha must not be a floating point number."
            )
        return mul(x, alpha)
    return x * alpha


def divide(input, other, *, rounding_mode=None):
    """input / other; rounding_mode "floor" or "trunc" rounds, and keeps integers."""
    if rounding_mode is None:
        return div(input, other)
    if rounding_mode == "floor":
        return floor_divide(input, other)
    if rounding_mode == "trunc":
        return trunc_divide(input, other)
    raise RuntimeError(
        f"div expected rounding_mode to be one of None, 'trunc', or 'floor' but found '{rounding_mode}'"
    )


@op(promote="result", kinds="iuf")
def trunc_divide(xp, a, b):
    _check_divisor(xp, a, b)
    if xp.result_type(a, b).kind in "iu":
        quotient = xp.floor_divide(a, b)
        return quotient + ((quotient < 0) & (quotient * b != a))
    return xp.trunc(xp.true_divide(a, b))


trunc_divide.vjp(lambda g, y, a, b: g * 0, lambda g, y, a, b: g * 0)
floor_divide.vjp(lambda g, y, a, b: g * 0, lambda g, y, a, b: g * 0)


def addcmul(input, tensor1, tensor2, *, value=1):
    """input + value * tensor1 * tensor2"""
    return add(input, mul(mul(tensor1, tensor2), value))


def addcdiv(input, tensor1, tensor2, *, value=1):
    """input + value * tensor1 / tensor2"""
    return add(input, mul(div(tensor1, tensor2), value))


def lerp(input, end, weight):
    """input + weight * (end - input)"""
    return add(input, mul(weight, sub(end, input)))


# ---- bits ------------------------------------------------------------------------------------


def _bitwise(name):
    @op(promote="result", kinds="iub", name=f"bitwise_{name}")
    def kernel(xp, a, b):
        return getattr(xp, f"bitwise_{name}")(a, b)

    return kernel


bitwise_and, bitwise_or, bitwise_xor = map(_bitwise, ("and", "or", "xor"))


@op(promote="keep", kinds="iub")
def bitwise_not(xp, a):
    """The bits of integers turned over; not, of bools."""
    return xp.invert(a)


def invert(input):
    """The operator ~: TypeError unless the tensor is of integers or bools."""
    if input.dtype.category > 1:
        raise TypeError(
            "~ (operator.invert) is only implemented on integer and Boolean-type tensors, got "
            f"{input.dtype}"
        )
    return bitwise_not.fn(input)


@op(promote="result", kinds="iu")
def bitwise_left_shift(xp, a, b):
    return xp.left_shift(a, b)


@op(promote="result", kinds="iu")
def bitwise_right_shift(xp, a, b):
    return xp.right_shift(a, b)


FUNCTIONS = METHODS = {
    "add": add_scaled, "sub": sub_scaled, "subtract": sub_scaled, "mul": mul.fn, "multiply": mul.fn,
    "div": divide, "divide": divide, "true_divide": div.fn, "floor_divide": floor_divide.fn,
    "remainder": remainder.fn, "fmod": fmod.fn, "pow": power, "neg": neg.fn, "negative": neg.fn,
    "rsub": rsub, "addcmul": addcmul, "addcdiv": addcdiv, "lerp": lerp,
    "bitwise_and": bitwise_and.fn, "bitwise_or": bitwise_or.fn, "bitwise_xor": bitwise_xor.fn,
    "bitwise_not": bitwise_not.fn, "bitwise_left_shift": bitwise_left_shift.fn,
    "bitwise_right_shift": bitwise_right_shift.fn,
}  # fmt: skip
IN_PLACE = {name: fn for name, fn in METHODS.items() if name != "rsub"}
