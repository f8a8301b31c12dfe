"""Factorisations of Hermitian matrices: cholesky and what solves with it, ldl_factor, ldl_solve."""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

from collections import namedtuple

from ..op import op
from .layout import tril
from .linalg import _bmm
from .matrices import (
    check_equation,
    check_info,
    check_square,
    each,
    no_errors,
    on_diagonal,
)
from .shape import adjoint, broadcast_shapes
from .solve import triangular

CholeskyEx = namedtuple("linalg_cholesky_ex", ("L", "info"))
LDLFactor = namedtuple("linalg_ldl_factor", ("LD", "pivots"))
LDLFactorEx = namedtuple("linalg_ldl_factor_ex", ("LD", "pivots", "info"))

# ---- A = L L^H ---------------------------------------------------------------------------------


@op(saves="y", holomorphic=False)
def _cholesky(xp, a):
    """(*, N, N), of which the lower triangle is read -> L (*, N, N), info (*)"""
    try:
        return xp.linalg.cholesky(a), no_errors(xp, a)
    except xp.linalg.LinAlgError:
        potrf = xp.lapack("potrf", a)
        y, info = each(xp, a.shape[:-2], lambda m: potrf(m, lower=True), a)
        return xp.tril(y), info.astype("int32")


def _cholesky_vjp(needs, g, y, a):
    # Murray, "Differentiation of the Cholesky decomposition" (2016)
    y = y[0]
    p = _bmm(adjoint(y), g[0])
    p = triangular(adjoint(y), (tril(p) + adjoint(tril(p, -1))) / 2, True)
    return (adjoint(triangular(adjoint(y), adjoint(p), True)),)


_cholesky.vjp_joint(_cholesky_vjp)


def _factored(name, a, upper):
    check_square(name, a)
    y, info = _cholesky(adjoint(a) if upper else a)
    return adjoint(y) if upper else y, info


def cholesky(A, *, upper=False):
    """The lower (or upper) triangular L with L L^H = A of each positive definite matrix.

    Only the lower (or upper) triangle of A is read.  LinAlgError if one is not positive definite.
    """
    y, info = _factored("linalg.cholesky", A, upper)
    check_info("linalg.cholesky", info, "cholesky")
    return y


def cholesky_ex(A, *, upper=False, check_errors=False):
    """cholesky(A), and info: 0, or the order of the leading minor that is not positive definite."""
    y, info = _factored("linalg.cholesky_ex", A, upper)
    if check_errors:
        check_info("linalg.cholesky_ex", info, "cholesky")
    return CholeskyEx(y, info)


def old_cholesky(input, upper=False):
    """torch.cholesky: linalg.cholesky, where `upper` may be positional."""
    y, info = _factored("cholesky", input, upper)
    check_info("cholesky", info, "cholesky")
    return y


def cholesky_solve(B, L, upper=False):
    """X with L L^H X = B, or U^H U X = B for upper=True: (*, N, K), (*, N, N) -> (*, N, K)"""
    for x, what in ((B, "b"), (L, "u")):
        if x.ndim < 2:
            raise RuntimeError(
                f"{what} should have at least 2 dimensions, but has {x.ndim} dimensions instead"
            )
    check_square("cholesky_solve", L)
    if L.shape[-1] != B.shape[-2]:
        n, rows, columns = L.shape[-1], B.shape[-2], B.shape[-1]
        raise RuntimeError(
            f"Incompatible matrix sizes for cholesky_solve: each A matrix is {n} by {n} but each "
            f"b matrix is {rows} by {columns}"
        )
    check_equation("cholesky_solve", L, B)
    broadcast_shapes(L.shape[:-2], B.shape[:-2])
    lower = adjoint(L) if upper else L
    return triangular(adjoint(lower), triangular(lower, B, False), True)


