"""The Wishart distribution."""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

import math
import numbers
import warnings

from ..core.dtype import finfo
from ..core.ops.cholesky import cholesky_solve
from ..core.ops.create import arange, tensor
from ..core.ops.determinant import slogdet
from ..core.ops.pointwise import where
from ..core.ops.random import randn
from ..core.ops.shape import broadcast_shapes
from ..core.ops.special import mvlgamma
from . import constraints
from .chi2 import Chi2
from .exp_family import ExponentialFamily
from .multivariate_normal import GivenByMatrix, half_log_det


class Wishart(GivenByMatrix, ExponentialFamily):
    """sum(x x^T) of `df` normal vectors x, whose covariance (or its inverse or factor) is given.

    df: greater than the dimension less 1, not necessarily whole
    """

    support = constraints.positive_definite
    has_rsample = True
    _mean_carrier_measure = 0

    def __init__(self, df, covariance_matrix=None, precision_matrix=None, scale_tril=None,
                 validate_args=None):  # fmt: skip
        ways = zip(self._WAYS, (covariance_matrix, precision_matrix, scale_tril))
        given = [(name, matrix) for name, matrix in ways if matrix is not None]
        if len(given) != 1:
            raise AssertionError(
                "Exactly one of covariance_matrix or precision_matrix or scale_tril may be "
                "specified."
            )
        ((name, matrix),) = given
        if matrix.dim() < 2:
            raise ValueError(
                "scale_tril must be at least two-dimensional, with optional leading batch dimensions"
            )
        if isinstance(df, numbers.Number):
            df = tensor(df, dtype=matrix.dtype, device=matrix.device)
        n = matrix.shape[-1]
        if (df <= n - 1).any():
            raise ValueError(f"Value of df={df} expected to be greater than ndim - 1 = {n - 1}.")
        if (df < n).any():
            warnings.warn(
                "Low df values detected. Singular samples are highly likely to occur for "
                "ndim - 1 < df < ndim.",
                stacklevel=2,
            )
        batch_shape = broadcast_shapes(matrix.shape[:-2], df.shape)
        self.df = df.expand(batch_shape)
        self._set_matrix(name, matrix, batch_shape)
        super().__init__(batch_shape, matrix.shape[-2:], validate_args=validate_args)
        self._factorize(name, matrix)
        steps = arange(n, dtype=matrix.dtype, device=matrix.device)
        self._dist_chi2 = Chi2(self.df.unsqueeze(-1) - steps)

    @property
    def arg_constraints(self):
        return {
            "covariance_matrix": constraints.positive_definite,
            "precision_matrix": constraints.positive_definite,
            "scale_tril": constraints.lower_cholesky,
            "df": constraints.greater_than(self.event_shape[-1] - 1),
        }

    @property
    def mean(self):
        return self.df[..., None, None] * self.covariance_matrix

    @property
    def mode(self):
        factor = self.df - self.event_shape[-1] - 1
        return where(factor <= 0, math.nan, factor)[..., None, None] * self.covariance_matrix

    @property
    def variance(self):
        v = self.covariance_matrix
        diag = v.diagonal(dim1=-2, dim2=-1)
        return self.df[..., None, None] * (v**2 + diag.unsqueeze(-1) * diag.unsqueeze(-2))

    def _bartlett_sampling(self, sample_shape):
        """L A A^T L^T: A has roots of chi-squared numbers and, below them, normal numbers (1933)."""
        roots = self._dist_chi2.rsample(sample_shape).sqrt()
        roots = roots.clamp(min=finfo(roots.dtype).eps)
        shape = self._extended_shape(sample_shape)
        noise = randn(shape, dtype=roots.dtype, device=roots.device).tril(-1)
        factor = self._unbroadcasted_scale_tril @ (noise + roots.diag_embed())
        return factor @ factor.mT

    def rsample(self, sample_shape=(), max_try_correction=10):
        """A sample; what is singular, for the dtype's precision, is drawn anew, so many times."""
        sample = self._bartlett_sampling(sample_shape)
        singular = ~self.support.check(sample)
        if singular.any():
            warnings.warn("Singular sample detected.", stacklevel=2)
        for _ in range(max_try_correction):
            if not singular.any():
                break
            again = self._bartlett_sampling(sample_shape)
            sample = where(singular[..., None, None], again, sample)
            singular = ~self.support.check(sample)
        return sample

    def log_prob(self, value):
        self._check_value(value)
        nu, n, tril = self.df, self._event_shape[-1], self._unbroadcasted_scale_tril
        trace = cholesky_solve(value, tril).diagonal(dim1=-2, dim2=-1).sum(-1)
        return (
            (nu - n - 1) / 2 * slogdet(value).logabsdet
            - trace / 2
            - nu * (n * math.log(2) / 2 + half_log_det(tril))
            - mvlgamma(nu / 2, n)
        )

    def entropy(self):
        nu, n = self.df, self._event_shape[-1]
        steps = arange(n, dtype=nu.dtype, device=nu.device) / 2
        mvdigamma = (nu.unsqueeze(-1) / 2 - steps).digamma().sum(-1)
        half = n * math.log(2) / 2 + half_log_det(self._unbroadcasted_scale_tril)
        return (n + 1) * half + mvlgamma(nu / 2, n) - (nu - n - 1) / 2 * mvdigamma + nu * n / 2

    @property
    def _natural_params(self):
        return (-self.precision_matrix / 2, (self.df - self._event_shape[-1] - 1) / 2)

    def _log_normalizer(self, x, y):
        n = self._event_shape[-1]
        half_df = y + (n + 1) / 2
        return half_df * (n * math.log(2) - slogdet(-2 * x).logabsdet) + mvlgamma(half_df, n)
