"""ReduceOp: how values of several ranks become one."""

from __future__ import annotations

import enum
from typing import Any, NamedTuple

from dtorch.core.tensor import Tensor


class ReduceOp(str, enum.Enum):
    """The reductions of dtorch.distributed.

    AVG is of floating and complex tensors, MIN and MAX of all but complex ones, BAND, BOR and BXOR
    of integers and bools.  PREMUL_SUM, where each rank's tensor is first multiplied by a factor of
    that rank, is made by `_make_nccl_premul_sum(factor)`, torch's name for it.
    """

    SUM = "sum"
    AVG = "avg"
    PRODUCT = "product"
    MIN = "min"
    MAX = "max"
    BAND = "band"
    BOR = "bor"
    BXOR = "bxor"
    PREMUL_SUM = "premul_sum"

    def __str__(self) -> str:
        return self.value


class PremulSum(NamedTuple):
    """PREMUL_SUM with its factor, a number or a tensor of one element."""

    factor: Any


def _make_nccl_premul_sum(factor: float | Tensor) -> PremulSum:
    """The sum of the ranks' tensors, each multiplied by its rank's factor first."""
    return PremulSum(factor)


def supports_complex(reduceOp: ReduceOp) -> bool:
    """Whether complex tensors can be reduced so.  (PRODUCT can here, unlike in torch.)"""
    return reduceOp in (ReduceOp.SUM, ReduceOp.AVG, ReduceOp.PRODUCT, ReduceOp.PREMUL_SUM)


def prepare(op: ReduceOp | PremulSum | str, tensor: Tensor) -> tuple[str, Any]:
    """The name of the reduction and this rank's share in it, if the tensor's dtype allows it."""
    if isinstance(op, PremulSum):
        return "sum", (tensor.detach() * op.factor).to(tensor.dtype)._a
    try:
        op = ReduceOp(op)
    except ValueError:
        raise ValueError(f"expected one of ReduceOp's names, got {op!r}") from None
    if op is ReduceOp.PREMUL_SUM:
        raise ValueError("PREMUL_SUM needs a factor: use _make_nccl_premul_sum(factor)")
    category = tensor.dtype.category
    if category == 3 and not supports_complex(op):
        raise ValueError(f"all_reduce does not support ReduceOp.{op.name} on complex tensors")
    if op is ReduceOp.AVG and category < 2:
        raise ValueError(f"ReduceOp.AVG needs a floating or complex tensor, got {tensor.dtype}")
    if op in (ReduceOp.BAND, ReduceOp.BOR, ReduceOp.BXOR) and category > 1:
        raise ValueError(f"ReduceOp.{op.name} needs integers or bools, got {tensor.dtype}")
    return op.value, tensor._a
