"""Complex arguments, beside real ones: torch's convention for their gradients."""

from tests.samples import arr, call

X = arr(2, 3)
Z = arr(2, 3, seed=1) + 1j * arr(2, 3, seed=2)
W = arr(2, 3, low=0.5, seed=3) - 1j * arr(2, 3, seed=4)
M = arr(3, 2, seed=5) + 1j * arr(3, 2, seed=6)
SQUARE = arr(2, 2, seed=7) + 1j * arr(2, 2, seed=8)

SAMPLES = {
    "add": [call(Z, X), call(X, Z), call(Z, 1 - 2j)],
    "sub": [call(X, Z)],
    "mul": [call(Z, W), call(X, Z), call(Z, 2.0), call(X, 1 + 2j)],
    "div": [call(Z, W), call(X, W), call(Z, arr(2, 3, low=0.5))],
    "pow": [call(Z, 3), call(Z, 2)],
    "neg": [call(Z)],
    "reciprocal": [call(W)],
    "square": [call(Z)],
    "exp": [call(Z)],
    "log": [call(W)],
    "sqrt": [call(W)],
    "sin": [call(Z)],
    "cos": [call(Z)],
    "tanh": [call(arr(3) * (0.3 + 0.1j))],
    "abs": [call(Z)],
    "angle": [call(Z), call(X)],
    "polar": [call(arr(2, 3, low=0.5), X), call(arr(2, 1, low=1.0), arr(3))],
    "complex": [call(X, arr(3)), call(arr(2, 1), X)],
    "real": [call(Z), call(X)],
    "imag": [call(Z)],
    "view_as_real": [call(Z)],
    "view_as_complex": [call(arr(3, 2))],
    "conj_physical": [call(Z)],
    "resolve_conj": [call(Z)],
    "resolve_neg": [call(X)],
    "sgn": [call(Z)],
    "linalg.inv": [call(SQUARE)],
    "linalg.det": [call(SQUARE)],
    "linalg.slogdet": [call(SQUARE)],
    "linalg.solve": [call(SQUARE, M[:2])],
    "conj": [call(Z), call(X)],
    "logcumsumexp": [call(Z, 1)],
    "nn.functional.rms_norm": [call(Z, (3,), W[0])],
    "sum": [call(Z), call(Z, 1, keepdim=True)],
    "mean": [call(Z)],
    "matmul": [call(Z, M)],
    "reshape": [call(Z, (3, 2))],
    "cat": [call([Z, W], 1)],
    "where": [call(X > 0, Z, W)],
}
