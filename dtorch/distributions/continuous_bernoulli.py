"""The continuous Bernoulli distribution."""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

import math

from ..core.ops.loss import binary_cross_entropy_with_logits
from ..core.ops.pointwise import where
from ..core.ops.random import rand
from . import constraints
from .exp_family import ExponentialFamily
from .odds import ByOdds
from .utils import broadcast_all, clamp_probs, lazy_property, logits_to_probs


class ContinuousBernoulli(ByOdds, ExponentialFamily):
    """A density of C probs^x (1 - probs)^(1 - x) on [0, 1].

    Loaiza-Ganem and Cunningham, "The continuous Bernoulli: fixing a pervasive error in variational
    autoencoders" (2019).  Between the `lims` (around 0.5) where the closed forms are 0 / 0, their
    Taylor series are taken.
    """

    arg_constraints = {"probs": constraints.unit_interval, "logits": constraints.real}
    support = constraints.unit_interval
    has_rsample = True
    _mean_carrier_measure = 0

    def __init__(self, probs=None, logits=None, lims=(0.499, 0.501), validate_args=None):
        self._set_odds(probs, logits)
        if probs is not None:
            valid = self.arg_constraints["probs"].check(self.probs)
            if validate_args is not None and not valid.all():
                raise ValueError("The parameter probs has invalid values")
            self.probs = clamp_probs(self.probs)
        self._lims = lims
        super().__init__(self.param_shape, validate_args=validate_args)

    @lazy_property
    def probs(self):
        return clamp_probs(logits_to_probs(self.logits, is_binary=True))

    def _outside(self):
        """Where the closed forms are good."""
        return (self.probs <= self._lims[0]) | (self.probs > self._lims[1])

    def _by_series(self, closed, series):
        """closed(probs, log odds) outside of the limits, series(probs - 0.5) within."""
        outside = self._outside()
        p = where(outside, self.probs, self._lims[0])
        return where(outside, closed(p, p.log() - (-p).log1p()), series(self.probs - 0.5))

    def _cont_bern_log_norm(self):
        """log C"""
        return self._by_series(
            lambda p, logit: (logit / (2 * p - 1)).log(),
            lambda x: math.log(2) + (4 / 3 + 104 / 45 * x**2) * x**2,
        )

    @property
    def mean(self):
        return self._by_series(
            lambda p, logit: p / (2 * p - 1) - 1 / logit,
            lambda x: 0.5 + (1 / 3 + 16 / 45 * x**2) * x,
        )

    @property
    def variance(self):
        return self._by_series(
            lambda p, logit: p * (p - 1) / (1 - 2 * p) ** 2 + 1 / logit**2,
            lambda x: 1 / 12 - (1 / 15 - 128 / 945 * x**2) * x**2,
        )

    def rsample(self, sample_shape=()):
        shape = self._extended_shape(sample_shape)
        return self.icdf(rand(shape, dtype=self.probs.dtype, device=self.probs.device))

    def log_prob(self, value):
        self._check_value(value)
        logits, value = broadcast_all(self.logits, value)
        cross_entropy = binary_cross_entropy_with_logits(logits, value, reduction="none")
        return self._cont_bern_log_norm() - cross_entropy

    def cdf(self, value):
        self._check_value(value)
        inside = self._by_series(
            lambda p, logit: (p**value * (1 - p) ** (1 - value) + p - 1) / (2 * p - 1),
            lambda x: value,
        )
        return where(value <= 0, 0, where(value >= 1, 1, inside))

    def icdf(self, value):
        return self._by_series(
            lambda p, logit: ((-p + value * (2 * p - 1)).log1p() - (-p).log1p()) / logit,
            lambda x: value,
        )

    def entropy(self):
        log_q, log_p = (-self.probs).log1p(), self.probs.log()
        return self.mean * (log_q - log_p) - self._cont_bern_log_norm() - log_q

    @property
    def _natural_params(self):
        return (self.logits,)

    def _log_normalizer(self, x):
        low, high = (lim - 0.5 for lim in self._lims)
        outside = (x <= low) | (x > high)
        y = where(outside, x, low)
        return where(outside, (y.expm1() / y).log(), x / 2 + x**2 / 24 - x**4 / 2880)
