"""What the distributions share: broadcasting, probabilities and logits, lazy properties."""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

import numbers
from functools import update_wrapper

from ..core.dtype import finfo, get_default_dtype
from ..core.modes import enable_grad
from ..core.ops.activation import softmax
from ..core.ops.create import arange, tensor
from ..core.ops.pointwise import sigmoid
from ..core.ops.random import randn
from ..core.ops.shape import broadcast_tensors
from ..core.tensor import Tensor

__all__ = [
    "broadcast_all", "clamp_probs", "lazy_property", "logits_to_probs", "probs_to_logits",
    "tril_matrix_to_vec", "vec_to_tril_matrix",
]  # fmt: skip

euler_constant = 0.57721566490153286060


def broadcast_all(*values):
    """The values as tensors of one shape; numbers take dtype and device of the first tensor.

    ValueError if one is neither a tensor nor a number.
    """
    if not all(isinstance(v, (Tensor, numbers.Number)) for v in values):
        raise ValueError(
            "Input arguments must all be instances of Number, "
            "torch.Tensor or objects implementing __torch_function__."
        )
    first = next((v for v in values if isinstance(v, Tensor)), None)
    options = (
        {"dtype": get_default_dtype()}
        if first is None
        else {"dtype": first.dtype, "device": first.device}
    )
    return broadcast_tensors(
        *[v if isinstance(v, Tensor) else tensor(v, **options) for v in values]
    )


def full_like_batch(distribution, value, like):
    """A tensor of one value, in the shape of a sample, and with the dtype and device of `like`."""
    return like.new_full(distribution._extended_shape(), value)


def _standard_normal(shape, dtype, device):
    return randn(shape, dtype=dtype, device=device)


def _sum_rightmost(value, dim):
    """The sum over the last `dim` dimensions."""
    return value if dim == 0 else value.reshape(value.shape[:-dim] + (-1,)).sum(-1)


def logits_to_probs(logits, is_binary=False):
    """Of log odds the probabilities; or, if not binary, softmax along the last dimension."""
    return sigmoid.fn(logits) if is_binary else softmax(logits, dim=-1)


def clamp_probs(probs):
    """Probabilities kept off 0 and 1 by the dtype's eps."""
    eps = finfo(probs.dtype).eps
    return probs.clamp(min=eps, max=1 - eps)


def probs_to_logits(probs, is_binary=False):
    """The log odds of probabilities, or, if not binary, their logarithms; both of clamped ones."""
    probs = clamp_probs(probs)
    return probs.log() - (-probs).log1p() if is_binary else probs.log()


class lazy_property:
    """A property that is computed on first use, with gradients, and then is an attribute."""

    def __init__(self, wrapped):
        self.wrapped = wrapped
        update_wrapper(self, wrapped)

    def __get__(self, instance, owner=None):
        if instance is None:
            return self
        with enable_grad():
            value = self.wrapped(instance)
        setattr(instance, self.wrapped.__name__, value)
        return value


def _tril_mask(n, diag, device):
    """bool (n, n): True on the diagonal `diag` and below it."""
    index = arange(n, device=device)
    return index < index.reshape(-1, 1) + (diag + 1)


def tril_matrix_to_vec(mat, diag=0):
    """The elements on and below a diagonal, row by row: (..., D, D) -> (..., N)."""
    n = mat.shape[-1]
    if not -n <= diag < n:
        raise ValueError(f"diag ({diag}) provided is outside [{-n}, {n - 1}].")
    return mat[..., _tril_mask(n, diag, mat.device)]


def vec_to_tril_matrix(vec, diag=0):
    """The lower triangular matrix of its elements, row by row: (..., N) -> (..., D, D)."""
    # N = D (D + 1) / 2 + diag D - (what of the |diag| rows or columns is outside), solved for D
    b = 1 + 2 * diag
    n = (-b + (b**2 + 8 * vec.shape[-1] + 4 * abs(diag) * (diag + 1)) ** 0.5) / 2
    if abs(round(n) - n) > finfo(vec.dtype).eps:
        raise ValueError(
            f"The size of last dimension is {vec.shape[-1]} which cannot be expressed as "
            "the lower triangular part of a square D x D matrix."
        )
    n = round(n)
    mat = vec.new_zeros((*vec.shape[:-1], n, n))
    mat[..., _tril_mask(n, diag, vec.device)] = vec
    return mat
