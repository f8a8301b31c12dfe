"""Pooling: the maximum or the mean of windows, over the last 1, 2 or 3 dimensions.

A kernel walks over the positions in a window, never over windows: each position is one strided view
of the whole input.
"""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

import builtins
from functools import reduce
from math import prod

from ..backend import cpu
from ..dtype import check_kind
from ..op import op
from .activation import relu
from .pointwise import abs, sign
from .random import rand
from .resample import averaging, bins, multiply_along
from .shape import raw, squeeze, unsqueeze
from .windows import Geometry, inner, ntuple, out_size, padded, taps


def _geometry(input, n, name, kernel_size, stride, padding, dilation=1, ceil_mode=False):
    kernel = ntuple(kernel_size, n, "kernel_size")
    stride = (
        kernel if stride is None or stride == () or stride == [] else ntuple(stride, n, "stride")
    )
    padding, dilation = ntuple(padding, n, "padding"), ntuple(dilation, n, "dilation")
    if input.ndim not in (n + 1, n + 2):
        raise RuntimeError(
            f"{name}(): non-empty {n + 1}D or {n + 2}D (batch mode) tensor expected for input, but "
            f"got {list(input.shape)}"
        )
    if min(kernel) <= 0:
        raise RuntimeError(
            f"{name}(): kernel_size must be greater than zero, but got {list(kernel)}"
        )
    if min(stride) <= 0:
        raise RuntimeError(f"{name}(): stride must be greater than zero, but got {list(stride)}")
    if min(dilation) <= 0:
        raise RuntimeError(
            f"{name}(): dilation must be greater than zero, but got {list(dilation)}"
        )
    for p, k, d in zip(padding, kernel, dilation):
        if p < 0:
            raise RuntimeError(f"{name}(): padding must be non-negative, but got {p}")
        if p > (d * (k - 1) + 1) // 2:
            raise RuntimeError(
                f"pad should be at most half of effective kernel size, but got pad={p}, "
                f"kernel_size={k} and dilation={d}"
            )
    size = tuple(input.shape[-n:])
    if input.ndim == n + 2 and 0 in input.shape[1:] or input.ndim == n + 1 and 0 in input.shape:
        raise RuntimeError(
            f"{name}(): Expected input with non-zero size for all dimensions but the batch's, but "
            f"got input of size: {list(input.shape)}"
        )
    out = out_size(size, kernel, stride, padding, dilation, ceil_mode)
    if min(out) <= 0:
        raise RuntimeError(
            f"Given input size: {list(size)}. Calculated output size: {list(out)}. Output size is "
            "too small"
        )
    return Geometry(size, kernel, out, stride, padding, dilation)


def _taps(x, geo):
    return taps(x, geo.kernel, geo.stride, geo.dilation, geo.out)


# ---- the maximum -----------------------------------------------------------------------------


def _lowest(xp, dtype):
    return -xp.inf if dtype.kind == "f" else xp.iinfo(dtype).min


@op(saves="x", kinds="biuf")
def _max_pool(xp, x, *, geo):
    # (..., *size) -> (..., *out)
    views = _taps(padded(xp, x, geo.pads, _lowest(xp, x.dtype)), geo)
    y = next(views).copy()
    for v in views:
        xp.maximum(y, v, out=y)
    return y


@op()
def _max_position(xp, x, y, *, geo):
    """Which position of its window, the first if several, has the maximum.  Integers (..., *out)"""
    x = padded(xp, x, geo.pads, _lowest(xp, x.dtype))
    where = xp.zeros(y.shape, "uint8" if prod(geo.kernel) <= 256 else "int32")
    nan = xp.name != "cpu" or bool(xp.isnan(y).any())  # to look would be to wait elsewhere
    for i, v in reversed(list(enumerate(_taps(x, geo)))):
        xp.copyto(where, i, where=(v == y) | (v != v) if nan else v == y)
    return where


