"""Variable: what torch has kept of its first releases, where it was a Tensor with a history."""

from __future__ import annotations

from typing import Any

from ..core.tensor import Tensor
from ..core.walk import queue_callback


class _Engine:
    """Where torch's hooks find queue_callback."""

    queue_callback = staticmethod(queue_callback)


class _VariableMeta(type):
    def __instancecheck__(cls, obj: Any) -> bool:
        return isinstance(obj, Tensor)

    def __call__(cls, data: Tensor, requires_grad: bool = False, volatile: bool = False) -> Tensor:
        t = data.detach()
        return t.requires_grad_() if requires_grad else t


class Variable(metaclass=_VariableMeta):
    """Variable(data, requires_grad=False): the tensor itself, as a leaf.  Any Tensor is one."""

    _execution_engine = _Engine()
