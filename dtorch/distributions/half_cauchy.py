"""The half-Cauchy distribution."""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

import math

from .cauchy import Cauchy
from .folded import Folded
from .utils import full_like_batch


class HalfCauchy(Folded):
    """|x| of a Cauchy x about 0."""

    def __init__(self, scale, validate_args=None):
        super().__init__(Cauchy(0, scale, validate_args=False), validate_args=validate_args)

    @property
    def mean(self):
        return full_like_batch(self, math.inf, self.scale)

    @property
    def variance(self):
        return self.base_dist.variance
