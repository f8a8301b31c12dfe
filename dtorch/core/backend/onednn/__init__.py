"""Kernels of oneDNN, if it is installed, for large float32 arrays; called over ctypes.

A function here returns None where oneDNN has nothing faster for its arguments, or isn't there: the
caller then computes it with NumPy.  `python -m dtorch.doctor` says which of the two it is.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from . import elementwise, images, primitive, products, rows
from .library import load

# From where a call, some 5 to 10 µs, pays: elements, and multiplications of a product.
ELEMENTS, MULTIPLICATIONS = 1 << 14, 1 << 19
CHAINED = 1 << 15  # elements from where a chain of elementwise operations pays


def available() -> bool:
    return load() is not None


def _fits(*arrays: Any) -> bool:
    """Whether these arrays are float32 in C order, and oneDNN is there."""
    return load() is not None and all(
        a.dtype == np.float32 and a.flags.c_contiguous for a in arrays
    )


def matmul(a: Any, b: Any, bias: Any = None) -> Any:
    """a @ b (+ bias).  a: (*B, M, K), b: (*B, K, N), bias: (N,)"""
    if (
        a.size * b.shape[-1] < MULTIPLICATIONS
        or a.dtype != np.float32
        or b.dtype != np.float32
        or a.ndim != b.ndim
        or a.shape[:-2] != b.shape[:-2]
        or a.shape[-1] != b.shape[-2]
        or load() is None
    ):
        return None
    return products.matmul(a, b, bias)


def softmax(x: Any, log: bool) -> Any:
    """softmax (or its logarithm) over the last dimension."""
    if x.size < ELEMENTS or not _fits(x) or (run := rows.softmax(x.shape, log)) is None:
        return None
    y = np.empty_like(x)
    run[0](x, y)
    return y


def softmax_grad(g: Any, y: Any, log: bool) -> Any:
    """The gradient of `softmax` in x, from its result y and the gradient g of that."""
    if y.size < ELEMENTS or not _fits(g, y) or (run := rows.softmax(y.shape, log)) is None:
        return None
    gx = np.empty_like(y)
    run[1](y, g, gx)
    return gx


def gelu(x: Any, tanh: bool) -> Any:
    if x.size < ELEMENTS or not _fits(x) or (run := rows.gelu(x.size, tanh)) is None:
        return None
    y = np.empty_like(x)
    run[0](x, y)
    return y


def gelu_grad(g: Any, x: Any, tanh: bool) -> Any:
    if x.size < ELEMENTS or not _fits(g, x) or (run := rows.gelu(x.size, tanh)) is None:
        return None
    gx = np.empty_like(x)
    run[1](x, g, gx)
    return gx


def layer_norm(x: Any, w: Any, b: Any, eps: float) -> Any:
    """(y, mean, variance), these (rows, 1).  x: (rows, n), w and b: (n,), or both None"""
    affine = w is not None
    if x.size < ELEMENTS or (b is not None) != affine or not _fits(x, *((w, b) if affine else ())):
        return None
    run = rows.layer_norm(*x.shape, eps, affine)
    if run is None:
        return None
    y, mean, var = np.empty_like(x), *np.empty((2, len(x), 1), np.float32)
    run[0](x, mean, var, *((w, b) if affine else ()), y)
    return y, mean, var


def layer_norm_grad(g: Any, x: Any, w: Any, b: Any, mean: Any, var: Any, eps: float) -> Any:
    """The gradients of `layer_norm` in x, w and b (None each, without these)."""
    affine = w is not None
    given = (w, b) if affine else ()
    if x.size < ELEMENTS or (b is not None) != affine or not _fits(g, x, *given):
        return None
    run = rows.layer_norm(*x.shape, eps, affine)
    if run is None:
        return None
    gx = np.empty_like(x)
    gw, gb = (np.empty_like(w), np.empty_like(b)) if affine else (None, None)
    run[1](x, mean, var, *given, g, gx, *((gw, gb) if affine else ()))
    return gx, gw, gb


# ---- elementwise, over arrays that lie in memory alike --------------------------------------------

_ZERO = np.zeros(1, np.float32)


def _alike(*arrays: Any) -> bool:
    """Whether float32 arrays of one shape all lie in C order, or with their channels last."""
    return (
        len({a.shape for a in arrays}) == 1
        and arrays[0].size >= CHAINED
        and (_fits(*arrays) or is_image(*arrays) and all(map(images.is_channels_last, arrays)))
    )


def _chained(x: Any, *steps: tuple[int, Any]) -> Any:
    """x, changed by (operation, operand) after (operation, operand), as a new array; or None."""
    run = elementwise.chain(x.size, *[(what, a.size > 1) for what, a in steps])
    if run is None:
        return None
    y = np.empty_like(x)
    run(x, *[a for _, a in steps], y)
    return y


def relu(x: Any) -> Any:
    """max(x, 0); the second maximum is for NaN, of which oneDNN's gives the second operand."""
    if not _alike(x):
        return None
    return _chained(x, (elementwise.MAX, _ZERO), (elementwise.MAX, x))


