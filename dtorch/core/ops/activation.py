"""Activation functions: one kernel each, rules in terms of other ops."""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

import math

from ..dtype import as_dtype
from ..op import op
from ..views import in_place
from .index import narrow
from .pointwise import abs as abs_
from .pointwise import clamp_max, erf, exp, sigmoid, tanh, where
from .reduce import _sum
from .shape import axis, cast, number, reshape


@op(saves="y", promote="keep", ufunc="relu", kinds="iuf")
def relu(xp, x):
    """max(x, 0), elementwise."""
    return xp.relu(x)


relu.vjp(lambda g, y, x: g * (y > 0))


@op(saves="x", promote="keep", kinds="f")
def _leaky_relu(xp, x, *, slope):
    if 0 < slope < 1:
        return xp.maximum(x, x * slope)
    return xp.where(x > 0, x, x * slope)


_leaky_relu.vjp(lambda g, y, x, slope: where(x > 0, g, g * slope))


def leaky_relu(input, negative_slope=0.01):
    """input where it is positive, else negative_slope * input"""
    return _leaky_relu(input, slope=number(negative_slope))


@op(saves="x", promote="keep", kinds="f")
def _elu(xp, x, *, alpha, scale, input_scale):
    negative = xp.expm1(xp.minimum(x, 0) * input_scale) * (alpha * scale)
    return xp.where(x > 0, x * scale, negative)


def _elu_vjp(g, y, x, alpha, scale, input_scale):
    slope = exp(clamp_max(x, 0) * input_scale) * (alpha * scale * input_scale)
    return where(x > 0, g * scale, g * slope)


_elu.vjp(_elu_vjp)


def elu(input, alpha=1.0):
    """input where it is positive, else alpha * (exp(input) - 1)  (Clevert et al., 2015)"""
    return _elu(input, alpha=number(alpha), scale=1.0, input_scale=1.0)


def celu(input, alpha=1.0):
    """elu with exp(input / alpha), continuously differentiable  (Barron, 2017)"""
    if alpha == 0:
        raise ZeroDivisionError("ZeroDivisionError: alpha cannot be 0 for CELU")
    alpha = number(alpha)
    return _elu(input, alpha=alpha, scale=1.0, input_scale=1.0 / alpha)


def selu(input):
    """The scaled elu that keeps mean 0 and variance 1  (Klambauer et al., 2017)"""
    return _elu(input, alpha=1.6732632423543772, scale=1.0507009873554805, input_scale=1.0)


@op(saves="x", promote="keep", kinds="f")
def _gelu(xp, x):
    y = xp.erf(x * math.sqrt(0.5))
    y += 1
    y *= x
    y *= 0.5
    return y


def _gelu_vjp(g, y, x):
    cdf = 0.5 * (erf(x * math.sqrt(0.5)) + 1)
    return g * (cdf + x * exp(-0.5 * x * x) * (1 / math.sqrt(2 * math.pi)))


_gelu.vjp(_gelu_vjp)

_TANH, _CUBE = math.sqrt(2 / math.pi), 0.044715


@op(saves="x", promote="keep", kinds="f")
def _gelu_tanh(xp, x):
    return 0.5 * x * (1 + xp.tanh(_TANH * x * (1 + _CUBE * x * x)))


def _gelu_tanh_vjp(g, y, x):
    t = tanh(_TANH * x * (1 + _CUBE * x * x))
    return g * (0.5 * (1 + t) + 0.5 * x * (1 - t * t) * (_TANH * (1 + 3 * _CUBE * x * x)))


_gelu_tanh.vjp(_gelu_tanh_vjp)


def gelu(input, *, approximate="none"):
    """input * P(normal <= input), or its approximation by tanh  (Hendrycks & Gimpel, 2016)"""
    if approximate not in ("none", "tanh"):
        raise RuntimeError("approximate argument must be either none or tanh.")
    return (_gelu if approximate == "none" else _gelu_tanh)(input)


@op(saves="x", promote="keep", kinds="fc")
def silu(xp, x):
    """input * sigmoid(input)"""
    return x / (1 + xp.exp(-x))


def _silu_vjp(g, y, x):
    s = sigmoid(x)
    return g * (s * (1 + x * (1 - s)))


