"""Padding, resampling, and moving pixels between channels and space.

Padding with zeros is its own adjoint with the signs turned; all other resampling is separable: for
each dimension a list of indices, or a matrix.
"""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

import math
import warnings

from ..backend import cpu
from ..dtype import check_kind
from ..op import op
from .shape import clone, permute, raw, reshape


@op(half="keep")
def pad_constant(xp, x, *, pads, value):
    """x with (before, after) elements of `value` around each dimension; negative numbers crop."""
    shape = tuple(b + n + a for n, (b, a) in zip(x.shape, pads))
    out = xp.full(shape, value, x.dtype)
    source = tuple(slice(max(-b, 0), n - max(-a, 0)) for n, (b, a) in zip(x.shape, pads))
    target = tuple(slice(max(b, 0), n - max(a, 0)) for n, (b, a) in zip(shape, pads))
    out[target] = x[source]
    return out


pad_constant.vjp(
    lambda g, y, x, pads, value: pad_constant(g, pads=tuple((-b, -a) for b, a in pads), value=0)
)


@op(saves="s", half="keep")
def take_along(xp, x, *, index, dim):
    """The slices of x at a list of indices along `dim`."""
    return xp.take(x, xp.asarray(index), axis=dim)


@op(half="keep")
def _take_along_add(xp, g, *, index, dim, size):
    """The adjoint of take_along: slices summed up where an index comes twice."""
    out = xp.zeros((size, *g.shape[:dim], *g.shape[dim + 1 :]), g.dtype)
    xp.index_rows_add(out, xp.asarray(index), xp.moveaxis(g, dim, 0))
    return xp.ascontiguousarray(xp.moveaxis(out, 0, dim))


take_along.vjp(
    lambda g, y, shape, index, dim: _take_along_add(g, index=index, dim=dim, size=shape[dim])
)
_take_along_add.vjp(lambda g, y, x, index, dim, size: take_along(g, index=index, dim=dim))


@op()
def multiply_along(xp, x, *, matrix, dim):
    """Each line of x along `dim` multiplied by a matrix (out, in)."""
    if x.dtype.kind in "iu":
        y = multiply_along(x.astype("float64"), matrix=matrix, dim=dim)
        limits = xp.iinfo(x.dtype)
        return xp.clip(xp.rint(y), limits.min, limits.max).astype(x.dtype)
    m = xp.asarray(matrix, x.dtype)
    lead, rest = x.shape[:dim], x.shape[dim + 1 :]
    lines = x.reshape(math.prod(lead), x.shape[dim], math.prod(rest))
    return xp.matmul(m, lines).reshape(*lead, m.shape[0], *rest)


multiply_along.vjp(lambda g, y, x, matrix, dim: multiply_along(g, matrix=matrix.T, dim=dim))


# ---- padding ---------------------------------------------------------------------------------


def pad(input, pad, mode="constant", value=None):
    """Elements added around the last dimensions; negative numbers crop.

    pad: (before, after) of the last dimension, then of the one before it, and so on

    mode: "constant" (value, default 0), "reflect", "replicate" (the border), "circular"
    """
    pad = [int(p) for p in pad]
    if len(pad) % 2:
        raise RuntimeError(f"Padding length must be divisible by 2, but got {len(pad)}")
    if len(pad) // 2 > input.ndim:
        raise RuntimeError(
            f"Padding length should be less than or equal to two times the input dimension. Input "
            f"dimension: {input.ndim}, padding length: {len(pad)}"
        )
    pairs = [(pad[i], pad[i + 1]) for i in range(0, len(pad), 2)][::-1]
    if mode == "constant":
        pads = ((0, 0),) * (input.ndim - len(pairs)) + tuple(pairs)
        for n, (b, a) in zip(input.shape, pads):
            if b + n + a < 0:
                raise RuntimeError(
                    f"The input size {n}, plus negative padding {b} and {a} resulted in a negative "
                    "output size, which is invalid."
                )
        return pad_constant(input, pads=pads, value=value or 0)
    if value:
        raise ValueError(f'Padding mode "{mode}" doesn\'t take in value argument')
    if mode not in _SOURCES:
        raise NotImplementedError(f"Unrecognised padding mode {mode}")
    if not len(pairs) <= 3 or input.ndim not in (len(pairs) + 1, len(pairs) + 2):
        raise NotImplementedError(
            "Only 2D, 3D, 4D, 5D padding with non-constant padding are supported for now"
        )
    for i, (before, after) in enumerate(pairs):
        dim = input.ndim - len(pairs) + i
        if before or after:
            index = _SOURCES[mode](input.shape[dim], before, after, dim)
            input = take_along(input, index=index, dim=dim)
    return input


