"""What works row by row: softmax, layer norm, GELU."""

from __future__ import annotations

from typing import Any

from .library import TRAINING
from .primitive import (
    DIFF_DST,
    DIFF_SCALE,
    DIFF_SHIFT,
    DIFF_SRC,
    DST,
    MEAN,
    SCALE,
    SHIFT,
    SRC,
    VARIANCE,
    Description,
    Primitive,
    described,
    kept,
)

SOFTMAX, LOG_SOFTMAX = 0x30000, 0x30001
GELU_TANH, GELU = 0x2B, 0x31  # dnnl_eltwise_gelu_tanh, dnnl_eltwise_gelu_erf
_SCALE, _SHIFT = 2, 4  # dnnl_use_scale, dnnl_use_shift


@kept
def softmax(shape: Any, log: bool) -> tuple[Primitive, Primitive]:
    """Forward (x, y) and backward (y, gy, gx) over the last dimension of arrays in C order."""
    m, kind, axis = described(shape), LOG_SOFTMAX if log else SOFTMAX, len(shape) - 1
    forward = Description("softmax_forward", TRAINING, kind, m, m, axis, None)
    backward = Description("softmax_backward", kind, m, m, m, axis, forward.handle, None)
    return (
        Primitive(forward, (SRC, m), (DST, m)),
        Primitive(backward, (DST, m), (DIFF_DST, m), (DIFF_SRC, m)),
    )


@kept
def gelu(n: int, tanh: bool) -> tuple[Primitive, Primitive]:
    """Forward (x, y) and backward (x, gy, gx) of n elements."""
    m, kind = described((n,)), GELU_TANH if tanh else GELU
    forward = Description("eltwise_forward", TRAINING, kind, m, m, 0.0, 0.0, None)
    backward = Description("eltwise_backward", kind, m, m, m, 0.0, 0.0, forward.handle, None)
    return (
        Primitive(forward, (SRC, m), (DST, m)),
        Primitive(backward, (SRC, m), (DIFF_DST, m), (DIFF_SRC, m)),
    )


@kept
def layer_norm(rows: int, n: int, eps: float, affine: bool) -> tuple[Primitive, Primitive]:
    """Over rows of n elements: forward (x, mean, var[, w, b], y) and
    backward (x, mean, var[, w, b], gy, gx[, gw, gb])."""
    m, s, c = described((rows, n)), described((rows,)), described((n,))
    flags = _SCALE | _SHIFT if affine else 0
    forward = Description("layer_normalization_forward", TRAINING, m, m, s, eps, flags, None)
    backward = Description("layer_normalization_backward", 128 if affine else 160, m, m, m, s, eps,
                           flags, forward.handle, None)  # fmt: skip
    statistics = [(SRC, m), (MEAN, s), (VARIANCE, s)]
    weights = [(SCALE, c), (SHIFT, c)] if affine else []
    diffs = [(DIFF_SCALE, c), (DIFF_SHIFT, c)] if affine else []
    return (
        Primitive(forward, *statistics, *weights, (DST, m)),
        Primitive(backward, *statistics, *weights, (DIFF_DST, m), (DIFF_SRC, m), *diffs),
    )
