"""Normalization: batch, layer, group, instance and RMS norm are one fused op."""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

from math import prod

from ..modes import no_grad
from ..op import op
from .pointwise import rsqrt
from .pool import avg_pool2d, avg_pool3d
from .reduce import _sum
from .resample import pad
from .shape import clone, reshape, squeeze, unsqueeze


@op(saves="xy")
def _normalized(xp, x, w, b, *, view, dims, affine, eps, center):
    """x, seen in the shape `view`, with mean 0 and variance 1 over `dims`, times w, plus b.

    w and b (or None) are seen in the shape `affine`.  Without `center` the mean is taken for 0.
    Returns the result in the shape of x, and the mean and the variance with dims kept as 1.
    """
    y = x.reshape(view)
    n = prod(view[d] for d in dims)
    if center:
        mean = y.sum(axis=dims, keepdims=True)
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
    n = prod(view[d] for d in dims)
    rest = tuple(i for i, k in enumerate(affine) if k == 1)
    gb = g.sum(axis=rest).reshape(b.shape) if needs[2] else None
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
        gx -= g.sum(axis=dims, keepdims=True) / n
    gx *= rstd
    return gx.reshape(x.shape), gw, gb


def _dot(xp, a, b, dims):
    """The sum of a * b over `dims`, which are kept, without a product array."""
    letters = "abcdefgh"[: a.ndim]
    kept = "".join(c for i, c in enumerate(letters) if i not in dims)
    shape = tuple(1 if i in dims else k for i, k in enumerate(a.shape))
    return xp.einsum(f"{letters},{letters}->{kept}", a, b).reshape(shape)


_normalized.vjp_joint(
    lambda needs, g, y, x, w, b, **p: _normalized_grad(g[0], x, w, b, y[1], y[2], needs=needs, **p)
)


@_normalized.define
def _composite(x, w, b, *, view, dims, affine, eps, center):
    y = reshape(x, view)
    n = prod(view[d] for d in dims)
    mean = _sum(y, dims=dims, keepdim=True) / n
    if center:
        y = y - mean
    var = _sum(y * y, dims=dims, keepdim=True) / n
    y = y * rsqrt(var + eps)
    if w is not None:
        y = y * reshape(w, affine)
    if b is not None:
        y = y + reshape(b, affine)
    return reshape(y, tuple(x.shape)), mean, var


def batch_norm(input, running_mean, running_var, weight=None, bias=None, training=False,
               momentum=0.1, eps=1e-5):  # fmt: skip
    """Each channel with mean 0 and variance 1: the batch's in training, else the running ones.

    input: (N, C, ...).  In training the running statistics, (C,) each, are moved by `momentum`
    towards the batch's, in place; an empty batch leaves them.  (Ioffe & Szegedy, 2015)
    """
    if not input.numel() and input.ndim < 2:
        return clone(input)
    if input.ndim < 2:
        raise ValueError(f"expected at least 2D input (got {input.ndim}D input)")
    n, c = input.shape[:2]
    length = prod(input.shape[2:])
    given = {
        "running_mean": running_mean,
        "running_var": running_var,
        "weight": weight,
        "bias": bias,
    }
    for name, t in given.items():
        if t is not None and t.numel() != c:
            raise RuntimeError(f"{name} should contain {c} elements not {t.numel()}")
    if not training:
        if running_mean is None or running_var is None:
            raise RuntimeError(
                "Expected running_mean and running_var to be defined when training=False"
            )
        return _shifted(input, running_mean, running_var, weight, bias, eps)
    count = n * length
    if count == 1:
        raise ValueError(
            f"Expected more than 1 value per channel when training, got input size {input.size()}"
        )
    y, mean, var = _normalized(
        input,
        weight,
        bias,
        view=(n, c, length),
        dims=(0, 2),
        affine=(1, c, 1),
        eps=eps,
        center=True,
    )
    if not count:  # an empty batch says nothing of the statistics
        return y
    with no_grad():
        if running_mean is not None:
            running_mean.mul_(1 - momentum).add_(
                (mean * momentum).reshape(c).to(running_mean.dtype)
            )
        if running_var is not None:
            unbiased = var * (momentum * count / (count - 1))
            running_var.mul_(1 - momentum).add_(unbiased.reshape(c).to(running_var.dtype))
    return y


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
    view, n = _last(input, normalized_shape, "layer_norm", weight, bias)
    return _normalized(
        input, weight, bias, view=view, dims=(1,), affine=(1, n), eps=eps, center=True
    )[0]


def rms_norm(input, normalized_shape, weight=None, eps=None):
    """Divided by the root of the mean square over the last dimensions  (Zhang & Sennrich, 2019)

    eps: default the dtype's machine epsilon
    """
    view, n = _last(input, normalized_shape, "rms_norm", weight, None)
    if eps is None:
        eps = {"float64": 2.0**-52, "float16": 2.0**-10, "bfloat16": 2.0**-7}.get(
            input.dtype.name, 2.0**-23
        )
    return _normalized(
        input, weight, None, view=view, dims=(1,), affine=(1, n), eps=eps, center=False
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
        if t is not None and tuple(t.shape) != shape:
            raise RuntimeError(
                f"Expected {which} to be of same shape as normalized_shape, but got {which} of "
                f"shape {list(t.shape)} and normalized_shape = {list(shape)}"
            )
    lead = x.ndim - len(shape)
    if lead < 0 or tuple(x.shape[lead:]) != shape:
        stars = ", ".join(map(str, shape))
        raise RuntimeError(
            f"Given normalized_shape={list(shape)}, expected input with shape [*, {stars}], but "
            f"got input of size{list(x.shape)}"
        )
    return (prod(x.shape[:lead]), prod(shape)), prod(shape)


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
    with no_grad():
        if running_mean is not None:
            mean = (mean.sum(0) * (momentum / n)).reshape(c)
            running_mean.mul_(1 - momentum).add_(mean.to(running_mean.dtype))
        if running_var is not None:
            unbiased = (var.sum(0) * (momentum / n * length / (length - 1))).reshape(c)
            running_var.mul_(1 - momentum).add_(unbiased.to(running_var.dtype))
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


FUNCTIONS = {
    "layer_norm": layer_norm, "group_norm": group_norm, "rms_norm": rms_norm,
    "batch_norm": _batch_norm, "instance_norm": _instance_norm,
}  # fmt: skip
