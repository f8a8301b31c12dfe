"""KL divergences between distributions of real numbers.

KL(p || q) = -H(p) - E_p log q.  The log density of each family q is a sum of few terms in x, and so
its expectation needs few moments of p: E x and Var x, which distributions have, and E log x,
E log(1 - x), E exp(-x / s) and E |x - m|, which are in the tables here.
"""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

import math

from ...core.ops.pointwise import where
from ...core.ops.shape import broadcast_shapes
from ...core.ops.special import xlogy
from ..beta import Beta
from ..cauchy import Cauchy
from ..continuous_bernoulli import ContinuousBernoulli
from ..exponential import Exponential
from ..gamma import Gamma
from ..gumbel import Gumbel
from ..half_normal import HalfNormal
from ..laplace import Laplace
from ..normal import Normal
from ..pareto import Pareto
from ..uniform import Uniform
from ..utils import euler_constant
from .registry import register_kl


def _of(table, p):
    """The entry of p's family."""
    return next(entry for family, entry in table.items() if isinstance(p, family))


def _x_log_x(x):
    return xlogy.fn(x, x)


def _uniform_mean_log(low, high):
    return (_x_log_x(high) - _x_log_x(low)) / (high - low) - 1


def _normal_distance(p, m):
    """Leone, Nelson, Nottingham, "The folded normal distribution" (1961)."""
    z = (p.loc - m) / p.scale
    density = math.sqrt(2 / math.pi) * (-0.5 * z**2).exp()
    return p.scale * (density + z * (math.sqrt(0.5) * z).erf())


def _laplace_distance(p, m):
    apart = (p.loc - m).abs()
    return apart + p.scale * (-apart / p.scale).exp()


_MEAN_LOG = {
    Beta: lambda p: p.concentration1.digamma() - (p.concentration1 + p.concentration0).digamma(),
    Exponential: lambda p: -p.rate.log() - euler_constant,
    Gamma: lambda p: p.concentration.digamma() - p.rate.log(),
    Pareto: lambda p: p.scale.log() + 1 / p.alpha,
    Uniform: lambda p: _uniform_mean_log(p.low, p.high),
}
_MEAN_LOG_REST = {  # E log(1 - x)
    Beta: lambda p: p.concentration0.digamma() - (p.concentration1 + p.concentration0).digamma(),
    Uniform: lambda p: _uniform_mean_log(1 - p.high, 1 - p.low),
}
_MEAN_EXP = {  # E exp(-(x - m) / s)
    Exponential: lambda p, m, s: (m / s).exp() * (p.rate * s / (p.rate * s + 1)),
    Gamma: lambda p, m, s: (m / s).exp() * (1 + 1 / (p.rate * s)) ** -p.concentration,
    Gumbel: lambda p, m, s: ((m - p.loc) / s + (1 + p.scale / s).lgamma()).exp(),
    Normal: lambda p, m, s: ((m - p.loc) / s + 0.5 * (p.scale / s) ** 2).exp(),
    Uniform: lambda p, m, s: (
        (((m - p.low) / s).exp() - ((m - p.high) / s).exp()) * s / (p.high - p.low)
    ),
}
_MEAN_DISTANCE = {Laplace: _laplace_distance, Normal: _normal_distance}  # E |x - m|


def _log_beta(a, b):
    return a.lgamma() + b.lgamma() - (a + b).lgamma()


