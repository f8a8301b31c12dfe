"""LU factorisations with pivots, and solutions by them: lu, lu_factor, lu_solve, lu_unpack."""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

from collections import namedtuple

from ..op import op
from .join import _cat
from .layout import tril, triu
from .linalg import _bmm
from .matrices import check_equation, check_info, check_matrix, each, on_diagonal
from .shape import adjoint as adjoint_of
from .shape import raw
from .solve import triangular

LU = namedtuple("linalg_lu", ("P", "L", "U"))
LUFactor = namedtuple("linalg_lu_factor", ("LU", "pivots"))
LUFactorEx = namedtuple("linalg_lu_factor_ex", ("LU", "pivots", "info"))
LUWithInfo = namedtuple("lu_with_info", ("LU", "pivots", "info"))
LUUnpack = namedtuple("lu_unpack", ("P", "L", "U"))


@op(saves="y", holomorphic=False)
def _lu_factor(xp, a):
    """(*, M, N) -> LU (*, M, N), pivots from 1 (*, min(M, N)), info (*)"""
    if 0 in a.shape[-2:]:
        batch = a.shape[:-2]
        return a.copy(), xp.zeros((*batch, 0), "int32"), xp.zeros(batch, "int32")
    lu, pivots, info = each(xp, a.shape[:-2], xp.lapack("getrf", a), a)
    return lu, (pivots + 1).astype("int32"), info.astype("int32")


@op()
def _permutation(xp, pivots, *, like):
    """The matrices P with A = P L U, of the shape and dtype of `like`: (*, M, M)"""
    order = xp.arange(like.shape[-2])
    order = xp.broadcast_to(order, (*pivots.shape[:-1], len(order))).copy()
    for i in range(pivots.shape[-1]):
        j = pivots[..., i : i + 1] - 1
        other = xp.take_along_axis(order, j, -1)
        xp.put_along_axis(order, j, order[..., i : i + 1].copy(), -1)
        order[..., i : i + 1] = other
    return xp.swapaxes(xp.eye(like.shape[-2], dtype=like.dtype)[order], -2, -1)


def _triangles(lu):
    """L (*, M, K) with ones on its diagonal, and U (*, K, N)"""
    m, n = lu.shape[-2:]
    k = min(m, n)
    lower, upper = lu[..., :, :k], triu(lu[..., :k, :])
    ones = on_diagonal(lower[..., :k, 0] * 0 + 1) if k else 0
    if m > k and k:
        ones = _cat(ones, lower[..., k:, :] * 0, dim=lu.ndim - 2)
    return tril(lower, -1) + ones, upper


def _lu_factor_vjp(needs, g, y, a):
    """From P^T dA = dL U + L dU, where dL is strictly lower and dU upper triangular.

    The rows of a tall L below the square part, and the columns of a wide U beside it, are free:
    they give dL2 = (P^T dA2 - L2 dU) U^-1 and dU2 = L^-1 (P^T dA2 - dL U2).
    """
    lu, pivots = y[0], y[1]
    m, n = lu.shape[-2:]
    k = min(m, n)
    if not k:
        return (g[0],)
    lower, upper = _triangles(lu)
    square_l, square_u = lower[..., :k, :], upper[..., :, :k]
    gl, gu = tril(g[0][..., :k, :k], -1), triu(g[0][..., :k, :k])
    if m > k:  # tall: rows (m - k, k)
        rows = adjoint_of(triangular(square_u, adjoint_of(g[0][..., k:, :]), True))
        gu = gu - _bmm(adjoint_of(lower[..., k:, :]), rows)
    if n > k:  # wide: columns (k, n - k)
        columns = triangular(adjoint_of(square_l), g[0][..., :, k:], True, True)
        gl = gl - _bmm(columns, adjoint_of(upper[..., :, k:]))
    core = tril(_bmm(adjoint_of(square_l), gl), -1) + triu(_bmm(gu, adjoint_of(square_u)))
    core = triangular(adjoint_of(square_l), core, True, True)
    ga = adjoint_of(triangular(square_u, adjoint_of(core), True))
    if m > k:
        ga = _cat(ga, rows, dim=lu.ndim - 2)
    if n > k:
        ga = _cat(ga, columns, dim=lu.ndim - 1)
    return (_bmm(_permutation(pivots, like=raw(lu)), ga),)


