"""Convolutions."""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

import math

from .. import functional as F
from .. import init
from .module import Module
from .utils import ntuple, parameter

_MODES = ("zeros", "reflect", "replicate", "circular")


class _ConvNd(Module):
    """x: (N, in_channels, *size) or without N -> (N, out_channels, *size').

    weight: (out_channels, in_channels / groups, *kernel_size), transposed: (in_channels,
    out_channels / groups, *kernel_size); bias: (out_channels,); both drawn from U(-k, k),
    k = 1 / sqrt(number of inputs of an output)
    padding: a number for each dimension, "valid" (none) or "same" (as much as keeps the size)
    """

    n = 0  # spatial dimensions
    transposed = False

    def __init__(self, in_channels, out_channels, kernel_size, stride=1, padding=0, dilation=1,
                 groups=1, bias=True, padding_mode="zeros", device=None, dtype=None):  # fmt: skip
        super().__init__()
        if groups <= 0:
            raise ValueError("groups must be a positive integer")
        if in_channels % groups:
            raise ValueError("in_channels must be divisible by groups")
        if out_channels % groups:
            raise ValueError("out_channels must be divisible by groups")
        if isinstance(padding, str):
            if padding not in ("same", "valid"):
                raise ValueError(
                    f"Invalid padding string {padding!r}, should be one of 'same', 'valid'"
                )
            if padding == "same" and any(s != 1 for s in ntuple(stride, self.n)):
                raise ValueError("padding='same' is not supported for strided convolutions")
        else:
            padding = ntuple(padding, self.n)
        if padding_mode not in _MODES:
            raise ValueError(f"padding_mode must be one of {_MODES}, but got {padding_mode!r}")
        if self.transposed and padding_mode != "zeros":
            raise ValueError(f'Only "zeros" padding mode is supported for {type(self).__name__}')
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel_size = ntuple(kernel_size, self.n)
        self.stride = ntuple(stride, self.n)
        self.padding = padding
        self.dilation = ntuple(dilation, self.n)
        self.output_padding = (0,) * self.n
        self.groups = groups
        self.padding_mode = padding_mode
        self._reversed_padding_repeated_twice = self._edges()
        made = {"device": device, "dtype": dtype}
        self.weight = parameter(*self._weight_shape(), **made)
        self.bias = parameter(out_channels, **made) if bias else None
        self.reset_parameters()

    def _weight_shape(self):
        first, second = self.out_channels, self.in_channels
        if self.transposed:
            first, second = second, first
        return (first, second // self.groups, *self.kernel_size)

    def reset_parameters(self):
        """Draw the parameters anew, as at construction."""
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        init.uniform_fan_in_(self.bias, self.weight)

    def _edges(self):
        """How much F.pad is to add: before and after the last dimension, the one before it ..."""
        if self.padding == "valid":
            return [0] * (2 * self.n)
        if self.padding == "same":
            total = [d * (k - 1) for d, k in zip(self.dilation, self.kernel_size)]
            pairs = [(t // 2, t - t // 2) for t in total]
        else:
            pairs = [(p, p) for p in self.padding]
        return [p for pair in reversed(pairs) for p in pair]

    def _conv_forward(self, input, weight, bias):
        padding = self.padding
        if self.padding_mode != "zeros":
            input = F.pad(input, self._reversed_padding_repeated_twice, mode=self.padding_mode)
            padding = 0
        return self.function(input, weight, bias, self.stride, padding, self.dilation, self.groups)

    def forward(self, input):
        return self._conv_forward(input, self.weight, self.bias)

    def extra_repr(self):
        text = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}"
        text += f", stride={self.stride}"
        for name, default in (("padding", 0), ("dilation", 1), ("output_padding", 0)):
            value = getattr(self, name)
            if value != (default,) * self.n:
                text += f", {name}={value}"
        if self.groups != 1:
            text += f", groups={self.groups}"
        if self.bias is None:
            text += ", bias=False"
        if self.padding_mode != "zeros":
            text += f", padding_mode={self.padding_mode}"
        return text


class Conv1d(_ConvNd):
    __doc__ = _ConvNd.__doc__
    n = 1
    function = staticmethod(F.conv1d)


class Conv2d(_ConvNd):
    __doc__ = _ConvNd.__doc__
    n = 2
    function = staticmethod(F.conv2d)


class Conv3d(_ConvNd):
    __doc__ = _ConvNd.__doc__
    n = 3
    function = staticmethod(F.conv3d)


class _ConvTransposeNd(_ConvNd):
    """The gradient of a convolution with respect to its input, as a layer of its own.

    output_padding: how much larger the output is than the smallest that the convolution would map
    to the input's size; forward also takes output_size, which says the same
    """

    transposed = True

    def __init__(self, in_channels, out_channels, kernel_size, stride=1, padding=0,
                 output_padding=0, groups=1, bias=True, dilation=1, padding_mode="zeros",
                 device=None, dtype=None):  # fmt: skip
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation, groups,
                         bias, padding_mode, device, dtype)  # fmt: skip
        self.output_padding = ntuple(output_padding, self.n)

    def _output_padding(self, input, output_size):
        if output_size is None:
            return self.output_padding
        size = tuple(output_size)
        if len(size) == input.ndim:
            size = size[-self.n :]
        if len(size) != self.n:
            raise ValueError(
                f"{type(self).__name__}: for {input.ndim}D input, output_size must have {self.n} "
                "or "
                f"{input.ndim} elements (got {len(size)})"
            )
        spatial = input.shape[-self.n :]
        least = [
            (spatial[i] - 1) * self.stride[i] - 2 * self.padding[i]
            + self.dilation[i] * (self.kernel_size[i] - 1) + 1
            for i in range(self.n)
        ]  # fmt: skip
        most = [low + s - 1 for low, s in zip(least, self.stride)]
        if not all(low <= n <= high for low, n, high in zip(least, size, most)):
            raise ValueError(
                f"requested an output size of {list(size)}, but valid sizes range from {least} to "
                f"{most} (for an input of {list(spatial)})"
            )
        return tuple(n - low for n, low in zip(size, least))

    def forward(self, input, output_size=None):
        extra = self._output_padding(input, output_size)
        return self.function(input, self.weight, self.bias, self.stride, self.padding, extra,
                             self.groups, self.dilation)  # fmt: skip


class ConvTranspose1d(_ConvTransposeNd):
    __doc__ = _ConvTransposeNd.__doc__
    n = 1
    function = staticmethod(F.conv_transpose1d)


class ConvTranspose2d(_ConvTransposeNd):
    __doc__ = _ConvTransposeNd.__doc__
    n = 2
    function = staticmethod(F.conv_transpose2d)


class ConvTranspose3d(_ConvTransposeNd):
    __doc__ = _ConvTransposeNd.__doc__
    n = 3
    function = staticmethod(F.conv_transpose3d)