def _reflected(n, before, after, dim):
    if before >= n or after >= n:
        raise RuntimeError(
            "Argument #4: Padding size should be less than the corresponding input dimension, but "
            f"got: padding ({before}, {after}) at dimension {dim} of size {n}"
        )
    i = cpu.absolute(cpu.arange(-before, n + after))
    return n - 1 - cpu.absolute(n - 1 - i)


def _replicated(n, before, after, dim):
    return cpu.clip(cpu.arange(-before, n + after), 0, n - 1)


def _circular(n, before, after, dim):
    if before > n or after > n:
        raise RuntimeError("Padding value causes wrapping around more than once.")
    inside = cpu.arange(n)[max(-before, 0) : n - max(-after, 0)]  # negative numbers crop first
    m = len(inside)
    return inside[cpu.arange(-max(before, 0), m + max(after, 0)) % m]


_SOURCES = {"reflect": _reflected, "replicate": _replicated, "circular": _circular}


# ---- interpolation ---------------------------------------------------------------------------


def averaging(n, m):
    """The matrix (m, n) of adaptive average pooling: the mean of each of m bins."""
    start, end = bins(n, m)
    j = cpu.arange(n)
    inside = (j >= start[:, None]) & (j < end[:, None])
    return inside / (end - start)[:, None]


def bins(n, m):
    """Where m bins of n elements begin and end: floor(i n / m), ceil((i + 1) n / m)."""
    i = cpu.arange(m)
    return i * n // m, -(-(i + 1) * n // m)


def _centers(n, m, scale, align_corners):
    """Where the centers of m new elements lie among n old ones."""
    i = cpu.arange(m)
    if align_corners:
        return i * ((n - 1) / (m - 1) if m > 1 else 0.0)
    return (i + 0.5) * scale - 0.5


def _matrix(n, m, scale, align_corners, kernel, clamp):
    """Interpolation by `kernel`, a list of (offset, weight by fraction), as a matrix (m, n)."""
    x = _centers(n, m, scale, align_corners)
    x = cpu.maximum(x, 0) if clamp else x
    i = cpu.floor(x).astype(int)
    matrix = cpu.zeros((m, n))
    for offset, weight in kernel:
        cpu.scatter_add(matrix, (cpu.arange(m), cpu.clip(i + offset, 0, n - 1)), weight(x - i))
    return matrix


def _cubic(x, a):
    """Keys' cubic convolution kernel (1981)."""
    x = cpu.absolute(x)
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((x - 5) * x + 8) * x * a - 4 * a
    return cpu.where(x <= 1, near, cpu.where(x < 2, far, 0))


_LINEAR = [(0, lambda t: 1 - t), (1, lambda t: t)]
_CUBIC = [(k, lambda t, k=k: _cubic(t - k, -0.75)) for k in (-1, 0, 1, 2)]


def _smoothed(n, m, scale, align_corners, kernel, support):
    """A kernel stretched over all that an output element covers, as a matrix (m, n)."""
    stretch = max(scale, 1.0)
    x = _centers(n, m, scale, align_corners)
    reach = support * stretch
    j = cpu.arange(n)
    low = cpu.maximum(cpu.floor(x + 0.5 - reach + 0.5), 0)
    high = cpu.minimum(cpu.floor(x + 0.5 + reach + 0.5), n)
    weights = kernel((j - x[:, None]) / stretch)
    weights = cpu.where((j >= low[:, None]) & (j < high[:, None]), weights, 0)
    return weights / weights.sum(1, keepdims=True)


