"""Pseudo-inverses and least squares: pinv, lstsq.

The gradient is Golub & Pereyra's, "The differentiation of pseudo-inverses and nonlinear least
squares problems whose variables separate" (1973): it needs a constant rank, not a full one.
"""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

from collections import namedtuple

from ..dtype import finfo
from ..errors import LinAlgError
from ..op import op
from .linalg import _bmm, matmul
from .matrices import FAILURES, check_matrix, check_same_dtype, check_square, each, is_vector
from .pointwise import conj_any, real_of
from .reduce import sum, sum_to
from .shape import adjoint, broadcast_shapes, raw, reshape, squeeze, unsqueeze

Lstsq = namedtuple("linalg_lstsq", ("solution", "residuals", "rank", "singular_values"))

# ---- pseudo-inverse ----------------------------------------------------------------------------


@op(saves="xy", holomorphic=False)
def _pinv(xp, a, *, atol, rtol, hermitian):
    """(*, M, N) -> (*, N, M)"""
    if 0 in a.shape:
        return xp.zeros((*a.shape[:-2], a.shape[-1], a.shape[-2]), a.dtype)
    if hermitian:
        s, u = xp.linalg.eigh(a)
        vh = xp.conj(xp.swapaxes(u, -2, -1))
    else:
        u, s, vh = xp.linalg.svd(a, False)
    size = xp.absolute(s)
    keep = size > threshold(xp, a, size, atol, rtol)[..., None]
    inverse = xp.where(keep, 1 / xp.where(keep, s, 1), 0).astype(s.dtype)
    back = xp.conj(xp.swapaxes(vh, -2, -1)) * inverse[..., None, :]
    return xp.matmul(back, xp.conj(xp.swapaxes(u, -2, -1)))


def threshold(xp, a, size, atol, rtol):
    """The value up to which singular values count as 0: max(atol, rtol * the largest).  (*)

    By default rtol is eps max(M, N), or 0 where there is an atol > 0; and atol is 0.
    """
    least = xp.asarray(0.0 if atol is None else atol)
    if rtol is None:
        rtol = xp.where(least > 0, 0.0, xp.finfo(a.dtype).eps * max(a.shape[-2:]))
    largest = xp.max(size, axis=-1) if size.shape[-1] else xp.zeros(size.shape[:-1], size.dtype)
    return xp.maximum(least, rtol * largest)


def _pinv_vjp(g, y, a, **how):
    gh, yh = adjoint(g), adjoint(y)
    left = _bmm(_bmm(gh, y), yh)  # g^H P P^H
    right = _bmm(_bmm(yh, y), gh)  # P^H P g^H
    total = left - _bmm(a, _bmm(y, left)) + right - _bmm(_bmm(right, y), a)
    return total - _bmm(_bmm(yh, g), yh)


_pinv.vjp(_pinv_vjp)


def pinv(A, rcond=None, hermitian=False, *, atol=None, rtol=None):
    """The pseudo-inverse of each matrix: (*, M, N) -> (*, N, M)

    Singular values up to max(atol, rtol * the largest) count as 0; both may be tensors, one for
    each matrix.  rcond: rtol's older name
    """
    check_matrix("linalg.pinv", A)
    if hermitian:
        check_square("linalg.pinv", A)
    rtol = rcond if rtol is None else rtol
    return _pinv(A, atol=raw(atol), rtol=raw(rtol), hermitian=bool(hermitian))


def pinverse(input, rcond=1e-15):
    """torch.pinverse: linalg.pinv with a fixed rtol."""
    return pinv(input, rcond)


# ---- least squares -----------------------------------------------------------------------------


def _least_squares(xp, driver, rcond):
    """The solver of one matrix: (M, N), (M, K) -> solution (N, K), rank, singular values (K,)"""
    if driver != "gels":
        lstsq = xp.scipy_linalg("lstsq")

        def solve(a, b):
            x, _, rank, s = lstsq(a, b, rcond, lapack_driver=driver, check_finite=False)
            return x, rank, a.real[0, :0] if s is None else s

        return solve

    def solve_full_rank(a, b):
        m, n = a.shape
        whole = xp.zeros((max(m, n), b.shape[1]), b.dtype)
        whole[:m] = b
        _, x, info = xp.lapack("gels", a)(a, whole)
        if info > 0:
            raise LinAlgError(f"torch.linalg.lstsq: {FAILURES['lstsq'].format(info)}")
        return x[:n], min(m, n), a.real[0, :0]

    return solve_full_rank


