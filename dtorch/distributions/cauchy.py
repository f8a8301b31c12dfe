"""The Cauchy distribution."""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

import math

from . import constraints
from .distribution import Distribution
from .utils import broadcast_all, full_like_batch


class Cauchy(Distribution):
    """The density 1 / (pi scale (1 + z^2)), where z = (x - loc) / scale.  It has no mean."""

    arg_constraints = {"loc": constraints.real, "scale": constraints.positive}
    support = constraints.real
    has_rsample = True

    def __init__(self, loc, scale, validate_args=None):
        self.loc, self.scale = broadcast_all(loc, scale)
        super().__init__(self.loc.shape, validate_args=validate_args)

    @property
    def mean(self):
        return full_like_batch(self, math.nan, self.loc)

    @property
    def mode(self):
        return self.loc

    @property
    def variance(self):
        return full_like_batch(self, math.inf, self.loc)

    def rsample(self, sample_shape=()):
        noise = self.loc.new_empty(self._extended_shape(sample_shape)).cauchy_()
        return self.loc + noise * self.scale

    def log_prob(self, value):
        self._check_value(value)
        z = (value - self.loc) / self.scale
        return -math.log(math.pi) - self.scale.log() - (z**2).log1p()

    def cdf(self, value):
        self._check_value(value)
        return ((value - self.loc) / self.scale).atan() / math.pi + 0.5

    def icdf(self, value):
        return (math.pi * (value - 0.5)).tan() * self.scale + self.loc

    def entropy(self):
        return math.log(4 * math.pi) + self.scale.log()
