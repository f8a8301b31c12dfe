"""Functions of two operands that are no operators, and how numbers are stored."""

import numpy as np

from tests.samples import arr, call, ints

X, Y = arr(3, 4), arr(3, 4, seed=1)
N, M = ints(3, 4, high=7), ints(3, 4, high=7, seed=1) - 3
Z = X + 1j * Y
ODD = np.array([np.nan, 1.0, np.inf, -np.inf, 0.0])
PAIRS = [call(X, Y), call(X, arr(4)), call(ODD, ODD[::-1].copy(), grad=False)]

SAMPLES = {
    "copysign": [
        *PAIRS[:2],
        call(X, -2.0),
        call(N, M),
        call(ODD, -0.0, grad=False, derivative=False),
    ],
    "hypot": PAIRS,
    "fmax": [*PAIRS, call(N, M)],
    "fmin": [*PAIRS, call(N, M)],
    "heaviside": [call(np.round(X), Y, grad=False), call(X, Y), call(N, M)],
    "logaddexp": [*PAIRS, call(Z, Z[::-1].copy())],
    "logaddexp2": PAIRS,
    "gcd": [call(N, M), call(N, np.array(6))],
    "lcm": [call(N, M)],
    "nextafter": [call(X, Y, grad=False)],
    "frexp": [call(X), call(ODD, grad=False)],
    "ldexp": [call(X, abs(M)), call(N, M), call(X, M, derivative=False)],
    "float_power": [call(abs(X), Y), call(X, 2), call(2, X), call(N, 0.5), call(Z, 2)],
    "isposinf": [call(ODD, grad=False), call(N)],
    "isneginf": [call(ODD, grad=False), call(N)],
    "isreal": [call(ODD, grad=False), call(Z, grad=False), call(N)],
}
