"""Inverses and solutions of linear equations: inv, solve, solve_triangular, tensorinv, tensorsolve.

The gradients follow Giles, "Collected matrix derivative results for forward and reverse mode
algorithmic differentiation" (2008).
"""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

from collections import namedtuple
from math import prod

from ..op import op
from .layout import tril, triu
from .linalg import _bmm
from .matrices import (
    check_equation,
    check_info,
    check_square,
    each,
    is_vector,
    mt,
    no_errors,
    takes_input,
)
from .reduce import sum_to
from .shape import adjoint, broadcast_shapes, movedim, reshape, squeeze, unsqueeze

InvEx = namedtuple("linalg_inv_ex", ("inverse", "info"))
SolveEx = namedtuple("linalg_solve_ex", ("result", "info"))
Triangular = namedtuple("triangular_solve", ("solution", "cloned_coefficient"))


def _singular(xp, a):
    """For each matrix the position, from 1, of the first zero on the diagonal of U, or 0."""
    getrf = xp.lapack("getrf", a)
    return each(xp, a.shape[:-2], lambda m: getrf(m)[2:], a)[0].astype("int32")


# ---- inverse -----------------------------------------------------------------------------------


@op(saves="y", holomorphic=False)
def _inv(xp, a):
    """(*, N, N) -> (*, N, N), info (*)"""
    try:
        return xp.linalg.inv(a), no_errors(xp, a)
    except xp.linalg.LinAlgError:
        info = _singular(xp, a)
        safe = xp.where(info[..., None, None] == 0, a, xp.eye(a.shape[-1], dtype=a.dtype))
        return xp.where(info[..., None, None] == 0, xp.linalg.inv(safe), xp.inf), info


def _inv_vjp(needs, g, y, a):
    it = adjoint(y[0])
    return (-_bmm(_bmm(it, g[0]), it),)


_inv.vjp_joint(_inv_vjp)


def inverse_of(a):
    """The inverses of arrays or tensors, for rules: nothing is checked."""
    return _inv(a)[0]


def inv(A):
    """The inverse of each matrix: (*, N, N).  LinAlgError for a singular one."""
    check_square("linalg.inv", A)
    y, info = _inv(A)
    check_info("linalg.inv", info, "inv")
    return y


def inv_ex(A, *, check_errors=False):
    """inv(A), and LAPACK's info: 0, or which element of U's diagonal is zero.

    The inverse of a singular matrix is filled with inf, if check_errors is not set.
    """
    check_square("linalg.inv_ex", A)
    y, info = _inv(A)
    if check_errors:
        check_info("linalg.inv_ex", info, "inv")
    return InvEx(y, info)


# ---- AX = B ------------------------------------------------------------------------------------


@op(saves="xy", holomorphic=False)
def _solve(xp, a, b):
    """(*A, N, N), (*B, N, K) -> (*, N, K), info (*A)"""
    try:
        return xp.linalg.solve(a, b), no_errors(xp, a)
    except xp.linalg.LinAlgError:
        info = _singular(xp, a)
        good = info[..., None, None] == 0
        safe = xp.where(good, a, xp.eye(a.shape[-1], dtype=a.dtype))
        return xp.where(good, xp.linalg.solve(safe, b), xp.nan), info


def _solve_vjp(needs, g, y, a, b):
    gb = solution_of(adjoint(a), g[0])
    ga = sum_to(-_bmm(gb, adjoint(y[0])), a.shape) if needs[0] else None
    return ga, sum_to(gb, b.shape) if needs[1] else None


_solve.vjp_joint(_solve_vjp)


def solution_of(a, b):
    """a^-1 b of arrays or tensors, for rules: nothing is checked."""
    return _solve(a, b)[0]


def _solved(name, a, b, left):
    """(solution, info)"""
    if is_vector(a, b):
        if not left:
            raise RuntimeError(
                f"{name}: Vector broadcasting of the left hand side is not supported for left=False"
            )
        check_equation(name, a, unsqueeze(b, -1))
        y, info = _solve(a, unsqueeze(b, -1))
        return squeeze(y, -1), info
    check_equation(name, a, b, left)
    if left:
        broadcast_shapes(a.shape[:-2], b.shape[:-2])
        return _solve(a, b)
    y, info = _solved(name, mt(a), mt(b), True)
    return mt(y), info


def solve(A, B, *, left=True):
    """X with A X = B, or X A = B for left=False: (*, N, N), (*, N, K) or (*, N)

    LinAlgError for a singular A.
    """
    y, info = _solved("linalg.solve", A, B, left)
    check_info("torch.linalg.solve", info, "solve")
    return y


def solve_ex(A, B, *, left=True, check_errors=False):
    """solve(A, B), and LAPACK's info: 0, or which element of U's diagonal is zero."""
    y, info = _solved("linalg.solve_ex", A, B, left)
    if check_errors:
        check_info("torch.linalg.solve_ex", info, "solve")
    return SolveEx(y, info)


