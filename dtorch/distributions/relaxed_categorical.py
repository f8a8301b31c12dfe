"""Continuous relaxations of the one-hot categorical distribution."""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

from ..core.ops.create import full_like
from ..core.ops.random import rand
from . import constraints
from .categorical import Categorical
from .odds import ByCategorical
from .relaxed_bernoulli import Relaxed
from .transforms import ExpTransform
from .utils import broadcast_all, clamp_probs


class ExpRelaxedCategorical(ByCategorical):
    """The logarithms of RelaxedOneHotCategorical: log_softmax((logits + Gumbel) / temperature).

    Maddison, Mnih, Teh, "The concrete distribution" (2017).
    """

    arg_constraints = {"probs": constraints.simplex, "logits": constraints.real_vector}
    support = constraints.real_vector  # those that are logarithms of probabilities
    has_rsample = True

    def __init__(self, temperature, probs=None, logits=None, validate_args=None):
        self._categorical = Categorical(probs, logits)
        self.temperature = temperature
        shape = self.param_shape
        super().__init__(shape[:-1], shape[-1:], validate_args=validate_args)

    def rsample(self, sample_shape=()):
        shape, logits = self._extended_shape(sample_shape), self.logits
        u = clamp_probs(rand(shape, dtype=logits.dtype, device=logits.device))
        gumbels = -(-u.log()).log()
        return ((logits + gumbels) / self.temperature).log_softmax(-1)

    def log_prob(self, value):
        self._check_value(value)
        k = self.event_shape[0]
        logits, value = broadcast_all(self.logits, value)
        log_scale = full_like(self.temperature, k).lgamma() + (k - 1) * self.temperature.log()
        score = (logits - value * self.temperature).log_softmax(-1).sum(-1)
        return score + log_scale


class RelaxedOneHotCategorical(Relaxed):
    """Vectors in the simplex that are one-hot in the limit of temperature (a tensor) 0.

    Jang, Gu, Poole, "Categorical reparameterization with Gumbel-softmax" (2017).
    """

    arg_constraints = {"probs": constraints.simplex, "logits": constraints.real_vector}
    support = constraints.simplex

    def __init__(self, temperature, probs=None, logits=None, validate_args=None):
        base = ExpRelaxedCategorical(temperature, probs, logits, validate_args=validate_args)
        super().__init__(base, ExpTransform(), validate_args=validate_args)
