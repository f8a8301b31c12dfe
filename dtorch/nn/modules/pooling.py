"""Pooling."""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

from .. import functional as F
from .module import Module
from .utils import ntuple, shown


class _MaxPoolNd(Module):
    """The largest element of each window.  x: (N, C, *size) or (C, *size)

    return_indices: also where it is, for MaxUnpool
    """

    def __init__(self, kernel_size, stride=None, padding=0, dilation=1, return_indices=False,
                 ceil_mode=False):  # fmt: skip
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding = padding
        self.dilation = dilation
        self.return_indices = return_indices
        self.ceil_mode = ceil_mode

    def forward(self, input):
        return self.function(
            input, self.kernel_size, self.stride, self.padding, self.dilation,
            ceil_mode=self.ceil_mode, return_indices=self.return_indices,
        )  # fmt: skip

    def extra_repr(self):
        names = ("kernel_size", "stride", "padding", "dilation", "ceil_mode")
        return shown(**{name: getattr(self, name) for name in names})


class MaxPool1d(_MaxPoolNd):
    __doc__ = _MaxPoolNd.__doc__
    function = staticmethod(F.max_pool1d)


class MaxPool2d(_MaxPoolNd):
    __doc__ = _MaxPoolNd.__doc__
    function = staticmethod(F.max_pool2d)


class MaxPool3d(_MaxPoolNd):
    __doc__ = _MaxPoolNd.__doc__
    function = staticmethod(F.max_pool3d)


class _MaxUnpoolNd(Module):
    """Puts each element back where MaxPool took it from; zeros elsewhere."""

    n = 0

    def __init__(self, kernel_size, stride=None, padding=0):
        super().__init__()
        self.kernel_size = ntuple(kernel_size, self.n)
        self.stride = self.kernel_size if stride is None else ntuple(stride, self.n)
        self.padding = ntuple(padding, self.n)

    def forward(self, input, indices, output_size=None):
        return self.function(
            input, indices, self.kernel_size, self.stride, self.padding, output_size
        )

    def extra_repr(self):
        return shown(kernel_size=self.kernel_size, stride=self.stride, padding=self.padding)


class MaxUnpool1d(_MaxUnpoolNd):
    __doc__ = _MaxUnpoolNd.__doc__
    n = 1
    function = staticmethod(F.max_unpool1d)


class MaxUnpool2d(_MaxUnpoolNd):
    __doc__ = _MaxUnpoolNd.__doc__
    n = 2
    function = staticmethod(F.max_unpool2d)


class MaxUnpool3d(_MaxUnpoolNd):
    __doc__ = _MaxUnpoolNd.__doc__
    n = 3
    function = staticmethod(F.max_unpool3d)


class _FractionalMaxPoolNd(Module):
    """The largest element of each of windows that are laid at random, so that the output has a size
    or a ratio of its own.  x: (N, C, *size) or (C, *size)

    _random_samples: (N, C, n) in [0, 1), from which the windows follow; None: drawn each time.
    Graham, "Fractional max-pooling" (2014).
    """

    n = 0

    def __init__(self, kernel_size, output_size=None, output_ratio=None, return_indices=False,
                 _random_samples=None):  # fmt: skip
        super().__init__()
        name = type(self).__name__
        self.kernel_size = ntuple(kernel_size, self.n)
        if any(k <= 0 for k in self.kernel_size):
            raise ValueError(f"kernel_size must be greater than 0, but got {kernel_size}")
        self.return_indices = return_indices
        self.register_buffer("_random_samples", _random_samples)
        self.output_size = None if output_size is None else ntuple(output_size, self.n)
        self.output_ratio = None if output_ratio is None else ntuple(output_ratio, self.n)
        if output_size is None and output_ratio is None:
            raise ValueError(
                f"{name} requires specifying either an output size, or a pooling ratio"
            )
        if output_size is not None and output_ratio is not None:
            raise ValueError("only one of output_size and output_ratio may be specified")
        if not all(0 < ratio < 1 for ratio in self.output_ratio or ()):
            raise ValueError(f"output_ratio must be between 0 and 1 (got {output_ratio})")

    def forward(self, input):
        return self.function(
            input, self.kernel_size, self.output_size, self.output_ratio, self.return_indices,
            _random_samples=self._random_samples,
        )  # fmt: skip


class FractionalMaxPool2d(_FractionalMaxPoolNd):
    __doc__ = _FractionalMaxPoolNd.__doc__
    n = 2
    function = staticmethod(F.fractional_max_pool2d)


class FractionalMaxPool3d(_FractionalMaxPoolNd):
    __doc__ = _FractionalMaxPoolNd.__doc__
    n = 3
    function = staticmethod(F.fractional_max_pool3d)