def relu_grad(g: Any, y: Any) -> Any:
    """g where y > 0, else 0."""
    return _chained(y, (elementwise.GT, _ZERO), (elementwise.MUL, g)) if _alike(g, y) else None


def leaky_relu(x: Any, slope: float) -> Any:
    """x where it is positive, else slope * x."""
    if not 0 < slope < 1 or not _alike(x):
        return None
    return _chained(x, (elementwise.MUL, np.full(1, slope, np.float32)), (elementwise.MAX, x))


def leaky_relu_grad(g: Any, x: Any, slope: float) -> Any:
    """g where x > 0, else slope * g."""
    if not 0 < slope < 1 or not _alike(g, x):
        return None
    least = np.full(1, slope, np.float32)
    return _chained(x, (elementwise.GT, _ZERO), (elementwise.MAX, least), (elementwise.MUL, g))


def add_scaled(target: Any, x: Any, factor: float) -> bool:
    """target += factor * x, in place; whether that has been done."""
    if target.size < CHAINED or target.shape != x.shape or not _fits(target, x):
        return False
    run = elementwise.chain(x.size, (elementwise.MUL, False), (elementwise.ADD, True))
    if run is None:
        return False
    run(x, np.full(1, factor, np.float32), target, target)
    return True


# ---- images: 4-D arrays with their channels last, see images.py ----------------------------------


def is_image(*arrays: Any) -> bool:
    """Whether these are batches of images, one of them large enough, and oneDNN is there."""
    return (
        all(a.ndim == 4 and a.dtype == np.float32 for a in arrays)
        and max(a.size for a in arrays) >= ELEMENTS
        and all(a.size for a in arrays)
        and load() is not None
    )


def channels_first(a: Any) -> Any:
    """A copy in C order of an array (N, C, *size) with its channels last; others as they are."""
    if not a.transpose(0, *range(2, a.ndim), 1).flags.c_contiguous:
        return a
    return images.channels_first(a) if is_image(a) else np.ascontiguousarray(a)


def _after(geo: Any) -> tuple[int, ...]:
    """How much padding comes behind: as much as before, if that gives the right number of windows."""
    return tuple(
        p if (n + 2 * p - d * (k - 1) - 1) // s + 1 == o else (o - 1) * s + d * (k - 1) + 1 - n - p
        for n, k, o, s, p, d in zip(*geo)
    )


def _convolution(n: int, c: int, m: int, w: Any, geo: Any, groups: int, bias: bool) -> Any:
    return images.convolution(
        (n, c, *geo.size), w, (n, m, *geo.out), geo.stride, geo.padding, _after(geo), geo.dilation,
        groups, bias,
    )  # fmt: skip


