"""Normalization within each sample."""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

from .. import functional as F
from .. import init
from . import _functions
from .module import Module
from .utils import ntuple, parameter, shown


class LayerNorm(Module):
    """(x - mean) / sqrt(var + eps) weight + bias, over the last dimensions.

    x: (..., *normalized_shape); weight, bias: normalized_shape.  Ba et al., "Layer normalization"
    (2016).
    """

    def __init__(self, normalized_shape, eps=1e-5, elementwise_affine=True, bias=True, device=None,
                 dtype=None):  # fmt: skip
        super().__init__()
        self.normalized_shape = ntuple(normalized_shape, 1)
        self.eps = eps
        self.elementwise_affine = elementwise_affine
        made = {"device": device, "dtype": dtype}
        self.weight = parameter(self.normalized_shape, **made) if elementwise_affine else None
        bias = bias and elementwise_affine
        self.bias = parameter(self.normalized_shape, **made) if bias else None
        self.reset_parameters()

    def reset_parameters(self):
        """Draw the parameters anew, as at construction."""
        if self.weight is not None:
            init.ones_(self.weight)
        if self.bias is not None:
            init.zeros_(self.bias)

    def forward(self, input):
        return F.layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self):
        return f"{self.normalized_shape}, " + shown(
            eps=self.eps, elementwise_affine=self.elementwise_affine, bias=self.bias is not None
        )


class RMSNorm(Module):
    """x / sqrt(mean(x^2) + eps) weight, over the last dimensions (Zhang and Sennrich, 2019).

    x: (..., *normalized_shape); eps: None for the dtype's smallest step from 1
    """

    def __init__(self, normalized_shape, eps=None, elementwise_affine=True, device=None,
                 dtype=None):  # fmt: skip
        super().__init__()
        self.normalized_shape = ntuple(normalized_shape, 1)
        self.eps = eps
        self.elementwise_affine = elementwise_affine
        made = {"device": device, "dtype": dtype}
        self.weight = parameter(self.normalized_shape, **made) if elementwise_affine else None
        self.reset_parameters()

    def reset_parameters(self):
        """Draw the parameters anew, as at construction."""
        if self.weight is not None:
            init.ones_(self.weight)

    def forward(self, input):
        return F.rms_norm(input, self.normalized_shape, self.weight, self.eps)

    def extra_repr(self):
        return f"{self.normalized_shape}, " + shown(
            eps=self.eps, elementwise_affine=self.elementwise_affine
        )


class GroupNorm(Module):
    """(x - mean) / sqrt(var + eps) weight + bias, over groups of channels of each sample.

    x: (N, num_channels, ...); weight, bias: (num_channels,).  Wu and He, "Group normalization"
    (2018).
    """

    def __init__(self, num_groups, num_channels, eps=1e-5, affine=True, device=None, dtype=None,
                 *, bias=True):  # fmt: skip
        super().__init__()
        if num_channels % num_groups:
            raise ValueError(
                f"num_channels ({num_channels}) must be divisible by num_groups ({num_groups})"
            )
        self.num_groups = num_groups
        self.num_channels = num_channels
        self.eps = eps
        self.affine = affine
        made = {"device": device, "dtype": dtype}
        self.weight = parameter(num_channels, **made) if affine else None
        self.bias = parameter(num_channels, **made) if affine and bias else None
        self.reset_parameters()

    reset_parameters = LayerNorm.reset_parameters

    def forward(self, input):
        return F.group_norm(input, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self):
        return f"{self.num_groups}, {self.num_channels}, " + shown(
            eps=self.eps, affine=self.affine, bias=self.bias is not None
        )


class LocalResponseNorm(Module):
    """x / (k + alpha mean(x^2))^beta, the mean over `size` channels around each.

    x: (N, C, ...).  Krizhevsky et al., "ImageNet classification with deep convolutional neural
    networks" (2012).
    """

    def __init__(self, size, alpha=1e-4, beta=0.75, k=1.0):
        super().__init__()
        self.size = size
        self.alpha = alpha
        self.beta = beta
        self.k = k

    def forward(self, input):
        return F.local_response_norm(input, self.size, self.alpha, self.beta, self.k)

    def extra_repr(self):
        return f"{self.size}, " + shown(alpha=self.alpha, beta=self.beta, k=self.k)


class CrossMapLRN2d(LocalResponseNorm):
    """LocalResponseNorm of images with torch's sums over the channels, which are not quite the
    window around each, and torch's gradient, which is not quite the derivative; prefer
    LocalResponseNorm.  x: (N, C, H, W)
    """

    def __init__(self, size, alpha=1e-4, beta=0.75, k=1):
        super().__init__(size, alpha, beta, k)

    def forward(self, input):
        return _functions.CrossMapLRN2d.apply(input, self.size, self.alpha, self.beta, self.k)
