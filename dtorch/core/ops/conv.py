"""Convolutions in 1, 2 and 3 dimensions, their transposes, and unfold and fold.

A convolution is one matrix product over the columns of its windows (im2col).  It is linear in its
input and in its weight, so three ops are closed under differentiation: the convolution, its adjoint
in the input (the transposed convolution) and its adjoint in the weight.
"""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

from math import prod

from ..op import op
from .reduce import _sum
from .resample import pad_constant
from .shape import permute, squeeze, unsqueeze
from .windows import Geometry, inner, ntuple, out_size, padded, reach, taps, windows


def _columns(xp, x, geo):
    """The windows of x (N, C, *size), as a view (N, C, *kernel, *out)."""
    x = padded(xp, x, geo.pads)
    return windows(xp, x, geo.kernel, geo.stride, geo.dilation, geo.out)


def _add_columns(xp, cols, geo):
    """The adjoint of _columns: (N, C, *kernel, *out) summed up where windows overlap."""
    lead = cols.shape[:2]
    x = xp.zeros(lead + geo.padded_size, cols.dtype)
    cols = cols.reshape(*lead, prod(geo.kernel), *geo.out)
    for i, tap in enumerate(taps(x, geo.kernel, geo.stride, geo.dilation, geo.out)):
        tap += cols[:, :, i]
    return xp.ascontiguousarray(x[inner(geo.size, geo.pads)]) if any(geo.padding) else x


def _add_bias(y, b):
    if b is not None:
        y += b.reshape(-1, *(1,) * (y.ndim - 2))
    return y