def _linear_matrix(n, m, scale, align_corners, antialias):
    if antialias:
        hat = lambda x: cpu.maximum(1 - cpu.absolute(x), 0)  # noqa: E731
        return _smoothed(n, m, scale, align_corners, hat, 1.0)
    return _matrix(n, m, scale, align_corners, _LINEAR, clamp=True)


def _cubic_matrix(n, m, scale, align_corners, antialias):
    if antialias:
        return _smoothed(n, m, scale, align_corners, lambda x: _cubic(x, -0.5), 2.0)
    return _matrix(n, m, scale, align_corners, _CUBIC, clamp=False)


_MODES = {  # mode -> the numbers of spatial dimensions that it is for
    "nearest": (1, 2, 3), "nearest-exact": (1, 2, 3), "area": (1, 2, 3), "linear": (1,),
    "bilinear": (2,), "bicubic": (2,), "trilinear": (3,),
}  # fmt: skip


def interpolate(input, size=None, scale_factor=None, mode="nearest", align_corners=None,
                recompute_scale_factor=None, antialias=False):  # fmt: skip
    """Images of another size.  input: (N, C, *size), with 1 to 3 spatial dimensions

    mode: "nearest" (as OpenCV rounds), "nearest-exact", "linear", "bilinear", "trilinear",
        "bicubic", or "area" (adaptive average pooling)
    """
    n = input.ndim - 2
    if mode not in _MODES or n not in _MODES[mode]:
        if mode in _MODES and 1 <= n <= 3:
            raise NotImplementedError(
                f"Got {input.ndim}D input, but {mode} mode needs {_MODES[mode][0] + 2}D input"
            )
        raise NotImplementedError(
            "Input Error: Only 3D, 4D and 5D input Tensors supported (got "
            f"{input.ndim}D) for the modes: {' | '.join(_MODES)} (got {mode})"
        )
    if mode in ("nearest", "area", "nearest-exact") and align_corners is not None:
        raise ValueError(
            "align_corners option can only be set with the interpolating modes: linear | bilinear "
            "| bicubic | trilinear"
        )
    if antialias and mode not in ("bilinear", "bicubic"):
        raise ValueError(
            "Anti-alias option is restricted to bilinear and bicubic modes and requires a 4-D "
            "tensor"
        )
    check_kind(f"upsample_{mode}{n}d", "biuf", raw(input))
    sizes, scales = _target(input, n, size, scale_factor, recompute_scale_factor)
    x = input
    for i, (m, scale) in enumerate(zip(sizes, scales)):
        dim, old = i + 2, input.shape[i + 2]
        if mode in ("nearest", "nearest-exact"):
            centers = cpu.arange(m, dtype="float32") + cpu.float32(0.5 * (mode != "nearest"))
            index = cpu.minimum((centers * cpu.float32(scale)).astype(int), old - 1)
            x = take_along(x, index=index, dim=dim)
        elif mode == "area":
            x = multiply_along(x, matrix=averaging(old, m), dim=dim)
        else:
            make = _cubic_matrix if mode == "bicubic" else _linear_matrix
            if m != old or not (align_corners or scale == 1):
                matrix = make(old, m, scale, bool(align_corners), antialias)
                x = multiply_along(x, matrix=matrix, dim=dim)
    return x


def _target(input, n, size, scale_factor, recompute):
    """The new size of each spatial dimension, and how many old elements make a new one."""
    old = input.shape[2:]
    if (size is None) == (scale_factor is None):
        if size is None:
            raise ValueError("either size or scale_factor should be defined")
        raise ValueError("only one of size or scale_factor should be defined")
    if size is not None:
        size = [size] * n if isinstance(size, int) else [int(s) for s in size]
        if len(size) != n:
            raise ValueError(
                "Input and output must have the same number of spatial dimensions, but got input "
                f"with spatial dimensions of {list(old)} and output size of {size}. Please provide "
                "input tensor in (N, C, d1, d2, ...,dK) format and output size in (o1, o2, "
                "...,oK) format."
            )
        if recompute:
            raise ValueError("recompute_scale_factor is not meaningful with an explicit size.")
        factors = None
    else:
        factors = [scale_factor] * n if isinstance(scale_factor, (int, float)) else scale_factor
        factors = [float(f) for f in factors]
        if len(factors) != n:
            raise ValueError(
                "Input and scale_factor must have the same number of spatial dimensions, but got "
                f"input with spatial dimensions of {list(old)} and scale_factor of shape {factors}."
            )
        size = [math.floor(k * f) for k, f in zip(old, factors)]
    if min(size) <= 0:
        raise RuntimeError(
            f"Input and output sizes should be greater than 0, but got input {list(old)} and "
            f"output {size}"
        )
    if factors is None or recompute:
        return size, [k / m for k, m in zip(old, size)]
    return size, [1.0 / f for f in factors]


