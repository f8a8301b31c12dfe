"""Linear algebra under torch.linalg's names."""

from __future__ import annotations

from typing import Any

from .core.methods import public
from .core.ops.decompose import LINALG, LinAlgError
from .core.ops.linalg import cross as _cross
from .core.ops.linalg import matmul
from .core.ops.shape import broadcast_shapes

globals().update({name: public(fn) for name, fn in LINALG.items()})


def cross(input: Any, other: Any, *, dim: int = -1) -> Any:
    """The cross product of vectors of three along `dim`."""
    broadcast_shapes(input.shape, other.shape)
    return _cross(input, other, dim)


def vecdot(x: Any, y: Any, *, dim: int = -1) -> Any:
    """The dot products of the vectors along `dim`, the first conjugated."""
    return (x.conj() * y if x.is_complex() else x * y).sum(dim)


def multi_dot(tensors: Any) -> Any:
    """The product of several matrices, from left to right."""
    result = tensors[0]
    for t in tensors[1:]:
        result = matmul(result, t)
    return result


def diagonal(A: Any, *, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Any:
    """A view of the diagonals of matrices."""
    return A.diagonal(offset, dim1, dim2)


__all__ = [*LINALG, "LinAlgError", "cross", "diagonal", "matmul", "multi_dot", "vecdot"]
