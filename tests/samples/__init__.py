"""Sample calls of every public function, by torch's dotted name: what the op tests run.

Each file here is a family of core/ops and holds SAMPLES, {name: [call(...), ...]}.  Arrays of floats
become tensors that require gradients, arrays of integers and bools tensors that do not.  The test
runs each call in dtorch and in torch, checks gradients by finite differences, and requires that all
the ops of the registry were run by some sample.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any, NamedTuple

import numpy as np


class Sample(NamedTuple):
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    grad: bool = True  # whether finite differences say anything (not at kinks, not of random ops)
    reference: bool = True  # whether torch computes the same values (not for random ops)
    derivative: bool = True  # whether torch has a derivative: some are only ours


def call(
    *args: Any, grad: bool = True, reference: bool = True, derivative: bool = True, **kwargs: Any
) -> Sample:
    return Sample(args, kwargs, grad, reference, derivative)


class Sparse(NamedTuple):
    """An array of which the elements in the mask are stored, in a sparse layout."""

    array: Any
    mask: Any
    to: str  # the method that makes the layout of coordinates


def sparse(array: Any, to: str = "to_sparse") -> Sparse:
    """A third of the elements, which are variables; what is not stored is not differentiated."""
    return Sparse(array, bools(*array.shape, seed=1) & bools(*array.shape, seed=2), to)


def arr(*shape: int, low: float = -2.0, high: float = 2.0, seed: int = 0) -> Any:
    """float64 values in [low, high), well apart from each other so that maxima are unique."""
    rng = np.random.default_rng([seed, *shape])
    n = int(np.prod(shape))
    values = low + (high - low) * (rng.permutation(n) + rng.uniform(0.3, 0.7, n)) / max(n, 1)
    return values.reshape(shape)


def ints(*shape: int, high: int, seed: int = 0) -> Any:
    return np.random.default_rng([seed, *shape]).integers(0, high, shape)


def bools(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng([seed, *shape]).integers(0, 2, shape).astype(bool)


def all_samples() -> dict[str, list[Sample]]:
    found: dict[str, list[Sample]] = {}
    for module in pkgutil.iter_modules(__path__):
        family = importlib.import_module(f"{__name__}.{module.name}").SAMPLES
        for function, calls in family.items():
            found.setdefault(function, []).extend(calls)
    return found
