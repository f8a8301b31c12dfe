"""A linear layer and the cross entropy of its output in one, without the logits of all rows at once.

For a language model's head the logits (N, classes) are by far the largest array: here they are
made a few rows at a time, and once more in backward, which so keeps nothing but the inputs.
"""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

import dataclasses
import warnings
from math import prod
from typing import Any

from ..dtype import bfloat16, float16, float32, float64
from ..op import op
from .linear import linear
from .loss import _targets, cross_entropy
from .pointwise import where
from .reduce import sum
from .shape import reshape, squeeze, unsqueeze


@dataclasses.dataclass(slots=True, frozen=True)
class LinearCrossEntropyOptions:
    """How linear_cross_entropy goes about it in chunks of rows.

    batch_chunk_size: rows at a time; None: as chunking_method says, or all if that is None too
    chunking_method: "aspect_ratio" (the logits of a chunk take about the memory of the input),
        "aspect_ratio:N" (an Nth of that), "auto" ("aspect_ratio:2")
    allow_retain_graph, acc_policy, acc_dtype: torch's trade-offs, checked and without effect:
        backward can always be repeated, and half precision is always accumulated in float32
    """

    allow_retain_graph: bool = False
    batch_chunk_size: int | None = None
    chunking_method: str | None = "auto"
    acc_policy: str = "auto"
    acc_dtype: Any = None

    def __post_init__(self):
        if self.acc_policy not in ("auto", "accurate", "balanced", "compact"):
            raise ValueError(f"invalid acc_policy: {self.acc_policy!r}")
        if self.chunking_method not in (None, "auto"):
            name, colon, factor = self.chunking_method.partition(":")
            factor = factor if colon else "1"
            if name != "aspect_ratio" or not factor.isdigit() or int(factor) < 1:
                raise ValueError(f"invalid chunking_method: {self.chunking_method!r}")
        size = self.batch_chunk_size
        if size is not None and not (isinstance(size, int) and size > 0):
            raise ValueError(f"batch_chunk_size must be positive int or None, got {size!r}")
        if self.acc_dtype not in (None, float16, bfloat16, float32, float64):
            raise ValueError(
                "acc_dtype must be one of {None, float16, bfloat16, float32, float64}, got "
                f"{self.acc_dtype!r}"
            )

    def rows(self, batch, features, classes):
        """How many rows of the logits to make at a time."""
        size, method = self.batch_chunk_size, self.chunking_method
        if method == "auto":
            method = "aspect_ratio:2" if size is None else None
        if method is None:
            return max(1, min(size or batch, batch))
        factor = int(method.partition(":")[2] or 1)
        target = -(-batch // -(-classes // features))
        power = 1 << (target - 1).bit_length() if target > 0 else 1
        rows = min(power // factor, batch)
        if size is not None and min(size, batch) != rows:
            raise ValueError(
                f"batch_chunk_size (={size}) and chunking_method ({method!r}) give different "
                f"chunk sizes ({size} vs {rows}); pass only one."
            )
        return max(1, rows)


# ---- in chunks -------------------------------------------------------------------------------


def _chunks(xp, x, w, b, rows):
    """Slices of the rows, and the softmax and log of the sum of exp of their logits."""
    for i in range(0, x.shape[0], rows):
        part = slice(i, i + rows)
        z = xp.matmul(x[part], w.T)
        if b is not None:
            z += b
        top = z.max(axis=1, keepdims=True)
        p = xp.exp(z - top)
        total = p.sum(axis=1, keepdims=True)
        yield part, z, p / total, (xp.log(total) + top)[:, 0]


@op(saves="x", kinds="biuf")
def _linear_cross_entropy(xp, x, w, target, b, weight, *, ignore_index, rows):
    """The loss of each row.  x: (N, in), w: (C, in), target: (N,), b and weight: (C,) or None"""
    t, weights = _targets(xp, target, weight, w.shape[0], ignore_index, x.dtype)
    loss = xp.empty(x.shape[0], x.dtype)
    for part, z, _, log_total in _chunks(xp, x, w, b, rows):
        loss[part] = log_total - z[xp.arange(z.shape[0]), t[part]]
    return loss * weights


@op(kinds="biuf")
def _linear_cross_entropy_grad(xp, g, x, w, target, b, weight, *, ignore_index, rows):
    t, weights = _targets(xp, target, weight, w.shape[0], ignore_index, x.dtype)
    g = (g * weights)[:, None]
    gx, gw = xp.empty(x.shape, x.dtype), xp.zeros(w.shape, w.dtype)
    gb = xp.zeros(w.shape[0], w.dtype)
    for part, _, p, _ in _chunks(xp, x, w, b, rows):
        p[xp.arange(p.shape[0]), t[part]] -= 1
        p *= g[part]
        gx[part] = xp.matmul(p, w)
        gw += xp.matmul(p.T, x[part])
        gb += p.sum(axis=0)
    return gx, gw, gb


def _vjp(needs, g, y, x, w, target, b, weight, **params):
    gx, gw, gb = _linear_cross_entropy_grad(g, x, w, target, b, weight, **params)
    return gx, gw, None, None if b is None else gb, None


_linear_cross_entropy.vjp_joint(_vjp)


@_linear_cross_entropy.define
def _at_once(x, w, target, b, weight, *, ignore_index, rows):
    return cross_entropy(linear(x, w, b), target, weight, ignore_index, "none")


# ---- the function ----------------------------------------------------------------------------


def linear_cross_entropy(input, linear_weight, target, *, linear_bias=None, weight=None,
                         reduction="mean", ignore_index=None, label_smoothing=0.0,
                         options=None):  # fmt: skip
    """cross_entropy(linear(input, linear_weight, linear_bias), target)

    input: (N, in) or (in,); linear_weight: (C, in) or, for a loss of K dimensions, (C, d1, ..., dK,
        in); linear_bias: its shape without `in`; target: classes (N, d1, ..., dK), or probabilities
        (N, C, d1, ..., dK)
    ignore_index: None: -100 for classes, and not to be given for probabilities
    options: None, or LinearCrossEntropyOptions: to compute it in chunks of rows.  That is for
        classes with a plain weight (C, in) and without label_smoothing; others warn and do without
    """
    shape, out = tuple(linear_weight.shape), tuple(linear_weight.shape[:-1])
    _check(input, shape, linear_bias)
    logits_shape = (*input.shape[:-1], *out)
    if ignore_index is not None and tuple(target.shape) == logits_shape:
        raise RuntimeError("ignore_index cannot be specified when target contains probabilities")
    ignore_index = -100 if ignore_index is None else ignore_index
    if options is not None:
        plain = (len(out) == 1 and not label_smoothing and target.dtype.name == "int64"
                 and reduction in ("none", "mean", "sum"))  # fmt: skip
        if plain:
            return _chunked(
                input, linear_weight, target, linear_bias, weight, reduction, ignore_index, options
            )
        warnings.warn(
            "linear_cross_entropy: ``options`` ignored; chunked path needs reduction in "
            "{'mean','sum','none'}, label_smoothing == 0, target.dtype == int64, out_features == "
            f"(). Got reduction={reduction!r}, label_smoothing={label_smoothing}, "
            f"target.dtype={target.dtype}, out_features={out[1:]}.",
            stacklevel=3,
        )
    rows = reshape(linear_weight, (prod(out), shape[-1]))
    bias = None if linear_bias is None else reshape(linear_bias, (prod(out),))
    logits = reshape(linear(input, rows, bias), logits_shape)
    return cross_entropy(logits, target, weight, ignore_index, reduction, label_smoothing)


def _check(input, shape, bias):
    if input.ndim not in (1, 2):
        raise RuntimeError(f"expected input with dimensionality 1 or 2, got {input.ndim}")
    if len(shape) < 2:
        raise RuntimeError(
            f"expected linear_weight with dimensionality at least 2, got {len(shape)}"
        )
    if input.shape[-1] != shape[-1]:
        raise RuntimeError(
            "expected equal input and linear_weight last dimensions (in_features), got "
            f"{input.shape[-1]} and {shape[-1]}, respectively"
        )
    if bias is not None and tuple(bias.shape) != shape[:-1]:
        raise RuntimeError(f"expected linear_bias shape {shape[:-1]}, got {tuple(bias.shape)}")
    if len(shape) > 2 and input.ndim == 1:
        raise RuntimeError(
            f"K-dimensional loss defined by linear_weight shape {shape} requires batched input, "
            f"(N, {shape[-1]}), got unbatched input with shape {tuple(input.shape)}"
        )


def _chunked(input, w, target, bias, weight, reduction, ignore_index, options):
    if input.ndim == 1:
        input, target = unsqueeze(input, 0), unsqueeze(target, 0)
        loss = _chunked(input, w, target, bias, weight, reduction, ignore_index, options)
        return squeeze(loss, 0) if reduction == "none" else loss
    n, c = input.shape[0], w.shape[0]
    if tuple(target.shape) != (n,):
        raise ValueError(
            f"Expected input batch_size ({n}) to match target batch_size ({target.shape[0]})."
            if target.ndim
            else f"Expected target size [{n}], got []"
        )
    if weight is not None and tuple(weight.shape) != (c,):
        raise RuntimeError(f"expected weight shape to be {(c,)}, got {tuple(weight.shape)}")
    loss = _linear_cross_entropy(
        input, w, target, bias, weight, ignore_index=ignore_index,
        rows=options.rows(n, input.shape[1], c),
    )  # fmt: skip
    if reduction == "none":
        return loss
    total = sum(loss)
    if reduction == "sum":
        return total
    valid = target != ignore_index
    return total / sum(valid if weight is None else weight[where(valid, target, 0)] * valid)
