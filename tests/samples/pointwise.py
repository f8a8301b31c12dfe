"""Elementwise functions."""

import numpy as np

from tests.samples import arr, bools, call, ints

X = arr(3, 4)
UNIT = arr(3, 4, low=-0.9, high=0.9)
POSITIVE = arr(3, 4, low=0.2, high=3.0)
N = ints(3, high=4)
ODD = np.array([1.0, np.nan, np.inf, -np.inf])

_anywhere = ("exp", "exp2", "expm1", "sin", "cos", "tan", "sinh", "cosh", "tanh", "atan", "asinh",
             "deg2rad", "rad2deg", "sigmoid", "erf")  # fmt: skip
_positive = ("log", "log2", "log10", "log1p", "sqrt", "rsqrt", "reciprocal")
_steps = ("floor", "ceil", "trunc", "sign", "sgn", "round", "frac")

SAMPLES = {
    **{name: [call(X), call(N), call(X.T), call(np.array(0.5))] for name in _anywhere},
    **{name: [call(POSITIVE), call(N + 1)] for name in _positive},
    **{name: [call(UNIT), call(N * 0)] for name in ("asin", "acos", "atanh")},
    "acosh": [call(POSITIVE + 1)],
    **{name: [call(X)] for name in _steps},
    "abs": [call(X), call(N - 2)],
    "square": [call(X), call(N)],
    "positive": [call(X)],
    "atan2": [call(X, POSITIVE), call(N, N + 1)],
    "maximum": [call(X, arr(3, 4, seed=1)), call(X, arr(4)), call(N, 2 - N),
              call(X, X.copy(), grad=False)],
    "minimum": [call(X, arr(3, 4, seed=1)), call(X, arr(4)), call(N, 2 - N)],
    "clamp": [call(X, -1.0, 1.0), call(X, min=0.1), call(X, max=arr(4)), call(N, 1, 2)],
    "clamp_min": [call(X, 0.1)],
    "clamp_max": [call(X, 0.1)],
    "nan_to_num": [call(ODD, grad=False), call(ODD, 1.0, 2.0, 3.0, grad=False), call(X)],
    "where": [call(bools(3, 4), X, arr(3, 4, seed=1)), call(bools(4), X, 2.0),
              call(bools(3, 4), 1, arr(4)),
              call(bools(4, 1), N, X.T), call(bools(3, 4))],
}  # fmt: skip
SAMPLES["round"] = [call(X), call(X * 100, decimals=1)]
