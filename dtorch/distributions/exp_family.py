"""Exponential families: entropies by differentiating the logarithm of the normalizer."""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

from ..core.autograd import grad
from .distribution import Distribution


class ExponentialFamily(Distribution):
    """Densities exp(t(x) . theta - F(theta) + k(x)), with natural parameters theta.

    The entropy is F(theta) - theta . F'(theta) - E k(x): Nielsen and Nock, "Entropies and
    cross-entropies of exponential families" (2010).
    """

    @property
    def _natural_params(self):
        """theta: a tuple of tensors."""
        raise NotImplementedError

    def _log_normalizer(self, *natural_params):
        """F(theta)"""
        raise NotImplementedError

    @property
    def _mean_carrier_measure(self):
        """E k(x)"""
        raise NotImplementedError

    def _normalizer_and_gradients(self):
        """theta, detached; F(theta) and its gradients."""
        theta = [p.detach().requires_grad_() for p in self._natural_params]
        log_normalizer = self._log_normalizer(*theta)
        return theta, log_normalizer, grad(log_normalizer.sum(), theta, create_graph=True)

    def entropy(self):
        theta, result, gradients = self._normalizer_and_gradients()
        result = result - self._mean_carrier_measure
        for p, g in zip(theta, gradients):
            result = result - (p * g).reshape(self._batch_shape + (-1,)).sum(-1)
        return result
