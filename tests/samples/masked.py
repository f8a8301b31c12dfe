"""Reductions and normalizations under a mask."""

import numpy as np

from tests.samples import arr, bools, call, ints

X, N = arr(3, 4), ints(3, 4, high=9)
MASK = bools(3, 4, seed=2) | np.eye(3, 4, dtype=bool)  # in each row and column one at least
COLUMNS = np.array([True, False, True, True])
Z = X + 1j * arr(3, 4, seed=1)

_reduced = [call(X, 1, mask=MASK), call(X, (0, 1), keepdim=True, mask=COLUMNS)]
_along = [call(X, 0, mask=MASK)]

SAMPLES = {
    "masked.sum": [*_reduced, call(N, 0, mask=MASK), call(Z, mask=MASK)],
    "masked.prod": [*_reduced, call(N, mask=COLUMNS), call(Z, 0, mask=MASK)],
    "masked.amax": [*_reduced, call(N, 0, mask=MASK)],
    "masked.amin": [*_reduced, call(N, 0, mask=MASK)],
    "masked.argmax": [call(X, 1, mask=MASK), call(N, mask=COLUMNS)],
    "masked.argmin": [call(X, 1, keepdim=True, mask=MASK)],
    "masked.mean": [*_reduced, call(N, dtype=np.dtype("float64"), mask=MASK), call(Z, 1)],
    "masked.median": [*_along, call(N, 1, mask=MASK)],
    "masked.norm": [call(X, 3, 1, mask=MASK), call(X, -np.inf, 0, mask=MASK), call(Z)],
    "masked.var": [call(X, 1, False, mask=COLUMNS), call(X, correction=2, mask=MASK), call(N)],
    "masked.std": [call(X), call(X, 1, True, mask=COLUMNS)],
    "masked.logsumexp": _reduced,
    "masked.logaddexp": [call(X, arr(4)), call(X, X, input_mask=MASK)],
    "masked.cumsum": [*_along, call(N, 1, mask=MASK)],
    "masked.cumprod": [call(X, 1)],
    "masked.softmax": _along,
    "masked.log_softmax": [call(X, 1)],
    "masked.softmin": _along,
    "masked.normalize": [call(X, 2.0, 1, mask=MASK), call(X, 1.0, 0)],
    "masked.is_masked_tensor": [call(X)],
}
