"""Lazy modules: the sizes of their inputs are taken from the first one that comes."""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

from ...core.modes import no_grad
from ...core.ops import create
from .. import parameter as parameters
from .batchnorm import (
    BatchNorm1d,
    BatchNorm2d,
    BatchNorm3d,
    InstanceNorm1d,
    InstanceNorm2d,
    InstanceNorm3d,
)
from .conv import Conv1d, Conv2d, Conv3d, ConvTranspose1d, ConvTranspose2d, ConvTranspose3d
from .linear import Linear


class LazyModuleMixin:
    """To be inherited before the module that is to be lazy.

    Such a module has UninitializedParameters and UninitializedBuffers.  A first call hands its
    arguments to initialize_parameters(), which each class defines and which materializes them; then
    the module becomes one of `cls_to_become`.  So does loading a state in which they have shapes.
    """

    cls_to_become = None

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._initialize_hook = self.register_forward_pre_hook(
            self._infer_parameters, with_kwargs=True
        )

    def initialize_parameters(self, *args, **kwargs):
        """Give all parameters and buffers their shapes; gets what forward is to get."""
        raise NotImplementedError(
            f"initialize_parameters is not implemented for {type(self).__name__}"
        )

    def has_uninitialized_params(self):
        """Whether a parameter or buffer of this module, not of one below it, has no shape yet."""
        own = (*self._parameters.values(), *self._buffers.values())
        return any(map(parameters.is_lazy, own))

    def _infer_parameters(self, module, args, kwargs=None):
        module.initialize_parameters(*args, **(kwargs or {}))
        if module.has_uninitialized_params():
            raise RuntimeError(f"module {module._get_name()} has not been fully initialized")
        module._initialize_hook.remove()
        del module._initialize_hook
        if module.cls_to_become is not None:
            module.__class__ = module.cls_to_become


class _Lazy(LazyModuleMixin):
    """What the lazy layers share: which of their tensors have no shape, and when they get values."""

    size = ""  # the attribute that the first input tells

    def _leave_open(self, *names, device, dtype):
        for name in names:
            buffer = name in self._buffers
            kind = parameters.UninitializedBuffer if buffer else parameters.UninitializedParameter
            setattr(self, name, kind(device=device, dtype=dtype))

    def reset_parameters(self):
        """Draw the parameters anew, as at construction."""
        if not self.has_uninitialized_params() and getattr(self, self.size):
            super().reset_parameters()


# ---- linear ----------------------------------------------------------------------------------


class LazyLinear(_Lazy, Linear):
    """Linear, in_features is that of the first input."""

    cls_to_become = Linear
    size = "in_features"

    def __init__(self, out_features, bias=True, device=None, dtype=None):
        super().__init__(0, 0, False)
        self.out_features = out_features
        self._leave_open("weight", *["bias"] * bias, device=device, dtype=dtype)

    @no_grad()
    def initialize_parameters(self, input):
        features = input.shape[-1]
        if self.has_uninitialized_params():
            self.in_features = features
            self.weight.materialize((self.out_features, features))
            if self.bias is not None:
                self.bias.materialize((self.out_features,))
            self.reset_parameters()
        if self.in_features == 0:  # the weights have been loaded
            if features != self.weight.shape[-1]:
                raise AssertionError(
                    f"The in_features inferred from input: {features} is not equal to in_features "
                    f"from self.weight: {self.weight.shape[-1]}"
                )
            self.in_features = features


# ---- convolutions ----------------------------------------------------------------------------


class _LazyConvXdMixin(_Lazy):
    size = "in_channels"

    def _in_channels_of(self, input):
        if input.ndim not in (self.n + 1, self.n + 2):
            raise RuntimeError(
                f"Expected {self.n + 1}D (unbatched) or {self.n + 2}D (batched) input to "
                f"{type(self).__name__}, but got input of size: {input.shape}"
            )
        channels = input.shape[-self.n - 1]
        if channels % self.groups:
            raise ValueError("in_channels must be divisible by groups")
        return channels

    def initialize_parameters(self, input, *args, **kwargs):
        if self.has_uninitialized_params():
            self.in_channels = self._in_channels_of(input)
            self.weight.materialize(self._weight_shape())
            if self.bias is not None:
                self.bias.materialize((self.out_channels,))
            self.reset_parameters()


