"""The multivariate normal distribution."""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

import math

from ..core.ops.cholesky import cholesky, cholesky_inverse
from ..core.ops.create import eye
from ..core.ops.shape import broadcast_shapes
from ..core.ops.solve import solve_triangular
from . import constraints
from .distribution import Distribution
from .utils import _standard_normal, lazy_property


def matvec(matrix, vector):
    """Matrices times vectors; both have batch dimensions."""
    return (matrix @ vector.unsqueeze(-1)).squeeze(-1)


def mahalanobis(tril, x):
    """|tril^-1 x|^2, where tril is lower triangular (..., n, n), of vectors x (samples..., ..., n).

    The dimensions that only x has become columns, so that each matrix is used once for them all.
    """
    lead = max(x.dim() + 1 - tril.dim(), 0)
    columns = x.reshape((-1,) + x.shape[lead:]).movedim(0, -1)
    squares = (solve_triangular(tril, columns, upper=False) ** 2).sum(-2).movedim(-1, 0)
    return squares.reshape(x.shape[:lead] + squares.shape[1:])


def half_log_det(tril):
    """log det of a triangular factor: half of that of the matrix."""
    return tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)


def precision_to_scale_tril(precision):
    """The Cholesky factor of the inverse."""
    # the flipped matrix has the factor F, and so P = U U^T with U = F flipped, upper triangular
    upper = cholesky(precision.flip(-2, -1)).flip(-2, -1)
    identity = eye(precision.shape[-1], dtype=precision.dtype, device=precision.device)
    return solve_triangular(upper.mT, identity, upper=False)


class GivenByMatrix(Distribution):
    """Has a covariance matrix, given by one of itself, its inverse, or its Cholesky factor."""

    _WAYS = ("covariance_matrix", "precision_matrix", "scale_tril")

    def _set_matrix(self, name, matrix, batch_shape):
        setattr(self, name, matrix.expand((*batch_shape, -1, -1)))

    def _factorize(self, name, matrix):
        """Set the Cholesky factor of the matrix before broadcasting."""
        factorize = {
            "scale_tril": lambda m: m,
            "covariance_matrix": cholesky,
            "precision_matrix": precision_to_scale_tril,
        }
        self._unbroadcasted_scale_tril = factorize[name](matrix)

    def _full(self, matrix):
        n = self._unbroadcasted_scale_tril.shape[-1]
        return matrix.expand((*self._batch_shape, n, n))

    @lazy_property
    def scale_tril(self):
        return self._full(self._unbroadcasted_scale_tril)

    @lazy_property
    def covariance_matrix(self):
        return self._full(self._unbroadcasted_scale_tril @ self._unbroadcasted_scale_tril.mT)

    @lazy_property
    def precision_matrix(self):
        return self._full(cholesky_inverse(self._unbroadcasted_scale_tril))


class MultivariateNormal(GivenByMatrix):
    """Normal vectors of mean `loc` and one of: covariance, its inverse, its Cholesky factor.

    ValueError unless exactly one is given, or if it is not a matrix.
    """

    arg_constraints = {
        "loc": constraints.real_vector,
        "covariance_matrix": constraints.positive_definite,
        "precision_matrix": constraints.positive_definite,
        "scale_tril": constraints.lower_cholesky,
    }
    support = constraints.real_vector
    has_rsample = True

    def __init__(self, loc, covariance_matrix=None, precision_matrix=None, scale_tril=None,
                 validate_args=None):  # fmt: skip
        if loc.dim() < 1:
            raise ValueError("loc must be at least one-dimensional.")
        ways = zip(self._WAYS, (covariance_matrix, precision_matrix, scale_tril))
        given = [(name, matrix) for name, matrix in ways if matrix is not None]
        if len(given) != 1:
            raise ValueError(
                "Exactly one of covariance_matrix or precision_matrix or scale_tril may be "
                "specified."
            )
        ((name, matrix),) = given
        if matrix.dim() < 2:
            what = f"{name} matrix" if name == "scale_tril" else name
            raise ValueError(
                f"{what} must be at least two-dimensional, with optional leading batch dimensions"
            )
        batch_shape = broadcast_shapes(matrix.shape[:-2], loc.shape[:-1])
        self._set_matrix(name, matrix, batch_shape)
        self.loc = loc.expand((*batch_shape, -1))
        super().__init__(batch_shape, self.loc.shape[-1:], validate_args=validate_args)
        self._factorize(name, matrix)

    @property
    def mean(self):
        return self.loc

    mode = mean

    @property
    def variance(self):
        return (self._unbroadcasted_scale_tril**2).sum(-1).expand(self._extended_shape())

    def rsample(self, sample_shape=()):
        noise = _standard_normal(
            self._extended_shape(sample_shape), self.loc.dtype, self.loc.device
        )
        return self.loc + matvec(self._unbroadcasted_scale_tril, noise)

    def log_prob(self, value):
        self._check_value(value)
        tril, n = self._unbroadcasted_scale_tril, self._event_shape[0]
        distance = mahalanobis(tril, value - self.loc)
        return -0.5 * (n * math.log(2 * math.pi) + distance) - half_log_det(tril)

    def entropy(self):
        n = self._event_shape[0]
        h = 0.5 * n * (1 + math.log(2 * math.pi)) + half_log_det(self._unbroadcasted_scale_tril)
        return h.expand(self._batch_shape)
