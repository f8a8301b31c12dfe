"""Initial values of parameters, under torch's names.  All work in place and return the tensor.

The spread of xavier_* is from Glorot and Bengio, "Understanding the difficulty of training deep
feedforward neural networks" (2010), that of kaiming_* from He et al., "Delving deep into
rectifiers" (2015), orthogonal_ from Saxe et al. (2013), sparse_ from Martens (2010).
"""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

import functools
import math
import warnings

from ..core import backend
from ..core.modes import no_grad
from ..core.ops import create
from ..core.tensor import wrap


def in_place(fn):
    """Fill without recording, so that leaves that require a gradient can be filled too."""

    @functools.wraps(fn)
    def fill(tensor, *args, **kwargs):
        with no_grad():
            fn(tensor, *args, **kwargs)
        return tensor

    return fill


def calculate_gain(nonlinearity, param=None):
    """The factor by which the spread of weights in front of this function is to be larger."""
    plain = {"linear", "sigmoid", *(f"conv{t}{n}d" for t in ("", "_transpose") for n in (1, 2, 3))}
    if nonlinearity in plain:
        return 1
    if nonlinearity == "leaky_relu":
        slope = 0.01 if param is None else param
        if isinstance(slope, bool) or not isinstance(slope, (int, float)):
            raise ValueError(f"negative_slope {param} not a valid number")
        return math.sqrt(2.0 / (1 + slope**2))
    gains = {"tanh": 5.0 / 3, "relu": math.sqrt(2.0), "selu": 3.0 / 4}
    if nonlinearity not in gains:
        raise ValueError(f"Unsupported nonlinearity {nonlinearity}")
    return gains[nonlinearity]


def _calculate_fan_in_and_fan_out(tensor):
    """How many inputs an output has, and outputs an input.  tensor: (out, in, *kernel)"""
    if tensor.ndim < 2:
        raise ValueError(
            "Fan in and fan out can not be computed for tensor with fewer than 2 dimensions"
        )
    field = math.prod(tensor.shape[2:])
    return tensor.shape[1] * field, tensor.shape[0] * field


def _calculate_correct_fan(tensor, mode):
    mode = mode.lower()
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f"Mode {mode} not supported, please use one of ['fan_in', 'fan_out']")
    return _calculate_fan_in_and_fan_out(tensor)[mode == "fan_out"]


@in_place
def uniform_(tensor, a=0.0, b=1.0, generator=None):
    """Draw from U(a, b)."""
    tensor.uniform_(a, b, generator=generator)


@in_place
def normal_(tensor, mean=0.0, std=1.0, generator=None):
    """Draw from N(mean, std^2)."""
    tensor.normal_(mean, std, generator=generator)


@in_place
def trunc_normal_(tensor, mean=0.0, std=1.0, a=-2.0, b=2.0, generator=None):
    """Draw from N(mean, std^2) cut off outside [a, b], by the inverse of its distribution."""

    def cdf(x):
        return (1.0 + math.erf(x / math.sqrt(2.0))) / 2.0

    low, high = cdf((a - mean) / std), cdf((b - mean) / std)
    tensor.uniform_(2 * low - 1, 2 * high - 1, generator=generator)
    inverse = backend.of(tensor._a).special("erfinv")(tensor._a)
    tensor.copy_(wrap(inverse)).mul_(std * math.sqrt(2.0)).add_(mean).clamp_(min=a, max=b)


@in_place
def constant_(tensor, val):
    """Fill the tensor with `val`."""
    tensor.fill_(val)


@in_place
def ones_(tensor):
    """Fill the tensor with 1."""
    tensor.fill_(1.0)


@in_place
def zeros_(tensor):
    """Fill the tensor with 0."""
    tensor.zero_()


@in_place
def eye_(tensor):
    """The identity matrix."""
    if tensor.ndim != 2:
        raise ValueError("Only tensors with 2 dimensions are supported")
    tensor.zero_()
    for i in range(min(tensor.shape)):
        tensor[i, i] = 1