silu.vjp(_silu_vjp)


def _log_one_plus_exp(xp, x):
    """log(1 + exp(x)), stably; xp.logaddexp(x, 0) takes twenty times as long."""
    return xp.maximum(x, 0) + xp.log1p(xp.exp(-xp.absolute(x)))


@op(saves="x", promote="keep", kinds="f")
def _softplus(xp, x, *, beta, threshold):
    z = x * beta
    return xp.where(z > threshold, x, _log_one_plus_exp(xp, z) / beta)


_softplus.vjp(
    lambda g, y, x, beta, threshold: where(x * beta > threshold, g, g * sigmoid(x * beta))
)


def softplus(input, beta=1, threshold=20):
    """log(1 + exp(beta * input)) / beta; input itself where beta * input > threshold"""
    return _softplus(input, beta=number(beta), threshold=number(threshold))


@op(saves="x", promote="keep", kinds="f")
def mish(xp, x):
    """input * tanh(softplus(input))  (Misra, 2019)"""
    return x * xp.tanh(_log_one_plus_exp(xp, x))


def _mish_vjp(g, y, x):
    t = tanh(softplus(x))
    return g * (t + x * (1 - t * t) * sigmoid(x))


mish.vjp(_mish_vjp)


@op(saves="x", promote="keep", kinds="f")
def logsigmoid(xp, x):
    """log(sigmoid(input))"""
    return -_log_one_plus_exp(xp, -x)


logsigmoid.vjp(lambda g, y, x: g * sigmoid(-x))


def softsign(input):
    """input / (1 + |input|)"""
    return input / (abs_(input) + 1)


def tanhshrink(input):
    """input - tanh(input)"""
    return input - tanh(input)


@op(saves="x", promote="keep", kinds="iuf")
def _hardtanh(xp, x, *, low, high):
    return xp.clip(x, low, high).astype(x.dtype, copy=False)


_hardtanh.vjp(lambda g, y, x, low, high: g * ((x > low) & (x < high)))


def hardtanh(input, min_val=-1.0, max_val=1.0):
    """input, clamped to [min_val, max_val]"""
    if min_val > max_val:
        raise ValueError("min_val cannot be greater than max_val")
    return _hardtanh(input, low=min_val, high=max_val)


def relu6(input):
    """input, clamped to [0, 6]"""
    return _hardtanh(input, low=0, high=6)


@op(saves="x", promote="keep", kinds="f")
def hardsigmoid(xp, x):
    """input / 6 + 1 / 2, clamped to [0, 1]"""
    return xp.clip(x / 6 + 0.5, 0, 1)


hardsigmoid.vjp(lambda g, y, x: g * ((x > -3) & (x < 3)) / 6)


@op(saves="x", promote="keep", kinds="f")
def hardswish(xp, x):
    """input * hardsigmoid(input)  (Howard et al., 2019)"""
    return x * xp.clip(x / 6 + 0.5, 0, 1)


hardswish.vjp(lambda g, y, x: where(x >= 3, g, where(x > -3, g * (x / 3 + 0.5), g * 0)))


@op(saves="x", promote="keep", kinds="f")
def _softshrink(xp, x, *, lambd):
    return xp.sign(x) * xp.maximum(xp.absolute(x) - lambd, 0)


_softshrink.vjp(lambda g, y, x, lambd: g * ((x > lambd) | (x < -lambd)))


def softshrink(input, lambd=0.5):
    """input moved by lambd towards 0, and 0 where it would cross it"""
    if lambd < 0:
        raise RuntimeError(
            f"lambda must be greater or equal to 0, but found to be {float(lambd):g}."
        )
    return _softshrink(input, lambd=number(lambd))


@op(saves="x", promote="keep", kinds="f")
def _hardshrink(xp, x, *, lambd):
    return xp.where((x >= -lambd) & (x <= lambd), 0, x)


_hardshrink.vjp(lambda g, y, x, lambd: g * ((x > lambd) | (x < -lambd)))


def hardshrink(input, lambd=0.5):
    """input where |input| > lambd, else 0"""
    return _hardshrink(input, lambd=lambd)


