"""KL divergences between distributions of vectors."""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

from ...core.ops.solve import solve_triangular
from ..dirichlet import Dirichlet
from ..lowrank_multivariate_normal import LowRankMultivariateNormal
from ..multivariate_normal import MultivariateNormal, half_log_det, mahalanobis
from .registry import register_kl


@register_kl(Dirichlet, Dirichlet)
def _dirichlet(p, q):
    a, b = p.concentration, q.concentration
    mean_log = a.digamma() - a.sum(-1, True).digamma()
    log_norms = q._log_normalizer(b) - p._log_normalizer(a)
    return log_norms + ((a - b) * mean_log).sum(-1)


def _squares(matrix):
    """tr(M M^T)"""
    return (matrix**2).sum([-2, -1])


def _factors(p):
    """Matrices F whose F F^T add up to the covariance."""
    if isinstance(p, LowRankMultivariateNormal):
        return [p._unbroadcasted_cov_factor, p._unbroadcasted_cov_diag.sqrt().diag_embed()]
    return [p._unbroadcasted_scale_tril]


def _log_det(p):
    if isinstance(p, LowRankMultivariateNormal):
        return p._log_det()
    return 2 * half_log_det(p._unbroadcasted_scale_tril)


def _in_metric(q, x, factors):
    """x^T Q^-1 x, and tr(Q^-1 F F^T) of all factors, where Q is the covariance of q."""
    if isinstance(q, LowRankMultivariateNormal):
        half, root = q._half_precision(), q._unbroadcasted_cov_diag.rsqrt().unsqueeze(-1)
        traces = [_squares(f * root) - _squares(half @ f) for f in factors]
        return q._mahalanobis(x), sum(traces)
    tril = q._unbroadcasted_scale_tril
    traces = [_squares(solve_triangular(tril, f, upper=False)) for f in factors]
    return mahalanobis(tril, x), sum(traces)


@register_kl(MultivariateNormal, MultivariateNormal)
@register_kl(MultivariateNormal, LowRankMultivariateNormal)
@register_kl(LowRankMultivariateNormal, MultivariateNormal)
@register_kl(LowRankMultivariateNormal, LowRankMultivariateNormal)
def _multivariate_normal(p, q):
    if p.event_shape != q.event_shape:
        raise ValueError(
            "KL-divergence between two (Low Rank) Multivariate Normals with "
            "different event shapes cannot be computed"
        )
    distance, trace = _in_metric(q, q.loc - p.loc, _factors(p))
    return 0.5 * (_log_det(q) - _log_det(p) + trace + distance - p.event_shape[0])
