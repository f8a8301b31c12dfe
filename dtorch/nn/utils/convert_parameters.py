"""Parameters as one vector, and back."""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

from ...core.ops.join import cat
from ...core.tensor import Tensor


def parameters_to_vector(parameters):
    """All parameters one after another.  -> (number of elements,)"""
    return cat([p.reshape(-1) for p in parameters])


def vector_to_parameters(vec, parameters):
    """Let the parameters be views of `vec`, (number of elements,), one after another."""
    if not isinstance(vec, Tensor):
        raise TypeError(f"expected dtorch.Tensor, but got: {type(vec).__name__}")
    parameters = list(parameters)
    total = sum(p.numel() for p in parameters)
    if vec.numel() != total:
        raise ValueError(f"the vector has {vec.numel()} elements, the parameters have {total}")
    start = 0
    for p in parameters:
        p.data = vec[start : start + p.numel()].view(p.shape).data
        start += p.numel()
