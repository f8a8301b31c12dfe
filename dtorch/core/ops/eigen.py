"""Eigenvalues and eigenvectors: eigh, eig, and lobpcg for a few of them.

The gradients follow Giles, "Collected matrix derivative results for forward and reverse mode
algorithmic differentiation" (2008), and Boeddeker et al., "On the computation of complex-valued
gradients with application to statistically optimum beamforming" (2017) for complex ones.
"""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

from collections import namedtuple

from ..errors import LinAlgError
from ..op import op
from .cholesky import cholesky
from .linalg import _bmm
from .matrices import (
    FAILURES,
    check_phase,
    check_square,
    diagonal_of,
    like,
    on_diagonal,
    real_like,
    skew,
)
from .pointwise import conj_any, real_of
from .shape import adjoint, unsqueeze
from .solve import solution_of, triangular

Eigh = namedtuple("linalg_eigh", ("eigenvalues", "eigenvectors"))
Eig = namedtuple("linalg_eig", ("eigenvalues", "eigenvectors"))


def gaps(w):
    """1 / (w_j - w_i), and 0 on the diagonal: (*, N) -> (*, N, N)

    Equal values give inf: their vectors are any that span the same space, and have no gradient.
    """
    one = on_diagonal(w * 0 + 1)
    return 1 / (unsqueeze(w, -2) - unsqueeze(w, -1) + one) - one


# ---- Hermitian matrices ------------------------------------------------------------------------


def _converged(xp, function, *args):
    try:
        return function(*args)
    except xp.linalg.LinAlgError:
        raise LinAlgError(f"linalg.{function.__name__}: {FAILURES['eig'].format(1)}") from None


@op(saves="y", holomorphic=False)
def _eigh(xp, a, *, lower):
    """(*, N, N), of which one triangle is read -> eigenvalues (*, N), eigenvectors (*, N, N)"""
    return tuple(_converged(xp, xp.linalg.eigh, a, "L" if lower else "U"))


def _eigh_vjp(needs, g, y, a, lower):
    w, v = y
    gw, gv = g
    core = 0 if gw is None else like(on_diagonal(gw), v)
    if gv is not None:
        turn = _bmm(adjoint(v), gv)
        check_phase("linalg_eigh_backward", "eigenvectors", turn)
        core = core + skew(turn) * gaps(w)  # a is Hermitian, and so is its gradient
    return (_bmm(_bmm(v, core), adjoint(v)),)


_eigh.vjp_joint(_eigh_vjp)


@op(saves="x", holomorphic=False)
def _eigvalsh(xp, a, *, lower):
    return _converged(xp, xp.linalg.eigvalsh, a, "L" if lower else "U")


def _eigvalsh_vjp(g, y, a, lower):
    v = _eigh(a, lower=lower)[1]
    return _bmm(v * like(unsqueeze(g, -2), v), adjoint(v))


_eigvalsh.vjp(_eigvalsh_vjp)


def _is_lower(UPLO):
    if UPLO.upper() not in ("L", "U"):
        raise RuntimeError(f"Expected UPLO argument to be 'L' or 'U', but got {UPLO}")
    return UPLO.upper() == "L"


def eigh(A, UPLO="L"):
    """Eigenvalues in rising order and eigenvectors of each symmetric (Hermitian) matrix.

    Only the lower triangle is read, or the upper one for UPLO="U".
    """
    check_square("linalg.eigh", A)
    return Eigh(*_eigh(A, lower=_is_lower(UPLO)))


def eigvalsh(A, UPLO="L"):
    """The eigenvalues of each symmetric (Hermitian) matrix in rising order."""
    check_square("linalg.eigvalsh", A)
    return _eigvalsh(A, lower=_is_lower(UPLO))


# ---- any matrices ------------------------------------------------------------------------------


def _complex(xp, a):
    """LAPACK gives real results where all eigenvalues are real; torch's are always complex."""
    return a.astype(xp.result_type(a.dtype, "complex64"))


def _finite(xp, a):
    if not xp.isfinite(a).all():
        raise RuntimeError("torch.linalg.eig: input tensor should not contain infs or NaNs.")
    return a


@op(saves="xy", holomorphic=False)
def _eig(xp, a):
    """(*, N, N) -> complex eigenvalues (*, N), eigenvectors (*, N, N) of length 1"""
    w, v = _converged(xp, xp.linalg.eig, _finite(xp, a))
    return _complex(xp, w), _complex(xp, v)


def _eig_vjp(needs, g, y, a):
    w, v = y
    gw, gv = g
    core = 0 if gw is None else on_diagonal(gw)
    if gv is not None:
        turn = _bmm(adjoint(v), gv)
        check_phase("linalg_eig_backward", "eigenvectors", turn)
        length = _bmm(adjoint(v), v) * unsqueeze(like(real_of(diagonal_of(turn)), v), -2)
        core = core + (turn - length) * conj_any(gaps(w))
    ga = solution_of(adjoint(v), _bmm(core, adjoint(v)))
    return (real_like(ga, a),)


_eig.vjp_joint(_eig_vjp)


@op(saves="x", holomorphic=False)
def _eigvals(xp, a):
    return _complex(xp, _converged(xp, xp.linalg.eigvals, _finite(xp, a)))


def _eigvals_vjp(g, y, a):
    v = _eig(a)[1]
    ga = solution_of(adjoint(v), unsqueeze(g, -1) * adjoint(v))
    return real_like(ga, a)


_eigvals.vjp(_eigvals_vjp)


def eig(A):
    """The eigenvalues, in no order, and eigenvectors of each matrix; always complex."""
    check_square("linalg.eig", A)
    return Eig(*_eig(A))


def eigvals(A):
    """The eigenvalues of each matrix, in no order; always complex."""
    check_square("linalg.eigvals", A)
    return _eigvals(A)


# ---- a few of many -----------------------------------------------------------------------------


def lobpcg(A, k=None, B=None, X=None, n=None, iK=None, niter=None, tol=None, largest=None,
           method=None, tracker=None, ortho_iparams=None, ortho_fparams=None,
           ortho_bparams=None):  # fmt: skip
    """The k largest (or smallest) eigenpairs of A x = w B x, for symmetric A and positive definite B.

    (*, M, M) -> (*, K), (*, M, K).  torch iterates; here eigh gives the pairs exactly, so X, n, iK,
    niter, tol, method and the parameters of iterations change nothing, and a tracker is not called.
    """
    check_square("lobpcg", A)
    k = (1 if X is None else X.shape[-1]) if k is None else k
    if A.shape[-1] < 3 * (k if n is None else n):
        raise ValueError(
            f"LPBPCG algorithm is not applicable when the number of A rows (={A.shape[-1]}) is "
            f"smaller than 3 x the number of requested eigenpairs (={k if n is None else n})"
        )
    if B is None:
        w, v = eigh(A)
    else:  # with B = L L^H: the pairs of L^-1 A L^-H are w and L^H x
        lower = cholesky(B)
        half = triangular(lower, A, False)
        w, v = eigh(adjoint(triangular(lower, adjoint(half), False)))
        v = triangular(adjoint(lower), v, True)
    if largest is None or largest:
        return w[..., -k:].flip(-1), v[..., -k:].flip(-1)
    return w[..., :k], v[..., :k]


FUNCTIONS = {"lobpcg": lobpcg}
LINALG = {"eigh": eigh, "eigvalsh": eigvalsh, "eig": eig, "eigvals": eigvals}
