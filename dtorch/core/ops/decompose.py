"""Inverses, determinants, solutions and factorisations of (stacks of) matrices: dtorch.linalg.

The gradients follow Giles, "Collected matrix derivative results for forward and reverse mode
algorithmic differentiation" (2008), and for qr, svd and eigh the formulas it leads to.
"""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

from collections import namedtuple
from math import inf

from ..backend import cpu
from ..op import op
from .create import eye
from .join import _cat
from .layout import _diagonal, _diagonal_put, tril
from .linalg import _bmm, matmul
from .norms import vector_norm
from .pointwise import abs, conj_any, log, real_of, where
from .reduce import amax, amin, sum, sum_to
from .shape import adjoint, axis, movedim, raw, transpose, unsqueeze

Slogdet = namedtuple("slogdet", ("sign", "logabsdet"))
QR = namedtuple("qr", ("Q", "R"))
SVD = namedtuple("svd", ("U", "S", "Vh"))
Eigh = namedtuple("eigh", ("eigenvalues", "eigenvectors"))


class LinAlgError(RuntimeError):
    """A matrix that has no inverse, or no factorisation of the kind asked for."""


def _checked(name, x, square=True):
    """Refuse what is no stack of (square) matrices of floating point or complex numbers."""
    if x.ndim < 2:
        raise RuntimeError(f"linalg.{name}: The input tensor A must have at least 2 dimensions.")
    if square and x.shape[-1] != x.shape[-2]:
        raise RuntimeError(
            f"linalg.{name}: A must be batches of square matrices, but they are {x.shape[-2]} by "
            f"{x.shape[-1]} matrices"
        )
    if raw(x).dtype.name not in ("float32", "float64", "complex64", "complex128"):
        raise RuntimeError(
            f"linalg.{name}: Expected a floating point or complex tensor as input. Got {x.dtype}"
        )


def _or_error(name, function, *args):
    try:
        return function(*args)
    except cpu.linalg.LinAlgError as error:
        raise LinAlgError(f"linalg.{name}: {error}") from None


def _mt(x):
    """The plain transpose, also of complex matrices: the engine conjugates around rules."""
    return transpose(x, -2, -1)


# ---- inverse and solutions ---------------------------------------------------------------------


@op(saves="y")
def _inv(xp, a):
    return _or_error("inv", xp.linalg.inv, a)


_inv.vjp(lambda g, y, a: -_bmm(_bmm(_mt(y), g), _mt(y)))


def inv(A):
    """The inverse of each matrix: (*, N, N)"""
    _checked("inv", A)
    return _inv(A)


@op(saves="xy")
def _solve(xp, a, b):
    """(*A, N, N), (*B, N, K) -> (*, N, K)"""
    return _or_error("solve", xp.linalg.solve, a, b)


def _solve_vjp(needs, g, y, a, b):
    gb = _solve(_mt(a), g)
    ga = sum_to(-_bmm(gb, _mt(y)), a.shape) if needs[0] else None
    return ga, sum_to(gb, b.shape)


_solve.vjp_joint(_solve_vjp)


def solve(A, B, *, left=True):
    """X with A X = B, or X A = B for left=False: (*, N, N), (*, N, K) or (*, N)"""
    _checked("solve", A)
    if A.dtype != B.dtype:
        raise RuntimeError(
            f"linalg.solve: Expected A and B to have the same dtype, but found A of type {A.dtype} "
            "and "
            f"B of type {B.dtype} instead"
        )
    vector = B.ndim == 1 or (A.ndim - 1 == B.ndim and tuple(B.shape) == tuple(A.shape[:-1]))
    if vector:
        if not left:
            raise RuntimeError(
                "linalg.solve: Vector broadcasting of the left hand side is not supported for "
                "left=False."
            )
        return solve(A, unsqueeze(B, -1)).squeeze(-1)
    if not left:
        return _mt(solve(_mt(A), _mt(B)))
    if B.shape[-2] != A.shape[-1]:
        raise RuntimeError(
            f"linalg.solve: Incompatible shapes of A and B for the equation AX = B "
            f"({A.shape[-2]}x{A.shape[-1]} and {B.shape[-2]}x{B.shape[-1]})"
        )
    return _solve(A, B)


# ---- determinants ------------------------------------------------------------------------------


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


