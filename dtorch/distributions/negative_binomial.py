"""The negative binomial distribution."""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

from ..core.modes import no_grad
from ..core.ops.activation import logsigmoid
from ..core.ops.random import poisson
from . import constraints
from .gamma import Gamma
from .odds import ByOdds


class NegativeBinomial(ByOdds):
    """How many trials succeed before `total_count` fail, each succeeding with probability `probs`.

    total_count: at least 0, not necessarily whole.
    """

    arg_constraints = {
        "total_count": constraints.greater_than_eq(0),
        "probs": constraints.half_open_interval(0.0, 1.0),
        "logits": constraints.real,
    }
    support = constraints.nonnegative_integer

    def __init__(self, total_count, probs=None, logits=None, validate_args=None):
        (self.total_count,) = self._set_odds(probs, logits, total_count)
        super().__init__(self.param_shape, validate_args=validate_args)

    @property
    def mean(self):
        return self.total_count * self.logits.exp()

    @property
    def mode(self):
        return ((self.total_count - 1) * self.logits.exp()).floor().clamp(min=0)

    @property
    def variance(self):
        return self.mean / (-self.logits).sigmoid()

    def sample(self, sample_shape=()):
        # the rates of Poisson variables that are gamma distributed
        with no_grad():
            rates = Gamma(self.total_count, (-self.logits).exp(), validate_args=False)
            return poisson(rates.sample(sample_shape))

    def log_prob(self, value):
        self._check_value(value)
        n, logits = self.total_count, self.logits
        log_ways = (n + value).lgamma() - (1 + value).lgamma() - n.lgamma()
        log_ways = log_ways.masked_fill(n + value == 0, 0)
        return n * logsigmoid(-logits) + value * logsigmoid(logits) + log_ways
