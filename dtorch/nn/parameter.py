"""Parameter and Buffer: tensors that a Module registers when they are assigned to it."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from ..core.ops import create
from ..core.rebuild import _rebuild_from_type_v2, deepcopy_tensor, reduce_plain, set_state, state_of
from ..core.tensor import Tensor, as_subclass, disabled_torch_function


class _Registered(Tensor):
    """A tensor of its own that shares the memory of another."""

    # What is done with it gives plain tensors, so that a Module doesn't register them too.
    __torch_function__ = staticmethod(disabled_torch_function)


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

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return deepcopy_tensor(
            self, memo, grad=False
        )  # as in torch, where a plain tensor's goes along

    def __reduce_ex__(self, protocol: Any) -> Any:
        args: Any = (self.data, self.requires_grad, OrderedDict())
        state = state_of(self)
        if state:
            return _rebuild_parameter_with_state, (*args, state)
        return _rebuild_parameter, args

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

    def __reduce_ex__(self, protocol: Any) -> Any:
        make, args = reduce_plain(self)
        return _rebuild_from_type_v2, (make, Tensor, args, {**state_of(self), "_is_buffer": True})


# ---- without a shape yet ---------------------------------------------------------------------


class UninitializedTensorMixin:
    """What parameters and buffers of lazy modules are until a first input tells their shape.

    They have a dtype and a device; whatever needs values or a shape raises.  materialize() makes
    the very same object one of `cls_to_become`.
    """

    cls_to_become: Any = None

    def materialize(self: Any, shape: Any, device: Any = None, dtype: Any = None) -> None:
        """Give it memory of this shape (the values are not set), on its device unless told."""
        device = self.device if device is None else device
        self.data = create.empty(shape, device=device, dtype=dtype or self.dtype)
        self.__class__ = self.cls_to_become

    @property
    def shape(self) -> Any:
        raise RuntimeError(
            "Can't access the shape of an uninitialized parameter or buffer. This error usually "
            "happens in `load_state_dict` when trying to load an uninitialized parameter into an "
            "initialized one. Call `forward` to initialize the parameters before accessing their "
            "attributes."
        )

    def share_memory_(self) -> Any:
        raise RuntimeError(
            "Can't share memory on an uninitialized parameter or buffer. Call `forward` to "
            "initialize the parameters before calling `module.share_memory()`."
        )

    def __repr__(self, **kwargs: Any) -> str:
        return f"<{type(self).__name__}>"

    def __reduce_ex__(self: Any, protocol: Any) -> Any:
        return type(self), (self.requires_grad, self.device, self.dtype)

    def __deepcopy__(self: Any, memo: dict[int, Any]) -> Any:
        memo[id(self)] = made = type(self)(self.requires_grad, self.device, self.dtype)
        return made

    @classmethod
    def __torch_function__(
        cls, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if not any(func is getattr(Tensor, name) for name in _ALLOWED):
            raise refused(cls, func.__name__)
        result = super().__torch_function__(func, types, args, kwargs)  # type: ignore[misc]
        return func(*args, **(kwargs or {})) if result is NotImplemented else result


# What changes no more than dtype and device, or asks for them.
_ALLOWED = {
    "copy_", "is_complex", "is_floating_point", "half", "bfloat16", "float", "double", "char",
    "short", "int", "long", "cuda", "cpu", "to", "get_device",
}  # fmt: skip


def refused(cls: type, name: str) -> ValueError:
    return ValueError(
        f"Attempted to use an uninitialized parameter in {name}. This error happens when you are "
        "using a `LazyModule` or explicitly manipulating `dtorch.nn.parameter."
        f"{cls.__name__}` objects. When using LazyModules Call `forward` with a dummy batch to "
        "initialize the parameters before calling torch functions"
    )


def is_lazy(param: Any) -> bool:
    """Whether it is a parameter or buffer that has no shape yet."""
    return isinstance(param, UninitializedTensorMixin)


def __getattr__(name: str) -> Any:
    if name in ("UninitializedParameter", "UninitializedBuffer"):
        from . import uninitialized

        return getattr(uninitialized, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


# What pickles, and files of dtorch.save, call: named as in torch._utils.


def _rebuild_parameter(data: Tensor, requires_grad: bool, backward_hooks: Any) -> Parameter:
    p = Parameter(data, requires_grad)
    for hook in backward_hooks.values():
        p.register_hook(hook)
    return p


def _rebuild_parameter_with_state(
    data: Tensor, requires_grad: bool, backward_hooks: Any, state: Any
) -> Parameter:
    return set_state(_rebuild_parameter(data, requires_grad, backward_hooks), state)
