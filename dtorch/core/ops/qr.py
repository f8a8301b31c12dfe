"""QR factorisations, and products of Householder reflections, in which LAPACK keeps Q.

The gradient follows Roberts & Roberts, "QR and LQ decomposition matrix backpropagation algorithms
for square, wide, and deep matrices" (2020).
"""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

from collections import namedtuple

from ..op import op
from .join import _cat
from .layout import tril, triu
from .linalg import _bmm
from .matrices import check_matrix, diagonal_of, on_diagonal, takes_input
from .pointwise import real_of
from .shape import adjoint, unsqueeze
from .solve import triangular

QR = namedtuple("linalg_qr", ("Q", "R"))
OldQR = namedtuple("qr", ("Q", "R"))
Geqrf = namedtuple("geqrf", ("a", "tau"))

# ---- A = Q R -----------------------------------------------------------------------------------


@op(saves="y", holomorphic=False)
def _qr(xp, a, *, mode):
    """(*, M, N) -> Q (*, M, K), R (*, K, N)"""
    if mode == "r":
        return xp.zeros(0, a.dtype), xp.linalg.qr(a, "r")
    return tuple(xp.linalg.qr(a, mode))


def _qr_vjp(needs, g, y, a, mode):
    q, r = y
    gq, gr = g
    if mode == "r":
        raise RuntimeError(
            "The derivative of linalg.qr depends on Q, which is not computed when mode='r'. Please "
            "use linalg.qr(A, mode='reduced') if you are going to differentiate through linalg.qr."
        )
    m, n = q.shape[-2], r.shape[-1]
    if mode == "complete" and m > n:
        raise RuntimeError(
            "The QR decomposition is not differentiable when mode='complete' and nrows > ncols."
        )
    if m < n:  # the first columns decide q: a = [x, rest], r = [u, q^H rest]
        gr = r * 0 if gr is None else gr
        gq = q * 0 if gq is None else gq
        rest = _bmm(q, r[..., m:])
        ga = _deep(gq + _bmm(rest, adjoint(gr[..., m:])), gr[..., :m], q, r[..., :m])
        return (_cat(ga, _bmm(q, gr[..., m:]), dim=q.ndim - 1),)
    return (_deep(gq, gr, q, r),)


def _deep(gq, gr, q, r):
    """The gradient of a where M >= N.  gq or gr may be None."""
    k = 0
    if gr is not None:
        k = _bmm(r, adjoint(gr))
    if gq is not None:
        k = k - _bmm(adjoint(gq), q)
    lower = tril(k, -1)
    total = _bmm(q, lower + adjoint(lower) + on_diagonal(real_of(diagonal_of(k))))
    if gq is not None:
        total = total + gq
    return adjoint(triangular(r, adjoint(total), True))


_qr.vjp_joint(_qr_vjp)


def qr(A, mode="reduced"):
    """Q with orthonormal columns and upper triangular R with Q R = A, as a named tuple.

    mode: "reduced": (*, M, K), (*, K, N) with K = min(M, N); "complete": (*, M, M), (*, M, N);
        "r": no Q, and no gradient
    """
    check_matrix("linalg.qr", A)
    if mode not in ("reduced", "complete", "r"):
        raise RuntimeError(
            f"qr received unrecognized mode '{mode}' but expected one of 'reduced' (default), 'r', "
            "or 'complete'"
        )
    return QR(*_qr(A, mode=mode))


def old_qr(input, some=True):
    """torch.qr: linalg.qr(input), reduced or complete."""
    return OldQR(*qr(input, "reduced" if some else "complete"))


# ---- Householder reflections -------------------------------------------------------------------


@op()
def _geqrf(xp, a):
    """(*, M, N) -> R above the reflections' vectors (*, M, N), their tau (*, min(M, N))"""
    h, tau = xp.linalg.qr(a, "raw")
    return xp.ascontiguousarray(xp.swapaxes(h, -2, -1)), tau


def geqrf(input):
    """LAPACK's form of QR: R above the vectors of the reflections whose product is Q, and tau."""
    check_matrix("geqrf", input)
    return Geqrf(*_geqrf(input))