def convolution(x: Any, w: Any, b: Any, geo: Any, groups: int) -> Any:
    """x: (N, C, H, W), w: (M, C / groups, kh, kw), b: (M,) or None -> (N, M, *out)"""
    if not is_image(x, w):
        return None
    made = _convolution(len(x), x.shape[1], len(w), w.shape, geo, groups, b is not None)
    return made and made.forward(x, w, b)


def convolution_transpose(y: Any, w: Any, geo: Any, groups: int) -> Any:
    """The adjoint in x.  y: (N, M, *out) -> (N, C, H, W)"""
    if not is_image(y, w):
        return None
    made = _convolution(len(y), w.shape[1] * groups, len(w), w.shape, geo, groups, False)
    return made and made.adjoint(y, w)


def convolution_weight(x: Any, y: Any, geo: Any, groups: int) -> Any:
    """The adjoint in w.  x: (N, C, H, W), y: (N, M, *out) -> (M, C / groups, kh, kw)"""
    if not is_image(x, y):
        return None
    w = (y.shape[1], x.shape[1] // groups, *geo.kernel)
    made = _convolution(len(x), x.shape[1], len(y[0]), w, geo, groups, False)
    return made and made.weight(x, y)


def _pooling(shape: Any, geo: Any, maximum: bool) -> Any:
    return images.pooling(
        shape, (*shape[:2], *geo.out), geo.kernel, geo.stride, geo.padding,
        tuple(after for _, after in geo.pads), geo.dilation, maximum,
    )  # fmt: skip


def pool(x: Any, geo: Any, maximum: bool) -> Any:
    """The maximum of windows, or their mean, where padding counts as zeros."""
    if not is_image(x) or (run := _pooling(x.shape, geo, maximum)) is None:
        return None
    forward, _, workspace = run
    y = images.empty((*x.shape[:2], *geo.out))
    forward(images.channels_last(x), y, *_workspace(workspace))
    return y


def pool_grad(g: Any, x: Any, geo: Any, maximum: bool) -> Any:
    """The gradient of `pool` in x; what of x was the maximum is looked up again."""
    if not is_image(x) or (run := _pooling(x.shape, geo, maximum)) is None:
        return None
    forward, backward, workspace = run
    found = _workspace(workspace)
    if maximum:
        forward(images.channels_last(x), images.empty(g.shape), *found)
    gx = images.empty(x.shape)
    backward(images.channels_last(g), gx, *found)
    return gx


def _workspace(layout: Any) -> tuple[Any, ...]:
    return () if layout is None else (primitive.buffer(layout),)


def batch_norm(x: Any, w: Any, b: Any, eps: float) -> Any:
    """(y, mean, variance), these (C,).  x: images with their channels last, w and b: (C,) or None"""
    run = _batch_norm(x, w, b, eps)
    if run is None:
        return None
    y, (mean, var) = images.empty(x.shape), np.empty((2, x.shape[1]), np.float32)
    run[0](x, mean, var, *(() if w is None else (w, b)), y)
    return y, mean, var


def batch_norm_grad(g: Any, x: Any, w: Any, b: Any, mean: Any, var: Any, eps: float) -> Any:
    """The gradients of `batch_norm` in x, w and b (None each, without these)."""
    run = _batch_norm(x, w, b, eps)
    if run is None:
        return None
    gx, g = images.empty(x.shape), images.channels_last(g)
    gw, gb = (None, None) if w is None else (np.empty_like(w), np.empty_like(b))
    run[1](x, mean, var, *(() if w is None else (w,)), g, gx, *(() if w is None else (gw, gb)))
    return gx, gw, gb


def _batch_norm(x: Any, w: Any, b: Any, eps: float) -> Any:
    if (w is None) != (b is None) or not is_image(x) or not images.is_channels_last(x):
        return None
    if w is not None and not _fits(w, b):
        return None
    return images.batch_norm(x.shape, eps, w is not None)
