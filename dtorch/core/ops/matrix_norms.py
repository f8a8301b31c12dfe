"""Norms of matrices, and what is told by them: matrix_norm, norm, cond, matrix_rank."""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

from math import inf

from ..backend import of as backend_of
from ..tensor import wrap
from .eigen import eigvalsh
from .lstsq import threshold
from .matrices import check_matrix, check_square
from .norms import vector_norm
from .pointwise import abs
from .reduce import amax, amin, sum
from .shape import axis, movedim, raw, unsqueeze
from .solve import inv_ex
from .svd import svdvals


def matrix_norm(A, ord="fro", dim=(-2, -1), keepdim=False, *, dtype=None):
    """ "fro", "nuc", inf, -inf, 1, -1, 2 or -2 norms of the matrices in two dimensions."""
    if A.ndim < 2:
        raise RuntimeError(
            "linalg.matrix_norm: The input tensor A must have at least 2 dimensions."
        )
    if dtype is not None:
        A = A.to(dtype)
    dim = tuple(dim)
    if len(dim) != 2:
        raise RuntimeError(f"linalg.matrix_norm: dim must be a 2-tuple. Got {list(dim)}")
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
    y = (amax if ord > 0 else amin)(vector_norm(A, 1, first, True), second, True)
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


def cond(A, p=None):
    """The condition number ||A|| ||A^-1|| of each matrix in the matrix norm p (None: 2).

    inf for singular matrices.  (*, M, N), square unless p is None, 2 or -2, -> (*)
    """
    check_matrix("linalg.cond", A)
    if p in (None, 2, -2):
        s = svdvals(A)
        if not s.shape[-1]:
            return sum(s, -1)
        return s[..., -1] / s[..., 0] if p == -2 else s[..., 0] / s[..., -1]
    if p not in ("fro", "nuc", inf, -inf, 1, -1):
        raise RuntimeError(f"linalg.cond got an invalid norm type: {p}")
    check_square(f"linalg.cond(ord={p})", A)
    if not A.shape[-1]:
        return A.new_zeros(tuple(A.shape[:-2]), dtype=A.dtype.to_real())
    inverse, info = inv_ex(A)
    y = matrix_norm(A, p) * matrix_norm(inverse, p)
    return y.masked_fill(info != 0, inf)


def matrix_rank(A, tol=None, hermitian=False, *, atol=None, rtol=None):
    """How many singular values of each matrix are over max(atol, rtol * the largest): (*) int64

    By default rtol is eps max(M, N), or 0 where there is an atol > 0; tol is atol's older name and
    then rtol is 0.  atol and rtol may be tensors, one for each matrix.
    """
    name = "torch.linalg.matrix_rank"
    check_matrix(name, A, "input")
    if hermitian:
        check_square("linalg.matrix_rank", A)
    if tol is not None:
        atol, rtol = tol, 0.0
    for what, x in (("atol", atol), ("rtol", rtol)):
        if getattr(getattr(x, "dtype", None), "is_complex", False):
            raise RuntimeError(f"{name}: {what} tensor of complex type is not supported.")
    A = A.detach()
    s = raw(abs(eigvalsh(A)) if hermitian else svdvals(A))
    xp = backend_of(s)
    over = s > threshold(xp, A._a, s, raw(atol), raw(rtol))[..., None]
    return wrap(xp.asarray(over.sum(-1)))


LINALG = {
    "matrix_norm": matrix_norm, "vector_norm": vector_norm, "norm": norm, "cond": cond,
    "matrix_rank": matrix_rank,
}  # fmt: skip
