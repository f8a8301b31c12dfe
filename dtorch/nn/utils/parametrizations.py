"""Parametrizations to register: orthogonal, spectral_norm and weight_norm."""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

from ...core.dtype import finfo
from ...core.modes import no_grad
from ...core.ops.create import eye
from ...core.ops.join import cat
from ...core.ops.linalg import matmul
from ...core.ops.matrix_functions import matrix_exp
from ...core.ops.qr import geqrf, householder_product
from ...core.ops.solve import solve
from .. import functional as F
from ..modules.conv import ConvTranspose1d, ConvTranspose2d, ConvTranspose3d
from ..modules.module import Module
from . import parametrize
from .weight_norm import norm_except_dim, scaled

__all__ = ["orthogonal", "spectral_norm", "weight_norm"]


# ---- orthogonal ----------------------------------------------------------------------------------


def _is_orthogonal(q, eps=None):
    """Whether the columns are orthonormal.  q: (*, n, k), n >= k"""
    n, k = q.shape[-2:]
    identity = eye(k, dtype=q.dtype, device=q.device)
    eps = 10 * n * finfo(q.dtype).eps if eps is None else eps
    return matmul(q.mH, q).allclose(identity.expand(*q.shape[:-2], k, k), atol=eps)


def _householder_q(a):
    """(R, Q of the QR factorization of a, with positive diagonal of R)"""
    x, tau = geqrf(a)
    return householder_product(x, tau) * x.diagonal(dim1=-2, dim2=-1).sgn().unsqueeze(-2)


class _Orthogonal(Module):
    """Any matrix to one with orthonormal columns (rows, if it has more columns than rows).

    Lezcano-Casado, "Trivializations for gradient-based optimization on manifolds" (2019): with
    use_trivialization the map starts from `base`, the matrix that was last assigned.
    """

    def __init__(self, weight, orthogonal_map, use_trivialization=True):
        super().__init__()
        if weight.is_complex() and orthogonal_map == "householder":
            raise ValueError(
                "The householder parametrization does not support complex tensors; use matrix_exp "
                "or cayley"
            )
        self.shape = weight.shape
        self.orthogonal_map = orthogonal_map
        if use_trivialization:
            self.register_buffer("base", None)

    def forward(self, X):  # noqa: N803
        n, k = X.shape[-2:]
        wide = n < k
        if wide:
            X, n, k = X.mT, k, n  # noqa: N806
        if self.orthogonal_map == "householder":
            q = self._by_reflections(X)
        else:
            q = self._by_exponential(X, n, k)
        if hasattr(self, "base"):
            q = matmul(self.base, q)
        return q.mT if wide else q

    def _by_exponential(self, x, n, k):
        """The exponential, or its Cayley approximation, of a skew-symmetric matrix."""
        x = x.tril()
        if n != k:
            x = cat([x, x.new_zeros(*x.shape[:-1], n - k)], -1)
        a = x - x.mH
        if self.orthogonal_map == "matrix_exp":
            q = matrix_exp(a)
        else:
            identity = eye(n, dtype=a.dtype, device=a.device)
            q = solve(identity - a / 2, identity + a / 2)
        return q[..., :k] if n != k else q

    def _by_reflections(self, x):
        a = x.tril(-1)
        tau = 2.0 / (1.0 + (a * a).sum(-2))
        q = householder_product(a, tau)
        return q * x.diagonal(dim1=-2, dim2=-1).int().unsqueeze(-2)

    @no_grad()
    def right_inverse(self, Q):  # noqa: N803
        if Q.shape != self.shape:
            raise ValueError(
                f"Expected a matrix or batch of matrices of shape {tuple(self.shape)}. Got a tensor "
                f"of shape {tuple(Q.shape)}."
            )
        n, k = Q.shape[-2:]
        wide = n < k
        q, (n, k) = (Q.mT, (k, n)) if wide else (Q, (n, k))
        if not hasattr(self, "base"):
            return self._reflections_of(q, wide)
        if n != k:
            q = cat([q, q.new_empty(*q.shape[:-1], n - k).normal_()], -1)
            q = _householder_q(q)
        elif not _is_orthogonal(q):
            q = _householder_q(q)
        self.base = q.clone()
        start = Q.new_zeros(Q.shape)  # the point that the map takes to the identity
        start.diagonal(dim1=-2, dim2=-1).fill_(-1.0)
        return start

    def _reflections_of(self, q, wide):
        if self.orthogonal_map != "householder":
            raise NotImplementedError(
                "It is not possible to assign to the matrix exponential or the Cayley "
                "parametrizations when use_trivialization=False."
            )
        a, tau = geqrf(q)
        diagonal = a.diagonal(dim1=-2, dim2=-1)
        diagonal.sign_()
        diagonal[tau == 0.0] *= -1
        return a.mT if wide else a


