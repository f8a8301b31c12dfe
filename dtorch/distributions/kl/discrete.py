"""KL divergences between distributions of whole numbers and of categories."""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

from math import inf

from ...core.ops.activation import softplus
from ...core.ops.pointwise import where
from ...core.ops.shape import broadcast_shapes
from ..bernoulli import Bernoulli
from ..binomial import Binomial
from ..categorical import Categorical
from ..geometric import Geometric
from ..one_hot_categorical import OneHotCategorical
from ..poisson import Poisson
from .registry import register_kl


def _weighted(p, log_ratio, q):
    """p log(p / q): 0 where p is 0, and infinite where only q is."""
    return where(p == 0, 0, where(q == 0, inf, p * log_ratio))


@register_kl(Bernoulli, Bernoulli)
def _bernoulli(p, q):
    heads = softplus(-q.logits) - softplus(-p.logits)
    tails = softplus(q.logits) - softplus(p.logits)
    return _weighted(p.probs, heads, q.probs) + _weighted(1 - p.probs, tails, 1 - q.probs)


@register_kl(Categorical, Categorical)
def _categorical(p, q):
    return _weighted(p.probs, p.logits - q.logits, q.probs).sum(-1)


@register_kl(OneHotCategorical, OneHotCategorical)
def _one_hot(p, q):
    return _categorical(p._categorical, q._categorical)


@register_kl(Binomial, Binomial)
def _binomial(p, q):
    if (p.total_count < q.total_count).any():
        raise NotImplementedError(
            "KL between Binomials where q.total_count > p.total_count is not implemented"
        )
    each = p.probs * (p.logits - q.logits) + (-p.probs).log1p() - (-q.probs).log1p()
    return where(p.total_count > q.total_count, inf, p.total_count * each)


@register_kl(Geometric, Geometric)
def _geometric(p, q):
    return -p.entropy() - (-q.probs).log1p() / p.probs - q.logits


@register_kl(Poisson, Poisson)
def _poisson(p, q):
    return p.rate * (p.rate.log() - q.rate.log()) - (p.rate - q.rate)


@register_kl(Bernoulli, Poisson)
def _bernoulli_poisson(p, q):
    return -p.entropy() - (p.probs * q.rate.log() - q.rate)


@register_kl(Poisson, Bernoulli)
@register_kl(Poisson, Binomial)
def _poisson_infinite(p, q):
    return p.rate.new_full(broadcast_shapes(p.batch_shape, q.batch_shape), inf)
