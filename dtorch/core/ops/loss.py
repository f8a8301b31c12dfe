"""Losses of classification and regression.

Cross entropy over class indices is one fused op; binary cross entropy has a rule that does not
divide by zero; the rest is made of ops.
"""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

import warnings
from math import pi, prod

from ..dtype import LEGACY_NAMES, can_cast, check_kind
from ..op import op
from ..tensor import Tensor
from .activation import _log_softmax, logsigmoid
from .pointwise import abs, clamp_min, exp, log, log1p, where
from .reduce import _sum
from .shape import raw, reshape


def reduced(loss, reduction, name="loss"):
    """The loss itself ("none"), its mean or its sum."""
    if reduction == "none":
        return loss
    if reduction not in ("mean", "sum"):
        raise ValueError(f"{reduction} is not a valid value for reduction")
    if reduction == "mean" and loss.dtype.category < 2:
        raise RuntimeError(
            "mean(): could not infer output dtype. Input dtype must be either a floating point or "
            f"complex dtype. Got: {LEGACY_NAMES[loss.dtype]}"
        )
    total = _sum(loss, dims=tuple(range(loss.ndim)), keepdim=False)
    return (
        total
        if reduction == "sum"
        else total / loss.numel()
        if loss.numel()
        else total * float("nan")
    )


# ---- class indices ---------------------------------------------------------------------------


def _targets(xp, target, w, classes, ignore_index, dtype, checked=False):
    """Class indices (N, L) with ignored ones as 0, and the weight of each, 0 where ignored."""
    valid = target != ignore_index
    safe = target * valid
    if not checked and not xp.in_range(safe, classes):
        bad = safe[(safe < 0) | (safe >= classes)]
        raise IndexError(
            f"Target {int(bad[0])} is out of bounds: expected 0 <= target < {classes} (the "
            f"number of classes), or ignore_index ({ignore_index})."
        )
    return safe, valid.astype(dtype) if w is None else xp.where(valid, w[safe], 0)


def _at(xp, target):
    """The index of the classes in an array (N, C, L)."""
    n, length = target.shape
    return xp.arange(n)[:, None], target, xp.arange(length)


@op(saves="x", kinds="biuf")
def _nll_loss(xp, x, target, w, *, shape, ignore_index, reduction):
    """Minus the log probabilities x of the targets, weighted.

    x is seen as `shape`, (N, C, L); target: N * L class indices; w: (C,) or None.  "none" gives
    the losses in the shape of target.
    """
    t, weights = _targets(
        xp, target.reshape(shape[0], shape[2]), w, shape[1], ignore_index, x.dtype
    )
    loss = -x.reshape(shape)[_at(xp, t)] * weights
    if reduction == "none":
        return loss.reshape(target.shape)
    total = loss.sum()
    return total if reduction == "sum" else total / weights.sum()


@op(saves="x")
def _nll_loss_add(xp, g, target, w, *, like, shape, ignore_index, reduction):
    """The adjoint of _nll_loss in x: an array of the shape `like`."""
    t, weights = _targets(
        xp, target.reshape(shape[0], shape[2]), w, shape[1], ignore_index, g.dtype
    )
    out = xp.zeros(shape, g.dtype)
    if reduction == "none":
        weights = weights * g.reshape(t.shape)
    else:
        weights = weights * (g if reduction == "sum" else g / weights.sum())
    out[_at(xp, t)] = -weights
    return out.reshape(like)


_nll_loss.vjp(
    lambda g, y, x, t, w, **p: _nll_loss_add(g, t, w, like=tuple(x.shape), **p), None, None
)
_nll_loss_add.vjp(lambda g, y, x, t, w, like, **p: _nll_loss(g, t, w, **p), None, None)


@op(saves="xr", kinds="biuf")
def _cross_entropy(xp, x, target, w, *, shape, ignore_index, reduction, smoothing):
    """_nll_loss of log_softmax(x), and softmax(x) as (N, C, L): softmax and gather in one."""
    t, weights = _targets(
        xp, target.reshape(shape[0], shape[2]), w, shape[1], ignore_index, x.dtype
    )
    x = x.reshape(shape)
    x = x - x.max(axis=1, keepdims=True)
    loss = -x[_at(xp, t)]
    if smoothing:
        others = -x.mean(axis=1) if w is None else -xp.matmul(w, x) / shape[1]
    p = xp.exp(x, out=x)
    total = xp.add.reduce(p, 1, None, None, True)
    p /= total
    log_total = xp.log(total[:, 0])
    loss += log_total
    loss *= weights
    if smoothing:
        others += log_total * (1 if w is None else w.mean())
        loss *= 1 - smoothing
        loss += smoothing * xp.where(target.reshape(t.shape) != ignore_index, others, 0)
    if reduction == "none":
        return loss.reshape(target.shape), p
    loss = loss.sum()
    return loss if reduction == "sum" else loss / weights.sum(), p


