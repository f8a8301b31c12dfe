"""Products of matrices, and decompositions."""

import numpy as np

from tests.samples import arr, call

A, B = arr(3, 4), arr(4, 5, seed=1)
SQUARE = arr(3, 3) + 4 * np.eye(3)
STACK = arr(2, 3, 3) + 4 * np.eye(3)
POSITIVE = SQUARE @ SQUARE.T
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
    "linalg.inv": _squares,
    "linalg.det": [*_squares, call(np.ones((2, 2)), grad=False, reference=False)],
    "linalg.slogdet": _squares,
    "logdet": [call(POSITIVE)],
    "linalg.solve": [call(SQUARE, arr(3, 2)), call(STACK, arr(2, 3)), call(SQUARE, arr(3)),
                     call(SQUARE, arr(2, 3), left=False)],
    "linalg.cholesky": [call(POSITIVE, grad=False), call(POSITIVE, upper=True, grad=False)],
    "linalg.qr": [call(arr(4, 3)), call(arr(2, 3, 3)), call(A), call(A, "r", grad=False)],
    "linalg.eigh": [call(POSITIVE, grad=False)],
    "linalg.eigvalsh": [call(POSITIVE, grad=False)],
    "linalg.svd": [call(A, False, grad=False), call(SQUARE, grad=False)],
    "linalg.svdvals": [call(A), call(arr(2, 4, 3))],
    "linalg.pinv": [call(A), call(arr(4, 3))],
    "linalg.matrix_power": [call(SQUARE, 3), call(SQUARE, -2), call(SQUARE, 1)],
    "linalg.matrix_norm": [call(A), call(A, "nuc"), call(A, 2), call(A, 1), call(arr(2, 3, 4), -1)],
    "linalg.vector_norm": [call(A), call(A, 3, 1), call(A, float("inf"), 0)],
    "linalg.norm": [call(A), call(A, "fro"), call(A, 1), call(arr(4), 3), call(A, 2, 1)],
    "linalg.vecdot": [call(A, arr(3, 4, seed=1))],
    "linalg.multi_dot": [call([A, B, arr(5, 2)])],
}  # fmt: skip