class _LazyConv(_LazyConvXdMixin):
    """The convolution of this name, in_channels is that of the first input."""

    def __init__(self, out_channels, kernel_size, stride=1, padding=0, dilation=1, groups=1,
                 bias=True, padding_mode="zeros", device=None, dtype=None):  # fmt: skip
        super().__init__(0, 0, kernel_size, stride, padding, dilation, groups, False, padding_mode)
        self.out_channels = out_channels
        self._leave_open("weight", *["bias"] * bias, device=device, dtype=dtype)


class LazyConv1d(_LazyConv, Conv1d):
    __doc__ = _LazyConv.__doc__
    cls_to_become = Conv1d


class LazyConv2d(_LazyConv, Conv2d):
    __doc__ = _LazyConv.__doc__
    cls_to_become = Conv2d


class LazyConv3d(_LazyConv, Conv3d):
    __doc__ = _LazyConv.__doc__
    cls_to_become = Conv3d


class _LazyConvTranspose(_LazyConvXdMixin):
    """The transposed convolution of this name, in_channels is that of the first input."""

    def __init__(self, out_channels, kernel_size, stride=1, padding=0, output_padding=0, groups=1,
                 bias=True, dilation=1, padding_mode="zeros", device=None, dtype=None):  # fmt: skip
        super().__init__(0, 0, kernel_size, stride, padding, output_padding, groups, False,
                         dilation, padding_mode)  # fmt: skip
        self.out_channels = out_channels
        self._leave_open("weight", *["bias"] * bias, device=device, dtype=dtype)


class LazyConvTranspose1d(_LazyConvTranspose, ConvTranspose1d):
    __doc__ = _LazyConvTranspose.__doc__
    cls_to_become = ConvTranspose1d


class LazyConvTranspose2d(_LazyConvTranspose, ConvTranspose2d):
    __doc__ = _LazyConvTranspose.__doc__
    cls_to_become = ConvTranspose2d


class LazyConvTranspose3d(_LazyConvTranspose, ConvTranspose3d):
    __doc__ = _LazyConvTranspose.__doc__
    cls_to_become = ConvTranspose3d


# ---- normalization ---------------------------------------------------------------------------


class _LazyNorm(_Lazy):
    """The normalization of this name, num_features is that of the first input."""

    size = "num_features"

    def __init__(self, eps=1e-5, momentum=0.1, affine=True, track_running_stats=True, device=None,
                 dtype=None, *, bias=True):  # fmt: skip
        super().__init__(0, eps, momentum, False, False)
        self.affine = affine
        self.track_running_stats = track_running_stats
        names = []
        if affine:
            names += ["weight", "bias"] if bias else ["weight"]
        if track_running_stats:
            names += ["running_mean", "running_var"]
            self.num_batches_tracked = create.tensor(0, device=device)
        self._leave_open(*names, device=device, dtype=dtype)

    def initialize_parameters(self, input):
        self._check_input_dim(input)
        if self.has_uninitialized_params():
            self.num_features = input.shape[1]
            for name in ("weight", "bias", "running_mean", "running_var"):
                if parameters.is_lazy(getattr(self, name)):
                    getattr(self, name).materialize((self.num_features,))
            self.reset_parameters()


class LazyBatchNorm1d(_LazyNorm, BatchNorm1d):
    __doc__ = _LazyNorm.__doc__
    cls_to_become = BatchNorm1d


class LazyBatchNorm2d(_LazyNorm, BatchNorm2d):
    __doc__ = _LazyNorm.__doc__
    cls_to_become = BatchNorm2d


class LazyBatchNorm3d(_LazyNorm, BatchNorm3d):
    __doc__ = _LazyNorm.__doc__
    cls_to_become = BatchNorm3d


class LazyInstanceNorm1d(_LazyNorm, InstanceNorm1d):
    __doc__ = _LazyNorm.__doc__
    cls_to_become = InstanceNorm1d


class LazyInstanceNorm2d(_LazyNorm, InstanceNorm2d):
    __doc__ = _LazyNorm.__doc__
    cls_to_become = InstanceNorm2d


class LazyInstanceNorm3d(_LazyNorm, InstanceNorm3d):
    __doc__ = _LazyNorm.__doc__
    cls_to_become = InstanceNorm3d