@op()
def _cross_entropy_grad(xp, g, x, p, target, w, *, shape, ignore_index, reduction, smoothing):
    """The gradient of _cross_entropy in x, from its second output."""
    t, weights = _targets(
        xp, target.reshape(shape[0], shape[2]), w, shape[1], ignore_index, p.dtype, checked=True
    )
    scale = g.reshape(t.shape) if reduction == "none" else g
    if reduction == "mean":
        scale = scale / weights.sum()
    a = weights * (scale * (1 - smoothing))
    out = p * a[:, None]
    out[_at(xp, t)] -= a
    if smoothing:
        each = xp.ones(shape[1], p.dtype) if w is None else w
        valid = (target.reshape(t.shape) != ignore_index) * scale
        out += (p * each.sum() - each[:, None]) * (valid * (smoothing / shape[1]))[:, None]
    return out.reshape(x.shape)


_cross_entropy.vjp_joint(
    lambda needs, g, y, x, t, w, **p: (
        _cross_entropy_grad(g, x, y[1], t, w, **p), None, None
    )
)  # fmt: skip


@_cross_entropy.define
def _composite(x, target, w, *, shape, ignore_index, reduction, smoothing):
    logs = _log_softmax(reshape(x, shape), dim=1)
    how = {"shape": shape, "ignore_index": ignore_index}
    loss = _nll_loss(logs, target, w, reduction=reduction, **how)
    if smoothing:
        each = logs if w is None else logs * reshape(w, (-1, 1))
        valid = reshape(target != ignore_index, (shape[0], shape[2]))
        others = -_sum(each, dims=(1,), keepdim=False) * valid / shape[1]
        if reduction == "none":
            others = reshape(others, tuple(target.shape))
        else:
            others = _sum(others, dims=(0, 1), keepdim=False)
            if reduction == "mean":
                ones = _nll_loss(logs * 0 - 1, target, w, reduction="sum", **how)
                others = others / ones
        loss = loss * (1 - smoothing) + others * smoothing
    return loss


def _class_shape(input, target, weight, name):
    """The input as (N, C, L), with shapes and dtypes checked."""
    x, t = raw(input), raw(target)
    if not x.ndim >= 1:
        raise ValueError(f"Expected 1 or more dimensions (got {x.ndim})")
    c = x.shape[min(1, x.ndim - 1)]
    expected = x.shape[: x.ndim > 1] + x.shape[2:]
    samples = t.shape[0] if t.ndim else 0
    if x.ndim > 1 and x.shape[0] != samples:
        raise ValueError(
            f"Expected input batch_size ({x.shape[0]}) to match target batch_size ({samples})."
        )
    if t.shape != expected:
        raise RuntimeError(f"Expected target size {list(expected)}, got {list(t.shape)}")
    if target.dtype.name not in ("int64", "uint8"):
        raise RuntimeError(
            f"expected target dtype to be Long or Byte, but got {LEGACY_NAMES[target.dtype]}"
        )
    if weight is not None and raw(weight).dtype != x.dtype:
        names = (LEGACY_NAMES[t.dtype] for t in (input, weight))
        raise RuntimeError("expected scalar type {} but found {}".format(*names))
    if weight is not None and tuple(weight.shape) != (c,):
        raise RuntimeError(
            "weight tensor should be defined either for all "
            f"{c} classes or no classes but got weight tensor of shape: {list(weight.shape)}"
        )
    return (1, c, 1) if x.ndim == 1 else (x.shape[0], c, prod(x.shape[2:]))


def _check_reduction(reduction):
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(f"{reduction} is not a valid value for reduction")


def nll_loss(input, target, weight=None, ignore_index=-100, reduction="mean"):
    """Minus the log probability of each target class.

    input: (N, C, ...) or (C,) log probabilities; target: (N, ...) or () class indices;
    weight: (C,), by which "mean" is weighted too
    """
    _check_reduction(reduction)
    shape = _class_shape(input, target, weight, "nll_loss")
    return _nll_loss(
        input, target, weight, shape=shape, ignore_index=ignore_index, reduction=reduction
    )