@op(saves="x")
def _max_pool_add(xp, g, where, *, geo):
    """Zeros (..., *size) with g (..., *out) added where the maxima were."""
    x = xp.zeros(g.shape[: -len(geo.size)] + geo.padded_size, g.dtype)
    for i, tap in enumerate(_taps(x, geo)):
        tap += g * (where == i)
    return xp.ascontiguousarray(x[inner(geo.size, geo.pads)])


@op(saves="x")
def _max_pool_take(xp, x, where, *, geo):
    """The adjoint of _max_pool_add: the elements of x where the maxima were."""
    y = xp.zeros(where.shape, x.dtype)
    for i, tap in enumerate(_taps(padded(xp, x, geo.pads), geo)):
        xp.copyto(y, tap, where=where == i)
    return y


# The maxima are computed anew: the output may be written to, as ReLU(inplace=True) does.
_max_pool.vjp(
    lambda g, y, x, geo: _max_pool_add(g, _max_position(x, _max_pool(x, geo=geo), geo=geo), geo=geo)
)
_max_pool_add.vjp(lambda g, y, x, where, geo: _max_pool_take(g, where, geo=geo), None)
_max_pool_take.vjp(lambda g, y, x, where, geo: _max_pool_add(g, where, geo=geo), None)


@op()
def _max_index(xp, where, *, geo):
    """Positions in windows as indices into the flattened input (without its padding)."""
    index = 0
    n, k = len(geo.size), where.astype("int64")
    positions = []
    for size in reversed(geo.kernel):
        positions.append(k % size)
        k = k // size
    for i, position in enumerate(reversed(positions)):
        start = xp.arange(geo.out[i]) * geo.stride[i] - geo.padding[i]
        start = start.reshape(-1, *(1,) * (n - 1 - i))
        index = index * geo.size[i] + position * geo.dilation[i] + start
    return index


def _max(n):
    name = f"max_pool{n}d"

    def max_pool(input, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False,
                 return_indices=False):  # fmt: skip
        geo = _geometry(input, n, name, kernel_size, stride, padding, dilation, ceil_mode)
        y = _max_pool(input, geo=geo)
        if not return_indices:
            return y
        return y, _max_index(_max_position(input.detach(), y.detach(), geo=geo), geo=geo)

    return _described(max_pool, name, "The maximum of each window")


def _described(function, name, text):
    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"{text}.  input: (N, C, *size) or (C, *size)"
    return function


max_pool1d, max_pool2d, max_pool3d = map(_max, (1, 2, 3))


# ---- the mean --------------------------------------------------------------------------------


def _divided(xp, x, counts):
    """x / counts, an int or an array of them; integers are rounded towards 0."""
    counts = counts if isinstance(counts, int) else xp.asarray(counts, x.dtype)
    return x / counts if x.dtype.kind == "f" else xp.trunc(x / counts).astype(x.dtype)


@op(kinds="iuf")
def _avg_pool(xp, x, *, geo, counts):
    # (..., *size) -> (..., *out); counts: an int, or an array (*out)
    views = _taps(padded(xp, x, geo.pads), geo)
    y = next(views).copy()
    for v in views:
        y += v
    return _divided(xp, y, counts)


@op()
def _avg_pool_add(xp, g, *, geo, counts):
    """The adjoint of _avg_pool: (..., *out) -> (..., *size)"""
    x = xp.zeros(g.shape[: -len(geo.size)] + geo.padded_size, g.dtype)
    g = _divided(xp, g, counts)
    for tap in _taps(x, geo):
        tap += g
    return xp.ascontiguousarray(x[inner(geo.size, geo.pads)])


_avg_pool.vjp(lambda g, y, x, geo, counts: _avg_pool_add(g, geo=geo, counts=counts))
_avg_pool_add.vjp(lambda g, y, x, geo, counts: _avg_pool(g, geo=geo, counts=counts))


def _counts(geo, include_pad):
    """How many elements each window counts: a number, or an array (*out)."""
    lengths = []
    for n, k, o, s, p in zip(geo.size, geo.kernel, geo.out, geo.stride, geo.padding):
        start = cpu.arange(o) * s - p
        end = cpu.minimum(start + k, n + p)
        if not include_pad:
            start, end = cpu.maximum(start, 0), cpu.minimum(end, n)
        lengths.append(end - start)
    counts = reduce(cpu.multiply.outer, lengths)
    return int(counts.flat[0]) if (counts == counts.flat[0]).all() else counts


