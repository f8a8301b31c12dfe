"""Random tensors: run for shapes, dtypes and repeatability; the values differ from torch's."""

import numpy as np

from tests.samples import Sample, arr, call


def drawn(*args, **kwargs) -> Sample:  # type: ignore[no-untyped-def]
    return call(*args, grad=False, reference=False, **kwargs)


X = arr(3, 4, low=0.1, high=0.9)

SAMPLES = {
    "rand": [drawn(3, 4), drawn((2,)), drawn(0)],
    "randn": [drawn(3, 4), drawn((2,))],
    "rand_like": [drawn(X)],
    "randn_like": [drawn(X)],
    "randint": [drawn(5, (3, 4)), drawn(-2, 3, (4,))],
    "randint_like": [drawn(X, 5)],
    "randperm": [drawn(6), drawn(0)],
    "normal": [drawn(X, X), drawn(0.0, 1.0, (3,)), drawn(X), drawn(1.0, X)],
    "bernoulli": [drawn(X), drawn(X, 0.3)],
    "poisson": [drawn(X)],
    "binomial": [drawn(np.full(3, 5.0), X[:, :3])],
    "multinomial": [drawn(X, 2), drawn(X, 9, True), drawn(X[0], 3)],
}  # fmt: skip
