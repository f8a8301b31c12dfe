"""Functions of sparse tensors, under torch.sparse's names."""

from __future__ import annotations

from typing import Any

from .core.gradcheck import as_sparse_gradcheck
from .core.methods import public
from .core.ops.linalg import addmm
from .core.ops.reduce import sum as _sum
from .core.ops.sparse_create import check_sparse_tensor_invariants, spdiags
from .core.ops.sparse_linalg import sampled_addmm, sparse_mm
from .core.ops.sparse_math import log_softmax, softmax
from .core.surface import classes

addmm = public(addmm)
mm = public(sparse_mm)
sampled_addmm = public(sampled_addmm)
globals().update(classes(".sparse"))  # FloatTensor(indices, values, size) and its kin


def sum(input: Any, dim: Any = None, dtype: Any = None) -> Any:
    """The sum over `dim`; sparse, unless no sparse dimension is left.  Default: all, a 0-d tensor."""
    return _sum(input, dim, dtype=dtype)


__all__ = [
    "addmm", "as_sparse_gradcheck", "check_sparse_tensor_invariants", "log_softmax", "mm",
    "sampled_addmm", "softmax", "spdiags", "sum",
]  # fmt: skip
