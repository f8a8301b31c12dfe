"""torch.autograd.function's names."""

from __future__ import annotations

from typing import Any

from ..core.function import Context as FunctionCtx
from ..core.function import Function, once_differentiable

__all__ = ["Function", "FunctionCtx", "InplaceFunction", "NestedIOFunction", "once_differentiable"]


class InplaceFunction(Function):
    """Function under the name that torch keeps for code that was written for its first releases."""

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.inplace = inplace


class NestedIOFunction(Function):
    """torch keeps this name, too, but neither runs it: its methods are not static.

    A Function takes what is nested in lists or dicts as a plain argument, without gradients: pass the
    tensors in it as arguments of their own.
    """

    @staticmethod
    def forward(*args: Any) -> Any:
        raise NotImplementedError("NestedIOFunction: use Function, with each tensor as an argument")
