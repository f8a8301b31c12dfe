"""Determinants: det, slogdet, logdet."""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

from collections import namedtuple

from ..op import op
from .linalg import _bmm
from .matrices import check_square, mt, takes_input
from .pointwise import conj_any, log, real_of
from .reduce import sum
from .shape import adjoint, unsqueeze
from .solve import inverse_of

Slogdet = namedtuple("linalg_slogdet", ("sign", "logabsdet"))


def _as_matrix(x):
    """(*) -> (*, 1, 1)"""
    return unsqueeze(unsqueeze(x, -1), -1)


@op(saves="xy")
def _det(xp, a):
    return xp.linalg.det(a)


def _cofactors(xp, a):
    """det(a) inv(a)^T by the singular value decomposition, which singular matrices have too."""
    u, s, vh = xp.linalg.svd(a)
    n = s.shape[-1]
    others = [xp.prod(s[..., [j for j in range(n) if j != i]], axis=-1) for i in range(n)]
    sign = xp.linalg.det(u) * xp.linalg.det(vh)
    core = xp.stack(others, axis=-1) * sign[..., None]
    return xp.matmul(xp.conj(u) * core[..., None, :], xp.conj(vh))


@op(saves="xy")
def _adjugate(xp, a):
    """(*, N, N): the matrix of cofactors, d det(a) / d a."""
    return _cofactors(xp, a) if a.shape[-1] else a


_det.vjp(lambda g, y, a: _as_matrix(g) * _adjugate(a))


def _adjugate_vjp(g, y, a):
    # of y = det(a) inv(a)^T, for a that has an inverse
    it = mt(inverse_of(a))
    return _as_matrix(sum(g * y, (-2, -1))) * it - _bmm(_bmm(it, mt(g)), y)


_adjugate.vjp(_adjugate_vjp)


def det(A):
    """The determinant of each matrix: (*, N, N) -> (*)"""
    check_square("linalg.det", A)
    return _det(A)


@op(saves="xy", holomorphic=False)
def _slogdet(xp, a):
    sign, logabs = xp.linalg.slogdet(a)
    return xp.asarray(sign).astype(a.dtype), xp.asarray(logabs)


def _slogdet_vjp(needs, g, y, a):
    sign, _ = y
    g_sign, g_log = g
    scale = 0 if g_log is None else g_log
    if g_sign is not None:  # the sign of a complex determinant turns; a real one's is constant
        turn = conj_any(g_sign) * sign
        scale = scale - (turn - real_of(turn))
    return (_as_matrix(scale) * adjoint(inverse_of(a)),)


_slogdet.vjp_joint(_slogdet_vjp)


def slogdet(A):
    """The sign and the logarithm of the absolute value of each determinant, as a named tuple."""
    check_square("linalg.slogdet", A)
    return Slogdet(*_slogdet(A))


def logdet(input):
    """The logarithm of each determinant; NaN where that is negative."""
    sign, value = slogdet(input)
    return value + log(sign)


FUNCTIONS = METHODS = {"det": takes_input(det), "slogdet": takes_input(slogdet), "logdet": logdet}
LINALG = {"det": det, "slogdet": slogdet}
