"""The LKJ distribution of Cholesky factors of correlation matrices."""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

import math

from ..core.dtype import finfo
from ..core.ops.create import arange
from ..core.ops.join import cat
from ..core.ops.random import randn
from ..core.ops.special import mvlgamma
from . import constraints
from .beta import Beta
from .distribution import Distribution
from .utils import broadcast_all


class LKJCholesky(Distribution):
    """Cholesky factors of correlation matrices M of a density proportional to det(M)^(concentration-1).

    Lewandowski, Kurowicka, Joe, "Generating random correlation matrices based on vines and extended
    onion method" (2009): samples by the onion method, of section 3.2.
    """

    arg_constraints = {"concentration": constraints.positive}
    support = constraints.corr_cholesky

    def __init__(self, dim, concentration=1.0, validate_args=None):
        if dim < 2:
            raise ValueError(
                f"Expected dim to be an integer greater than or equal to 2. Found dim={dim}."
            )
        self.dim = dim
        (self.concentration,) = broadcast_all(concentration)
        # |what precedes the diagonal|^2 of each row; in the first row nothing does
        precede = arange(dim - 1, dtype=self.concentration.dtype, device=self.concentration.device)
        precede = cat([precede.new_zeros(1), precede])
        marginal = self.concentration.unsqueeze(-1) + 0.5 * (dim - 2)
        self._beta = Beta(precede + 0.5, marginal - 0.5 * precede)
        super().__init__(self.concentration.shape, (dim, dim), validate_args)

    def sample(self, sample_shape=()):
        squares = self._beta.sample(sample_shape).unsqueeze(-1)
        shape = self._extended_shape(sample_shape)
        normal = randn(shape, dtype=squares.dtype, device=squares.device).tril(-1)
        directions = normal / normal.norm(dim=-1, keepdim=True)
        directions[..., 0, :] = 0
        w = squares.sqrt() * directions
        left = (1 - (w**2).sum(-1)).clamp(min=finfo(w.dtype).tiny)
        return w + left.sqrt().diag_embed()

    def log_prob(self, value):
        self._check_value(value)
        log_diag = value.diagonal(dim1=-1, dim2=-2)[..., 1:].log()
        rows = arange(2, self.dim + 1, device=self.concentration.device)
        powers = 2 * (self.concentration - 1).unsqueeze(-1) + self.dim - rows
        n = self.dim - 1
        alpha = self.concentration + 0.5 * n
        log_norm = 0.5 * n * math.log(math.pi) + mvlgamma(alpha - 0.5, n) - n * alpha.lgamma()
        return (powers * log_diag).sum(-1) - log_norm
