"""Distributions that are given by probabilities, or by their logits."""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

from ..core.ops.create import arange
from .distribution import Distribution
from .utils import broadcast_all, lazy_property, logits_to_probs, probs_to_logits


def check_one(probs, logits):
    if (probs is None) == (logits is None):
        raise ValueError("Either `probs` or `logits` must be specified, but not both.")


class ByOdds(Distribution):
    """Has probs and logits: one is a parameter, the other is computed from it on demand."""

    _binary = True  # logits are log odds; else logarithms of probabilities that sum to 1

    def _set_odds(self, probs, logits, *others):
        """Set the one that is given; it and the others are broadcast, and the others returned."""
        check_one(probs, logits)
        given, *others = broadcast_all(logits if probs is None else probs, *others)
        setattr(self, "logits" if probs is None else "probs", given)
        return [other.type_as(given) for other in others]

    @lazy_property
    def logits(self):
        return probs_to_logits(self.probs, is_binary=self._binary)

    @lazy_property
    def probs(self):
        return logits_to_probs(self.logits, is_binary=self._binary)

    @property
    def _param(self):
        return self.__dict__.get("probs", self.__dict__.get("logits"))

    @property
    def param_shape(self):
        """The shape of the parameter that was given."""
        return self._param.shape

    def _counted(self, n, expand, dtype=None):
        """0, ..., n - 1 along a new first dimension, for `enumerate_support`."""
        param, batch = self._param, self._batch_shape
        values = arange(n, dtype=dtype or param.dtype, device=param.device)
        values = values.reshape((-1,) + (1,) * len(batch))
        return values.expand((-1, *batch)) if expand else values


class ByCategorical(Distribution):
    """Has the probs and logits of a Categorical that it is made of."""

    @property
    def logits(self):
        return self._categorical.logits

    @property
    def probs(self):
        return self._categorical.probs

    @property
    def _param(self):
        return self._categorical._param

    @property
    def param_shape(self):
        """The shape of the parameter that was given."""
        return self._categorical.param_shape
