"""Normalization: batch, layer, group, instance and RMS norm are one fused op."""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

from functools import cache
from math import prod

from .. import backend
from ..dtype import check_kind
from ..graph import writes
from ..op import op
from .pointwise import rsqrt
from .pool import avg_pool2d, avg_pool3d
from .reduce import _sum, count, kept, var_mean
from .resample import pad
from .shape import clone, number, raw, reshape, squeeze, unsqueeze


@op(saves="xr")
def _normalized(xp, x, w, b, *, view, dims, affine, eps, center):
    """x, seen in the shape `view`, with mean 0 and variance 1 over `dims`, times w, plus b.

    w and b (or None) are seen in the shape `affine`.  Without `center` the mean is taken for 0.
    Returns the result in the shape of x, and the mean and the variance with dims kept as 1.
    """
    y = x.reshape(view)
    n = count(view, dims)
    if center:
        mean = xp.add.reduce(y, dims, None, None, True)
        mean /= n
        y = y - mean
    var = _dot(xp, y, y, dims)
    var /= n
    if not center:
        mean = xp.zeros_like(var)
    rstd = 1 / xp.sqrt(var + eps)
    if center:
        y *= rstd
    else:
        y = y * rstd
    if w is not None:
        y *= w.reshape(affine)
    if b is not None:
        y += b.reshape(affine)
    return y.reshape(x.shape), mean, var


@op()
def _normalized_grad(xp, g, x, w, b, mean, var, *, needs, view, dims, affine, eps, center):
    """The gradients of _normalized in x, w and b."""
    g = g.reshape(view)
    n = count(view, dims)
    rest = tuple([i for i, k in enumerate(affine) if k == 1])
    gb = xp.add.reduce(g, rest).reshape(b.shape) if needs[2] else None
    if not needs[0] and not needs[1]:
        return None, None, gb
    rstd = 1 / xp.sqrt(var + eps)
    normal = (x.reshape(view) - mean) * rstd if center else x.reshape(view) * rstd
    gw = _dot(xp, g, normal, rest).reshape(w.shape) if needs[1] else None
    if not needs[0]:
        return None, gw, gb
    if w is not None:
        g = g * w.reshape(affine)
    # gx = (g - mean(g) - normal * mean(g * normal)) / std
    normal *= _dot(xp, g, normal, dims) / n
    gx = g - normal
    if center:
        gx -= xp.add.reduce(g, dims, None, None, True) / n
    gx *= rstd
    return gx.reshape(x.shape), gw, gb


def _dot(xp, a, b, dims):
    """The sum of a * b over `dims`, which are kept, without a product array."""
    return xp.einsum(_subscripts(a.ndim, dims), a, b).reshape(kept(a.shape, dims))


@cache
def _subscripts(ndim, dims):
    letters = "abcdefgh"[:ndim]
    return f"{letters},{letters}->{''.join(c for i, c in enumerate(letters) if i not in dims)}"


_normalized.vjp_joint(
    lambda needs, g, y, x, w, b, **p: _normalized_grad(g, x, w, b, y[1], y[2], needs=needs, **p)
)


@_normalized.define
def _composite(x, w, b, *, view, dims, affine, eps, center):
    y = reshape(x, view)
    n = count(view, dims)
    mean = _sum(y, dims=dims, keepdim=True) / n
    if center:
        y = y - mean
    var = _sum(y * y, dims=dims, keepdim=True) / n
    y = y * rsqrt(var + eps)
    if w is not None:
        y = y * reshape(w, affine)
    if b is not None:
        y = y + reshape(b, affine)
    return reshape(y, tuple(x.shape))


def _check_dtypes(name, input, *parameters):
    """Floats, and parameters of the input's dtype, or of float32 with an input in half precision."""
    d = raw(input).dtype
    for t in parameters:
        if t is None or raw(t).dtype == d:
            continue
        if d.itemsize > 2 or raw(t).dtype != "float32":
            raise RuntimeError(
                "mixed dtype (CPU): all inputs must share same datatype. Got an input of "
                f"{input.dtype} and a parameter of {t.dtype}; cast one with .to(dtype)"
            )
    check_kind(name, "f", raw(input))