_MEAN_LOG_DENSITY = {  # E_p log q
    Beta: lambda p, q: (
        (q.concentration1 - 1) * _of(_MEAN_LOG, p)(p)
        + (q.concentration0 - 1) * _of(_MEAN_LOG_REST, p)(p)
        - _log_beta(q.concentration1, q.concentration0)
    ),
    ContinuousBernoulli: lambda p, q: (
        p.mean * q.logits + (-q.probs).log1p() + q._cont_bern_log_norm()
    ),
    Exponential: lambda p, q: q.rate.log() - q.rate * p.mean,
    Gamma: lambda p, q: (
        (q.concentration - 1) * _of(_MEAN_LOG, p)(p)
        + (q.concentration * q.rate.log() - q.concentration.lgamma())
        - q.rate * p.mean
    ),
    Gumbel: lambda p, q: (
        (q.loc - p.mean) / q.scale - q.scale.log() - _of(_MEAN_EXP, p)(p, q.loc, q.scale)
    ),
    Laplace: lambda p, q: -(2 * q.scale).log() - _of(_MEAN_DISTANCE, p)(p, q.loc) / q.scale,
    Normal: lambda p, q: (
        -0.5 * (p.variance + (p.mean - q.loc) ** 2) / q.scale**2
        - (math.sqrt(2 * math.pi) * q.scale).log()
    ),
    Pareto: lambda p, q: (
        q.alpha.log() + q.alpha * q.scale.log() - (q.alpha + 1) * _of(_MEAN_LOG, p)(p)
    ),
    Uniform: lambda p, q: -(q.high - q.low).log(),
}
_INSIDE = {  # whether an interval is in q's support
    Beta: lambda low, high, q: (low >= 0) & (high <= 1),
    ContinuousBernoulli: lambda low, high, q: (low >= 0) & (high <= 1),
    Exponential: lambda low, high, q: low >= 0,
    Gamma: lambda low, high, q: low >= 0,
    Pareto: lambda low, high, q: low >= q.scale,
    Uniform: lambda low, high, q: (low >= q.low) & (high <= q.high),
}
_ENDS = {  # of supports that depend on parameters, or are bounded
    Beta: lambda p: (0, 1),
    ContinuousBernoulli: lambda p: (0, 1),
    Pareto: lambda p: (p.scale, math.inf),
    Uniform: lambda p: (p.low, p.high),
}


def _by_moments(p, q):
    kl = -p.entropy() - _of(_MEAN_LOG_DENSITY, q)(p, q)
    if isinstance(p, tuple(_ENDS)) and isinstance(q, tuple(_INSIDE)):
        low, high = _of(_ENDS, p)(p)
        inside = _of(_INSIDE, q)(low, high, q)
        return kl if inside is True else where(inside, kl, math.inf)
    return kl


def _infinite(p, q):
    """p has mass where q has none."""
    return p.entropy().new_full(broadcast_shapes(p.batch_shape, q.batch_shape), math.inf)


_FINITE = {
    Beta: [Beta, ContinuousBernoulli, Exponential, Gamma, Normal, Uniform],
    ContinuousBernoulli: [ContinuousBernoulli, Exponential, Normal, Uniform],
    Exponential: [Gamma, Gumbel, Normal],
    Gamma: [Exponential, Gamma, Gumbel, Normal],
    Gumbel: [Gumbel, Normal],
    Laplace: [Laplace, Normal],
    Normal: [Gumbel, Laplace],
    Pareto: [Exponential, Gamma, Normal, Pareto],
    Uniform: [Beta, ContinuousBernoulli, Exponential, Gamma, Gumbel, Normal, Pareto, Uniform],
}
_half_line = [Beta, ContinuousBernoulli, Pareto, Uniform]
_line = [Beta, ContinuousBernoulli, Exponential, Gamma, Pareto, Uniform]
_INFINITE = {
    Beta: [Pareto], ContinuousBernoulli: [Pareto], Exponential: _half_line, Gamma: _half_line,
    Gumbel: _line, Laplace: _line, Normal: _line, Pareto: [Beta, ContinuousBernoulli, Uniform],
}  # fmt: skip
for _table, _function in ((_FINITE, _by_moments), (_INFINITE, _infinite)):
    for _p, _families in _table.items():
        for _q in _families:
            register_kl(_p, _q)(_function)


# ---- in closed forms that do not cancel where p is near q ----------------------------------------


@register_kl(Normal, Normal)
def _normal(p, q):
    ratio = (p.scale / q.scale) ** 2
    return 0.5 * (ratio + ((p.loc - q.loc) / q.scale) ** 2 - 1 - ratio.log())


@register_kl(HalfNormal, HalfNormal)
def _half_normal(p, q):
    return _normal(p.base_dist, q.base_dist)


@register_kl(Exponential, Exponential)
def _exponential(p, q):
    ratio = q.rate / p.rate
    return ratio - 1 - ratio.log()


@register_kl(Cauchy, Cauchy)
def _cauchy(p, q):
    """Chyzak and Nielsen, "A closed-form formula for the KL divergence between Cauchy
    distributions" (2019)."""
    square = (p.scale + q.scale) ** 2 + (p.loc - q.loc) ** 2
    return (square / (4 * p.scale * q.scale)).log()
