"""Convolution, pooling and batch norm of images: (N, C, H, W) arrays whose memory is (N, H, W, C).

In that order oneDNN and NumPy alike have the channels side by side; an array in another order is
copied first.  Results own their memory, and so does what NumPy computes from them elementwise.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from .library import TRAINING, dims
from .primitive import (
    BIAS,
    DIFF_DST,
    DIFF_SCALE,
    DIFF_SHIFT,
    DIFF_SRC,
    DIFF_WEIGHTS,
    DST,
    MEAN,
    SCALE,
    SHIFT,
    SRC,
    VARIANCE,
    WEIGHTS,
    WORKSPACE,
    Description,
    Primitive,
    buffer,
    described,
    described_any,
    kept,
    reorder,
)

DIRECT = 1  # dnnl_convolution_direct
MAX, MEAN_WITH_PADDING = 0x1FF, 0x2FF  # dnnl_pooling_*
_SCALE, _SHIFT = 2, 4  # dnnl_use_scale, dnnl_use_shift


# ---- the layout --------------------------------------------------------------------------------


def strides(shape: Any) -> tuple[int, ...]:
    """The strides of an image batch with its channels last, in elements."""
    _, c, h, w = shape
    return h * w * c, 1, w * c, c


def is_channels_last(a: Any) -> bool:
    """Whether a 4-D float32 array has its channels last, where its sizes leave that open."""
    return all(n == 1 or s == 4 * t for n, s, t in zip(a.shape, a.strides, strides(a.shape)))


@lru_cache(maxsize=512)
def _pattern(shape: Any) -> Any:
    """An array to take the order of dimensions from; its elements are never looked at."""
    return np.lib.stride_tricks.as_strided(
        np.zeros(1, np.float32), shape, [4 * s for s in strides(shape)]
    )


def empty(shape: Any) -> Any:
    """An array that owns memory with the channels last."""
    return np.empty_like(_pattern(shape))


def _laid(shape: Any) -> Any:
    return described(shape, strides(shape))


@kept
def _copy(shape: Any, back: bool) -> Primitive:
    a, b = described(shape), _laid(shape)
    copy = reorder(b, a) if back else reorder(a, b)
    assert copy is not None
    return copy


def channels_last(a: Any) -> Any:
    """The array, or a copy of it with its channels last."""
    if is_channels_last(a):
        return a
    out = empty(a.shape)
    _copy(a.shape, False)(np.ascontiguousarray(a), out)
    return out


def channels_first(a: Any) -> Any:
    """A copy in C order of an array with its channels last."""
    out = np.empty(a.shape, np.float32)
    _copy(a.shape, True)(a, out)
    return out


# ---- convolution -------------------------------------------------------------------------------


class Convolution:
    """A convolution and its two adjoints, for images x, weights w and results y of given shapes.

    The layout of w is oneDNN's choice for each of the three: it is copied to and from that.
    """

    def __init__(self, x: Any, w: Any, y: Any, stride: Any, padding: Any, after: Any,
                 dilation: Any, groups: int, bias: bool) -> None:  # fmt: skip
        self.y_shape, self.x_shape, self.w_shape = y, x, w
        if groups > 1:
            w = (groups, w[0] // groups, *w[1:])
        mx, my, mw = _laid(x), _laid(y), described_any(w)
        mb = described((y[1],)) if bias else None
        steps = dims(stride), dims([d - 1 for d in dilation]), dims(padding), dims(after)
        forward = Description("convolution_forward", TRAINING, DIRECT, mx, mw, mb, my, *steps, None)
        hint = forward.handle
        adjoint = Description("convolution_backward_data", DIRECT, mx, mw, my, *steps, hint, None)
        weight = Description("convolution_backward_weights", DIRECT, mx, mw, None, my, *steps, hint,
                             None)  # fmt: skip
        self._layouts = (
            forward.layout(WEIGHTS), adjoint.layout(WEIGHTS), weight.layout(DIFF_WEIGHTS)
        )  # fmt: skip
        plain = described(w)
        wf, wb, wg = self._layouts
        self._to_forward, self._to_adjoint = reorder(plain, wf), reorder(plain, wb)
        self._from_weight = reorder(wg, plain)
        self._forward = Primitive(forward, (SRC, mx), (WEIGHTS, wf), (DST, my),
                                  *([(BIAS, mb)] if bias else []))  # fmt: skip
        self._adjoint = Primitive(adjoint, (DIFF_DST, my), (WEIGHTS, wb), (DIFF_SRC, mx))
        self._weight = Primitive(weight, (SRC, mx), (DIFF_DST, my), (DIFF_WEIGHTS, wg))

    def forward(self, x: Any, w: Any, b: Any) -> Any:
        y = empty(self.y_shape)
        w = self._arranged(w, self._to_forward, 0)
        self._forward(channels_last(x), w, y, *(() if b is None else (np.ascontiguousarray(b),)))
        return y

    def adjoint(self, y: Any, w: Any) -> Any:
        x = empty(self.x_shape)
        self._adjoint(channels_last(y), self._arranged(w, self._to_adjoint, 1), x)
        return x

    def weight(self, x: Any, y: Any) -> Any:
        w = np.empty(self.w_shape, np.float32)
        arranged = w if self._from_weight is None else buffer(self._layouts[2])
        self._weight(channels_last(x), channels_last(y), arranged)
        if self._from_weight is not None:
            self._from_weight(arranged, w)
        return w

    def _arranged(self, w: Any, copy: Primitive | None, which: int) -> Any:
        w = np.ascontiguousarray(w)
        if copy is None:
            return w
        out = buffer(self._layouts[which])
        copy(w, out)
        return out


convolution = kept(Convolution)


# ---- pooling -----------------------------------------------------------------------------------


@kept
def pooling(x: Any, y: Any, kernel: Any, stride: Any, padding: Any, after: Any, dilation: Any,
            maximum: bool) -> tuple[Primitive, Primitive, Any]:  # fmt: skip
    """Forward (x, y[, workspace]), backward (gy, gx[, workspace]), the workspace's size in bytes."""
    kind = MAX if maximum else MEAN_WITH_PADDING
    mx, my = _laid(x), _laid(y)
    steps = [dims(v) for v in (stride, kernel, [d - 1 for d in dilation], padding, after)]
    forward = Description("pooling_forward", TRAINING, kind, mx, my, *steps, None)
    backward = Description("pooling_backward", kind, mx, my, *steps, forward.handle, None)
    extra: list[tuple[int, Any]] = []
    if maximum:
        extra = [(WORKSPACE, forward.layout(WORKSPACE))]
    return (
        Primitive(forward, (SRC, mx), (DST, my), *extra),
        Primitive(backward, (DIFF_DST, my), (DIFF_SRC, mx), *extra),
        extra[0][1] if extra else None,
    )


# ---- batch norm --------------------------------------------------------------------------------


@kept
def batch_norm(shape: Any, eps: float, affine: bool) -> tuple[Primitive, Primitive]:
    """Forward (x, mean, var[, w, b], y), backward (x, mean, var[, w], gy, gx[, gw, gb])."""
    m, c = _laid(shape), described((shape[1],))
    flags = _SCALE | _SHIFT if affine else 0
    forward = Description("batch_normalization_forward", TRAINING, m, m, eps, flags, None)
    backward = Description("batch_normalization_backward", 128 if affine else 160, m, m, m, eps,
                           flags, forward.handle, None)  # fmt: skip
    given = [(SRC, m), (MEAN, c), (VARIANCE, c)]
    weights = [(SCALE, c), (SHIFT, c)] if affine else []
    diffs = [(DIFF_SCALE, c), (DIFF_SHIFT, c)] if affine else []
    return (
        Primitive(forward, *given, *weights, (DST, m)),
        Primitive(backward, *given, *weights[:1], (DIFF_DST, m), (DIFF_SRC, m), *diffs),
    )