def cross_entropy(input, target, weight=None, ignore_index=-100, reduction="mean",
                  label_smoothing=0.0):  # fmt: skip
    """Minus the log probability of the target under softmax(input).

    input: (N, C, ...) or (C,) logits; target: class indices (N, ...) or (), or probabilities of
    the input's shape; label_smoothing: how much of the target is spread over all classes
    """
    _check_reduction(reduction)
    if not 0 <= label_smoothing <= 1:
        raise RuntimeError(f"label_smoothing must be between 0.0 and 1.0. Got: {label_smoothing}")
    if target.shape == input.shape:
        if not target.dtype.is_floating_point:
            raise RuntimeError(
                "Expected floating point type for target with class probabilities, got "
                f"{LEGACY_NAMES[target.dtype]}"
            )
        if ignore_index >= 0:
            raise RuntimeError("ignore_index is not supported for floating point target")
        return _soft_cross_entropy(input, target, weight, reduction, label_smoothing)
    shape = _class_shape(input, target, weight, "cross_entropy")
    return _cross_entropy(
        input, target, weight, shape=shape, ignore_index=ignore_index, reduction=reduction,
        smoothing=label_smoothing,
    )[0]  # fmt: skip


def _soft_cross_entropy(input, target, weight, reduction, smoothing):
    dim = min(1, input.ndim - 1)
    logs = _log_softmax(input, dim=dim)
    if smoothing:
        target = target * (1 - smoothing) + smoothing / input.shape[dim]
    if weight is not None:
        target = target * reshape(weight, (-1, *(1,) * max(input.ndim - 2, 0)))
    loss = -_sum(logs * target, dims=(dim,), keepdim=False)
    if reduction != "mean":
        return reduced(loss, reduction)
    return reduced(loss, "sum") / (input.numel() // input.shape[dim])


# ---- binary ----------------------------------------------------------------------------------


@op(saves="x", promote="result", kinds="f")
def _binary_cross_entropy(xp, x, t):
    low = -100.0  # a log is not let below this, so that the loss stays finite
    return (t - 1) * xp.maximum(xp.log1p(-x), low) - t * xp.maximum(xp.log(x), low)


_binary_cross_entropy.vjp(
    lambda g, y, x, t: g * ((x - t) / clamp_min(x * (1 - x), 1e-12)),
    lambda g, y, x, t: g * (log1p(-x) - log(x)),
)


def _same_size(input, target):
    if target.shape != input.shape:
        raise ValueError(
            f"Using a target size ({target.size()}) that is different to the input size "
            f"({input.size()}) is deprecated. Please ensure they have the same size."
        )


def binary_cross_entropy(input, target, weight=None, reduction="mean"):
    """-(target log(input) + (1 - target) log(1 - input)), for probabilities in [0, 1]"""
    _check_reduction(reduction)
    _same_size(input, target)
    if target.dtype is not input.dtype:
        found, expected = LEGACY_NAMES[target.dtype], LEGACY_NAMES[input.dtype]
        raise RuntimeError(f"Found dtype {found} but expected {expected}")
    low, high = (0, 1) if not input.numel() else (input.detach().min(), input.detach().max())
    if low < 0 or high > 1:
        raise RuntimeError("all elements of input should be between 0 and 1")
    loss = _binary_cross_entropy(input, target)
    return reduced(loss if weight is None else loss * weight, reduction)


def binary_cross_entropy_with_logits(input, target, weight=None, reduction="mean", pos_weight=None):
    """binary_cross_entropy of sigmoid(input), stably; pos_weight scales positive targets"""
    _check_reduction(reduction)
    if target.shape != input.shape:
        raise ValueError(
            f"Target size ({target.size()}) must be the same as input size ({input.size()})"
        )
    logs = logsigmoid(input)
    _check_castable(input.dtype, target.dtype)
    scale = 1 if pos_weight is None else (pos_weight - 1) * target + 1
    loss = (1 - target) * input - logs * scale
    return reduced(loss if weight is None else loss * weight, reduction)


# ---- regression ------------------------------------------------------------------------------


def _difference(input, target):
    if target.shape != input.shape:
        warnings.warn(
            f"Using a target size ({target.size()}) that is different to the input size "
            f"({input.size()}). This will likely lead to incorrect results due to broadcasting. "
            "Please ensure they have the same size.",
            stacklevel=3,
        )
    return input - target


def _check_castable(result, wanted):
    """RuntimeError unless what has dtype `result` may be written to a tensor of dtype `wanted`."""
    if not can_cast(result, wanted):
        raise RuntimeError(
            f"result type {LEGACY_NAMES[result]} can't be cast to the desired output type "
            f"{LEGACY_NAMES[wanted]}"
        )


def mse_loss(input, target, reduction="mean", weight=None):
    """(input - target)²"""
    d = _difference(input, target)
    check_kind("mse", "f", raw(d))
    return _weighted(d * d, weight, reduction)


def l1_loss(input, target, reduction="mean", weight=None):
    """|input - target|"""
    check_kind("sub", "iufc", raw(input), raw(target))
    return _weighted(abs(_difference(input, target)), weight, reduction)


def smooth_l1_loss(input, target, reduction="mean", beta=1.0):
    """Quadratic below beta, then linear: d² / (2 beta), or |d| - beta / 2  (Girshick, 2015)"""
    if beta < 0:
        raise RuntimeError("smooth_l1_loss does not support negative values for beta.")
    d = _difference(input, target)
    check_kind("smooth_l1", "f", raw(d))
    size = abs(d)
    if not beta:
        return reduced(size, reduction)
    return reduced(where(size < beta, d * d * (0.5 / beta), size - 0.5 * beta), reduction)


def huber_loss(input, target, reduction="mean", delta=1.0, weight=None):
    """Quadratic up to delta, then linear: d² / 2, or delta (|d| - delta / 2)  (Huber, 1964)"""
    if delta <= 0:
        raise RuntimeError("huber_loss does not support non-positive values for delta.")
    d = _difference(input, target)
    check_kind("huber", "f", raw(d))
    _check_castable(d.dtype, input.dtype)
    size = abs(d)
    loss = where(size <= delta, d * d * 0.5, (size - 0.5 * delta) * delta)
    return _weighted(loss, weight, reduction)


def _weighted(loss, weight, reduction):
    """The loss reduced; with weights the mean is a weighted one."""
    if weight is None:
        return reduced(loss, reduction)
    if weight.shape != loss.shape:
        raise ValueError("Inputs and weight must have the same size.")
    loss = loss * weight
    if reduction != "mean":
        return reduced(loss, reduction)
    return reduced(loss, "sum") / reduced(weight, "sum")


# ---- distributions ---------------------------------------------------------------------------


def kl_div(input, target, reduction="mean", log_target=False):
    """The Kullback-Leibler divergence, target * (log(target) - input), of log probabilities.

    reduction: also "batchmean", the sum by the size of dimension 0; log_target: target is a log
    """
    if input.dtype.category < 2 or target.dtype.category < 2:
        raise RuntimeError("kl_div: Integral inputs not supported.")
    if log_target:
        loss = exp(target) * (target - input)
    else:
        safe = where(target == 0, target * 0 + 1, target)
        loss = target * log(safe) - target * input
    if reduction == "batchmean":
        total = reduced(loss, "sum")
        return total / input.shape[0] if input.ndim else total
    if reduction == "mean":
        warnings.warn(
            "reduction: 'mean' divides the total loss by both the batch size and the support size."
            "'batchmean' divides only by the batch size, and aligns with the KL div math "
            "definition.",
            stacklevel=2,
        )
    return reduced(loss, reduction)


def poisson_nll_loss(input, target, log_input=True, full=False, eps=1e-8, reduction="mean"):
    """Minus the log likelihood of counts under Poisson(exp(input)), or Poisson(input)

    full: with Stirling's approximation of log(target!) for targets above 1
    """
    _check_reduction(reduction)
    loss = exp(input) - target * input if log_input else input - target * log(input + eps)
    if full:
        big = where(target > 1, target, target * 0 + 1)
        stirling = big * log(big) - big + 0.5 * log(2 * pi * big)
        loss = loss + where(target > 1, stirling, target * 0)
    return reduced(loss, reduction)


def gaussian_nll_loss(input, target, var, full=False, eps=1e-6, reduction="mean"):
    """Minus the log likelihood of targets under normal distributions of mean input, variance var"""
    if isinstance(var, Tensor):
        if var.shape != input.shape:
            if tuple(input.shape[:-1]) == tuple(var.shape):
                var = reshape(var, (*var.shape, 1))
            elif var.ndim != input.ndim or any(
                v not in (1, n) for v, n in zip(var.shape, input.shape)
            ):
                raise ValueError("var is of incorrect size")
        if (var.detach() < 0).any():
            raise ValueError("var has negative entry/entries")
    else:
        if var < 0:
            raise ValueError("var has negative entry/entries")
        var = input.detach() * 0 + var
    _check_reduction(reduction)
    # clamped without gradient, as the reference does
    floor = var.detach()
    var = var + (clamp_min(floor, eps) - floor)
    loss = 0.5 * (log(var) + (input - target) ** 2 / var)
    return reduced(loss + 0.5 * _LOG_2PI if full else loss, reduction)


_LOG_2PI = 1.8378770664093453

FUNCTIONS = {
    "binary_cross_entropy_with_logits": binary_cross_entropy_with_logits,
    "poisson_nll_loss": poisson_nll_loss,
}  # fmt: skip