def _det_vjp(g, y, a):
    return unsqueeze(unsqueeze(g, -1), -1) * _adjugate(a)


_det.vjp(_det_vjp)


def _adjugate_vjp(g, y, a):
    # of y = det(a) inv(a)^T, for a that has an inverse
    it = _mt(_inv(a))
    d = unsqueeze(unsqueeze(sum(g * y, (-2, -1)), -1), -1)
    return d * it - _bmm(_bmm(it, _mt(g)), y)


_adjugate.vjp(_adjugate_vjp)


def det(A):
    """The determinant of each matrix: (*, N, N) -> (*)"""
    _checked("det", A)
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
    return (unsqueeze(unsqueeze(scale, -1), -1) * adjoint(_inv(a)),)


_slogdet.vjp_joint(_slogdet_vjp)


def slogdet(A):
    """The sign and the logarithm of the absolute value of each determinant, as a named tuple."""
    _checked("slogdet", A)
    return Slogdet(*_slogdet(A))


def logdet(A):
    """The logarithm of each determinant; NaN where that is negative."""
    sign, value = slogdet(A)
    return value + log(sign)


# ---- factorisations ----------------------------------------------------------------------------


@op(saves="y")
def _cholesky(xp, a):
    lower = xp.tril(a, -1)
    diagonal = xp.real(a) * xp.eye(a.shape[-1], dtype=a.real.dtype)
    whole = lower + xp.conj(xp.swapaxes(lower, -2, -1)) + diagonal
    return _or_error("cholesky", xp.linalg.cholesky, whole)


def _phi(x):
    """The lower triangle with half of the diagonal."""
    return tril(x) - _half_diagonal(x)


def _half_diagonal(x):
    d = _diagonal(x, offset=0, dim1=x.ndim - 2, dim2=x.ndim - 1)
    return _diagonal_put(d / 2, shape=tuple(x.shape), offset=0, dim1=x.ndim - 2, dim2=x.ndim - 1)


def _cholesky_vjp(g, y, a):
    p = _phi(_bmm(adjoint(y), g))
    s = _solve(adjoint(y), _bmm(p, _inv(y)))
    return (s + adjoint(s)) / 2


_cholesky.conjugated = _cholesky  # its rule is written for complex matrices as it stands
_cholesky.vjp(_cholesky_vjp)


def cholesky(A, *, upper=False):
    """The lower (or upper) triangular L with L L^H = A of each positive definite matrix."""
    _checked("cholesky", A)
    y = _cholesky(A)
    return adjoint(y) if upper else y


@op(saves="xy", holomorphic=False)
def _qr(xp, a, *, mode):
    q, r = xp.linalg.qr(a, mode)
    return q, r


def _qr_vjp(needs, g, y, a, mode):
    q, r = y
    gq, gr = g
    m, n = a.shape[-2:]
    if mode == "complete" and m > n:
        raise RuntimeError(
            "The QR decomposition is not differentiable when mode='complete' and nrows > ncols"
        )
    if m < n:  # the first columns decide q: a = [x, rest], r = [u, q^H rest]
        gr = r * 0 if gr is None else gr
        gq = q * 0 if gq is None else gq
        x_rest = a[..., m:]
        ga = _qr_square(gq + _bmm(x_rest, adjoint(gr[..., m:])), gr[..., :m], q, r[..., :m])
        return (_cat(ga, _bmm(q, gr[..., m:]), dim=a.ndim - 1),)
    return (_qr_square(gq, gr, q, r),)


def _qr_square(gq, gr, q, r):
    k = 0
    if gr is not None:
        k = _bmm(r, adjoint(gr))
    if gq is not None:
        k = k - _bmm(adjoint(gq), q)
    sym = tril(k, -1)
    sym = sym + adjoint(sym) + _real_diagonal(k)
    total = _bmm(q, sym)
    if gq is not None:
        total = total + gq
    return adjoint(_solve(r, adjoint(total)))


def _real_diagonal(x):
    d = _diagonal(x, offset=0, dim1=x.ndim - 2, dim2=x.ndim - 1)
    return _diagonal_put(
        real_of(d), shape=tuple(x.shape), offset=0, dim1=x.ndim - 2, dim2=x.ndim - 1
    )


_qr.vjp_joint(_qr_vjp)