class AvgPool1d(Module):
    """The mean of each window.  x: (N, C, L) or (C, L)"""

    def __init__(self, kernel_size, stride=None, padding=0, ceil_mode=False,
                 count_include_pad=True):  # fmt: skip
        super().__init__()
        self.kernel_size = ntuple(kernel_size, 1)
        self.stride = self.kernel_size if stride is None else ntuple(stride, 1)
        self.padding = ntuple(padding, 1)
        self.ceil_mode = ceil_mode
        self.count_include_pad = count_include_pad

    def forward(self, input):
        return F.avg_pool1d(
            input, self.kernel_size, self.stride, self.padding, self.ceil_mode,
            self.count_include_pad,
        )  # fmt: skip

    def extra_repr(self):
        return shown(kernel_size=self.kernel_size, stride=self.stride, padding=self.padding)


class _AvgPoolNd(Module):
    """The mean of each window.  x: (N, C, *size) or (C, *size)

    count_include_pad: padding counts as zeros; divisor_override: divide by this instead of by the
    number of elements
    """

    def __init__(self, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True,
                 divisor_override=None):  # fmt: skip
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding = padding
        self.ceil_mode = ceil_mode
        self.count_include_pad = count_include_pad
        self.divisor_override = divisor_override

    def forward(self, input):
        return self.function(
            input, self.kernel_size, self.stride, self.padding, self.ceil_mode,
            self.count_include_pad, self.divisor_override,
        )  # fmt: skip

    extra_repr = AvgPool1d.extra_repr


class AvgPool2d(_AvgPoolNd):
    __doc__ = _AvgPoolNd.__doc__
    function = staticmethod(F.avg_pool2d)


class AvgPool3d(_AvgPoolNd):
    __doc__ = _AvgPoolNd.__doc__
    function = staticmethod(F.avg_pool3d)


class _LPPoolNd(Module):
    """(sum of x^p)^(1/p) over each window."""

    def __init__(self, norm_type, kernel_size, stride=None, ceil_mode=False):
        super().__init__()
        self.norm_type = norm_type
        self.kernel_size = kernel_size
        self.stride = stride
        self.ceil_mode = ceil_mode

    def forward(self, input):
        return self.function(
            input, float(self.norm_type), self.kernel_size, self.stride, self.ceil_mode
        )

    def extra_repr(self):
        names = ("norm_type", "kernel_size", "stride", "ceil_mode")
        return shown(**{name: getattr(self, name) for name in names})


class LPPool1d(_LPPoolNd):
    __doc__ = _LPPoolNd.__doc__
    function = staticmethod(F.lp_pool1d)


class LPPool2d(_LPPoolNd):
    __doc__ = _LPPoolNd.__doc__
    function = staticmethod(F.lp_pool2d)


class LPPool3d(_LPPoolNd):
    __doc__ = _LPPoolNd.__doc__
    function = staticmethod(F.lp_pool3d)


class _AdaptivePool(Module):
    """Pools over windows such that the output has the size `output_size`, None: as the input."""

    def __init__(self, output_size):
        super().__init__()
        self.output_size = output_size

    def forward(self, input):
        return self.function(input, self.output_size)

    def extra_repr(self):
        return f"output_size={self.output_size}"


class AdaptiveAvgPool1d(_AdaptivePool):
    __doc__ = _AdaptivePool.__doc__
    function = staticmethod(F.adaptive_avg_pool1d)


class AdaptiveAvgPool2d(_AdaptivePool):
    __doc__ = _AdaptivePool.__doc__
    function = staticmethod(F.adaptive_avg_pool2d)


class AdaptiveAvgPool3d(_AdaptivePool):
    __doc__ = _AdaptivePool.__doc__
    function = staticmethod(F.adaptive_avg_pool3d)


class _AdaptiveMaxPool(_AdaptivePool):
    __doc__ = _AdaptivePool.__doc__

    def __init__(self, output_size, return_indices=False):
        super().__init__(output_size)
        self.return_indices = return_indices

    def forward(self, input):
        return self.function(input, self.output_size, self.return_indices)


class AdaptiveMaxPool1d(_AdaptiveMaxPool):
    __doc__ = _AdaptivePool.__doc__
    function = staticmethod(F.adaptive_max_pool1d)


class AdaptiveMaxPool2d(_AdaptiveMaxPool):
    __doc__ = _AdaptivePool.__doc__
    function = staticmethod(F.adaptive_max_pool2d)


class AdaptiveMaxPool3d(_AdaptiveMaxPool):
    __doc__ = _AdaptivePool.__doc__
    function = staticmethod(F.adaptive_max_pool3d)