@in_place
def dirac_(tensor, groups=1):
    """Convolution weights (out, in, *kernel) that keep the channels: each group is the identity."""
    if tensor.ndim not in (3, 4, 5):
        raise ValueError("Only tensors with 3, 4, or 5 dimensions are supported")
    if tensor.shape[0] % groups:
        raise ValueError("dim 0 must be divisible by groups")
    out = tensor.shape[0] // groups
    middle = tuple(n // 2 for n in tensor.shape[2:])
    tensor.zero_()
    for g in range(groups):
        for d in range(min(out, tensor.shape[1])):
            tensor[(g * out + d, d, *middle)] = 1


@in_place
def xavier_uniform_(tensor, gain=1.0, generator=None):
    """U(-a, a) with a = gain sqrt(6 / (fan_in + fan_out))."""
    a = gain * math.sqrt(6.0 / sum(_calculate_fan_in_and_fan_out(tensor)))
    tensor.uniform_(-a, a, generator=generator)


@in_place
def xavier_normal_(tensor, gain=1.0, generator=None):
    """N(0, std^2) with std = gain sqrt(2 / (fan_in + fan_out))."""
    std = gain * math.sqrt(2.0 / sum(_calculate_fan_in_and_fan_out(tensor)))
    tensor.normal_(0.0, std, generator=generator)


@in_place
def kaiming_uniform_(tensor, a=0, mode="fan_in", nonlinearity="leaky_relu", generator=None):
    """U(-b, b) with b = gain sqrt(3 / fan)."""
    if not tensor.numel():
        return
    bound = calculate_gain(nonlinearity, a) * math.sqrt(3.0 / _calculate_correct_fan(tensor, mode))
    tensor.uniform_(-bound, bound, generator=generator)


@in_place
def kaiming_normal_(tensor, a=0, mode="fan_in", nonlinearity="leaky_relu", generator=None):
    """N(0, std^2) with std = gain / sqrt(fan)."""
    if not tensor.numel():
        return
    std = calculate_gain(nonlinearity, a) / math.sqrt(_calculate_correct_fan(tensor, mode))
    tensor.normal_(0.0, std, generator=generator)


@in_place
def uniform_fan_in_(bias, weight):
    """U(-k, k) with k = 1 / sqrt(fan_in) of the weight: the default of a layer's bias, if any."""
    if bias is not None:
        fan_in = _calculate_fan_in_and_fan_out(weight)[0]
        k = 1 / math.sqrt(fan_in) if fan_in else 0
        bias.uniform_(-k, k)


@in_place
def orthogonal_(tensor, gain=1, generator=None):
    """A (semi-)orthogonal matrix: Q of a random Gaussian matrix.  tensor: (rows, ...)"""
    if tensor.ndim < 2:
        raise ValueError("Only tensors with 2 or more dimensions are supported")
    if not tensor.numel():
        return
    from ..core.ops.qr import qr

    rows, cols = tensor.shape[0], tensor.numel() // tensor.shape[0]
    flat = create.zeros(max(rows, cols), min(rows, cols), dtype=tensor.dtype, device=tensor.device)
    flat.normal_(0, 1, generator=generator)
    q, r = qr(flat)
    q = q * r.diagonal().sign()  # makes Q uniform
    tensor.copy_((q if rows >= cols else q.t()).reshape(tensor.shape)).mul_(gain)


@in_place
def sparse_(tensor, sparsity, std=0.01, generator=None):
    """N(0, std^2) with the fraction `sparsity` of each column set to zero.  tensor: (rows, cols)"""
    if tensor.ndim != 2:
        raise ValueError("Only tensors with 2 dimensions are supported")
    from ..core.ops.random import randperm

    rows, cols = tensor.shape
    zeros = math.ceil(sparsity * rows)
    tensor.normal_(0, std, generator=generator)
    for col in range(cols):
        tensor[randperm(rows, generator=generator)[:zeros], col] = 0


# ---- torch's first names -------------------------------------------------------------------------


def _deprecated(fn):
    """A function under the name that it had before it got its underscore."""
    old = fn.__name__.removesuffix("_")

    @functools.wraps(fn)
    def renamed(*args, **kwargs):
        warnings.warn(
            f"`nn.init.{old}` is now deprecated in favor of `nn.init.{fn.__name__}`.",
            FutureWarning,
            stacklevel=2,
        )
        return fn(*args, **kwargs)

    renamed.__name__ = renamed.__qualname__ = old
    return renamed


uniform, normal, constant, eye, dirac = map(
    _deprecated, (uniform_, normal_, constant_, eye_, dirac_)
)
xavier_uniform, xavier_normal = map(_deprecated, (xavier_uniform_, xavier_normal_))
kaiming_uniform, kaiming_normal = map(_deprecated, (kaiming_uniform_, kaiming_normal_))
orthogonal, sparse = map(_deprecated, (orthogonal_, sparse_))