@op(saves="xy", holomorphic=False)
def _lstsq(xp, a, b, *, driver, rcond):
    """(*, M, N), (*, M, K) -> solution (*, N, K), rank (*), singular values (*, min(M, N) or 0)"""
    batch = broadcast_shapes(a.shape[:-2], b.shape[:-2])
    n, k = a.shape[-1], b.shape[-1]
    if 0 in a.shape[-2:] or not k:
        zeros = [(*batch, n, k), batch, (*batch, 0)]
        return tuple(map(xp.zeros, zeros, (a.dtype, "int64", a.real.dtype)))
    a, b = (xp.broadcast_to(x, (*batch, *x.shape[-2:])) for x in (a, b))
    x, rank, s = each(xp, batch, _least_squares(xp, driver, rcond), a, b)
    return x, rank.astype("int64"), s


def _lstsq_vjp(needs, g, y, a, b, driver, rcond):
    p = _pinv(a, atol=None, rtol=rcond, hermitian=False)  # the solution is P b
    ga = gb = None
    if needs[0]:
        gp = _bmm(g[0], adjoint(b))
        ga = sum_to(_pinv_vjp(gp, p, a), a.shape)
    if needs[1]:
        gb = sum_to(_bmm(adjoint(p), g[0]), b.shape)
    return ga, gb


_lstsq.vjp_joint(_lstsq_vjp)

DRIVERS = ("gels", "gelsy", "gelsd", "gelss")


def lstsq(A, B, rcond=None, *, driver=None):
    """The X that minimises ||A X - B||: (*, M, N), (*, M, K) or (*, M), as a named tuple.

    residuals: ||A X - B||^2 of each column (*, K), if M > N, every A has full rank and the driver
        is not "gelsy", the default on CPUs; else empty
    rank: (*), by the singular values over rcond * the largest; empty for driver="gels", for which
        every A must have full rank
    singular_values: (*, min(M, N)) for "gelsd" and "gelss"; else empty
    """
    name = "torch.linalg.lstsq"
    check_matrix(name, A, "input")
    if not B.ndim:
        raise RuntimeError(f"{name}: other must have at least 1 dimension")
    drivers = ("gels",) if A.is_cuda else DRIVERS
    driver = ("gels" if A.is_cuda else "gelsy") if driver is None else driver
    if driver not in drivers:
        known = f"(gels, gelsy, gelsd, gelss){', which on CUDA is gels alone' if A.is_cuda else ''}"
        raise RuntimeError(f"{name}: parameter `driver` should be one of {known}; got {driver}")
    check_same_dtype(name, A, B, "input", "other")
    vector = is_vector(A, B)
    b = unsqueeze(B, -1) if vector else B
    m, n = A.shape[-2:]
    if m != b.shape[-2]:
        raise RuntimeError(
            f"{name}: input.size(-2) should match other.size({-1 if vector else -2}), got {m} and "
            f"{b.shape[-2]}"
        )
    rcond = finfo(A.dtype).eps * max(m, n) if rcond is None else float(rcond)
    x, rank, s = _lstsq(A, b, driver=driver, rcond=rcond)
    rest = matmul(A, x) - b
    residuals = sum(real_of(rest * conj_any(rest)), -2)
    if driver == "gelsy" or m <= n or not bool((rank == n).all()):
        residuals = reshape(residuals, (-1,))[:0]
    if driver == "gels":
        rank = rank.new_empty((0,))
    s = s.new_empty((0,)) if driver in ("gels", "gelsy") else s.detach()
    return Lstsq(squeeze(x, -1) if vector else x, residuals, rank, s)


METHODS = {"pinverse": pinverse}
FUNCTIONS = METHODS
LINALG = {"pinv": pinv, "lstsq": lstsq}