def cholesky_inverse(L, upper=False):
    """(L L^H)^-1, or (U^H U)^-1 for upper=True.  LinAlgError for a zero on the diagonal."""
    check_square("cholesky_inverse", L)
    zeros = (L._a.diagonal(0, -2, -1) == 0).astype("int32")
    first = (zeros.argmax(-1) + 1) * zeros.any(-1) if L.shape[-1] else zeros.sum(-1)
    check_info("cholesky_inverse", first, "inv")
    ones = on_diagonal(L.new_ones(tuple(L.shape[:-1])))
    return cholesky_solve(ones, L, upper)


# ---- A = L D L^H -------------------------------------------------------------------------------


@op()
def _ldl_factor(xp, a, *, hermitian):
    """(*, N, N), of which the lower triangle is read -> LD (*, N, N), pivots (*, N), info (*)"""
    if not a.shape[-1]:
        return a.copy(), xp.zeros(a.shape[:-1], "int32"), no_errors(xp, a)
    factor = xp.lapack("hetrf" if hermitian and a.dtype.kind == "c" else "sytrf", a)
    work = 64 * a.shape[-1]  # room for LAPACK to go block by block
    y, pivots, info = each(xp, a.shape[:-2], lambda m: factor(m, lower=True, lwork=work), a)
    return xp.tril(y), pivots.astype("int32"), info.astype("int32")


@op()
def _ldl_solve(xp, ld, pivots, b, *, hermitian):
    """(*A, N, N), (*A, N), (*B, N, K) -> (*, N, K)"""
    batch = broadcast_shapes(ld.shape[:-2], b.shape[:-2])
    ld, b = (xp.broadcast_to(x, (*batch, *x.shape[-2:])) for x in (ld, b))
    if 0 in b.shape:
        return b.copy()
    pivots = xp.broadcast_to(pivots, (*batch, pivots.shape[-1]))
    solve = xp.lapack("hetrs" if hermitian and ld.dtype.kind == "c" else "sytrs", ld)
    return each(xp, batch, lambda m, p, n: (solve(m, p, n, lower=True)[0],), ld, pivots, b)[0]


def ldl_factor_ex(A, *, hermitian=False, check_errors=False):
    """L and D in one matrix, LAPACK's pivots (sytrf, hetrf), and info; not differentiable.

    A is symmetric, or Hermitian if that is said; it may be indefinite.
    """
    check_square("torch.linalg.ldl_factor_ex", A)
    y, pivots, info = _ldl_factor(A, hermitian=bool(hermitian))
    if check_errors:
        check_info("torch.linalg.ldl_factor_ex", info, "ldl")
    return LDLFactorEx(y, pivots, info)


def ldl_factor(A, *, hermitian=False):
    """ldl_factor_ex without info: LinAlgError where D is singular."""
    check_square("torch.linalg.ldl_factor", A)
    y, pivots, info = _ldl_factor(A, hermitian=bool(hermitian))
    check_info("torch.linalg.ldl_factor", info, "ldl")
    return LDLFactor(y, pivots)


def ldl_solve(LD, pivots, B, *, hermitian=False):
    """X with A X = B, from ldl_factor(A): (*, N, N), (*, N), (*, N, K) -> (*, N, K)"""
    check_equation("torch.linalg.ldl_solve", LD, B)
    if pivots.dtype.category != 1:
        raise RuntimeError(
            f"torch.linalg.ldl_solve: Expected pivots to be integers. Got {pivots.dtype}"
        )
    if tuple(pivots.shape) != tuple(LD.shape[:-1]):
        raise RuntimeError(
            "torch.linalg.ldl_solve: Expected LD.shape[:-1] and pivots.shape to be the same, but "
            f"got pivots with shape {list(pivots.shape)} instead of {list(LD.shape[:-1])}"
        )
    return _ldl_solve(LD, pivots.int(), B, hermitian=bool(hermitian))


METHODS = {
    "cholesky": old_cholesky, "cholesky_inverse": cholesky_inverse,
    "cholesky_solve": cholesky_solve,
}  # fmt: skip
FUNCTIONS = METHODS
LINALG = {
    "cholesky": cholesky, "cholesky_ex": cholesky_ex, "ldl_factor": ldl_factor,
    "ldl_factor_ex": ldl_factor_ex, "ldl_solve": ldl_solve,
}  # fmt: skip
