"""Products of matrices, and decompositions."""

import numpy as np
from scipy.linalg import lu_factor

from tests.samples import arr, call, ints

A, B = arr(3, 4), arr(4, 5, seed=1)
SQUARE = arr(3, 3) + 4 * np.eye(3)
STACK = arr(2, 3, 3) + 4 * np.eye(3)
POSITIVE = SQUARE @ SQUARE.T
UPPER = np.triu(SQUARE)
SYMMETRIC = SQUARE + SQUARE.T
COMPLEX = SQUARE + 1j * arr(3, 3, seed=1)
HERMITIAN = COMPLEX @ COMPLEX.conj().T
SINGULAR = np.array([[1.0, 2, 3], [2, 4, 6], [1, 0, 1]])
LU, PIVOTS = lu_factor(SQUARE)
PIVOTS = (PIVOTS + 1).astype("int32")  # LAPACK's
REFLECTIONS, TAU = np.linalg.qr(arr(4, 3), "raw")
REFLECTIONS = REFLECTIONS.T.copy()
_squares = [call(SQUARE), call(STACK)]

SAMPLES = {
    "matmul": [call(A, B), call(arr(4), B), call(A, arr(4)), call(arr(4), arr(4, seed=1)),
               call(arr(2, 3, 4), B), call(A, arr(2, 4, 5)), call(arr(2, 1, 3, 4), arr(3, 4, 2)),
               call(A.T.copy().T, B), call(A[:, :0], B[:0])],
    "mm": [call(A, B)],
    "bmm": [call(arr(2, 3, 4), arr(2, 4, 5))],
    "mv": [call(A, arr(4))],
    "dot": [call(arr(4), arr(4, seed=1))],
    "vdot": [call(arr(4), arr(4, seed=1))],
    "inner": [call(A, arr(2, 4)), call(arr(4), A)],
    "outer": [call(arr(3), arr(4))],
    "addmm": [call(arr(3, 5), A, B), call(arr(5), A, B, beta=2, alpha=0.5),
              call(arr(5), A, B, beta=0)],
    "addmv": [call(arr(3), A, arr(4))],
    "addr": [call(A, arr(3), arr(4), alpha=2)],
    "baddbmm": [call(arr(2, 3, 5), arr(2, 3, 4), arr(2, 4, 5))],
    "addbmm": [call(arr(3, 5), arr(2, 3, 4), arr(2, 4, 5))],
    "einsum": [call("ij,jk->ik", A, B), call("bij,bjk->bik", arr(2, 3, 4), arr(2, 4, 5)),
               call("ii->i", SQUARE), call("ii", SQUARE), call("ij->j", A),
              call("...j,jk", arr(2, 3, 4), B),
               call("i,j,k->ijk", arr(2), arr(3), arr(4)), call("ij,j", A, arr(4)),
               call("ij,kj->", A, arr(2, 4))],
    "tensordot": [call(A, B, 1), call(arr(2, 3, 4), arr(4, 3, 5), ([1, 2], [1, 0]))],
    "kron": [call(A, arr(2, 2)), call(arr(3), A)],
    "trace": [call(A)],
    "cross": [call(arr(3, 4), arr(3, 4, seed=1), dim=0)],
    "linalg.cross": [call(arr(2, 3), arr(2, 3, seed=1))],
    "cdist": [call(A, arr(2, 4, seed=1)), call(A, arr(2, 4, seed=1), 1.0),
              call(arr(2, 3, 4), arr(2, 2, 4, seed=1), 3.0)],
    "linalg.inv": [*_squares, call(COMPLEX), call(arr(0, 2, 2)), call(arr(2, 0, 0))],
    "linalg.inv_ex": [call(STACK), call(SINGULAR, grad=False, reference=False)],
    "linalg.det": [*_squares, call(np.ones((2, 2)), grad=False, reference=False)],
    "linalg.slogdet": _squares,
    "logdet": [call(POSITIVE)],
    "linalg.solve": [call(SQUARE, arr(3, 2)), call(STACK, arr(2, 3)), call(SQUARE, arr(3)),
                     call(SQUARE, arr(2, 3), left=False), call(STACK, arr(3, 2))],
    "linalg.solve_ex": [call(SQUARE, arr(3, 2))],
    "linalg.solve_triangular": [call(SQUARE, arr(3, 2), upper=True),
                                call(STACK, arr(3, 2), upper=False, unitriangular=True),
                                call(COMPLEX, arr(2, 3) * 1j, upper=True, left=False)],
    "triangular_solve": [call(arr(3, 2), SQUARE), call(arr(3, 2), SQUARE, False, True, True)],
    "linalg.tensorinv": [call(arr(6, 2, 3) + 3 * np.eye(6).reshape(6, 2, 3), 1)],
    "linalg.tensorsolve": [call(arr(2, 3, 6) + 3 * np.eye(6).reshape(2, 3, 6), arr(2, 3)),
                           call(arr(6, 2, 3) + 3 * np.eye(6).reshape(6, 2, 3), arr(2, 3), (0,))],
    "linalg.lu": [call(SQUARE), call(arr(2, 4, 3)), call(A), call(COMPLEX)],
    "linalg.lu_factor": [call(SQUARE), call(arr(4, 3)), call(A[:, :0])],
    "linalg.lu_factor_ex": [call(STACK), call(SINGULAR, grad=False)],
    "linalg.lu_solve": [call(LU, PIVOTS, arr(3, 2)), call(LU, PIVOTS, arr(3, 2), adjoint=True),
                        call(LU, PIVOTS, arr(2, 3), left=False)],
    "lu_unpack": [call(LU, PIVOTS), call(LU, PIVOTS, False, grad=False, reference=False)],
    "lu_solve": [call(arr(3, 2), LU, PIVOTS)],
    "linalg.cholesky": [call(POSITIVE, grad=False), call(POSITIVE, upper=True, grad=False),
                        call(HERMITIAN, grad=False)],
    "linalg.cholesky_ex": [call(POSITIVE, grad=False), call(-POSITIVE, grad=False)],
    "cholesky": [call(POSITIVE, True, grad=False)],
    # torch's gradients of these two count the triangle that is not read
    "cholesky_solve": [call(arr(3, 2), UPPER.T, reference=False),
                       call(arr(3, 2), UPPER, True, reference=False)],
    "cholesky_inverse": [call(UPPER.T, reference=False), call(UPPER, True, reference=False)],
    "linalg.ldl_factor": [call(SYMMETRIC), call(SYMMETRIC[:0, :0])],
    "linalg.ldl_factor_ex": [call(np.stack([POSITIVE, SYMMETRIC]))],
    "linalg.ldl_solve": [call(UPPER.T, np.arange(1, 4), arr(3, 2), grad=False, reference=False)],
    "linalg.qr": [call(arr(4, 3)), call(arr(2, 3, 3)), call(A), call(COMPLEX)],
    "qr": [call(arr(4, 3)), call(A, False)],
    "geqrf": [call(arr(4, 3))],
    "linalg.householder_product": [call(REFLECTIONS, TAU)],
    "orgqr": [call(REFLECTIONS[:, :2], TAU[:1])],
    "ormqr": [call(REFLECTIONS, TAU, arr(4, 2)), call(REFLECTIONS, TAU, arr(2, 4), False, True)],
    "linalg.eigh": [call(POSITIVE, grad=False)],
    "linalg.eigvalsh": [call(POSITIVE, grad=False), call(HERMITIAN, "U", grad=False)],
    "linalg.eig": [call(POSITIVE, grad=False, reference=False), call(arr(0, 0))],
    "linalg.eigvals": [call(SQUARE), call(COMPLEX, reference=False)],
    "lobpcg": [call(np.diag(np.arange(1.0, 8.0)), 2, grad=False, reference=False),
               call(POSITIVE, 1, POSITIVE, largest=False, grad=False, reference=False)],
    "linalg.svd": [call(A, False, grad=False), call(SQUARE, grad=False)],
    "svd": [call(A, grad=False), call(A, compute_uv=False)],
    "linalg.svdvals": [call(A), call(arr(2, 4, 3)), call(COMPLEX)],
    "svd_lowrank": [call(A, 2, grad=False, reference=False)],
    "pca_lowrank": [call(A, 2, grad=False, reference=False)],
    "linalg.pinv": [call(A), call(arr(4, 3)), call(SYMMETRIC, hermitian=True, grad=False),
                    call(SINGULAR, rtol=1e-5, grad=False), call(A[:0])],
    "pinverse": [call(A)],
    "linalg.lstsq": [call(arr(4, 3), arr(4, 2)), call(A, arr(3)),
                     call(arr(2, 4, 3), arr(2, 4, 2), driver="gelsd", grad=False),
                     call(arr(4, 3), arr(4, 2), driver="gels"), call(A[:, :0], arr(3, 2))],
    "linalg.matrix_power": [call(SQUARE, 3), call(SQUARE, -2), call(SQUARE, 1), call(SQUARE, 0)],
    "matrix_exp": [call(SQUARE), call(0.1 * STACK), call(COMPLEX)],
    "linalg.multi_dot": [call([A, B, arr(5, 2)]), call([arr(3), A, B, arr(5)])],
    "chain_matmul": [call(A, B, arr(5, 2)), call(A)],
    "linalg.vander": [call(arr(2, 3), reference=False), call(ints(3, high=5), N=4)],
    "vander": [call(arr(3), 4, True, reference=False), call(ints(3, high=5))],
    "linalg.matrix_norm": [call(A), call(A, "nuc"), call(A, 2), call(A, 1), call(arr(2, 3, 4), -1)],
    "linalg.vector_norm": [call(A), call(A, 3, 1), call(A, 0.5), call(A, float("inf"), 0)],
    "linalg.norm": [call(A), call(A, "fro"), call(A, 1), call(arr(4), 3), call(A, 2, 1)],
    "linalg.cond": [call(SQUARE), call(STACK, 1, reference=False), call(A, -2)],
    "linalg.matrix_rank": [call(SINGULAR), call(STACK, atol=4.0), call(SYMMETRIC, hermitian=True)],
    "linalg.vecdot": [call(A, arr(3, 4, seed=1)), call(COMPLEX, COMPLEX[::-1].copy(), dim=0)],
    "cov": [call(A), call(arr(4)), call(A, correction=0, fweights=ints(4, high=3) + 1,
                                        aweights=arr(4, low=0.1))],
    "corrcoef": [call(A), call(COMPLEX)],
    "linalg.diagonal": [call(arr(2, 3, 4), offset=1)],
}  # fmt: skip