def _reflections(a, tau):
    """V (*, M, K) and T (*, K, K) with H_1 ... H_K = I - V T V^H, where H_i = I - tau_i v_i v_i^H.

    T = (I + diag(tau) striu(V^H V))^-1 diag(tau): Puglisi, "Modification of the Householder method
    based on the compact WY representation" (1992).
    """
    m, k = a.shape[-2], tau.shape[-1]
    v = tril(a[..., :k], -1)
    ones = a.new_ones((*a.shape[:-2], k))
    v = v + _cat(on_diagonal(ones), a.new_zeros((*a.shape[:-2], m - k, k)), dim=a.ndim - 2)
    t = triu(_bmm(adjoint(v), v), 1) * unsqueeze(tau, -1)
    return v, triangular(t, on_diagonal(tau), True, True)


def _check_tau(name, a, tau):
    check_matrix(name, a, "input")
    if tau.ndim != a.ndim - 1:
        raise RuntimeError(
            f"{name}: Expected tau to have one dimension less than input, but got tau.ndim equal "
            f"to {tau.ndim} and input.ndim is equal to {a.ndim}"
        )
    if tuple(tau.shape[:-1]) != tuple(a.shape[:-2]):
        raise RuntimeError(
            f"{name}: Expected batch dimensions of tau to be equal to input.shape[:-2], but got "
            f"{list(tau.shape[:-1])} and {list(a.shape[:-2])}"
        )
    if tau.dtype != a.dtype:
        raise RuntimeError(f"{name}: tau dtype {tau.dtype} does not match input dtype {a.dtype}")


def householder_product(A, tau):
    """The first N columns of H_1 ... H_K, Q of geqrf: (*, M, N), (*, K) -> (*, M, N)"""
    _check_tau("torch.linalg.householder_product", A, tau)
    m, n = A.shape[-2:]
    if m < n:
        raise RuntimeError(
            "torch.linalg.householder_product: input.shape[-2] must be greater than or equal to "
            f"input.shape[-1], got {m} and {n}"
        )
    if n < tau.shape[-1]:
        raise RuntimeError(
            "torch.linalg.householder_product: input.shape[-1] must be greater than or equal to "
            f"tau.shape[-1], got {n} and {tau.shape[-1]}"
        )
    v, t = _reflections(A, tau)
    first = _cat(
        on_diagonal(A.new_ones((*A.shape[:-2], n))),
        A.new_zeros((*A.shape[:-2], m - n, n)),
        dim=A.ndim - 2,
    )
    return first - _bmm(v, _bmm(t, adjoint(v[..., :n, :])))


def ormqr(input, tau, other, left=True, transpose=False):
    """Q other, or other Q for left=False, with Q as geqrf gave it; transpose: with Q^H.

    (*, M, K), (*, K), (*, M, N) or (*, N, M)
    """
    check_matrix("torch.ormqr", input, "input")
    check_matrix("torch.ormqr", other, "other")
    dim, side = (-2, "other.shape[-2]") if left else (-1, "other.shape[-1]")
    if tau.ndim and tau.shape[-1] > input.shape[-1]:
        raise RuntimeError(
            f"torch.ormqr: tau.shape[-1] must be equal to min({side}, input.shape[-1]), got "
            f"{tau.shape[-1]}, {other.shape[dim]} and {input.shape[-1]}"
        )
    if other.shape[dim] != input.shape[-2]:
        raise RuntimeError(f"torch.ormqr: {side} must be equal to input.shape[-2]")
    _check_tau("torch.ormqr", input, tau)
    if other.dtype != input.dtype:
        raise RuntimeError(
            "torch.ormqr: Expected input and other to have the same dtype, but input has dtype "
            f"{input.dtype} and other has dtype {other.dtype}"
        )
    v, t = _reflections(input, tau)
    t = adjoint(t) if transpose else t
    if left:
        return other - _bmm(v, _bmm(t, _bmm(adjoint(v), other)))
    return other - _bmm(_bmm(_bmm(other, v), t), adjoint(v))


METHODS = {"qr": old_qr, "geqrf": geqrf, "orgqr": takes_input(householder_product), "ormqr": ormqr}
FUNCTIONS = METHODS
LINALG = {"qr": qr, "householder_product": householder_product}
