"""What the files of linear algebra share: checks of matrices, errors of LAPACK, loops over stacks."""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

import functools
from math import prod

from ..errors import LinAlgError, not_a_tensor
from ..tensor import Tensor
from .layout import diag_embed, diagonal
from .pointwise import real_of
from .shape import adjoint, cast, raw, transpose

DTYPES = ("float32", "float64", "complex64", "complex128")

# ---- checks ------------------------------------------------------------------------------------


def check_dtype(name, x, half=False):
    d = raw(x).dtype.name
    if d in ("float16", "bfloat16"):
        if half:
            return
        raise RuntimeError(f"{name}: Low precision dtypes not supported. Got {x.dtype}")
    if d not in DTYPES:
        raise RuntimeError(
            f"{name}: Expected a floating point or complex tensor as input. Got {x.dtype}"
        )


def check_matrix(name, x, what="A", half=False):
    """Refuse what is no stack of matrices of floating point or complex numbers."""
    if not isinstance(x, Tensor):
        raise not_a_tensor(f"{name}(): argument '{what}'", x)
    if x.ndim < 2:
        raise RuntimeError(f"{name}: The input tensor {what} must have at least 2 dimensions.")
    check_dtype(name, x, half)


def check_square(name, x, what="A", half=False):
    check_matrix(name, x, what, half)
    if x.shape[-1] != x.shape[-2]:
        raise RuntimeError(
            f"{name}: {what} must be batches of square matrices, but they are {x.shape[-2]} by "
            f"{x.shape[-1]} matrices"
        )


def check_same_dtype(name, a, b, first="A", second="B"):
    if a.dtype != b.dtype:
        raise RuntimeError(
            f"{name}: Expected {first} and {second} to have the same dtype, but found {first} of "
            f"type {a.dtype} and {second} of type {b.dtype} instead; cast one with .to(dtype)"
        )


def check_equation(name, a, b, left=True):
    """Refuse A and B that do not fit in AX = B or, for left=False, in XA = B."""
    check_square(name, a)
    check_matrix(name, b, "B")
    check_same_dtype(name, a, b)
    if a.shape[-1] != b.shape[-2 if left else -1]:
        raise RuntimeError(
            f"{name}: Incompatible shapes of A and B for the equation {'AX' if left else 'XA'} = B "
            f"({a.shape[-2]}x{a.shape[-1]} and {b.shape[-2]}x{b.shape[-1]})"
        )


def is_vector(a, b):
    """Whether B of an equation with A is a stack of vectors, as in NumPy 1."""
    return b.ndim == 1 or (a.ndim - 1 == b.ndim and tuple(b.shape) == tuple(a.shape[:-1]))


def takes_input(fn):
    """A function of dtorch.linalg as dtorch and Tensor have it: its first argument is `input`."""

    @functools.wraps(fn)
    def function(input, *args, **kwargs):
        return fn(input, *args, **kwargs)

    return function


# ---- errors of LAPACK --------------------------------------------------------------------------

FAILURES = {  # by what went wrong; {} is LAPACK's info
    "inv": "The diagonal element {0} is zero, the inversion could not be completed because the "
    "input matrix is singular.",
    "solve": "The solver failed because the input matrix is singular.",
    "cholesky": "The factorization could not be completed because the input is not "
    "positive-definite (the leading minor of order {0} is not positive-definite).",
    "lu": "U[{0},{0}] is zero and using it on lu_solve would result in a division by zero. If you "
    "still want to perform the factorization, consider calling linalg.lu(A, pivot) or "
    "linalg.lu_factor_ex(A, pivot)",
    "eig": "The algorithm failed to converge because the input matrix is ill-conditioned or has "
    "too many repeated eigenvalues (error code: {0}).",
    "svd": "The algorithm failed to converge because the input matrix contained non-finite values.",
    "lstsq": "The least squares solution could not be computed because the input matrix does not "
    "have full rank (error code: {0}).",
    "ldl": "D[{0},{0}] is zero, and using the factorization in ldl_solve would divide by zero.",
}


def check_info(name, info, failure):
    """LinAlgError for the first matrix of a stack that LAPACK's info is not 0 of."""
    info = raw(info)
    if not info.any():
        return
    flat = info.reshape(-1).tolist()
    at = next(i for i, code in enumerate(flat) if code)
    where = f"(Batch element {at}): " if info.ndim else ""
    raise LinAlgError(f"{name}: {where}{FAILURES[failure].format(flat[at])}")


# ---- kernels -----------------------------------------------------------------------------------


def each(xp, batch, function, *stacks):
    """function(*matrices) -> arrays, for every index of the leading dimensions: its results stacked.

    batch: the leading dimensions, which are those of all stacks.  What the results of no matrices
        look like is found out with zeros
    """
    cores = [s.shape[len(batch) :] for s in stacks]
    n = prod(batch)
    flat = [s.reshape((n, *core)) for s, core in zip(stacks, cores)]
    results = [function(*arrays) for arrays in zip(*flat)]
    if not results:
        results = [function(*(xp.zeros(core, s.dtype) for s, core in zip(stacks, cores)))]
    columns = [xp.stack([xp.asarray(r) for r in column])[:n] for column in zip(*results)]
    return tuple(c.reshape((*batch, *c.shape[1:])) for c in columns)


def no_errors(xp, a):
    """The info of LAPACK where all went well.  (*, M, N) -> (*)"""
    return xp.zeros(a.shape[:-2], "int32")


# ---- for rules ---------------------------------------------------------------------------------


def mt(x):
    """The plain transpose of each matrix."""
    return transpose(x, -2, -1)


def on_diagonal(x):
    """(*, N) -> (*, N, N)"""
    return diag_embed(x)


def diagonal_of(x):
    """(*, M, N) -> (*, min(M, N))"""
    return diagonal(x, 0, -2, -1)


def skew(x):
    """x - x^H, halved"""
    return (x - adjoint(x)) / 2


def like(x, other):
    """x in the dtype of another array or tensor."""
    return cast(x, raw(other).dtype)


def real_like(g, x):
    """A gradient of a real input that was computed with complex numbers."""
    return g if raw(x).dtype.kind == "c" else real_of(g)


def check_phase(name, what, turn):
    """Refuse a loss that depends on the phase of complex vectors, which is arbitrary.

    turn: V^H gV, whose diagonal is real for the gradient gV of all other losses
    """
    turn = raw(turn)
    if turn.dtype.kind != "c":
        return
    phase = turn.diagonal(0, -2, -1).imag
    if (abs(phase) > 1e-2).any():
        raise RuntimeError(
            f"{name}: The {what} in the complex case are specified up to multiplication by "
            "e^{i phi}. The specified loss function depends on this quantity, so it is ill-defined."
        )
