"""Sparse tensors: conversion, arithmetic, products.  Their results are compared dense."""

import numpy as np

from tests.samples import arr, call, ints, sparse

X, Y, CUBE = sparse(arr(4, 5)), sparse(arr(4, 5, seed=1)), sparse(arr(3, 4, 5))
CSR, CSC = sparse(arr(4, 5), "to_sparse_csr"), sparse(arr(4, 5), "to_sparse_csc")
A = arr(5, 3)
alone = {"reference": False}  # torch has no such op, or no such gradient: finite differences judge
INDICES = np.array([[2, 0, 2, 1], [1, 1, 1, 0]])

SAMPLES = {
    "sparse_coo_tensor": [call(INDICES, arr(4), (3, 2)), call(INDICES, arr(4, 3))],
    "sparse_csr_tensor": [
        call(np.array([0, 2, 2, 3]), np.array([0, 3, 1]), arr(3), (3, 4)),
    ],
    "sparse_bsr_tensor": [call(np.array([0, 1, 2]), np.array([1, 0]), arr(2, 2, 3), (4, 6))],
    "Tensor.to_dense": [call(X), call(CSR), call(CSC), call(A)],
    "Tensor.to_sparse": [call(A), call(A, 1), call(CSR)],
    "Tensor.to_sparse_csr": [call(X), call(A), call(CSC)],
    "Tensor.to_sparse_csc": [call(X)],
    "Tensor.to_sparse_bsr": [call(arr(4, 6), (2, 3)), call(X, (2, 5))],
    "Tensor.coalesce": [call(X)],
    "Tensor.values": [call(CSR)],
    "Tensor.sparse_mask": [call(arr(4, 5, seed=2), X)],
    "Tensor.t": [call(X), call(CSR)],
    "Tensor.__getitem__": [call(X, 1, **alone), call(CUBE, (2, slice(1, 3)), **alone)],
    "Tensor.clone": [call(X), call(CSR)],
    "add": [call(X, Y), call(arr(4, 5, seed=3), X, **alone), call(CSR, CSR, **alone)],
    "sub": [call(X, Y)],
    "mul": [call(X, Y), call(X, arr(4, 5, seed=3), **alone), call(CSR, 3.0), call(2.0, X)],
    "div": [call(X, 2.0)],
    "pow": [call(X, 2)],
    "neg": [call(X)],
    "sin": [call(CSR, **alone), call(X, **alone)],
    "permute": [call(CUBE, (2, 0, 1))],
    "unsqueeze": [call(X, 1, **alone)],
    "index_select": [call(X, 1, ints(6, high=5), **alone), call(X, 0, np.array([1]), **alone)],
    "cat": [call([X, Y], 1, **alone), call([CUBE, CUBE], **alone)],
    "norm": [call(X, **alone)],
    "sparse.sum": [call(X), call(X, 0), call(CUBE, (0, 2))],
    "sparse.softmax": [call(X, 1), call(CUBE, 0)],
    "sparse.log_softmax": [call(X, 0)],
    "sparse.mm": [
        call(X, A), call(CSR, A), call(X, sparse(arr(5, 3))),
        *(call(CSR, A, mode) for mode in ("sum", "mean", "amax", "amin")),
    ],
    "sparse.sampled_addmm": [call(CSR, arr(4, 2), arr(2, 5), beta=0.5, alpha=2.0)],
    "sparse.addmm": [call(arr(4, 3), X, A, beta=0.5, alpha=2.0)],
    "sparse.spdiags": [
        call(arr(2, 4), np.array([0, 1]), (3, 4)), call(arr(2, 3), np.array([-2, 1]), (6, 4)),
    ],
    "matmul": [call(X, arr(5), **alone), call(arr(2, 4), X, **alone)],
    "bmm": [call(CUBE, arr(3, 5, 2), **alone)],
    "smm": [call(X, A)],
    "hspmm": [call(X, A)],
    "sspaddmm": [call(sparse(arr(4, 3)), X, A, beta=0.5, alpha=2.0)],
}  # fmt: skip
