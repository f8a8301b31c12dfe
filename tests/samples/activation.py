"""Activations."""

import numpy as np

from tests.samples import arr, call

X = arr(3, 4)
CUBE = arr(2, 4, 3)
FAR = arr(3, 5, low=-8, high=8)

_plain = {
    f"nn.functional.{name}": [call(X), call(FAR)]
    for name in (
        "relu", "relu6", "hardswish", "silu", "mish", "logsigmoid", "softsign",
        "tanhshrink", "selu",
    )
}  # fmt: skip

SAMPLES = _plain | {
    "relu": [call(X), call(np.array(1.5))],
    # torch's gradient has a 1 / 6 of float32; its values are compared in test_functional.py
    "nn.functional.hardsigmoid": [call(FAR, reference=False)],
    "nn.functional.leaky_relu": [call(X), call(X, 0.3)],
    "nn.functional.elu": [call(X), call(X, 0.5)],
    "nn.functional.celu": [call(X), call(X, 0.5)],
    "nn.functional.gelu": [call(FAR), call(FAR, approximate="tanh")],
    "nn.functional.softplus": [call(X), call(FAR, 2.0, 4.5)],
    "nn.functional.hardtanh": [call(X), call(X, -0.55, 1.55)],
    "nn.functional.softshrink": [call(X), call(X, 1.05)],
    "nn.functional.hardshrink": [call(X), call(X, 1.05)],
    "nn.functional.threshold": [call(X, 0.5, -3.0)],
    "nn.functional.prelu": [call(X, np.array([0.3])), call(CUBE, arr(4, seed=1))],
    "nn.functional.rrelu": [call(X), call(X, 0.1, 0.3, True, grad=False, reference=False)],
    "nn.functional.glu": [call(X), call(CUBE, 1)],
    "nn.functional.softmax": [call(X, 1), call(CUBE, 0), call(X, -1)],
    "nn.functional.log_softmax": [call(X, 1), call(CUBE, 0), call(FAR, -1)],
    "nn.functional.softmin": [call(X, 1)],
    "softmax": [call(X, 0), call(np.array(2.0), 0)],
    "log_softmax": [call(X, 0)],
}
