"""Layers without parameters that rearrange: flattening, padding, upsampling, patches, distances."""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

from .. import functional as F
from .module import Module
from .utils import ntuple, shown


class Flatten(Module):
    """Dimensions start_dim to end_dim as one."""

    def __init__(self, start_dim=1, end_dim=-1):
        super().__init__()
        self.start_dim = start_dim
        self.end_dim = end_dim

    def forward(self, input):
        return input.flatten(self.start_dim, self.end_dim)

    def extra_repr(self):
        return shown(start_dim=self.start_dim, end_dim=self.end_dim)


class Unflatten(Module):
    """Dimension `dim` as several, of the sizes `unflattened_size`."""

    def __init__(self, dim, unflattened_size):
        super().__init__()
        sizes = unflattened_size
        if not isinstance(dim, int):
            raise TypeError(f"unflattened dim must be an int, but got {type(dim).__name__}")
        if not isinstance(sizes, (tuple, list)) or not all(isinstance(n, int) for n in sizes):
            raise TypeError(f"unflattened_size must be a tuple of ints, but found {sizes!r}")
        self.dim = dim
        self.unflattened_size = unflattened_size

    def forward(self, input):
        return input.unflatten(self.dim, self.unflattened_size)

    def extra_repr(self):
        return shown(dim=self.dim, unflattened_size=self.unflattened_size)


# ---- padding -----------------------------------------------------------------------------------


class _Pad(Module):
    """Pads the last dimensions.  padding: before and after the last, the one before it ...

    Circular: with the other end; Constant: with `value`; Reflection: mirrored at the edge, without
    it; Replication: with the edge; Zero: with 0.
    """

    n = 0
    mode = ""

    def __init__(self, padding):
        super().__init__()
        self.padding = ntuple(padding, 2 * self.n)

    def forward(self, input):
        return F.pad(input, self.padding, self.mode)

    def extra_repr(self):
        return f"{self.padding}"


class _CircularPad(_Pad):
    __doc__ = _Pad.__doc__
    mode = "circular"

    def forward(self, input):
        if input.ndim not in (self.n + 1, self.n + 2):
            raise ValueError(
                f"expected {self.n + 1}D or {self.n + 2}D input (got {input.ndim}D input)"
            )
        return super().forward(input)


class CircularPad1d(_CircularPad):
    __doc__ = _Pad.__doc__
    n = 1


class CircularPad2d(_CircularPad):
    __doc__ = _Pad.__doc__
    n = 2


class CircularPad3d(_CircularPad):
    __doc__ = _Pad.__doc__
    n = 3


class _ConstantPad(_Pad):
    __doc__ = _Pad.__doc__

    def __init__(self, padding, value):
        super().__init__(padding)
        self.value = value

    def forward(self, input):
        return F.pad(input, self.padding, "constant", self.value)

    def extra_repr(self):
        return shown(padding=self.padding, value=self.value)


class ConstantPad1d(_ConstantPad):
    __doc__ = _Pad.__doc__
    n = 1


class ConstantPad2d(_ConstantPad):
    __doc__ = _Pad.__doc__
    n = 2


class ConstantPad3d(_ConstantPad):
    __doc__ = _Pad.__doc__
    n = 3


class _ZeroPad(_ConstantPad):
    __doc__ = _Pad.__doc__

    def __init__(self, padding):
        super().__init__(padding, 0.0)

    extra_repr = _Pad.extra_repr


class ZeroPad1d(_ZeroPad):
    __doc__ = _Pad.__doc__
    n = 1


class ZeroPad2d(_ZeroPad):
    __doc__ = _Pad.__doc__
    n = 2


class ZeroPad3d(_ZeroPad):
    __doc__ = _Pad.__doc__
    n = 3


class ReflectionPad1d(_Pad):
    __doc__ = _Pad.__doc__
    n = 1
    mode = "reflect"


class ReflectionPad2d(ReflectionPad1d):
    __doc__ = _Pad.__doc__
    n = 2


class ReflectionPad3d(ReflectionPad1d):
    __doc__ = _Pad.__doc__
    n = 3


class ReplicationPad1d(_Pad):
    __doc__ = _Pad.__doc__
    n = 1
    mode = "replicate"


class ReplicationPad2d(ReplicationPad1d):
    __doc__ = _Pad.__doc__
    n = 2


class ReplicationPad3d(ReplicationPad1d):
    __doc__ = _Pad.__doc__
    n = 3


# ---- resolution --------------------------------------------------------------------------------