def _follow(running, batch, momentum, weight):
    """running = (1 - momentum) running + weight batch, in place, of statistics (C,); or None."""
    if running is not None:
        a = running._a
        with backend.of(a).on(a):
            a *= 1 - momentum
            a += (batch * weight).reshape(a.shape).astype(a.dtype, copy=False)
        writes.stamp(a)


def batch_norm(input, running_mean, running_var, weight=None, bias=None, training=False,
               momentum=0.1, eps=1e-5):  # fmt: skip
    """Each channel with mean 0 and variance 1: the batch's in training, else the running ones.

    input: (N, C, ...).  In training the running statistics, (C,) each, are moved by `momentum`
    towards the batch's, in place; an empty batch leaves them.  (Ioffe & Szegedy, 2015)
    """
    if training and eps <= 0:
        raise ValueError(f"batch_norm eps must be positive during training, but got {eps}")
    return _over_batch(input, running_mean, running_var, weight, bias, training, momentum, eps)[0]


def _over_batch(input, running_mean, running_var, weight, bias, training, momentum, eps):
    """batch_norm with the batch's mean and variance, which are None where they were not used."""
    x = raw(input)
    if not x.size and x.ndim < 2:
        return clone(input), None, None
    if x.ndim < 2:
        raise ValueError(f"expected at least 2D input (got {x.ndim}D input)")
    check_kind("batch_norm", "f", x)
    _check_dtypes("batch_norm", input, weight, bias)
    n, c = x.shape[:2]
    length = prod(x.shape[2:])
    for name, t in (("running_mean", running_mean), ("running_var", running_var),
                    ("weight", weight), ("bias", bias)):  # fmt: skip
        if t is not None and raw(t).size != c:
            raise RuntimeError(f"{name} should contain {c} elements not {t.numel()}")
    if not training:
        if running_mean is None or running_var is None:
            raise RuntimeError(
                "Expected running_mean and running_var to be defined when training=False"
            )
        return _shifted(input, running_mean, running_var, weight, bias, eps), None, None
    elements = n * length
    if elements == 1:
        raise ValueError(
            f"Expected more than 1 value per channel when training, got input size {input.size()}"
        )
    y, mean, var = _normalized(
        input, weight, bias, view=(n, c, length), dims=(0, 2), affine=(1, c, 1), eps=eps,
        center=True,
    )  # fmt: skip
    if elements:  # an empty batch says nothing of the statistics
        _follow(running_mean, raw(mean), momentum, momentum)
        _follow(running_var, raw(var), momentum, momentum * elements / (elements - 1))
    return y, mean, var


def _shifted(x, mean, var, w, b, eps):
    """(x - mean) / sqrt(var + eps) * w + b, channel by channel."""
    shape = (1, -1, *(1,) * (x.ndim - 2))
    scale = rsqrt(var + eps)
    scale = scale if w is None else scale * w
    shift = -mean * scale if b is None else b - mean * scale
    y = x * reshape(scale, shape) + reshape(shift, shape)
    return y if y.dtype is x.dtype else y.to(x.dtype)


def layer_norm(input, normalized_shape, weight=None, bias=None, eps=1e-5):
    """Mean 0 and variance 1 over the last dimensions, normalized_shape  (Ba et al., 2016)"""
    return _over_last(input, normalized_shape, weight, bias, eps)[0]


def _over_last(input, normalized_shape, weight, bias, eps):
    """layer_norm with the rows' means and variances."""
    view, n = _last(input, normalized_shape, "layer_norm", weight, bias)
    _check_dtypes("layer_norm", input, weight, bias)
    return _normalized(
        input, weight, bias, view=view, dims=(1,), affine=(1, n), eps=eps, center=True
    )


