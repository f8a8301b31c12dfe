"""The half-normal distribution."""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

import math

from .folded import Folded
from .normal import Normal


class HalfNormal(Folded):
    """|x| of a normal x of mean 0 and standard deviation `scale`."""

    def __init__(self, scale, validate_args=None):
        super().__init__(Normal(0, scale, validate_args=False), validate_args=validate_args)

    @property
    def mean(self):
        return self.scale * math.sqrt(2 / math.pi)

    @property
    def variance(self):
        return self.scale**2 * (1 - 2 / math.pi)