def qr(A, mode="reduced"):
    """Q with orthonormal columns and upper triangular R with Q R = A, as a named tuple."""
    _checked("qr", A, square=False)
    if mode not in ("reduced", "complete", "r"):
        raise RuntimeError(
            f"qr received unrecognized mode '{mode}' but expected one of 'reduced', 'r', or "
            "'complete'"
        )
    if mode == "r":
        q, r = _qr(A.detach(), mode="reduced")
        return QR(q.new_empty(0), r)
    return QR(*_qr(A, mode=mode))


@op(saves="y", holomorphic=False)
def _eigh(xp, a, *, lower):
    w, v = _or_error("eigh", xp.linalg.eigh, a, "L" if lower else "U")
    return w, v


def _eigh_vjp(needs, g, y, a, lower):
    w, v = y
    gw, gv = g
    core = 0
    if gv is not None:
        gaps = unsqueeze(w, -2) - unsqueeze(w, -1)
        inverse = where(gaps == 0, 0, 1 / where(gaps == 0, 1, gaps))
        turn = _bmm(adjoint(v), gv)
        core = (turn - adjoint(turn)) / 2 * inverse  # a is symmetric, and so is its gradient
    if gw is not None:
        n = w.shape[-1]
        on = _diagonal_put(gw, shape=(*w.shape, n), offset=0, dim1=w.ndim - 1, dim2=w.ndim)
        core = core + on
    return (_bmm(_bmm(v, core if raw(core).dtype == raw(v).dtype else core + v * 0), adjoint(v)),)


_eigh.vjp_joint(_eigh_vjp)


def eigh(A, UPLO="L"):
    """Eigenvalues in rising order and eigenvectors of each symmetric (Hermitian) matrix."""
    _checked("eigh", A)
    if UPLO.upper() not in ("L", "U"):
        raise RuntimeError(f"Expected UPLO argument to be 'L' or 'U', but got {UPLO}")
    return Eigh(*_eigh(A, lower=UPLO.upper() == "L"))


def eigvalsh(A, UPLO="L"):
    """The eigenvalues of each symmetric (Hermitian) matrix in rising order."""
    return eigh(A, UPLO).eigenvalues


@op(saves="y", holomorphic=False)
def _svd(xp, a, *, full):
    u, s, vh = _or_error("svd", xp.linalg.svd, a, full)
    return u, s, vh


def _svd_vjp(needs, g, y, a, full):
    u, s, vh = y
    gu, gs, gvh = g
    k = s.shape[-1]  # what full_matrices adds to the vectors is arbitrary
    u, vh = u[..., :k], vh[..., :k, :]
    gu, gvh = None if gu is None else gu[..., :k], None if gvh is None else gvh[..., :k, :]
    s2 = s * s
    gaps = unsqueeze(s2, -2) - unsqueeze(s2, -1)
    e = where(gaps == 0, 0, 1 / where(gaps == 0, 1, gaps))  # 1 / (s_j^2 - s_i^2)
    row, column = unsqueeze(s, -2), unsqueeze(s, -1)
    n = s.shape[-1]
    core = _diagonal_put(gs if gs is not None else s * 0, shape=(*s.shape, n), offset=0,
                         dim1=s.ndim - 1, dim2=s.ndim)  # fmt: skip
    if gu is not None:
        skew = _bmm(adjoint(u), gu)
        core = core + (skew - adjoint(skew)) * e * row
    if gvh is not None:
        skew = _bmm(vh, adjoint(gvh))
        core = core + column * ((skew - adjoint(skew)) * e)
    if raw(u).dtype.kind == "c" and gu is not None:
        d = _diagonal(_bmm(adjoint(u), gu), offset=0, dim1=s.ndim - 1, dim2=s.ndim)
        core = core + _diagonal_put((d - real_of(d)) / s, shape=(*s.shape, n), offset=0,
                                    dim1=s.ndim - 1, dim2=s.ndim)  # fmt: skip
    total = _bmm(
        _bmm(u, core if raw(core).dtype == raw(u).dtype else core + 0 * _bmm(adjoint(u), u)), vh
    )
    if gu is not None and u.shape[-2] > n:
        rest = gu / row
        total = total + _bmm(rest - _bmm(u, _bmm(adjoint(u), rest)), vh)
    if gvh is not None and vh.shape[-1] > n:
        rest = gvh / column
        total = total + _bmm(u, rest - _bmm(_bmm(rest, adjoint(vh)), vh))
    return (total,)