@op(saves="x")
def convolution(xp, x, w, b, *, geo, groups):
    # x: (N, C, *size), w: (M, C / groups, *kernel), b: (M,) or None -> (N, M, *out)
    n, m = x.shape[0], w.shape[0]
    k = prod(w.shape[1:])
    cols = _columns(xp, x, geo).reshape(n, groups, k, prod(geo.out))
    y = xp.matmul(w.reshape(groups, m // groups, k), cols)
    return _add_bias(y.reshape(n, m, *geo.out), b)


@op(saves="x")
def convolution_transpose(xp, x, w, b, *, geo, groups):
    # x: (N, M, *out), w: (M, C / groups, *kernel), b: (C,) or None -> (N, C, *size)
    n, m, c = x.shape[0], w.shape[0], w.shape[1] * groups
    w = w.reshape(groups, m // groups, prod(w.shape[1:]))
    cols = xp.matmul(w.swapaxes(1, 2), x.reshape(n, groups, m // groups, prod(geo.out)))
    y = _add_columns(xp, cols.reshape(n, c, *geo.kernel, *geo.out), geo)
    return _add_bias(y, b)


@op(saves="x")
def convolution_weight(xp, x, g, *, geo, groups):
    # x: (N, C, *size), g: (N, M, *out) -> (M, C / groups, *kernel)
    n, m, c = x.shape[0], g.shape[1], x.shape[1] // groups
    length, d = n * prod(geo.out), len(geo.kernel)
    # One product over samples and windows: the columns as (C, *kernel, N, *out)
    cols = _columns(xp, x, geo)
    cols = cols.transpose(1, *range(2, 2 + d), 0, *range(2 + d, 2 + 2 * d))
    cols = cols.reshape(groups, c * prod(geo.kernel), length)
    g = g.swapaxes(0, 1).reshape(groups, m // groups, length)
    return xp.matmul(g, cols.swapaxes(1, 2)).reshape(m, c, *geo.kernel)


def _sum_channels(g):
    return _sum(g, dims=(0, *range(2, g.ndim)), keepdim=False)


convolution.vjp(
    lambda g, y, x, w, b, **p: convolution_transpose(g, w, None, **p),
    lambda g, y, x, w, b, **p: convolution_weight(x, g, **p),
    lambda g, y, x, w, b, **p: _sum_channels(g),
)
convolution_transpose.vjp(
    lambda g, y, x, w, b, **p: convolution(g, w, None, **p),
    lambda g, y, x, w, b, **p: convolution_weight(g, x, **p),
    lambda g, y, x, w, b, **p: _sum_channels(g),
)
convolution_weight.vjp(
    lambda g, y, x, other, **p: convolution_transpose(other, g, None, **p),
    lambda g, y, x, other, **p: convolution(x, g, None, **p),
)


def _check(x, weight, bias, n, name, channels, outputs):
    """The shapes fit together, as far as both directions share it."""
    if weight.ndim != n + 2:
        raise RuntimeError(
            f"Expected {n + 2}D weight for {name}, but got {weight.ndim}D weight of size "
            f"{list(weight.shape)}"
        )
    if x.ndim not in (n + 1, n + 2):
        raise RuntimeError(
            f"Expected {n + 1}D (unbatched) or {n + 2}D (batched) input to {name}, but got input "
            f"of size: {list(x.shape)}"
        )
    if x.dtype is not weight.dtype:
        raise RuntimeError(
            f"Input type ({x.dtype}) and weight type ({weight.dtype}) should be the same"
        )
    if bias is not None:
        if bias.dtype is not x.dtype:
            raise RuntimeError(
                f"Input type ({x.dtype}) and bias type ({bias.dtype}) should be the same"
            )
        if tuple(bias.shape) != (outputs,):
            raise RuntimeError(
                f"Given weight of size {list(weight.shape)}, expected bias to be 1-dimensional "
                f"with {outputs} elements, but got bias of size {list(bias.shape)} instead"
            )
    if x.shape[-n - 1] != channels:
        raise RuntimeError(
            f"Given weight of size {list(weight.shape)}, expected input{list(x.shape)} to have "
            f"{channels} channels, but got {x.shape[-n - 1]} channels instead"
        )


def _check_steps(stride, padding, dilation, groups):
    if any(s <= 0 for s in stride):
        raise RuntimeError("non-positive stride is not supported")
    if any(p < 0 for p in padding):
        raise RuntimeError("negative padding is not supported")
    if any(d <= 0 for d in dilation):
        raise RuntimeError("dilation should be greater than zero")
    if groups <= 0:
        raise RuntimeError("non-positive groups is not supported")


def _same(x, kernel, stride, dilation):
    """x with the odd element of 'same' padding added at the end, and the symmetric rest."""
    if any(s != 1 for s in stride):
        raise RuntimeError("padding='same' is not supported for strided convolutions")
    total = [d * (k - 1) for k, d in zip(kernel, dilation)]
    if any(t % 2 for t in total):
        pads = ((0, 0),) * (x.ndim - len(total)) + tuple((0, t % 2) for t in total)
        x = pad_constant(x, pads=pads, value=0)
    return x, tuple(t // 2 for t in total)


def _conv(n):
    name = f"conv{n}d"

    def conv(input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
        x = input
        _check_steps(ntuple(stride, n, "stride"), (), ntuple(dilation, n, "dilation"), groups)
        _check(x, weight, bias, n, name, weight.shape[1] * groups, weight.shape[0])
        if weight.shape[0] % groups:
            raise RuntimeError(
                f"Given groups={groups}, expected weight to be divisible by {groups} at dimension "
                f"0, but got weight of size {list(weight.shape)} instead"
            )
        kernel = tuple(weight.shape[2:])
        stride, dilation = ntuple(stride, n, "stride"), ntuple(dilation, n, "dilation")
        batched = x.ndim == n + 2
        x = x if batched else unsqueeze(x, 0)
        if isinstance(padding, str):
            if padding not in ("same", "valid"):
                raise RuntimeError(f"Invalid padding string: '{padding}'")
            if padding == "same":
                x, padding = _same(x, kernel, stride, dilation)
            else:
                padding = (0,) * n
        padding = ntuple(padding, n, "padding")
        _check_steps(stride, padding, dilation, groups)
        size = tuple(x.shape[2:])
        out = out_size(size, kernel, stride, padding, dilation)
        if any(o <= 0 for o in out):
            full = " x ".join(str(s + 2 * p) for s, p in zip(size, padding))
            raise RuntimeError(
                f"Calculated padded input size per channel: ({full}). Kernel size: "
                f"({' x '.join(map(str, reach(kernel, dilation)))}). Kernel size can't be greater "
                "than actual input size"
            )
        geo = Geometry(size, kernel, out, stride, padding, dilation)
        y = convolution(x, weight, bias, geo=geo, groups=groups)
        return y if batched else squeeze(y, 0)

    conv.__name__ = conv.__qualname__ = name
    conv.__doc__ = f"""A {n}-dimensional convolution (cross-correlation).

        input: (N, C, *size) or (C, *size); weight: (M, C / groups, *kernel); bias: (M,)
        padding: ints, "valid" (none) or "same" (the output has the input's size)
        """
    return conv


def _conv_transpose(n):
    name = f"conv_transpose{n}d"

    def conv_transpose(input, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1,
                       dilation=1):  # fmt: skip
        x = input
        stride, dilation = ntuple(stride, n, "stride"), ntuple(dilation, n, "dilation")
        padding = ntuple(padding, n, "padding")
        extra = ntuple(output_padding, n, "output_padding")
        _check_steps(stride, padding, dilation, groups)
        _check(x, weight, bias, n, name, weight.shape[0], weight.shape[1] * groups)
        if weight.shape[0] % groups:
            raise RuntimeError(
                f"Given groups={groups}, expected weight to be divisible by {groups} at dimension "
                f"0, but got weight of size {list(weight.shape)} instead"
            )
        if any(e < 0 or (e >= s and e >= d) for e, s, d in zip(extra, stride, dilation)):
            raise RuntimeError("output padding must be smaller than either stride or dilation, but "
                               "got "
                               f"output_padding={list(extra)}")  # fmt: skip
        batched = x.ndim == n + 2
        x = x if batched else unsqueeze(x, 0)
        kernel, out = tuple(weight.shape[2:]), tuple(x.shape[2:])
        size = tuple(
            (o - 1) * s - 2 * p + r + e
            for o, s, p, r, e in zip(out, stride, padding, reach(kernel, dilation), extra)
        )
        if any(s <= 0 for s in size):
            raise RuntimeError(
                f"Given input size per channel: {list(out)}. Calculated output size per channel: "
                f"{list(size)}. Output size is too small"
            )
        geo = Geometry(size, kernel, out, stride, padding, dilation)
        y = convolution_transpose(x, weight, bias, geo=geo, groups=groups)
        return y if batched else squeeze(y, 0)

    conv_transpose.__name__ = conv_transpose.__qualname__ = name
    conv_transpose.__doc__ = f"""The adjoint of a {n}-dimensional convolution in its input.

        input: (N, M, *size) or (M, *size); weight: (M, C / groups, *kernel); bias: (C,)
        output_padding: elements added at the end, to tell apart the sizes that a stride maps to one
        """
    return conv_transpose


conv1d, conv2d, conv3d = map(_conv, (1, 2, 3))
conv_transpose1d, conv_transpose2d, conv_transpose3d = map(_conv_transpose, (1, 2, 3))


def conv_tbc(input, weight, bias, pad=0):
    """conv1d of (time, batch, channels), weight (width, in, out), with `pad` steps at both ends."""
    if input.ndim != 3:
        raise RuntimeError(f"Input must have 3 dims: time, batch, in_channel; got {input.ndim}")
    if weight.ndim != 3:
        raise RuntimeError(
            "Weight tensor must have 3 dims: kernel_width, in_channels, out_channels; got "
            f"{weight.ndim}"
        )
    y = conv1d(permute(input, 1, 2, 0), permute(weight, 2, 1, 0), bias, padding=pad)
    return permute(y, 2, 0, 1)


# ---- unfold and fold -------------------------------------------------------------------------


@op(half="keep")
def _im2col(xp, x, *, geo):
    # (N, C, *size) -> (N, C * kernel, out)
    k = prod(geo.kernel)
    return _columns(xp, x, geo).reshape(x.shape[0], x.shape[1] * k, prod(geo.out))


@op(half="keep")
def _col2im(xp, x, *, geo):
    # (N, C * kernel, out) -> (N, C, *size)
    c = x.shape[1] // prod(geo.kernel)
    return _add_columns(xp, x.reshape(x.shape[0], c, *geo.kernel, *geo.out), geo)


_im2col.vjp(lambda g, y, x, geo: _col2im(g, geo=geo))
_col2im.vjp(lambda g, y, x, geo: _im2col(g, geo=geo))


def _image_geometry(size, kernel_size, dilation, padding, stride):
    kernel, stride = ntuple(kernel_size, 2, "kernel_size"), ntuple(stride, 2, "stride")
    padding, dilation = ntuple(padding, 2, "padding"), ntuple(dilation, 2, "dilation")
    if min(kernel) <= 0:
        raise RuntimeError(f"kernel size should be greater than zero, but got {list(kernel)}")
    if min(stride) <= 0:
        raise RuntimeError(f"stride should be greater than zero, but got {list(stride)}")
    if min(dilation) <= 0:
        raise RuntimeError(f"dilation should be greater than zero, but got {list(dilation)}")
    if min(padding) < 0:
        raise RuntimeError(f"padding should be non-negative, but got {list(padding)}")
    out = out_size(size, kernel, stride, padding, dilation)
    if min(out) <= 0:
        raise RuntimeError(
            f"Given spatial size {list(size)}, kernel_size={list(kernel)}, "
            f"dilation={list(dilation)}, padding={list(padding)}, calculated shape of the array of "
            f"sliding blocks as {list(out)}, but its components must be at least one."
        )
    return Geometry(tuple(size), kernel, out, stride, padding, dilation)


def unfold(input, kernel_size, dilation=1, padding=0, stride=1):
    """The windows of images as columns: (N, C, H, W) -> (N, C * kh * kw, windows)"""
    if input.ndim not in (3, 4):
        raise RuntimeError(
            "Expected 3D or 4D (batch mode) tensor with possibly 0 batch size and other non-zero "
            f"dimensions for input, but got: {list(input.shape)}"
        )
    geo = _image_geometry(tuple(input.shape[-2:]), kernel_size, dilation, padding, stride)
    if input.ndim == 3:
        return squeeze(_im2col(unsqueeze(input, 0), geo=geo), 0)
    return _im2col(input, geo=geo)


def fold(input, output_size, kernel_size, dilation=1, padding=0, stride=1):
    """The adjoint of unfold: columns summed up, (N, C * kh * kw, windows) -> (N, C, H, W)"""
    geo = _image_geometry(ntuple(output_size, 2), kernel_size, dilation, padding, stride)
    if input.ndim not in (2, 3):
        raise RuntimeError(
            f"Expected 2D or 3D (batch mode) tensor for input, but got: {list(input.shape)}"
        )
    if input.shape[-2] % prod(geo.kernel):
        raise RuntimeError(
            "Expected size of input's dimension 1 to be divisible by the product of kernel_size, "
            f"but got input.size(1)={input.shape[-2]} and kernel_size={list(geo.kernel)}."
        )
    if input.shape[-1] != prod(geo.out):
        raise RuntimeError(
            f"Given output_size={list(geo.size)}, kernel_size={list(geo.kernel)}, "
            f"dilation={list(geo.dilation)}, padding={list(geo.padding)}, "
            f"stride={list(geo.stride)}, expected size of input's dimension 2 to match the "
            f"calculated number of sliding blocks {' * '.join(map(str, geo.out))} = "
            f"{prod(geo.out)}, but got input.size(2)={input.shape[-1]}."
        )
    x = input if input.ndim == 3 else unsqueeze(input, 0)
    y = _col2im(x, geo=geo)
    return y if input.ndim == 3 else squeeze(y, 0)


FUNCTIONS = {
    "conv1d": conv1d, "conv2d": conv2d, "conv3d": conv3d, "conv_transpose1d": conv_transpose1d,
    "conv_transpose2d": conv_transpose2d, "conv_transpose3d": conv_transpose3d,
    "conv_tbc": conv_tbc,
}  # fmt: skip