def rms_norm(input, normalized_shape, weight=None, eps=None):
    """Divided by the root of the mean square over the last dimensions  (Zhang & Sennrich, 2019)

    eps: default the dtype's machine epsilon
    """
    view, n = _last(input, normalized_shape, "rms_norm", weight, None)
    if eps is None:
        eps = {"float64": 2.0**-52, "float16": 2.0**-10, "bfloat16": 2.0**-7}.get(
            input.dtype.to_real().name, 2.0**-23
        )
    return _normalized(
        input, weight, None, view=view, dims=(1,), affine=(1, n), eps=number(eps), center=False
    )[0]


def _last(x, shape, name, weight, bias):
    """(rows, elements of a row), where a row is what normalized_shape spans."""
    shape = (shape,) if isinstance(shape, int) else tuple(shape)
    if not shape:
        raise RuntimeError(
            "Expected normalized_shape to be at least 1-dimensional, i.e., containing at least one "
            f"element, but got normalized_shape = {list(shape)}"
        )
    for which, t in (("weight", weight), ("bias", bias)):
        if t is not None and raw(t).shape != shape:
            raise RuntimeError(
                f"Expected {which} to be of same shape as normalized_shape, but got {which} of "
                f"shape {list(t.shape)} and normalized_shape = {list(shape)}"
            )
    whole = raw(x).shape
    lead = len(whole) - len(shape)
    if lead < 0 or whole[lead:] != shape:
        stars = ", ".join(map(str, shape))
        raise RuntimeError(
            f"Given normalized_shape={list(shape)}, expected input with shape [*, {stars}], but "
            f"got input of size{list(x.shape)}"
        )
    return (prod(whole[:lead]), prod(shape)), prod(shape)


def group_norm(input, num_groups, weight=None, bias=None, eps=1e-5):
    """Mean 0 and variance 1 over each group of channels of each sample  (Wu & He, 2018)"""
    if input.ndim < 2:
        raise RuntimeError(
            f"Expected at least 2 dimensions for input tensor but received {input.ndim}"
        )
    n, c = input.shape[:2]
    if num_groups <= 0 or c % num_groups:
        raise RuntimeError(
            "Expected number of channels in input to be divisible by num_groups, but got input of "
            f"shape {list(input.shape)} and num_groups={num_groups}"
        )
    for which, t in (("weight", weight), ("bias", bias)):
        if t is not None and tuple(t.shape) != (c,):
            raise RuntimeError(
                f"Expected {which} to be a vector of size equal to the number of channels in "
                f"input, but got {which} of shape {list(t.shape)} and input of shape "
                f"{list(input.shape)}"
            )
    _check_dtypes("group_norm", input, weight, bias)
    k = c // num_groups
    return _normalized(
        input, weight, bias, view=(n, num_groups, k, prod(input.shape[2:])), dims=(2, 3),
        affine=(1, num_groups, k, 1), eps=eps, center=True,
    )[0]  # fmt: skip


def instance_norm(input, running_mean=None, running_var=None, weight=None, bias=None,
                  use_input_stats=True, momentum=0.1, eps=1e-5):  # fmt: skip
    """Mean 0 and variance 1 over each channel of each sample  (Ulyanov et al., 2016)

    The running statistics, if given, follow the batch's mean of each sample's statistics.
    """
    if input.ndim < 2:
        raise ValueError(f"expected at least 2D input (got {input.ndim}D input)")
    check_kind("instance_norm", "f", raw(input))
    n, c = input.shape[:2]
    length = prod(input.shape[2:])
    if not use_input_stats:
        if running_mean is None or running_var is None:
            raise RuntimeError(
                "Expected running_mean and running_var to be defined when use_input_stats is false"
            )
        return _shifted(input, running_mean, running_var, weight, bias, eps)
    if length == 1:
        raise ValueError(
            f"Expected more than 1 spatial element when training, got input size {input.size()}"
        )
    y, mean, var = _normalized(
        input, weight, bias, view=(n, c, length), dims=(2,), affine=(1, c, 1), eps=eps, center=True
    )
    _follow(running_mean, raw(mean).sum(0), momentum, momentum / n)
    _follow(running_var, raw(var).sum(0), momentum, momentum / n * length / (length - 1))
    return y


