"""The von Mises distribution."""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

import math

from ..core.modes import no_grad
from ..core.ops.special import i0e, i1e
from ..core.ops.variates import von_mises
from . import constraints
from .distribution import Distribution
from .utils import broadcast_all


class VonMises(Distribution):
    """Angles about `loc`, with the density exp(concentration cos(x - loc)) / (2 pi I0)."""

    arg_constraints = {"loc": constraints.real, "concentration": constraints.positive}
    support = constraints.real

    def __init__(self, loc, concentration, validate_args=None):
        self.loc, self.concentration = broadcast_all(loc, concentration)
        super().__init__(self.loc.shape, validate_args=validate_args)

    @property
    def mean(self):
        return self.loc

    mode = mean

    @property
    def variance(self):
        """The circular variance."""
        return 1 - i1e.fn(self.concentration) / i0e.fn(self.concentration)

    def sample(self, sample_shape=()):
        shape = self._extended_shape(sample_shape)
        with no_grad():
            return von_mises(self.loc.expand(shape), self.concentration.expand(shape))

    def log_prob(self, value):
        self._check_value(value)
        log_i0 = i0e.fn(self.concentration).log() + self.concentration
        return self.concentration * (value - self.loc).cos() - math.log(2 * math.pi) - log_i0