def upsample(input, size=None, scale_factor=None, mode="nearest", align_corners=None):
    """interpolate, under its old name"""
    warnings.warn("`nn.functional.upsample` is deprecated. Use `nn.functional.interpolate` "
                  "instead.",
                  stacklevel=2)  # fmt: skip
    return interpolate(input, size, scale_factor, mode, align_corners)


# ---- channels and space ----------------------------------------------------------------------


def pixel_shuffle(input, upscale_factor):
    """(*, C r², H, W) -> (*, C, H r, W r)"""
    r = upscale_factor
    if input.ndim < 3:
        raise RuntimeError(
            f"pixel_shuffle expects input to have at least 3 dimensions, but got input with "
            f"{input.ndim} dimension(s)"
        )
    if r <= 0:
        raise RuntimeError(f"pixel_shuffle expects a positive upscale_factor, but got {r}")
    if r == 1:
        return clone(input)
    *lead, c, h, w = input.shape
    if c % (r * r):
        raise RuntimeError(
            "pixel_shuffle expects its input's 'channel' dimension to be divisible by the square "
            f"of upscale_factor, but input.size(-3)={c} is not divisible by {r * r}"
        )
    k = len(lead)
    x = reshape(input, (*lead, c // (r * r), r, r, h, w))
    x = permute(x, (*range(k), k, k + 3, k + 1, k + 4, k + 2))
    return reshape(x, (*lead, c // (r * r), h * r, w * r))


def pixel_unshuffle(input, downscale_factor):
    """(*, C, H r, W r) -> (*, C r², H, W)"""
    r = downscale_factor
    if input.ndim < 3:
        raise RuntimeError(
            f"pixel_unshuffle expects input to have at least 3 dimensions, but got input with "
            f"{input.ndim} dimension(s)"
        )
    if r <= 0:
        raise RuntimeError(f"pixel_unshuffle expects a positive downscale_factor, but got {r}")
    if r == 1:
        return clone(input)
    *lead, c, h, w = input.shape
    for name, n in (("height", h), ("width", w)):
        if n % r:
            raise RuntimeError(
                f"pixel_unshuffle expects {name} to be divisible by downscale_factor, but {n} is "
                f"not divisible by {r}"
            )
    k = len(lead)
    x = reshape(input, (*lead, c, h // r, r, w // r, r))
    x = permute(x, (*range(k), k, k + 2, k + 4, k + 1, k + 3))
    return reshape(x, (*lead, c * r * r, h // r, w // r))


_pad = pad  # its name is an argument's below


def constant_pad_nd(input, pad, value=0):
    """pad with mode="constant" """
    return _pad(input, pad, value=value)


def channel_shuffle(input, groups):
    """The channels (dim 1) of `groups` groups, dealt out in turn  (Zhang et al., 2017)"""
    if input.ndim < 3:
        raise RuntimeError(
            "channel_shuffle expects input with > 2 dims, but got input with sizes "
            f"{list(input.shape)}"
        )
    n, c, *rest = input.shape
    if groups <= 0 or c % groups:
        raise RuntimeError(
            f"Number of groups to divide channels in must be positive and divide the {c} channels, "
            f"but got {groups}"
        )
    x = reshape(input, (n, groups, c // groups, *rest))
    return reshape(permute(x, (0, 2, 1, *range(3, x.ndim))), (n, c, *rest))


FUNCTIONS = {
    "pixel_shuffle": pixel_shuffle, "pixel_unshuffle": pixel_unshuffle,
    "channel_shuffle": channel_shuffle, "native_channel_shuffle": channel_shuffle,
    "constant_pad_nd": constant_pad_nd,
}  # fmt: skip