def local_response_norm(input, size, alpha=1e-4, beta=0.75, k=1.0):
    """input / (k + alpha * mean of squares over `size` channels)^beta  (Krizhevsky et al., 2012)"""
    if input.ndim < 3:
        raise ValueError(
            f"Expected 3D or higher dimensionality input (got {input.ndim} dimensions)"
        )
    if not input.numel():
        return input
    squares = unsqueeze(input * input, 1)
    if input.ndim == 3:
        squares = pad(squares, (0, 0, size // 2, (size - 1) // 2))
        mean = squeeze(avg_pool2d(squares, (size, 1), 1), 1)
    else:
        n, c, h = input.shape[:3]
        squares = reshape(squares, (n, 1, c, h, -1))
        squares = pad(squares, (0, 0, 0, 0, size // 2, (size - 1) // 2))
        mean = reshape(avg_pool3d(squares, (size, 1, 1), 1), tuple(input.shape))
    return input / (mean * alpha + k) ** beta


def _batch_norm(
    input, weight, bias, running_mean, running_var, training, momentum, eps, cudnn=True
):
    """batch_norm, with its arguments in the order of torch.batch_norm"""
    return batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps)


def _instance_norm(input, weight, bias, running_mean, running_var, use_input_stats, momentum, eps,
                   cudnn=True):  # fmt: skip
    """instance_norm, with its arguments in the order of torch.instance_norm"""
    return instance_norm(
        input, running_mean, running_var, weight, bias, use_input_stats, momentum, eps
    )


# ---- with their statistics -------------------------------------------------------------------


def _native(x, y, mean, var, shape, eps):
    """(y, mean, 1 / standard deviation), these of the given shape; without them, empty.

    As in torch these have no gradient.
    """
    if mean is None:
        return y, x.new_empty(0), x.new_empty(0)
    mean, scale = mean.detach(), rsqrt(var.detach() + eps)
    return y, reshape(mean, shape).to(x.dtype), reshape(scale, shape).to(x.dtype)


def native_layer_norm(input, normalized_shape, weight, bias, eps):
    """(layer_norm, mean, 1 / standard deviation); these of the input's shape, last ones 1"""
    lead = input.ndim - len(normalized_shape)
    shape = (*input.shape[:lead], *(1,) * len(normalized_shape))
    return _native(input, *_over_last(input, normalized_shape, weight, bias, eps), shape, eps)


def native_group_norm(input, weight, bias, N, C, HxW, group, eps):
    """(group_norm, mean, 1 / standard deviation); these (N, group), and with gradients"""
    if tuple(input.shape[:2]) != (N, C) or input.numel() != N * C * HxW:
        raise RuntimeError(
            f"Expected input of size (N, C, ...) with N={N}, C={C} and N * C * HxW="
            f"{N * C * HxW} elements, but got {list(input.shape)}"
        )
    variance, mean = var_mean(reshape(input, (N, group, C // group * HxW)), -1, correction=0)
    return group_norm(input, group, weight, bias, eps), mean, rsqrt(variance + eps)


def native_batch_norm(input, weight, bias, running_mean, running_var, training, momentum, eps):
    """(batch_norm, mean, 1 / standard deviation); these (C,), or empty where not training"""
    results = _over_batch(input, running_mean, running_var, weight, bias, training, momentum, eps)
    return _native(input, *results, (-1,), eps)


FUNCTIONS = {
    "layer_norm": layer_norm, "group_norm": group_norm, "rms_norm": rms_norm,
    "batch_norm": _batch_norm, "instance_norm": _instance_norm,
    "native_layer_norm": native_layer_norm, "native_group_norm": native_group_norm,
    "native_batch_norm": native_batch_norm,
}  # fmt: skip
