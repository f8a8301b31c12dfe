"""Student's t distribution."""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

import math

from ..core.ops.pointwise import where
from . import constraints
from .chi2 import Chi2
from .distribution import Distribution
from .utils import _standard_normal, broadcast_all


class StudentT(Distribution):
    """loc + scale * z / sqrt(c / df), z standard normal and c chi-squared of `df`."""

    arg_constraints = {
        "df": constraints.positive,
        "loc": constraints.real,
        "scale": constraints.positive,
    }
    support = constraints.real
    has_rsample = True

    def __init__(self, df, loc=0.0, scale=1.0, validate_args=None):
        self.df, self.loc, self.scale = broadcast_all(df, loc, scale)
        self._chi2 = Chi2(self.df)
        super().__init__(self.df.shape, validate_args=validate_args)

    @property
    def mean(self):
        return where(self.df <= 1, math.nan, self.loc)

    @property
    def mode(self):
        return self.loc

    @property
    def variance(self):
        finite = self.scale**2 * self.df / (self.df - 2)
        return where(self.df <= 1, math.nan, where(self.df <= 2, math.inf, finite))

    def rsample(self, sample_shape=()):
        shape = self._extended_shape(sample_shape)
        z = _standard_normal(shape, self.df.dtype, self.df.device)
        return self.loc + self.scale * z * (self._chi2.rsample(sample_shape) / self.df).rsqrt()

    def _log_beta(self):
        """The logarithm of the beta function of df / 2 and 1 / 2."""
        half = 0.5 * self.df
        return half.lgamma() + 0.5 * math.log(math.pi) - (half + 0.5).lgamma()

    def log_prob(self, value):
        self._check_value(value)
        z = (value - self.loc) / self.scale
        log_norm = self.scale.log() + 0.5 * self.df.log() + self._log_beta()
        return -0.5 * (self.df + 1) * (z**2 / self.df).log1p() - log_norm

    def entropy(self):
        half = 0.5 * self.df
        slope = (half + 0.5) * ((half + 0.5).digamma() - half.digamma())
        return self.scale.log() + slope + 0.5 * self.df.log() + self._log_beta()
