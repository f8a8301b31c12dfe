"""Comparisons and predicates."""

import numpy as np

from tests.samples import arr, bools, call, ints

X = arr(3, 4)
N, J = ints(3, 4, high=3), ints(3, 4, high=3, seed=1)
ODD = np.array([1.0, np.nan, np.inf, -np.inf, -0.0, 0.0])

_pairs = [
    call(X, X.copy(), grad=False),
    call(N, J),
    call(N, 1),
    call(X, arr(4), grad=False),
    call(N, 0.5),
]
_odd = [call(ODD, grad=False), call(N)]

SAMPLES = {
    **dict.fromkeys(("eq", "ne", "lt", "le", "gt", "ge"), _pairs),
    **dict.fromkeys(("isnan", "isinf", "isfinite", "signbit"), _odd),
    "logical_not": [call(bools(4)), call(N), call(ODD, grad=False)],
    "isclose": [call(ODD, ODD.copy(), grad=False),
              call(ODD, ODD.copy(), equal_nan=True, grad=False),
                call(X, X + 1e-9, grad=False)],
}  # fmt: skip