@op(saves="x", promote="keep", kinds="iuf")
def _threshold(xp, x, *, threshold, value):
    return xp.where(x <= threshold, xp.asarray(value, x.dtype), x)


_threshold.vjp(lambda g, y, x, threshold, value: g * (x > threshold))


def threshold(input, threshold, value):
    """input where it is greater than threshold, else value"""
    return _threshold(input, threshold=threshold, value=value)


@op(saves="x", promote="result", kinds="f")
def _prelu(xp, x, w):
    return xp.where(x > 0, x, x * w)


_prelu.vjp(lambda g, y, x, w: where(x > 0, g, g * w), lambda g, y, x, w: where(x > 0, g * 0, g * x))


def prelu(input, weight):
    """input where it is positive, else weight * input; one weight, or one a channel (dim 1)"""
    if weight.ndim > 1:
        raise RuntimeError(
            f"prelu: Expected `weight` to be a scalar or 1D tensor, but got: ndim = {weight.ndim}"
        )
    n = weight.shape[0] if weight.ndim else 1
    if n != 1:
        channels = input.shape[1] if input.ndim > 1 else 1
        if not input.ndim:
            raise RuntimeError("Not allow zero-dim input tensor.")
        if n != channels:
            raise RuntimeError(
                f"Mismatch of parameter numbers and input channel size. Found parameter numbers = "
                f"{n} and channel size = {channels}."
            )
        weight = reshape(weight, (n, *(1,) * (input.ndim - 2)))
    elif weight.ndim:
        weight = reshape(weight, ())
    return _prelu(input, weight)


def glu(input, dim=-1):
    """The first half along dim times the sigmoid of the second  (Dauphin et al., 2016)"""
    if not input.ndim:
        raise RuntimeError("glu does not support 0-dimensional tensors")
    d = axis(dim, input.ndim)
    n = input.shape[d]
    if n % 2:
        raise RuntimeError(f"Halving dimension must be even, but dimension {d} is size {n}")
    return narrow(input, d, 0, n // 2) * sigmoid(narrow(input, d, n // 2, n // 2))


# ---- over a dimension ------------------------------------------------------------------------


@op(saves="y", promote="float", kinds="f")
def _softmax(xp, x, *, dim):
    if not x.size:
        return x.copy()
    y = x - x.max(axis=dim, keepdims=True)
    xp.exp(y, out=y)
    y /= y.sum(axis=dim, keepdims=True)
    return y


def _softmax_vjp(g, y, x, dim):
    p = g * y
    return p - y * _sum(p, dims=(dim,), keepdim=True)


_softmax.vjp(_softmax_vjp)


@op(saves="y", promote="float", kinds="f")
def _log_softmax(xp, x, *, dim):
    if not x.size:
        return x.copy()
    y = x - x.max(axis=dim, keepdims=True)
    y -= xp.log(xp.exp(y).sum(axis=dim, keepdims=True))
    return y


_log_softmax.vjp(lambda g, y, x, dim: g - exp(y) * _sum(g, dims=(dim,), keepdim=True))


def _over_dim(over, input, dim, dtype):
    dim = axis(dim, input.ndim)
    x = input if dtype is None else cast(input, as_dtype(dtype).np)
    if not x.ndim:
        return reshape(over(reshape(x, (1,)), dim=0), ())
    return over(x, dim=dim)


def softmax(input, dim, dtype=None):
    """exp(input), scaled to sum to 1 along dim"""
    return _over_dim(_softmax, input, dim, dtype)


def log_softmax(input, dim, dtype=None):
    """log(softmax(input)), computed stably"""
    return _over_dim(_log_softmax, input, dim, dtype)


def softmin(input, dim, dtype=None):
    """softmax(-input)"""
    return softmax(-input, dim, dtype)


_SHARED = {"relu": relu.fn, "prelu": prelu, "hardshrink": hardshrink}
METHODS = _SHARED | {"softmax": softmax, "log_softmax": log_softmax}
FUNCTIONS = METHODS | {
    "selu": selu, "celu": celu, "threshold": threshold, "selu_": in_place(selu),
    "celu_": in_place(celu), "threshold_": in_place(threshold),
}  # fmt: skip
IN_PLACE = {"relu": relu.fn}