_svd.vjp_joint(_svd_vjp)


def svd(A, full_matrices=True):
    """U, the singular values in falling order, and V^H of each matrix, as a named tuple."""
    _checked("svd", A, square=False)
    return SVD(*_svd(A, full=bool(full_matrices)))


def svdvals(A):
    """The singular values of each matrix in falling order."""
    return svd(A, False).S


def pinv(A):
    """The pseudo-inverse of each matrix: singular values below N eps max count as 0."""
    u, s, vh = svd(A, False)
    eps = 2.2e-16 if raw(s).dtype == "float64" else 1.2e-7
    cut = amax(s, -1, True) * (max(A.shape[-2:]) * eps)
    inverse = where(s > cut, 1 / where(s > cut, s, 1), 0)
    return matmul(adjoint(vh) * unsqueeze(inverse, -2), adjoint(u))


def matrix_power(A, n):
    """Each matrix to the power of n; of its inverse for a negative one."""
    _checked("matrix_power", A)
    if n < 0:
        return matrix_power(inv(A), -n)
    if n == 0:
        return A * 0 + eye(A.shape[-1], dtype=A.dtype, device=A.device)
    half = matrix_power(A, n // 2) if n > 1 else None
    square = A if half is None else matmul(half, half)
    return matmul(square, A) if n > 1 and n % 2 else square


# ---- norms -------------------------------------------------------------------------------------


def matrix_norm(A, ord="fro", dim=(-2, -1), keepdim=False, *, dtype=None):
    """ "fro", "nuc", inf, -inf, 1, -1, 2 or -2 norms of the matrices in two dimensions."""
    if dtype is not None:
        A = A.to(dtype)
    i, j = (axis(d, A.ndim) for d in dim)
    if i == j:
        raise RuntimeError(f"linalg.matrix_norm: dims must be different. Got ({dim[0]}, {dim[1]})")
    if ord == "fro":
        return vector_norm(A, 2, (i, j), keepdim)
    if ord in ("nuc", 2, -2):
        s = svdvals(movedim(A, (i, j), (-2, -1)))
        y = sum(s, -1) if ord == "nuc" else (amax if ord > 0 else amin)(s, -1)
        for d in sorted((i, j)) if keepdim else ():
            y = unsqueeze(y, d)
        return y
    if ord not in (1, -1, inf, -inf):
        raise RuntimeError(f"linalg.matrix_norm: Order {ord} not supported.")
    first, second = (i, j) if ord in (1, -1) else (j, i)
    sums = sum(abs(A), first, True)
    y = (amax if ord > 0 else amin)(sums, second, True)
    return y if keepdim else y.squeeze((i, j))


def norm(A, ord=None, dim=None, keepdim=False, *, dtype=None):
    """A vector norm of all or over one dim; a matrix norm over two, or where ord asks for one."""
    dims = None if dim is None else (dim,) if isinstance(dim, int) else tuple(dim)
    if ord is None:
        return vector_norm(A, 2, dims, keepdim, dtype=dtype)
    if dims is None and A.ndim > 2 or dims is not None and len(dims) > 2:
        raise RuntimeError(
            "linalg.norm: If dim is not specified but ord is, the input must be 1D or 2D. Got "
            f"{A.ndim}D."
        )
    if isinstance(ord, str) or (len(dims) if dims is not None else A.ndim) == 2:
        return matrix_norm(A, ord, dims or (0, 1), keepdim, dtype=dtype)
    return vector_norm(A, ord, dims, keepdim, dtype=dtype)


FUNCTIONS = METHODS = {
    "inverse": inv, "det": det, "slogdet": slogdet, "logdet": logdet, "pinverse": pinv,
    "matrix_power": matrix_power,
}  # fmt: skip
LINALG = {
    # what dtorch.linalg has
    "inv": inv, "det": det, "slogdet": slogdet, "solve": solve, "cholesky": cholesky, "qr": qr,
    "eigh": eigh, "eigvalsh": eigvalsh, "svd": svd, "svdvals": svdvals, "pinv": pinv,
    "matrix_power": matrix_power, "matrix_norm": matrix_norm, "vector_norm": vector_norm,
    "norm": norm,
}  # fmt: skip