def _avg(n):
    name = f"avg_pool{n}d"

    def avg_pool(input, kernel_size, stride=None, padding=0, ceil_mode=False,
                 count_include_pad=True, divisor_override=None):  # fmt: skip
        geo = _geometry(input, n, name, kernel_size, stride, padding, 1, ceil_mode)
        if divisor_override == 0:
            raise RuntimeError("divisor must be not zero")
        return _avg_pool(input, geo=geo, counts=divisor_override or _counts(geo, count_include_pad))

    return _described(avg_pool, name, "The mean of each window")


avg_pool1d, avg_pool2d, avg_pool3d = map(_avg, (1, 2, 3))


def _lp(n):
    def lp_pool(input, norm_type, kernel_size, stride=None, ceil_mode=False):
        geo = _geometry(input, n, f"lp_pool{n}d", kernel_size, stride, 0, 1, ceil_mode)
        total = _avg_pool(input**norm_type, geo=geo, counts=1)
        return (sign(total) * relu(abs(total))) ** (1.0 / norm_type)

    return _described(lp_pool, f"lp_pool{n}d", "The norm sum(x^p)^(1/p) of each window")


lp_pool1d, lp_pool2d, lp_pool3d = map(_lp, (1, 2, 3))


# ---- adaptive: the output's size is given ----------------------------------------------------


def _adaptive_size(input, n, output_size, name):
    if n > 1 and input.ndim <= n:
        raise ValueError(f"Input dimension should be at least {n + 1}")
    size = tuple(input.shape[-n:])
    if input.ndim not in (n + 1, n + 2):
        raise RuntimeError(
            f"{name}(): Expected {n + 1}D or {n + 2}D tensor, but got {list(input.shape)}"
        )
    if 0 in size or input.ndim == n + 2 and not input.shape[1]:
        raise RuntimeError(
            f"{name}(): Expected input to have non-zero size for non-batch dimensions, but input "
            f"has sizes {list(input.shape)}"
        )
    out = (output_size,) * n if isinstance(output_size, int) else tuple(output_size)
    if len(out) == 1:
        out *= n
    if len(out) != n:
        raise RuntimeError(f"{name}(): output_size must be {n}, but got {len(out)} numbers")
    out = tuple(s if o is None else int(o) for s, o in zip(size, out))
    if min(out) < 0:
        raise RuntimeError(
            f"{name}(): elements of output_size must be greater than or equal to 0, but got "
            f"{list(out)}"
        )
    return size, out


