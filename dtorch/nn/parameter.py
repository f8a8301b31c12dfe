"""Parameter and Buffer: tensors that a Module registers when they are assigned to it."""

from __future__ import annotations

from typing import Any

from ..core.ops import create
from ..core.tensor import Tensor, as_subclass, wrap


class _Registered(Tensor):
    """A tensor of its own that shares the memory of another."""

    # What is done with the values gives plain tensors, so that a Module doesn't register them too.
    data = property(lambda self: wrap(self._a), Tensor.data.fset)  # type: ignore[attr-defined]


class Parameter(_Registered):
    """A tensor that a Module registers as a parameter; it requires a gradient unless told not to.

    data: a Tensor, with which the parameter shares memory, but not history; None for an empty one
    """

    def __new__(cls, data: Tensor | None = None, requires_grad: bool = True) -> Any:
        if data is None:
            data = create.zeros(0)
        if not isinstance(data, Tensor):
            raise TypeError(f"Parameter(): expected a Tensor, got {type(data).__name__}")
        self = as_subclass(data.detach(), cls)
        return self.requires_grad_() if requires_grad else self

    # mypy drops the names of a special method's arguments.
    def __repr__(self, *, tensor_contents: Any = None) -> str:  # type: ignore[override]
        return "Parameter containing:\n" + super().__repr__(tensor_contents=tensor_contents)  # type: ignore[call-arg]


class Buffer(_Registered):
    """A tensor that a Module registers as a buffer; one that is not persistent isn't saved."""

    def __new__(
        cls, data: Tensor | None = None, requires_grad: bool = False, *, persistent: bool = True
    ) -> Any:
        if data is None:
            data = create.zeros(0)
        if not isinstance(data, Tensor):
            raise TypeError(f"Buffer(): expected a Tensor, got {type(data).__name__}")
        self = as_subclass(data.detach(), cls)
        self.persistent = persistent
        return self.requires_grad_() if requires_grad else self
