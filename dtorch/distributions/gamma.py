"""The gamma distribution."""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

from ..core.dtype import finfo
from ..core.ops.create import as_tensor
from ..core.ops.special import igamma, xlogy
from ..core.ops.variates import standard_gamma
from . import constraints
from .exp_family import ExponentialFamily
from .utils import broadcast_all


class Gamma(ExponentialFamily):
    """The density rate^concentration x^(concentration - 1) exp(-rate x) / gamma(concentration)."""

    arg_constraints = {"concentration": constraints.positive, "rate": constraints.positive}
    support = constraints.nonnegative
    has_rsample = True
    _mean_carrier_measure = 0

    def __init__(self, concentration, rate, validate_args=None):
        self.concentration, self.rate = broadcast_all(concentration, rate)
        super().__init__(self.concentration.shape, validate_args=validate_args)

    @property
    def mean(self):
        return self.concentration / self.rate

    @property
    def mode(self):
        return ((self.concentration - 1) / self.rate).clamp(min=0)

    @property
    def variance(self):
        return self.concentration / self.rate**2

    def rsample(self, sample_shape=()):
        shape = self._extended_shape(sample_shape)
        value = standard_gamma(self.concentration.expand(shape)) / self.rate
        value.detach().clamp_(min=finfo(value.dtype).tiny)  # inside the support; not differentiated
        return value

    def log_prob(self, value):
        value = as_tensor(value, dtype=self.rate.dtype, device=self.rate.device)
        self._check_value(value)
        a, rate = self.concentration, self.rate
        return xlogy.fn(a, rate) + xlogy.fn(a - 1, value) - rate * value - a.lgamma()

    def cdf(self, value):
        self._check_value(value)
        return igamma.fn(self.concentration, self.rate * value)

    def entropy(self):
        a = self.concentration
        return a - self.rate.log() + a.lgamma() + (1 - a) * a.digamma()

    @property
    def _natural_params(self):
        return (self.concentration - 1, -self.rate)

    def _log_normalizer(self, x, y):
        return (x + 1).lgamma() - (x + 1) * (-y).log()