def orthogonal(module, name="weight", orthogonal_map=None, *, use_trivialization=True):
    """Keep module.name orthogonal (its columns or rows orthonormal); returns the module.

    orthogonal_map: "matrix_exp", "cayley" or "householder"; by default matrix_exp for square or
        complex matrices, else householder
    """
    weight = getattr(module, name, None)
    if weight is None or not hasattr(weight, "ndim"):
        raise ValueError(f"Module '{module}' has no parameter or buffer with name '{name}'")
    if weight.ndim < 2:
        raise ValueError(
            f"Expected a matrix or batch of matrices. Got a tensor of {weight.ndim} dimensions."
        )
    if orthogonal_map is None:
        square = weight.shape[-2] == weight.shape[-1]
        orthogonal_map = "matrix_exp" if square or weight.is_complex() else "householder"
    if orthogonal_map not in ("matrix_exp", "cayley", "householder"):
        raise ValueError(
            'orthogonal_map has to be one of "matrix_exp", "cayley", "householder". Got: '
            f"{orthogonal_map}"
        )
    orth = _Orthogonal(weight, orthogonal_map, use_trivialization)
    return parametrize.register_parametrization(module, name, orth, unsafe=True)


# ---- weight norm ---------------------------------------------------------------------------------


class _WeightNorm(Module):
    def __init__(self, dim=0):
        super().__init__()
        self.dim = -1 if dim is None else dim

    def forward(self, weight_g, weight_v):
        return scaled(weight_v, weight_g, self.dim)

    def right_inverse(self, weight):
        return norm_except_dim(weight, 2, self.dim), weight


def weight_norm(module, name="weight", dim=0):
    """Split a weight into its length and its direction: w = g v / |v|.  Returns the module.

    The originals are original0 = g and original1 = v.  Salimans and Kingma, "Weight normalization"
    (2016).

    dim: the dimension along which lengths differ; None for one length of the whole
    """
    parametrize.register_parametrization(module, name, _WeightNorm(dim), unsafe=True)

    def take_old_names(state_dict, prefix, *rest):
        """What nn.utils.weight_norm saved has other names."""
        for i, old in enumerate((f"{prefix}{name}_g", f"{prefix}{name}_v")):
            if old in state_dict:
                new = f"{prefix}parametrizations.{name}.original{i}"
                state_dict[new] = state_dict.pop(old)

    module._register_load_state_dict_pre_hook(take_old_names)
    return module


# ---- spectral norm -------------------------------------------------------------------------------


class _SpectralNorm(Module):
    """weight / its largest singular value, which power iteration keeps track of."""

    def __init__(self, weight, n_power_iterations=1, dim=0, eps=1e-12):
        super().__init__()
        if not -weight.ndim <= dim < weight.ndim:
            raise IndexError(
                "Dimension out of range (expected to be in range of "
                f"[-{weight.ndim}, {weight.ndim - 1}] but got {dim})"
            )
        if n_power_iterations <= 0:
            raise ValueError(
                "Expected n_power_iterations to be positive, but got n_power_iterations="
                f"{n_power_iterations}"
            )
        self.dim = dim % weight.ndim
        self.eps = eps
        if weight.ndim > 1:
            self.n_power_iterations = n_power_iterations
            matrix = self._matrix(weight)
            height, width = matrix.shape
            for name, size in ("_u", height), ("_v", width):
                start = F.normalize(matrix.new_empty(size).normal_(0, 1), dim=0, eps=eps)
                self.register_buffer(name, start)
            self._iterate(matrix, 15)

    def _matrix(self, weight):
        """weight with `dim` first, the others made one.  (size of dim, rest)"""
        first = weight.movedim(self.dim, 0)
        return first.reshape(first.shape[0], -1)

    @no_grad()
    def _iterate(self, matrix, times):
        for _ in range(times):
            self._u.copy_(F.normalize(matrix.mv(self._v), dim=0, eps=self.eps))
            self._v.copy_(F.normalize(matrix.mH.mv(self._u), dim=0, eps=self.eps))

    def forward(self, weight):
        if weight.ndim == 1:
            return F.normalize(weight, dim=0, eps=self.eps)
        matrix = self._matrix(weight)
        if self.training:
            self._iterate(matrix.detach(), self.n_power_iterations)
        # Clones: the next step of the iteration writes to u and v.
        sigma = self._u.clone().vdot(matrix.mv(self._v.clone()))
        return weight / sigma

    def right_inverse(self, value):
        return value


def spectral_norm(module, name="weight", n_power_iterations=1, eps=1e-12, dim=None):
    """Divide a weight by its largest singular value; returns the module.

    Miyato et al., "Spectral normalization for generative adversarial networks" (2018).

    dim: the dimension of the outputs; by default 1 for transposed convolutions, else 0
    """
    weight = getattr(module, name, None)
    if weight is None or not hasattr(weight, "ndim"):
        raise ValueError(f"Module '{module}' has no parameter or buffer with name '{name}'")
    if dim is None:
        dim = int(isinstance(module, (ConvTranspose1d, ConvTranspose2d, ConvTranspose3d)))
    norm = _SpectralNorm(weight, n_power_iterations, dim, eps)
    return parametrize.register_parametrization(module, name, norm)