def _adaptive_avg(n):
    name = f"adaptive_avg_pool{n}d"

    def adaptive_avg_pool(input, output_size):
        check_kind(name, "f", raw(input))
        size, out = _adaptive_size(input, n, output_size, name)
        if all(o and not s % o for s, o in zip(size, out)):
            kernel = tuple(s // o for s, o in zip(size, out))
            geo = Geometry(size, kernel, out, kernel, (0,) * n, (1,) * n)
            return _avg_pool(input, geo=geo, counts=prod(kernel))
        for i, (s, o) in enumerate(zip(size, out)):
            input = multiply_along(input, matrix=averaging(s, o), dim=input.ndim - n + i)
        return input

    return _described(adaptive_avg_pool, name, "The means of output_size bins of about equal size")


adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_avg_pool3d = map(_adaptive_avg, (1, 2, 3))


@op(kinds="biuf")
def _adaptive_argmax(xp, x, *, out):
    """The flat index of the maximum of each bin.  (..., *size) -> (..., *out)"""
    n = len(out)
    indices, flat = [], 0
    for i, (s, o) in enumerate(zip(x.shape[-n:], out)):
        start, end = (xp.asarray(b) for b in bins(s, o))
        longest = int((end - start).max()) if o else 1
        # A short bin repeats its last element, which changes no maximum.
        index = xp.minimum(start[:, None] + xp.arange(longest), end[:, None] - 1)
        shape = [1] * (2 * n)
        shape[i], shape[n + i] = index.shape
        indices.append(index.reshape(shape))
        flat = flat * s + indices[-1]
    values = x[(..., *indices)]
    values = values.reshape(*values.shape[:-n], prod(values.shape[-n:]))
    best = values.argmax(-1)[..., None]
    flat = xp.broadcast_to(flat.reshape(*out, -1), values.shape)
    return xp.take_along_axis(flat, best, -1)[..., 0]


@op(saves="x", half="keep")
def gather_flat(xp, x, index, *, n):
    """Elements by index into the flattened last n dimensions.

    x: (..., *size), index: (..., *out) -> (..., *out)
    """
    lead = x.shape[:-n]
    pixels = x.reshape(*lead, prod(x.shape[-n:]))
    flat = xp.take_along_axis(pixels, index.reshape(*lead, prod(index.shape[-n:])), -1)
    return flat.reshape(index.shape)


@op(saves="x", half="keep")
def scatter_flat(xp, x, index, *, size, accumulate=True):
    """Zeros (..., *size) with x (..., *out) added, or put, at flat indices (..., *out)."""
    lead = x.shape[: -len(size)]
    out = xp.zeros((prod(lead), prod(size)), x.dtype)
    rows = prod(lead), prod(x.shape[len(lead) :])
    where = xp.arange(rows[0])[:, None], index.reshape(rows)
    if accumulate:
        xp.scatter_add(out, where, x.reshape(rows))
    else:
        out[where] = x.reshape(rows)
    return out.reshape(*lead, *size)


gather_flat.vjp(lambda g, y, x, index, n: scatter_flat(g, index, size=tuple(x.shape[-n:])), None)
scatter_flat.vjp(
    lambda g, y, x, index, size, accumulate=True: gather_flat(g, index, n=len(size)), None
)


def _adaptive_max(n):
    name = f"adaptive_max_pool{n}d"

    def adaptive_max_pool(input, output_size, return_indices=False):
        _, out = _adaptive_size(input, n, output_size, name)
        index = _adaptive_argmax(input.detach(), out=out)
        y = gather_flat(input, index, n=n)
        return (y, index) if return_indices else y

    return _described(adaptive_max_pool, name, "The maxima of output_size bins of about equal size")


adaptive_max_pool1d, adaptive_max_pool2d, adaptive_max_pool3d = map(_adaptive_max, (1, 2, 3))


# ---- fractional: bins of random sizes ---------------------------------------------------------


@op(kinds="biuf")
def _fractional_argmax(xp, x, samples, *, kernel, out):
    """The flat index of each window's maximum; where windows lie, random samples (N, C, n) say."""
    n, flat = len(out), 0
    for i, (size, k, o) in enumerate(zip(x.shape[-n:], kernel, out)):
        # In 2 dimensions the reference takes the first sample for the last dimension.
        u = samples[..., (n - 1 - i) if n == 2 else i][..., None]
        alpha = (size - k) / (o - 1) if o > 1 else 0
        start = ((xp.arange(o) + u) * alpha).astype("int64") - (u * alpha).astype("int64")
        start[..., -1] = size - k
        index = start[..., None] + xp.arange(k)  # (N, C, o, k)
        shape = [*index.shape[:2], *[1] * (2 * n)]
        shape[2 + i], shape[2 + n + i] = o, k
        flat = flat * size + index.reshape(shape)  # (N, C, *out, *kernel)
    flat = flat.reshape(*flat.shape[:2], prod(out), prod(kernel))
    lead = x.shape[:2]
    pixels = x.reshape(*lead, prod(x.shape[2:]))
    values = xp.take_along_axis(pixels, flat.reshape(*lead, prod(flat.shape[2:])), -1)
    best = values.reshape(flat.shape).argmax(-1)[..., None]
    return xp.take_along_axis(flat, best, -1).reshape(*lead, *out)


def _fractional(n):
    name = f"fractional_max_pool{n}d"

    def fractional_max_pool(input, kernel_size, output_size=None, output_ratio=None,
                            return_indices=False, _random_samples=None):  # fmt: skip
        if (output_size is None) == (output_ratio is None):
            if output_size is None:
                raise ValueError(
                    f"{name} requires specifying either an output_size or an output_ratio"
                )
            raise ValueError("only one of output_size and output_ratio may be specified")
        if input.ndim not in (n + 1, n + 2):
            raise RuntimeError(
                f"{name}: Expected {n + 1}D or {n + 2}D tensor, but got: {list(input.shape)}"
            )
        size, kernel = tuple(input.shape[-n:]), ntuple(kernel_size, n, "kernel_size")
        if output_size is None:
            ratio = (output_ratio,) * n if isinstance(output_ratio, float) else output_ratio
            output_size = tuple(int(s * r) for s, r in zip(size, ratio))
        out = ntuple(output_size, n, "output_size")
        if any(o + k - 1 > s or k < 1 or o < 1 for o, k, s in zip(out, kernel, size)):
            raise RuntimeError(
                f"{name}: pool size {list(kernel)} and output {list(out)} are too large for the "
                f"input's {list(size)}"
            )
        x = input if input.ndim == n + 2 else unsqueeze(input, 0)
        if _random_samples is None:
            _random_samples = rand(*x.shape[:2], n, dtype=x.dtype, device=x.device)
        index = _fractional_argmax(x.detach(), _random_samples, kernel=kernel, out=out)
        y = gather_flat(x, index, n=n)
        if input.ndim == n + 1:
            y, index = squeeze(y, 0), squeeze(index, 0)
        return (y, index) if return_indices else y

    text = "The maxima of windows that lie at random distances (Graham, 2014)"
    return _described(fractional_max_pool, name, text)


fractional_max_pool2d, fractional_max_pool3d = _fractional(2), _fractional(3)


# ---- unpooling -------------------------------------------------------------------------------


def _max_unpool(n):
    name = f"max_unpool{n}d"

    def max_unpool(input, indices, kernel_size, stride=None, padding=0, output_size=None):
        kernel = ntuple(kernel_size, n, "kernel_size")
        stride = kernel if stride is None else ntuple(stride, n, "stride")
        padding = ntuple(padding, n, "padding")
        if input.ndim not in (n + 1, n + 2):
            raise RuntimeError(
                f"{name}(): expected {n + 1}D or {n + 2}D input, but got {list(input.shape)}"
            )
        if indices.dtype.name != "int64":
            raise RuntimeError(f"elements in indices should be type int64 but got: {indices.dtype}")
        if input.shape != indices.shape:
            raise RuntimeError(
                f"Expected shape of indices to be: {list(input.shape)} but got: "
                f"{list(indices.shape)}"
            )
        default = tuple(
            (o - 1) * s + k - 2 * p for o, s, k, p in zip(input.shape[-n:], stride, kernel, padding)
        )
        size = default if output_size is None else tuple(int(o) for o in output_size[-n:])
        if any(builtins.abs(o - d) >= s for o, d, s in zip(size, default, stride)):
            raise ValueError(
                f"invalid output_size {list(size)} (expected within a stride of {list(default)})"
            )
        high = prod(size)
        if indices.numel() and not 0 <= int(indices.min()) <= int(indices.max()) < high:
            raise RuntimeError(f"Found an invalid max index: it must be in [0, {high}) for an "
                               "output of "
                               f"size {list(size)}")  # fmt: skip
        return scatter_flat(input, indices, size=size, accumulate=False)

    return _described(max_unpool, name, "Zeros with the values put at the indices of a max_pool")


max_unpool1d, max_unpool2d, max_unpool3d = map(_max_unpool, (1, 2, 3))

FUNCTIONS = {
    "max_pool1d": max_pool1d, "max_pool2d": max_pool2d, "max_pool3d": max_pool3d,
    "avg_pool1d": avg_pool1d, "adaptive_avg_pool1d": adaptive_avg_pool1d,
    "adaptive_max_pool1d": lambda input, output_size: adaptive_max_pool1d(input, output_size, True),
}  # fmt: skip