# ---- triangular equations ----------------------------------------------------------------------


@op(saves="xy", holomorphic=False)
def _solve_triangular(xp, a, b, *, upper, unit):
    """(*A, N, N), (*B, N, K) -> (*, N, K).  A zero on the diagonal gives inf or NaN."""
    if 0 in a.shape or 0 in b.shape:
        batch = broadcast_shapes(a.shape[:-2], b.shape[:-2])
        return xp.zeros((*batch, *b.shape[-2:]), b.dtype)
    trsm = xp.lapack("trsm", a)
    if a.ndim == b.ndim == 2:
        return xp.ascontiguousarray(trsm(1, a, b, lower=not upper, diag=unit))
    batch = broadcast_shapes(a.shape[:-2], b.shape[:-2])
    a, b = (xp.broadcast_to(x, (*batch, *x.shape[-2:])) for x in (a, b))
    return each(xp, batch, lambda m, n: (trsm(1, m, n, lower=not upper, diag=unit),), a, b)[0]


def _solve_triangular_vjp(needs, g, y, a, b, upper, unit):
    gb = _solve_triangular(adjoint(a), g, upper=not upper, unit=unit)
    ga = None
    if needs[0]:
        ga = (triu if upper else tril)(-_bmm(gb, adjoint(y)), (1 if upper else -1) * unit)
        ga = sum_to(ga, a.shape)
    return ga, sum_to(gb, b.shape) if needs[1] else None


_solve_triangular.vjp_joint(_solve_triangular_vjp)


def triangular(a, b, upper, unit=False):
    """a^-1 b of arrays or tensors, for rules: nothing is checked."""
    return _solve_triangular(a, b, upper=bool(upper), unit=bool(unit))


def solve_triangular(A, B, *, upper, left=True, unitriangular=False):
    """X with A X = B, or X A = B for left=False, where A is triangular: (*, N, N), (*, N, K)

    Only the upper (or lower) triangle of A is read; with unitriangular its diagonal counts as ones.
    """
    check_equation("linalg.solve_triangular", A, B, left)
    broadcast_shapes(A.shape[:-2], B.shape[:-2])
    if left:
        return triangular(A, B, upper, unitriangular)
    return mt(triangular(mt(A), mt(B), not upper, unitriangular))


def triangular_solve(b, A, upper=True, transpose=False, unitriangular=False):
    """solve_triangular's older form: (solution, A).  transpose: solve A^T X = b"""
    for x, what in ((b, "b"), (A, "A")):
        if x.ndim < 2:
            raise RuntimeError(
                f"torch.triangular_solve: Expected {what} to have at least 2 dimensions, but it "
                f"has {x.ndim} dimensions instead"
            )
    check_equation("triangular_solve", A, b)
    a = mt(A) if transpose else A
    x = solve_triangular(a, b, upper=upper != transpose, unitriangular=unitriangular)
    return Triangular(x, A.clone())


# ---- tensors as operators ----------------------------------------------------------------------


def tensorinv(A, ind=2):
    """The inverse of A as an operator from its last dimensions to its first `ind` ones."""
    if ind <= 0:
        raise RuntimeError(f"Expected a strictly positive integer for 'ind', but got {ind}")
    first, last = tuple(A.shape[:ind]), tuple(A.shape[ind:])
    if prod(first) != prod(last):
        raise RuntimeError(
            "Expected self to satisfy the requirement prod(self.shape[ind:]) == "
            f"prod(self.shape[:ind]), but got {prod(last)} != {prod(first)}"
        )
    return reshape(inv(reshape(A, (prod(first), prod(last)))), (*last, *first))


def tensorsolve(A, B, dims=None):
    """X with tensordot(A, X, X.ndim) = B; `dims` of A are moved to its end before."""
    if dims is not None:
        dims = (dims,) if isinstance(dims, int) else tuple(dims)
        A = movedim(A, dims, tuple(range(A.ndim - len(dims), A.ndim)))
    first, last = tuple(A.shape[: B.ndim]), tuple(A.shape[B.ndim :])
    if prod(first) != prod(last):
        raise RuntimeError(
            "Expected self to satisfy the requirement prod(self.shape[other.ndim:]) == "
            f"prod(self.shape[:other.ndim]), but got {prod(last)} != {prod(first)}"
        )
    return reshape(solve(reshape(A, (prod(first), prod(last))), reshape(B, (-1,))), last)


METHODS = {"inverse": takes_input(inv), "triangular_solve": triangular_solve}
FUNCTIONS = METHODS
LINALG = {
    "inv": inv, "inv_ex": inv_ex, "solve": solve, "solve_ex": solve_ex,
    "solve_triangular": solve_triangular, "tensorinv": tensorinv, "tensorsolve": tensorsolve,
}  # fmt: skip
