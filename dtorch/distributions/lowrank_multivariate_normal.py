"""The multivariate normal distribution whose covariance is diagonal plus one of low rank."""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

import math

from ..core.ops.cholesky import cholesky
from ..core.ops.create import eye
from ..core.ops.shape import broadcast_tensors
from ..core.ops.solve import solve_triangular
from . import constraints
from .distribution import Distribution
from .multivariate_normal import half_log_det, mahalanobis, matvec
from .utils import _standard_normal, lazy_property


def _plus_identity(matrix):
    return matrix + eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)


class LowRankMultivariateNormal(Distribution):
    """Normal vectors of the covariance W W^T + D: cov_factor W (n, m) and cov_diag, D's diagonal (n).

    Determinant and inverse are those of the capacitance matrix C = I + W^T D^-1 W (m, m), by the
    matrix determinant lemma and Woodbury's identity.
    """

    arg_constraints = {
        "loc": constraints.real_vector,
        "cov_factor": constraints.independent(constraints.real, 2),
        "cov_diag": constraints.independent(constraints.positive, 1),
    }
    support = constraints.real_vector
    has_rsample = True

    def __init__(self, loc, cov_factor, cov_diag, validate_args=None):
        if loc.dim() < 1:
            raise ValueError("loc must be at least one-dimensional.")
        event_shape = loc.shape[-1:]
        if cov_factor.dim() < 2:
            raise ValueError(
                "cov_factor must be at least two-dimensional, "
                "with optional leading batch dimensions"
            )
        if cov_factor.shape[-2:-1] != event_shape:
            raise ValueError(
                f"cov_factor must be a batch of matrices with shape {event_shape[0]} x m"
            )
        if cov_diag.shape[-1:] != event_shape:
            raise ValueError(f"cov_diag must be a batch of vectors with shape {event_shape}")
        try:
            loc_, self.cov_factor, diag_ = broadcast_tensors(
                loc.unsqueeze(-1), cov_factor, cov_diag.unsqueeze(-1)
            )
        except RuntimeError as e:
            raise ValueError(
                f"Incompatible batch shapes: loc {loc.shape}, cov_factor {cov_factor.shape}, "
                f"cov_diag {cov_diag.shape}"
            ) from e
        self.loc, self.cov_diag = loc_[..., 0], diag_[..., 0]
        self._unbroadcasted_cov_factor, self._unbroadcasted_cov_diag = cov_factor, cov_diag
        capacitance = _plus_identity(self._scaled_factor() @ cov_factor)
        self._capacitance_tril = cholesky(capacitance)
        super().__init__(self.loc.shape[:-1], event_shape, validate_args=validate_args)

    def _scaled_factor(self):
        """W^T D^-1"""
        return self._unbroadcasted_cov_factor.mT / self._unbroadcasted_cov_diag.unsqueeze(-2)

    def _half_precision(self):
        """A (m, n), with which the inverse of the covariance is D^-1 - A^T A."""
        return solve_triangular(self._capacitance_tril, self._scaled_factor(), upper=False)

    def _log_det(self):
        """log det of the covariance."""
        return 2 * half_log_det(self._capacitance_tril) + self._unbroadcasted_cov_diag.log().sum(-1)

    def _mahalanobis(self, x):
        """x^T covariance^-1 x"""
        whole = (x**2 / self._unbroadcasted_cov_diag).sum(-1)
        return whole - mahalanobis(self._capacitance_tril, matvec(self._scaled_factor(), x))

    @property
    def mean(self):
        return self.loc

    mode = mean

    @property
    def variance(self):
        squares = (self._unbroadcasted_cov_factor**2).sum(-1)
        return (squares + self._unbroadcasted_cov_diag).expand(self._extended_shape())

    def _full(self, matrix):
        return matrix.expand(self._batch_shape + self._event_shape * 2)

    @lazy_property
    def scale_tril(self):
        root = self._unbroadcasted_cov_diag.sqrt().unsqueeze(-1)
        scaled = self._unbroadcasted_cov_factor / root
        return self._full(root * cholesky(_plus_identity(scaled @ scaled.mT)))

    @lazy_property
    def covariance_matrix(self):
        w, diag = self._unbroadcasted_cov_factor, self._unbroadcasted_cov_diag
        return self._full(w @ w.mT + diag.diag_embed())

    @lazy_property
    def precision_matrix(self):
        half = self._half_precision()
        return self._full((1 / self._unbroadcasted_cov_diag).diag_embed() - half.mT @ half)

    def rsample(self, sample_shape=()):
        shape, d, device = self._extended_shape(sample_shape), self.loc.dtype, self.loc.device
        low = _standard_normal(shape[:-1] + self.cov_factor.shape[-1:], d, device)
        noise = self._unbroadcasted_cov_diag.sqrt() * _standard_normal(shape, d, device)
        return self.loc + matvec(self._unbroadcasted_cov_factor, low) + noise

    def log_prob(self, value):
        self._check_value(value)
        constant = self._event_shape[0] * math.log(2 * math.pi)
        return -0.5 * (constant + self._log_det() + self._mahalanobis(value - self.loc))

    def entropy(self):
        h = 0.5 * (self._event_shape[0] * (1 + math.log(2 * math.pi)) + self._log_det())
        return h.expand(self._batch_shape)
