"""Reductions, scans, norms, and sorting."""

import numpy as np

from tests.samples import arr, bools, call, ints

X = arr(3, 4)
CUBE = arr(2, 3, 4)
TIES = np.array([[1.0, 2.0, 2.0], [3.0, 3.0, 3.0]])
NANS = np.array([[1.0, np.nan, 3.0], [4.0, 5.0, 6.0]])
ZEROS = np.array([[1.5, 0.0, -2.0], [0.0, 3.0, 0.0]])

_over_dims = [call(X), call(CUBE, 1), call(CUBE, (0, 2), keepdim=True), call(np.array(2.0))]
_with_index = [call(X, 1), call(CUBE, -2, keepdim=True), call(np.array(2.0), 0)]

SAMPLES = {
    "sum": [*_over_dims, call(ints(3, 4, high=9)), call(bools(5)), call(X[:, :0], 1), call(X.T, 0)],
    "mean": [*_over_dims, call(X.T, 0)],
    "prod": [call(X), call(CUBE, 1), call(CUBE, -1, True), call(ZEROS, 1), call(ZEROS),
             call(ints(4, high=5)), call(np.array(2.0), 0)],
    "amax": [*_over_dims, call(TIES, 1, grad=False)],
    "amin": [*_over_dims, call(TIES, 1, grad=False)],
    "aminmax": [call(X), call(CUBE, dim=1, keepdim=True)],
    "max": [call(X), *_with_index, call(X, arr(3, 4, seed=1)), call(ints(6, high=4))],
    "min": [call(X), *_with_index, call(X, arr(3, 4, seed=1)), call(ints(6, high=4))],
    "argmax": [call(X), call(CUBE, 1), call(CUBE, -1, keepdim=True), call(TIES, 1)],
    "argmin": [call(X), call(CUBE, 1), call(CUBE, -1, keepdim=True), call(TIES, 1)],
    "all": [call(bools(3, 4)), call(bools(3, 4), 1), call(X, 0, keepdim=True)],
    "any": [call(bools(3, 4)), call(bools(3, 4), 1), call(X, 0, keepdim=True)],
    "hash_tensor": [call(X, grad=False), call(ints(3, 4, high=9), 1), call(bools(3), keepdim=True)],
    "count_nonzero": [call(ZEROS), call(ZEROS, 1)],
    "nansum": [call(NANS, grad=False), call(X, 1)],
    "nanmean": [call(NANS, 1, grad=False), call(X)],
    "var": [*_over_dims[:3], call(X, 1, correction=0), call(X, unbiased=False),
              call(CUBE, (0, 1), True)],
    "std": [*_over_dims[:3], call(X, 1, correction=2), call(X, unbiased=False)],
    "var_mean": [call(X), call(CUBE, 1, keepdim=True)],
    "std_mean": [call(X), call(CUBE, 1, keepdim=True)],
    "norm": [call(X), call(X, 1), call(X, 3, 1), call(X, 2, 0, True), call(X, float("inf")),
             call(X, float("-inf"), 1), call(X, 0, grad=False), call(X, "nuc"), call(X, 0.5)],
    "dist": [call(X, arr(3, 4, seed=1)), call(X, arr(3, 4, seed=1), 3)],
    "renorm": [call(X, 2, 0, 1.0, grad=False), call(X, 1, 1, 2.0, grad=False)],
    "logsumexp": [call(X, 1), call(CUBE, (0, 2), True), call(X * 500, 0),
                  call(np.array([-np.inf, -np.inf]), 0, grad=False)],
    "cumsum": [call(X, 0), call(CUBE, -1), call(ints(4, high=5), 0), call(np.array(2.0), 0)],
    "cumprod": [call(X, 0), call(CUBE, -1), call(ZEROS, 1), call(ints(4, high=5), 0)],
    "cummax": [call(X, 0), call(CUBE, -1)],
    "cummin": [call(X, 0), call(CUBE, -1)],
    "logcumsumexp": [call(X, 0), call(CUBE, -1)],
    "sort": [call(X), call(CUBE, 1, True), call(ints(9, high=4), stable=True),
              call(NANS, grad=False)],
    "argsort": [call(X), call(CUBE, 1, True)],
    "msort": [call(X)],
    "topk": [call(X, 2), call(CUBE, 2, 1, False), call(arr(40), 3), call(NANS, 1, grad=False)],
    "kthvalue": [call(X, 2), call(CUBE, 1, 1, True)],
    "median": [call(X[:, :3]), call(X, 1), call(CUBE, 0, True), call(NANS, 1, grad=False)],
    "nanmedian": [call(X), call(NANS, 1, grad=False)],
    "mode": [call(ints(3, 6, high=3), 1), call(TIES, 1, grad=False)],
    "quantile": [call(X, 0.3), call(X, np.array([0.1, 0.5]), 1, grad=False),
                 call(X, 0.4, 0, True, interpolation="midpoint")],
    "nanquantile": [call(X, 0.3), call(NANS, 0.5, 1, grad=False)],
    "unique": [call(ints(9, high=4)), call(ints(4, 2, high=2), dim=0),
               call(ints(9, high=4), return_inverse=True, return_counts=True)],
    "unique_consecutive": [call(np.array(2), return_inverse=True), call(ints(0, high=2)),
                           call(ints(6, 1, high=2), dim=0),
                           call(ints(9, high=2)), call(ints(9, high=2), return_counts=True)],
    "isin": [call(ints(6, high=5), ints(2, high=5, seed=1))],
    "searchsorted": [call(np.sort(X, 1), arr(3, 2), grad=False),
                     call(np.sort(arr(5)), arr(2, 3), right=True, grad=False)],
    "bucketize": [call(arr(2, 3), np.sort(arr(5)), grad=False)],
    "bincount": [call(ints(9, high=4)), call(ints(9, high=4), minlength=7),
                 call(ints(9, high=4), arr(9), grad=False)],
    "diff": [call(X), call(X, 2, 0), call(CUBE, 1, 1, arr(2, 1, 4), arr(2, 2, 4)),
             call(bools(5)), call(X, 9)],
    "gradient": [call(X), call(X, spacing=2, edge_order=2),
                 call(X, spacing=(np.array([0.0, 1.0, 3.0]), np.array([1.0, 2.0, 5.0, 6.0])),
                      edge_order=2),
                 call(CUBE, spacing=0.5, dim=(2, 0))],
    "trapezoid": [call(X), call(X, arr(4), dim=1), call(CUBE, arr(3, 4), dim=1),
                  call(X, dx=0.5, dim=0)],
    "cumulative_trapezoid": [call(X), call(X, arr(3), dim=0), call(X, dx=0.5)],
    "histogram": [call(arr(20), 4, grad=False),
                  call(arr(20), 3, range=(-1.0, 1.0), density=True, grad=False),
                  call(arr(6), np.array([-1.0, 0.0, 2.0]), weight=arr(6, seed=1), grad=False)],
    "histogramdd": [call(arr(9, 2), 3, grad=False),
                    call(arr(9, 2), [np.array([-2.0, 0.0, 1.0]), np.array([-1.0, 0.0, 2.0])],
                         weight=arr(9), density=True, grad=False)],
    "histc": [call(arr(20), 4, -2, 2, grad=False)],
}  # fmt: skip
