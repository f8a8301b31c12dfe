"""Transforms of whole vectors and matrices.

Those to simplices and to correlations break sticks: see the Stan Reference Manual, chapter
"Constraint Transforms".
"""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

from ...core.dtype import finfo
from ...core.ops.activation import logsigmoid
from ...core.ops.cholesky import cholesky
from ...core.ops.create import arange, eye
from ...core.ops.resample import pad
from ...core.tensor import Size
from .. import constraints
from ..utils import tril_matrix_to_vec, vec_to_tril_matrix
from .base import TOO_FEW, FixedTransform, Transform
from .elementwise import log_tanh_slope, off_ends


def _resized(shape, extra):
    """A shape with the last dimension longer by `extra`."""
    if len(shape) < 1:
        raise ValueError(TOO_FEW)
    return Size((*shape[:-1], shape[-1] + extra))


class SoftmaxTransform(FixedTransform):
    """y = exp(x) / sum(exp(x)), along the last dimension; the inverse is log, up to a constant"""

    domain = constraints.real_vector
    codomain = constraints.simplex

    def _call(self, x):
        return x.softmax(-1)

    def _inverse(self, y):
        return y.log()

    def forward_shape(self, shape):
        return _resized(shape, 0)

    inverse_shape = forward_shape


class StickBreakingTransform(FixedTransform):
    """n numbers -> n + 1 that sum to 1: each breaks off a share of what is left of a stick.

    The shares are sigmoid(x - log(how many come after)), so that zeros give equal parts.
    """

    domain = constraints.real_vector
    codomain = constraints.simplex
    bijective = True

    @staticmethod
    def _log_after(x):
        n = x.shape[-1]
        return arange(n, 0, -1, dtype=x.dtype, device=x.device).log()

    def _call(self, x):
        share = off_ends((x - self._log_after(x)).sigmoid())
        left = (1 - share).cumprod(-1)
        return pad(share, [0, 1], value=1) * pad(left, [1, 0], value=1)

    def _inverse(self, y):
        broken = y[..., :-1]
        left = (1 - broken.cumsum(-1)).clamp(min=finfo(y.dtype).tiny)
        return broken.log() - left.log() + self._log_after(broken)

    def log_abs_det_jacobian(self, x, y):
        # dy/dx = share (1 - share) left = y (1 - share), and log(1 - share) = logsigmoid(-z)
        z = x - self._log_after(x)
        return (logsigmoid(z) - z + y[..., :-1].log()).sum(-1)

    def forward_shape(self, shape):
        return _resized(shape, 1)

    def inverse_shape(self, shape):
        return _resized(shape, -1)


class CorrCholeskyTransform(FixedTransform):
    """D (D - 1) / 2 numbers -> the (D, D) Cholesky factor of a correlation matrix.

    Each row is a unit vector: tanh of a number is a share of what is left of the row's norm.
    """

    domain = constraints.real_vector
    codomain = constraints.corr_cholesky
    bijective = True

    @staticmethod
    def _left(y):
        """What of each row's squared norm is left for an element and those after it."""
        return pad(1 - (y * y).cumsum(-1)[..., :-1], [1, 0], value=1)

    def _call(self, x):
        eps = finfo(x.dtype).eps
        r = vec_to_tril_matrix(x.tanh().clamp(min=-1 + eps, max=1 - eps), diag=-1)
        left = (1 - r * r).sqrt().cumprod(-1)
        r = r + eye(r.shape[-1], dtype=r.dtype, device=r.device)
        return r * pad(left[..., :-1], [1, 0], value=1)

    def _inverse(self, y):
        left = tril_matrix_to_vec(self._left(y), diag=-1)
        return (tril_matrix_to_vec(y, diag=-1) / left.sqrt()).atanh()

    def log_abs_det_jacobian(self, x, y):
        left = tril_matrix_to_vec(self._left(y), diag=-1)
        return (0.5 * left.log() + log_tanh_slope(x)).sum(-1)

    def forward_shape(self, shape):
        if len(shape) < 1:
            raise ValueError(TOO_FEW)
        n = shape[-1]
        d = round((0.25 + 2 * n) ** 0.5 + 0.5)
        if d * (d - 1) // 2 != n:
            raise ValueError("Input is not a flattened lower-diagonal number")
        return Size((*shape[:-1], d, d))

    def inverse_shape(self, shape):
        if len(shape) < 2:
            raise ValueError(TOO_FEW)
        d = shape[-1]
        if shape[-2] != d:
            raise ValueError("Input is not square")
        return Size((*shape[:-2], d * (d - 1) // 2))


class LowerCholeskyTransform(FixedTransform):
    """A square matrix -> its lower triangle, with exp of the diagonal"""

    domain = constraints.independent(constraints.real, 2)
    codomain = constraints.lower_cholesky

    def _call(self, x):
        return x.tril(-1) + x.diagonal(dim1=-2, dim2=-1).exp().diag_embed()

    def _inverse(self, y):
        return y.tril(-1) + y.diagonal(dim1=-2, dim2=-1).log().diag_embed()


class PositiveDefiniteTransform(FixedTransform):
    """A square matrix -> L L^T, with L its LowerCholeskyTransform"""

    domain = constraints.independent(constraints.real, 2)
    codomain = constraints.positive_definite

    def _call(self, x):
        factor = LowerCholeskyTransform()(x)
        return factor @ factor.mT

    def _inverse(self, y):
        return LowerCholeskyTransform().inv(cholesky(y))


class ReshapeTransform(Transform):
    """Events of in_shape -> events of out_shape, with the same elements"""

    bijective = True

    def __init__(self, in_shape, out_shape, cache_size=0):
        super().__init__(cache_size=cache_size)
        self.in_shape, self.out_shape = Size(in_shape), Size(out_shape)
        if self.in_shape.numel() != self.out_shape.numel():
            raise ValueError("in_shape, out_shape have different numbers of elements")

    @constraints.dependent_property
    def domain(self):
        return constraints.independent(constraints.real, len(self.in_shape))

    @constraints.dependent_property
    def codomain(self):
        return constraints.independent(constraints.real, len(self.out_shape))

    def _call(self, x):
        return x.reshape(_replaced(x.shape, self.in_shape, self.out_shape))

    def _inverse(self, y):
        return y.reshape(_replaced(y.shape, self.out_shape, self.in_shape))

    def log_abs_det_jacobian(self, x, y):
        return x.new_zeros(_replaced(x.shape, self.in_shape, ()))

    def forward_shape(self, shape):
        return _replaced(shape, self.in_shape, self.out_shape)

    def inverse_shape(self, shape):
        return _replaced(shape, self.out_shape, self.in_shape)


def _replaced(shape, old, new):
    """A shape that ends with `old`, ending with `new` instead."""
    if len(shape) < len(old):
        raise ValueError(TOO_FEW)
    cut = len(shape) - len(old)
    if shape[cut:] != old:
        raise ValueError(f"Shape mismatch: expected {shape[cut:]} but got {old}")
    return Size((*shape[:cut], *new))
