"""The operators and their kin."""

import numpy as np

from tests.samples import arr, bools, call, ints

X, Y = arr(3, 4), arr(3, 4, seed=1)
POSITIVE = arr(3, 4, low=0.5, high=3.0)
N, J = ints(3, 4, high=9), ints(3, 4, high=9, seed=1) + 1

_two = [call(X, Y), call(X, 2.5), call(X, arr(4)), call(arr(3, 1), arr(4)), call(N, J), call(X, J),
        call(np.array(2.0), X), call(X[:, :0], Y[:, :0]), call(X.T, Y.T)]  # fmt: skip
_divided = [call(X, POSITIVE), call(X, 2.5), call(N, J), call(X, J), call(X, arr(4, low=1.0))]
_bits = [call(N, J), call(bools(3), bools(3, seed=1)), call(N, 3)]
_logic = [call(bools(3), bools(3, seed=1)), call(N, J), call(X, Y, grad=False)]

SAMPLES = {
    "add": [*_two, call(X, Y, alpha=2)],
    "sub": [*_two, call(X, Y, alpha=0.5)],
    "rsub": [call(X, Y), call(X, 2.0)],
    "mul": _two,
    "div": [*_divided, call(X, POSITIVE, rounding_mode="floor", grad=False),
            call(X, POSITIVE, rounding_mode="trunc", grad=False),
              call(N - 4, J, rounding_mode="trunc")],
    "floor_divide": [call(X, POSITIVE, grad=False), call(N - 4, J), call(N, 2)],
    "remainder": [call(X, POSITIVE), call(N - 4, J), call(X, 0.7)],
    "fmod": [call(X, POSITIVE), call(N - 4, J), call(X, 0.7)],
    "pow": [call(POSITIVE, Y), call(2.0, X), call(X, 3), call(X, 2.0), call(X, 0), call(N, 2),
              call(POSITIVE, 0.5)],
    "neg": [call(X), call(N)],
    "addcmul": [call(X, Y, POSITIVE), call(X, Y, arr(4), value=2)],
    "addcdiv": [call(X, Y, POSITIVE), call(X, Y, POSITIVE, value=2)],
    "lerp": [call(X, Y, 0.3), call(X, Y, POSITIVE)],
    "bitwise_and": _bits, "bitwise_or": _bits, "bitwise_xor": _bits,
    "bitwise_not": [call(N), call(bools(3))],
    "bitwise_left_shift": [call(N, J), call(N, 2)],
    "bitwise_right_shift": [call(N, J), call(N, 2)],
}  # fmt: skip
SAMPLES |= {f"logical_{name}": _logic for name in ("and", "or", "xor")}
