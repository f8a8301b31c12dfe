"""Continuous relaxations of the Bernoulli distribution."""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

from ..core.ops.activation import softplus
from ..core.ops.random import rand
from . import constraints
from .odds import ByOdds
from .transformed_distribution import TransformedDistribution
from .transforms import SigmoidTransform
from .utils import broadcast_all, clamp_probs


class LogitRelaxedBernoulli(ByOdds):
    """The logits of RelaxedBernoulli: (logits + a logistic variable) / temperature.

    Maddison, Mnih, Teh, "The concrete distribution" (2017).
    """

    arg_constraints = {"probs": constraints.unit_interval, "logits": constraints.real}
    support = constraints.real
    has_rsample = True

    def __init__(self, temperature, probs=None, logits=None, validate_args=None):
        self.temperature = temperature
        self._set_odds(probs, logits)
        super().__init__(self.param_shape, validate_args=validate_args)

    def rsample(self, sample_shape=()):
        shape = self._extended_shape(sample_shape)
        probs = clamp_probs(self.probs)
        u = clamp_probs(rand(shape, dtype=probs.dtype, device=probs.device))
        logits = probs.log() - (-probs).log1p()
        return (logits + u.log() - (-u).log1p()) / self.temperature

    def log_prob(self, value):
        self._check_value(value)
        logits, value = broadcast_all(self.logits, value)
        diff = logits - value * self.temperature
        return self.temperature.log() + diff - 2 * softplus(diff)


class Relaxed(TransformedDistribution):
    """A transformed relaxation, with the parameters of its base."""

    has_rsample = True

    @property
    def temperature(self):
        return self.base_dist.temperature

    @property
    def logits(self):
        return self.base_dist.logits

    @property
    def probs(self):
        return self.base_dist.probs


class RelaxedBernoulli(Relaxed):
    """Numbers in (0, 1) that are Bernoulli variables in the limit of temperature (a tensor) 0.

    Jang, Gu, Poole, "Categorical reparameterization with Gumbel-softmax" (2017).
    """

    arg_constraints = {"probs": constraints.unit_interval, "logits": constraints.real}
    support = constraints.unit_interval

    def __init__(self, temperature, probs=None, logits=None, validate_args=None):
        base = LogitRelaxedBernoulli(temperature, probs, logits)
        super().__init__(base, SigmoidTransform(), validate_args=validate_args)
