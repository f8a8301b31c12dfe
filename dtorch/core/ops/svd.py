"""Singular values and vectors: svd, svdvals, and the first ones of many by random projections."""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

from collections import namedtuple

from ..errors import LinAlgError
from ..op import op
from .eigen import gaps
from .linalg import _bmm, matmul
from .matrices import FAILURES, check_matrix, check_phase, diagonal_of, like, on_diagonal, skew
from .pointwise import real_of
from .qr import qr
from .random import randn
from .reduce import mean
from .shape import adjoint, raw, unsqueeze

SVD = namedtuple("linalg_svd", ("U", "S", "Vh"))
OldSVD = namedtuple("svd", ("U", "S", "V"))


def _svd_of(xp, a, *args):
    if not xp.isfinite(a).all():
        raise LinAlgError(f"linalg.svd: {FAILURES['svd']}")
    return xp.linalg.svd(a, *args)


@op(saves="y", holomorphic=False)
def _svd(xp, a, *, full):
    """(*, M, N) -> U (*, M, K), S (*, K), V^H (*, K, N); full: square U and V^H"""
    return tuple(_svd_of(xp, a, full))


def _svd_vjp(needs, g, y, a, full):
    """Townsend, "Differentiating the singular value decomposition" (2016); the phase of complex
    vectors: Wan & Zhang, "Automatic differentiation for complex valued SVD" (2019)."""
    u, s, vh = y
    gu, gs, gvh = g
    k = s.shape[-1]  # what full_matrices adds to the vectors is arbitrary
    u, vh = u[..., :k], vh[..., :k, :]
    gu, gvh = None if gu is None else gu[..., :k], None if gvh is None else gvh[..., :k, :]
    row, column = like(unsqueeze(s, -2), u), like(unsqueeze(s, -1), u)
    e = 2 * gaps(s * s)  # skew halves
    turn_u = 0 if gu is None else _bmm(adjoint(u), gu)
    turn_v = 0 if gvh is None else _bmm(vh, adjoint(gvh))
    if gu is not None or gvh is not None:
        check_phase("svd_backward", "singular vectors", turn_u + turn_v)
    core = 0 if gs is None else like(on_diagonal(gs), u)
    if gu is not None:
        core = core + skew(turn_u) * e * row
        if raw(u).dtype.kind == "c":
            d = diagonal_of(turn_u)
            core = core + on_diagonal((d - real_of(d)) / s)
    if gvh is not None:
        core = core + column * (skew(turn_v) * e)
    total = _bmm(_bmm(u, core), vh)
    if gu is not None and u.shape[-2] > k:
        rest = gu / row
        total = total + _bmm(rest - _bmm(u, _bmm(adjoint(u), rest)), vh)
    if gvh is not None and vh.shape[-1] > k:
        rest = gvh / column
        total = total + _bmm(u, rest - _bmm(_bmm(rest, adjoint(vh)), vh))
    return (total,)


_svd.vjp_joint(_svd_vjp)


@op(saves="x", holomorphic=False)
def _svdvals(xp, a):
    return _svd_of(xp, a, False, False)


def _svdvals_vjp(g, y, a):
    u, _, vh = _svd(a, full=False)
    return _bmm(u * like(unsqueeze(g, -2), u), vh)


_svdvals.vjp(_svdvals_vjp)


def _check_driver(name, driver):
    if driver is not None:
        raise RuntimeError(
            f"torch.linalg.{name}: keyword argument `driver=` is only supported on CUDA inputs "
            "with cuSOLVER backend."
        )


def svd(A, full_matrices=True, *, driver=None):
    """U, the singular values in falling order, and V^H of each matrix, as a named tuple.

    (*, M, N) -> (*, M, M), (*, K), (*, N, N); for full_matrices=False (*, M, K), (*, K), (*, K, N)
    """
    check_matrix("linalg.svd", A)
    _check_driver("svd", driver)
    return SVD(*_svd(A, full=bool(full_matrices)))


def svdvals(A, *, driver=None):
    """The singular values of each matrix in falling order."""
    check_matrix("linalg.svdvals", A)
    _check_driver("svdvals", driver)
    return _svdvals(A)


def old_svd(input, some=True, compute_uv=True):
    """torch.svd: U, S and V (not V^H); without compute_uv U and V are zeros."""
    check_matrix("svd", input)
    if compute_uv:
        u, s, vh = svd(input, not some)
        return OldSVD(u, s, adjoint(vh))
    m, n = input.shape[-2:]
    batch = tuple(input.shape[:-2])
    return OldSVD(input.new_zeros((*batch, m, m)), svdvals(input), input.new_zeros((*batch, n, n)))


# ---- the first of many -------------------------------------------------------------------------


def _range(a, q, niter):
    """Q (*, M, q), whose columns span about the range of A: Halko et al., "Finding structure with
    randomness" (2011), algorithm 4.4."""

    basis = qr(matmul(a, randn(a.shape[-1], q, dtype=a.dtype, device=a.device))).Q
    for _ in range(niter):
        basis = qr(matmul(adjoint(a), basis)).Q
        basis = qr(matmul(a, basis)).Q
    return basis


def svd_lowrank(A, q=6, niter=2, M=None):
    """U (*, M, q), S (*, q) and V (*, N, q) with A - M about U diag(S) V^H, by random projections."""
    check_matrix("svd_lowrank", A)
    a = A if M is None else A - M
    if a.shape[-2] < a.shape[-1]:
        u, s, v = svd_lowrank(adjoint(a), q, niter)
        return v, s, u
    basis = _range(a, q, niter)
    u, s, vh = svd(matmul(adjoint(basis), a), False)
    return matmul(basis, u), s, adjoint(vh)


def pca_lowrank(A, q=None, center=True, niter=2):
    """The first q principal components of the rows of A: U (*, M, q), S (*, q), V (*, N, q)"""
    check_matrix("pca_lowrank", A)
    m, n = A.shape[-2:]
    q = min(6, m, n) if q is None else q
    if not 0 <= q <= min(m, n):
        raise ValueError(
            f"q(={q}) must be non-negative integer and not greater than min(m, n)={min(m, n)}"
        )
    if niter < 0:
        raise ValueError(f"niter(={niter}) must be non-negative integer")
    return svd_lowrank(A - mean(A, -2, True) if center else A, q, niter)


METHODS = {"svd": old_svd}
FUNCTIONS = METHODS | {"svd_lowrank": svd_lowrank, "pca_lowrank": pca_lowrank}
LINALG = {"svd": svd, "svdvals": svdvals}
