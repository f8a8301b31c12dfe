"""Dropout."""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

from .. import functional as F
from .module import Module
from .utils import shown


class _DropoutNd(Module):
    """In training, sets elements to 0 with probability p and divides the others by 1 - p.

    The numbered forms drop whole channels, the alpha forms keep mean and variance (for SELU).
    Srivastava et al., "Dropout" (2014).
    """

    def __init__(self, p=0.5, inplace=False):
        super().__init__()
        if not 0 <= p <= 1:
            raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")
        self.p = p
        self.inplace = inplace

    def forward(self, input):
        return self.function(input, self.p, self.training, self.inplace)

    def extra_repr(self):
        return shown(p=self.p, inplace=self.inplace)


class Dropout(_DropoutNd):
    __doc__ = _DropoutNd.__doc__
    function = staticmethod(F.dropout)


class Dropout1d(_DropoutNd):
    __doc__ = _DropoutNd.__doc__
    function = staticmethod(F.dropout1d)


class Dropout2d(_DropoutNd):
    __doc__ = _DropoutNd.__doc__
    function = staticmethod(F.dropout2d)


class Dropout3d(_DropoutNd):
    __doc__ = _DropoutNd.__doc__
    function = staticmethod(F.dropout3d)


class AlphaDropout(_DropoutNd):
    __doc__ = _DropoutNd.__doc__
    function = staticmethod(F.alpha_dropout)


class FeatureAlphaDropout(_DropoutNd):
    __doc__ = _DropoutNd.__doc__
    function = staticmethod(F.feature_alpha_dropout)