class Upsample(Module):
    """Interpolates to `size`, or to the input's size times scale_factor.  x: (N, C, *size)"""

    def __init__(self, size=None, scale_factor=None, mode="nearest", align_corners=None,
                 recompute_scale_factor=None):  # fmt: skip
        super().__init__()
        self.size = size
        if isinstance(scale_factor, tuple):
            scale_factor = tuple(map(float, scale_factor))
        self.scale_factor = float(scale_factor) if isinstance(scale_factor, int) else scale_factor
        self.mode = mode
        self.align_corners = align_corners
        self.recompute_scale_factor = recompute_scale_factor

    def forward(self, input):
        return F.interpolate(
            input, self.size, self.scale_factor, self.mode, self.align_corners,
            recompute_scale_factor=self.recompute_scale_factor,
        )  # fmt: skip

    def extra_repr(self):
        size = {"size": self.size} if self.scale_factor is None else {
            "scale_factor": self.scale_factor
        }  # fmt: skip
        return shown(**size, mode=repr(self.mode))


class UpsamplingNearest2d(Upsample):
    """Upsample, mode="nearest"."""

    def __init__(self, size=None, scale_factor=None):
        super().__init__(size, scale_factor, mode="nearest")


class UpsamplingBilinear2d(Upsample):
    """Upsample, mode="bilinear", align_corners=True."""

    def __init__(self, size=None, scale_factor=None):
        super().__init__(size, scale_factor, mode="bilinear", align_corners=True)


class PixelShuffle(Module):
    """(..., C r^2, H, W) -> (..., C, H r, W r)  (Shi et al., 2016)"""

    def __init__(self, upscale_factor):
        super().__init__()
        self.upscale_factor = upscale_factor

    def forward(self, input):
        return F.pixel_shuffle(input, self.upscale_factor)

    def extra_repr(self):
        return f"upscale_factor={self.upscale_factor}"


class PixelUnshuffle(Module):
    """(..., C, H r, W r) -> (..., C r^2, H, W)"""

    def __init__(self, downscale_factor):
        super().__init__()
        self.downscale_factor = downscale_factor

    def forward(self, input):
        return F.pixel_unshuffle(input, self.downscale_factor)

    def extra_repr(self):
        return f"downscale_factor={self.downscale_factor}"


class ChannelShuffle(Module):
    """Deals the channels of each of `groups` out to all.  x: (N, C, ...)"""

    def __init__(self, groups):
        super().__init__()
        self.groups = groups

    def forward(self, input):
        return F.channel_shuffle(input, self.groups)

    def extra_repr(self):
        return f"groups={self.groups}"


# ---- patches -----------------------------------------------------------------------------------


class Fold(Module):
    """Sums patches into an image.  (N, C k1 k2, L) -> (N, C, *output_size)"""

    def __init__(self, output_size, kernel_size, dilation=1, padding=0, stride=1):
        super().__init__()
        self.output_size = output_size
        self.kernel_size = kernel_size
        self.dilation = dilation
        self.padding = padding
        self.stride = stride

    def forward(self, input):
        return F.fold(
            input, self.output_size, self.kernel_size, self.dilation, self.padding, self.stride
        )

    def extra_repr(self):
        names = ("output_size", "kernel_size", "dilation", "padding", "stride")
        return shown(**{name: getattr(self, name) for name in names})


class Unfold(Module):
    """The patches that a convolution sees.  (N, C, H, W) -> (N, C k1 k2, L)"""

    def __init__(self, kernel_size, dilation=1, padding=0, stride=1):
        super().__init__()
        self.kernel_size = kernel_size
        self.dilation = dilation
        self.padding = padding
        self.stride = stride

    def forward(self, input):
        return F.unfold(input, self.kernel_size, self.dilation, self.padding, self.stride)

    def extra_repr(self):
        names = ("kernel_size", "dilation", "padding", "stride")
        return shown(**{name: getattr(self, name) for name in names})


# ---- distances ---------------------------------------------------------------------------------


class PairwiseDistance(Module):
    """|x1 - x2 + eps|_p along the last dimension."""

    def __init__(self, p=2.0, eps=1e-6, keepdim=False):
        super().__init__()
        self.norm = p
        self.eps = eps
        self.keepdim = keepdim

    def forward(self, x1, x2):
        return F.pairwise_distance(x1, x2, self.norm, self.eps, self.keepdim)


class CosineSimilarity(Module):
    """x1 . x2 / max(|x1| |x2|, eps) along `dim`."""

    def __init__(self, dim=1, eps=1e-8):
        super().__init__()
        self.dim = dim
        self.eps = eps

    def forward(self, x1, x2):
        return F.cosine_similarity(x1, x2, self.dim, self.eps)
