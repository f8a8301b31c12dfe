"""The generalized Pareto distribution."""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

from math import inf, nan

from ..core.ops.compare import isclose
from ..core.ops.create import zeros_like
from ..core.ops.pointwise import where
from ..core.ops.random import rand
from . import constraints
from .distribution import Distribution
from .utils import broadcast_all


class GeneralizedPareto(Distribution):
    """The density (1 + k z)^(-1 / k - 1) / scale, where z = (x - loc) / scale, k = concentration.

    It is of x >= loc, up to loc - scale / k if k is negative; exponential if it is 0.  It is that of
    what peaks exceed a threshold by: Pickands, "Statistical inference using extreme order
    statistics" (1975).
    """

    arg_constraints = {
        "loc": constraints.real,
        "scale": constraints.positive,
        "concentration": constraints.real,
    }
    has_rsample = True

    def __init__(self, loc, scale, concentration, validate_args=None):
        self.loc, self.scale, self.concentration = broadcast_all(loc, scale, concentration)
        super().__init__(self.loc.shape, validate_args=validate_args)

    @constraints.dependent_property(is_discrete=False, event_dim=0)
    def support(self):
        k = self.concentration
        return constraints.interval(self.loc, where(k < 0, self.loc - self.scale / k, inf))

    def _zero_or_not(self):
        """Where the concentration is 0; and the concentration, 1 in its place."""
        zero = isclose(self.concentration, zeros_like(self.concentration))
        return zero, where(zero, 1, self.concentration)

    @property
    def mean(self):
        valid = self.concentration < 1
        k = where(valid, self.concentration, 0.5)
        return where(valid, self.loc + self.scale / (1 - k), nan)

    @property
    def mode(self):
        return self.loc

    @property
    def variance(self):
        valid = self.concentration < 0.5
        k = where(valid, self.concentration, 0.25)
        return where(valid, self.scale**2 / ((1 - k) ** 2 * (1 - 2 * k)), nan)

    def rsample(self, sample_shape=()):
        shape = self._extended_shape(sample_shape)
        return self.icdf(rand(shape, dtype=self.loc.dtype, device=self.loc.device))

    def log_prob(self, value):
        self._check_value(value)
        zero, k = self._zero_or_not()
        z = (value - self.loc) / self.scale
        power = 1 / k + 1
        log_density = where(power == 0, 0, power * (k * z).log1p())
        return -self.scale.log() - where(zero, z, log_density)

    def log_survival_function(self, value):
        """The logarithm of the probability of more than `value`."""
        self._check_value(value)
        zero, k = self._zero_or_not()
        z = (value - self.loc) / self.scale
        return -where(zero, z, (k * z).log1p() / k)

    def log_cdf(self, value):
        """The logarithm of the probability of at most `value`."""
        return (-self.log_survival_function(value).exp()).log1p()

    def cdf(self, value):
        return self.log_cdf(value).exp()

    def icdf(self, value):
        zero, k = self._zero_or_not()
        log_survival = (-value).log1p()
        z = where(zero, -log_survival, (-k * log_survival).expm1() / k)
        return self.loc + self.scale * z

    def entropy(self):
        return self.scale.log() + self.concentration + 1
