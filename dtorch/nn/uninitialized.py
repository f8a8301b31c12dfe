"""UninitializedParameter and UninitializedBuffer, which see each use of them to refuse it.

They are imported when first asked for: once a subclass of Tensor with a __torch_function__ exists,
every function of the package looks for it among its arguments.
"""

from __future__ import annotations

from typing import Any

from ..core.ops import create
from ..core.tensor import Tensor, as_subclass
from .parameter import Parameter, UninitializedTensorMixin, refused


class UninitializedParameter(UninitializedTensorMixin, Parameter):
    """A Parameter whose shape is still unknown."""

    __module__ = "dtorch.nn.parameter"
    cls_to_become = Parameter

    def __new__(cls, requires_grad: bool = True, device: Any = None, dtype: Any = None) -> Any:
        self = as_subclass(create.empty(0, device=device, dtype=dtype), cls)
        self._rg = requires_grad
        return self


class UninitializedBuffer(UninitializedTensorMixin, Tensor):
    """A buffer whose shape is still unknown."""

    __module__ = "dtorch.nn.parameter"
    cls_to_become = Tensor

    def __new__(
        cls, requires_grad: bool = False, device: Any = None, dtype: Any = None,
        persistent: bool = True,
    ) -> Any:  # fmt: skip
        self = as_subclass(create.empty(0, device=device, dtype=dtype), cls)
        self._rg, self.persistent = requires_grad, persistent
        return self


def _refusing(name: str) -> Any:
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        raise refused(type(self), name)

    return method


# Methods that no __torch_function__ sees, since they make no tensors.
for _name in ("dim", "numel", "nelement", "stride", "is_contiguous", "storage", "untyped_storage",
              "tolist", "numpy", "item", "requires_grad_", "__len__", "__bool__"):  # fmt: skip
    for _class in (UninitializedParameter, UninitializedBuffer):
        setattr(_class, _name, _refusing(_name))