_lu_factor.vjp_joint(_lu_factor_vjp)


def _factored(name, a, pivot):
    check_matrix(name, a)
    if not pivot:
        raise RuntimeError(
            "linalg.lu_factor: LU without pivoting is not implemented; leave pivot at True"
        )
    return _lu_factor(a)


def lu_factor(A, *, pivot=True):
    """L and U in one matrix, and LAPACK's pivots from 1: (*, M, N) -> (*, M, N), (*, min(M, N))

    LinAlgError where U has a zero on its diagonal.
    """
    lu, pivots, info = _factored("linalg.lu_factor", A, pivot)
    check_info("torch.linalg.lu_factor", info, "lu")
    return LUFactor(lu, pivots)


def lu_factor_ex(A, *, pivot=True, check_errors=False):
    """lu_factor(A), and info: 0, or which element of U's diagonal is zero."""
    lu, pivots, info = _factored("linalg.lu_factor_ex", A, pivot)
    if check_errors:
        check_info("torch.linalg.lu_factor_ex", info, "lu")
    return LUFactorEx(lu, pivots, info)


def lu_unpack(LU_data, LU_pivots, unpack_data=True, unpack_pivots=True):
    """P, L and U of what lu_factor gave; those that are not asked for are empty."""
    if LU_pivots.dtype.name != "int32" and unpack_pivots:
        raise RuntimeError(
            "torch.lu_unpack: LU_pivots is expected to be a contiguous tensor of torch.int32 "
            f"dtype, got {LU_pivots.dtype}.\nNote: this function is intended to be used with the "
            "output produced by torch.linalg.lu_factor"
        )
    empty = LU_data.new_empty((0,))
    lower, upper = _triangles(LU_data) if unpack_data else (empty, empty)
    p = _permutation(LU_pivots, like=LU_data._a) if unpack_pivots else empty
    return LUUnpack(p, lower, upper)


def lu(A, *, pivot=True):
    """A = P L U: (*, M, N) -> (*, M, M), (*, M, K), (*, K, N), where K = min(M, N)"""
    factors, pivots, _ = _factored("linalg.lu", A, pivot)
    return LU(*lu_unpack(factors, pivots))


def lu_solve(LU, pivots, B, *, left=True, adjoint=False):
    """X with A X = B, or X A = B for left=False, from lu_factor(A); adjoint: of A^H in its place."""
    check_equation("linalg.lu_solve", LU, B, left)
    if pivots.dtype.name != "int32":
        raise RuntimeError(
            "linalg.lu_solve: pivots should be a Tensor of scalar type torch.int32, got "
            f"{pivots.dtype}"
        )
    if tuple(pivots.shape) != tuple(LU.shape[:-1]):
        raise RuntimeError(
            "linalg.lu_solve: Number of pivots per batch should be same as the dimension of the "
            f"matrix, and their batches too: expected {list(LU.shape[:-1])}, got "
            f"{list(pivots.shape)}"
        )
    if not left:  # X A = B is A^H X^H = B^H
        return adjoint_of(lu_solve(LU, pivots, adjoint_of(B), adjoint=not adjoint))
    p = _permutation(pivots, like=LU._a)
    if adjoint:  # U^H L^H P^T X = B
        x = triangular(adjoint_of(LU), B, False)
        return _bmm(p, triangular(adjoint_of(LU), x, True, True))
    x = triangular(LU, _bmm(adjoint_of(p), B), False, True)
    return triangular(LU, x, True)


def old_lu(A, pivot=True, get_infos=False):
    """torch.lu: lu_factor_ex's results as a tuple; without get_infos a zero pivot is an error."""
    result = LUWithInfo(*lu_factor_ex(A, pivot=pivot, check_errors=not get_infos))
    return result if get_infos else result[:2]


def old_lu_solve(b, LU_data, LU_pivots):
    """torch.lu_solve: linalg.lu_solve with the right hand side first."""
    return lu_solve(LU_data, LU_pivots, b)


METHODS = {"lu": old_lu, "lu_solve": old_lu_solve}
FUNCTIONS = METHODS | {"lu_unpack": lu_unpack}
LINALG = {"lu": lu, "lu_factor": lu_factor, "lu_factor_ex": lu_factor_ex, "lu_solve": lu_solve}
