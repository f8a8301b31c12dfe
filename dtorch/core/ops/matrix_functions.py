"""Powers and exponentials of matrices, products of many, and matrices of powers."""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

from ..op import op
from .create import eye
from .join import _cat
from .linalg import matmul
from .matrices import check_square, takes_input
from .scan import cumprod
from .shape import adjoint, expand, reshape, unsqueeze
from .solve import inv


def matrix_power(A, n):
    """Each matrix to the power of n; of its inverse for a negative one."""
    if isinstance(n, bool) or not isinstance(n, int):
        raise TypeError(
            f"linalg_matrix_power(): argument 'n' (position 2) must be int, not {type(n).__name__}"
        )
    check_square("linalg.matrix_power", A)
    if n < 0:
        return matrix_power(inv(A), -n)
    if n == 0:
        return A * 0 + eye(A.shape[-1], dtype=A.dtype, device=A.device)
    half = matrix_power(A, n // 2) if n > 1 else None
    square = A if half is None else matmul(half, half)
    return matmul(square, A) if n > 1 and n % 2 else square


@op(saves="x", holomorphic=False)
def _matrix_exp(xp, a):
    return xp.scipy_linalg("expm")(a) if a.size else a.copy()


def _matrix_exp_vjp(g, y, a):
    """The corner of exp([[A^H, G], [0, A^H]]): Mathias, "A chain rule for matrix functions" (1996)"""
    n, ah = a.shape[-1], adjoint(a)
    top = _cat(ah, g, dim=a.ndim - 1)
    bottom = _cat(ah * 0, ah, dim=a.ndim - 1)
    return _matrix_exp(_cat(top, bottom, dim=a.ndim - 2))[..., :n, n:]


_matrix_exp.vjp(_matrix_exp_vjp)


def matrix_exp(A):
    """The exponential of each matrix: Al-Mohy & Higham (2009), by SciPy."""
    check_square("linalg.matrix_exp", A, half=True)
    return _matrix_exp(A)


# ---- products of many --------------------------------------------------------------------------


def _best_splits(sizes):
    """Where to split each chain i..j of matrices, sizes[i] by sizes[i + 1], for the least work.

    Cormen et al., "Introduction to Algorithms", section 15.2.
    """
    n = len(sizes) - 1
    cost = [[0] * n for _ in range(n)]
    split = [[0] * n for _ in range(n)]
    for length in range(1, n):
        for i in range(n - length):
            j = i + length
            cost[i][j], split[i][j] = min(
                (cost[i][k] + cost[k + 1][j] + sizes[i] * sizes[k + 1] * sizes[j + 1], k)
                for k in range(i, j)
            )
    return split


def multi_dot(tensors):
    """The product of matrices, in the order that takes the least work; the ends may be vectors."""
    tensors = list(tensors)
    n = len(tensors)
    if n < 2:
        raise RuntimeError(f"multi_dot(): expected at least 2 tensors but got {n}")
    for i, t in enumerate(tensors):
        end = {0: "first", n - 1: "last"}.get(i)
        if end is None and t.ndim != 2:
            raise RuntimeError(f"multi_dot(): tensor {i} must be 2D but got {t.ndim}D")
        if t.ndim not in (1, 2):
            raise RuntimeError(f"multi_dot(): the {end} tensor must be 1D or 2D but got {t.ndim}D")
        if t.dtype != tensors[0].dtype:
            raise RuntimeError(
                "multi_dot(): all tensors must have be the same dtype but tensor 0 is "
                f"{tensors[0].dtype} and tensor {i} {t.dtype}"
            )
    shape = tensors[0].shape[: tensors[0].ndim - 1] + tensors[-1].shape[1:]
    tensors[0] = tensors[0] if tensors[0].ndim == 2 else unsqueeze(tensors[0], 0)
    tensors[-1] = tensors[-1] if tensors[-1].ndim == 2 else unsqueeze(tensors[-1], -1)
    for i in range(n - 1):
        if tensors[i].shape[1] != tensors[i + 1].shape[0]:
            raise RuntimeError(
                f"multi_dot(): tensors {i} and {i + 1} with shapes {list(tensors[i].shape)} and "
                f"{list(tensors[i + 1].shape)} cannot be multiplied"
            )
    split = _best_splits([t.shape[0] for t in tensors] + [tensors[-1].shape[1]])

    def product(i, j):
        if i == j:
            return tensors[i]
        return matmul(product(i, split[i][j]), product(split[i][j] + 1, j))

    return reshape(product(0, n - 1), tuple(shape))


def chain_matmul(*matrices):
    """multi_dot of one or more matrices."""
    return matrices[0] if len(matrices) == 1 else multi_dot(matrices)


# ---- matrices of powers ------------------------------------------------------------------------


def _powers(x, n):
    """1, x, x^2, ..., x^(n - 1) along a new last dimension, integers as int64: (*) -> (*, n)"""
    ones = unsqueeze(x, -1) * 0 + 1 if x.dtype.name != "bool" else unsqueeze(x, -1).long() * 0 + 1
    rest = expand(unsqueeze(x, -1), (*x.shape, n - 1))
    return cumprod(_cat(ones, rest, dim=x.ndim), -1)


def vander(x, *, N=None):
    """The Vandermonde matrix of each vector, powers rising: (*, M) -> (*, M, N); N is M if None."""
    x = x if x.ndim else unsqueeze(x, 0)
    n = x.shape[-1] if N is None else N
    if n <= 1:
        raise RuntimeError("N must be greater than 1.")
    return _powers(x, n)


def old_vander(x, N=None, increasing=False):
    """torch.vander: of one vector, powers falling unless `increasing`."""
    if x.ndim != 1:
        raise RuntimeError("x must be a one-dimensional tensor.")
    n = x.shape[0] if N is None else N
    if n < 0:
        raise RuntimeError("N must be non-negative.")
    y = _powers(x, n) if n else x.new_empty((x.shape[0], 0))
    return y if increasing else y.flip(-1)


METHODS = {"matrix_power": takes_input(matrix_power), "matrix_exp": matrix_exp}
FUNCTIONS = METHODS | {"vander": old_vander, "chain_matmul": chain_matmul}
LINALG = {
    "matrix_power": matrix_power, "matrix_exp": matrix_exp, "multi_dot": multi_dot,
    "vander": vander,
}  # fmt: skip
