"""KL divergences of whole kinds of distributions: exponential families, transformed ones."""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

from ..exp_family import ExponentialFamily
from ..independent import Independent
from ..transformed_distribution import TransformedDistribution
from ..utils import _sum_rightmost
from .registry import kl_divergence, register_kl


@register_kl(ExponentialFamily, ExponentialFamily)
def _exponential_family(p, q):
    """The Bregman divergence of the log normalizer: Nielsen and Nock (2010)."""
    if type(p) is not type(q):
        raise NotImplementedError(
            "The cross KL-divergence between different exponential families cannot be computed "
            "using Bregman divergences"
        )
    theta, log_normalizer, gradients = p._normalizer_and_gradients()
    result = q._log_normalizer(*q._natural_params) - log_normalizer
    for of_p, of_q, slope in zip(theta, q._natural_params, gradients):
        event_dims = of_q.dim() - len(q.batch_shape)
        result = result - _sum_rightmost((of_q - of_p) * slope, event_dims)
    return result


@register_kl(TransformedDistribution, TransformedDistribution)
def _transformed(p, q):
    if p.transforms != q.transforms or p.event_shape != q.event_shape:
        raise NotImplementedError(
            "the KL-divergence of transformed distributions is implemented for equal transforms "
            f"of events of one shape, but got {p} and {q}"
        )
    return kl_divergence(p.base_dist, q.base_dist)


@register_kl(Independent, Independent)
def _independent(p, q):
    if p.reinterpreted_batch_ndims != q.reinterpreted_batch_ndims:
        raise NotImplementedError(
            "the KL-divergence of Independents is implemented for equal "
            f"reinterpreted_batch_ndims, but got {p.reinterpreted_batch_ndims} and "
            f"{q.reinterpreted_batch_ndims}"
        )
    kl = kl_divergence(p.base_dist, q.base_dist)
    return _sum_rightmost(kl, p.reinterpreted_batch_ndims)
