"""Comparisons and predicates."""

import numpy as np

from tests.samples import arr, bools, call, ints

X = arr(3, 4)
I, J = ints(3, 4, high=3), ints(3, 4, high=3, seed=1)
ODD = np.array([1.0, np.nan, np.inf, -np.inf, -0.0, 0.0])

_pairs = [call(X, X.copy(), grad=False), call(I, J), call(I, 1), call(X, arr(4), grad=False), call(I, 0.5)]
_odd = [call(ODD, grad=False), call(I)]

SAMPLES = {
    **{name: _pairs for name in ("eq", "ne", "lt", "le", "gt", "ge")},
    **{name: _odd for name in ("isnan", "isinf", "isfinite", "signbit")},
    "logical_not": [call(bools(4)), call(I), call(ODD, grad=False)],
    "isclose": [call(ODD, ODD.copy(), grad=False), call(ODD, ODD.copy(), equal_nan=True, grad=False),
                call(X, X + 1e-9, grad=False)],
}  # fmt: skip
