"""Parametrizations: a parameter computed from others, whenever it is read.

After register_parametrization(layer, "weight", f) the attribute layer.weight is f(original), where
the original is a parameter at layer.parametrizations.weight.original.  The layer's class becomes a
subclass that has a property of that name; nothing else of the layer changes.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Any

from ...core.modes import no_grad
from ...core.tensor import Tensor
from ..modules.container import ModuleDict, ModuleList
from ..modules.module import Module
from ..parameter import Parameter

# The values computed inside cached(), by module and name; None outside.
_cache: ContextVar[dict[tuple[int, str], Tensor] | None] = ContextVar("cache", default=None)


@contextmanager
def cached() -> Iterator[None]:
    """Inside this block a parametrized tensor is computed once, when it is first read."""
    if _cache.get() is not None:
        yield
        return
    token = _cache.set({})
    try:
        yield
    finally:
        _cache.reset(token)


def _register(module: Module, name: str, tensor: Tensor) -> None:
    if isinstance(tensor, Parameter):
        module.register_parameter(name, tensor)
    else:
        module.register_buffer(name, tensor)


def _put(target: Tensor, value: Any) -> None:
    """Give `target` the memory of `value`, so that optimizers that hold it go on."""
    if not isinstance(value, Tensor):
        raise ValueError(
            f"`right_inverse` must return a Tensor here, got {type(value).__name__}; a sequence is "
            "for parametrizations whose forward takes several tensors"
        )
    if value.dtype is not target.dtype:
        raise ValueError(
            f"`right_inverse` outputs one tensor of dtype {value.dtype}, but the original has "
            f"dtype {target.dtype}; they must be the same"
        )
    target.data = value.detach()


class ParametrizationList(ModuleList):
    """The parametrizations of one tensor, applied in turn, and the original that they start from.

    The original is the parameter or buffer `original`; if the last right_inverse gives a sequence,
    there are original0, original1 ...

    modules: the parametrizations, original: the tensor as it was, unsafe: skip the check that the
        result has the original's dtype and shape
    """

    def __init__(self, modules: Sequence[Module], original: Tensor, unsafe: bool = False) -> None:
        if not modules:
            raise ValueError("ParametrizationList requires one or more modules.")
        super().__init__(modules)
        self.unsafe = unsafe
        shape, dtype = original.shape, original.dtype
        with no_grad():
            new: Any = original
            for module in reversed(self):
                # A parametrization may have no inverse, or none for this case.
                if hasattr(module, "right_inverse"):
                    with suppress(NotImplementedError):
                        new = module.right_inverse(new)
        if not isinstance(new, (Tensor, Sequence)):
            raise ValueError(
                "'right_inverse' must return a Tensor or a Sequence of tensors (list, tuple...). "
                f"Got {type(new).__name__}"
            )
        self.is_tensor = isinstance(new, Tensor)
        self.ntensors = 1 if self.is_tensor else len(new)
        if self.is_tensor:
            _put(original, new)
            _register(self, "original", original)
        else:
            for i, t in enumerate(new):
                if not isinstance(t, Tensor):
                    raise ValueError(
                        "'right_inverse' must return a Tensor or a Sequence of tensors (list, "
                        f"tuple...). Got element {i} of the sequence with type {type(t).__name__}."
                    )
                if isinstance(original, Parameter):
                    t = Parameter(t, original.requires_grad)
                _register(self, f"original{i}", t)
        if not unsafe:
            _check(self(), shape, dtype)

    @property
    def _originals(self) -> list[Tensor]:
        if self.is_tensor:
            return [self.original]
        return [getattr(self, f"original{i}") for i in range(self.ntensors)]

    @no_grad()
    def right_inverse(self, value: Tensor) -> None:
        """Set the originals so that the parametrized tensor becomes `value`."""
        new: Any = value
        for module in reversed(self):
            if not hasattr(module, "right_inverse"):
                raise RuntimeError(
                    f"parametrization {type(module).__name__} does not implement right_inverse."
                )
            new = module.right_inverse(new)
        if self.is_tensor:
            new = [new]
        elif not isinstance(new, Sequence) or len(new) != self.ntensors:
            raise ValueError(
                f"'right_inverse' must return a sequence of {self.ntensors} tensors, got "
                f"{type(new).__name__}"
            )
        for original, t in zip(self._originals, new):
            _put(original, t)

    def forward(self) -> Tensor:  # type: ignore[override]
        x: Any = self[0](*self._originals)
        for i in range(1, len(self)):
            x = self[i](x)
        return x  # type: ignore[no-any-return]


def _check(result: Any, shape: Any, dtype: Any) -> None:
    """Refuse a parametrization that changes what kind of tensor the module sees."""
    if not isinstance(result, Tensor):
        raise ValueError(f"A parametrization must return a tensor. Got {type(result).__name__}.")
    if result.dtype is not dtype:
        raise ValueError(
            "Registering a parametrization may not change the dtype of the tensor, unless `unsafe` "
            f"flag is enabled. Expected {dtype}, got {result.dtype}"
        )
    if result.shape != shape:
        raise ValueError(
            "Registering a parametrization may not change the shape of the tensor, unless `unsafe` "
            f"flag is enabled. Expected {tuple(shape)}, got {tuple(result.shape)}"
        )


# ---- the class of a parametrized module ----------------------------------------------------------


def _refuse_pickle(self: Module) -> Any:
    raise RuntimeError(
        "Serialization of parametrized modules is only supported through state_dict(): save that, "
        "and load it into a module with the same parametrizations"
    )


def _deepcopy(self: Module, memo: dict[int, Any]) -> Module:
    twin = self.__new__(type(self))
    memo[id(self)] = twin
    twin.__dict__ = copy.deepcopy(self.__dict__, memo)
    _own_class(twin, type_before_parametrizations(self))
    for name in twin.parametrizations:
        _add_property(twin, name)
    return twin


def _own_class(module: Module, cls: type) -> None:
    """Give the module a subclass of its own, which the properties go to."""
    module.__class__ = type(
        f"Parametrized{cls.__name__}",
        (cls,),
        {"__getstate__": _refuse_pickle, "__deepcopy__": _deepcopy, "__module__": cls.__module__},
    )


def _add_property(module: Module, name: str) -> None:
    def get(self: Any) -> Tensor:
        cache = _cache.get()
        if cache is None:
            return self.parametrizations[name]()  # type: ignore[no-any-return]
        key = (id(self), name)
        if key not in cache:
            cache[key] = self.parametrizations[name]()
        return cache[key]

    def set_(self: Any, value: Tensor) -> None:
        self.parametrizations[name].right_inverse(value)

    setattr(type(module), name, property(get, set_))


# ---- registering and removing --------------------------------------------------------------------


def register_parametrization(
    module: Module, tensor_name: str, parametrization: Module, *, unsafe: bool = False
) -> Module:
    """Let module.tensor_name be parametrization(original) from now on; returns the module.

    The parametrization's right_inverse, if it has one, says what the original is at first, and what
    an assignment to module.tensor_name does.  A second parametrization is applied to the value of
    the first; the original stays.

    ValueError if module has no parameter or buffer of that name, or if (not unsafe) the dtype or
    shape changes; then the module is as it was.
    """
    parametrization.train(module.training)
    if is_parametrized(module, tensor_name):
        _append(module, tensor_name, parametrization, unsafe)
        return module
    tables = module._parameters, module._buffers
    table = next((t for t in tables if t.get(tensor_name) is not None), None)
    if table is None:
        raise ValueError(
            f"Module '{module}' does not have a parameter, a buffer, or a parametrized element with "
            f"name '{tensor_name}'"
        )
    original = table[tensor_name]
    memory = original.data
    try:
        chain = ParametrizationList([parametrization], original, unsafe=unsafe)
    except Exception:
        original.data = memory
        raise
    del table[tensor_name]
    if not is_parametrized(module):
        _own_class(module, type(module))
        module.parametrizations = ModuleDict()
    _add_property(module, tensor_name)
    module.parametrizations[tensor_name] = chain
    return module


def _append(module: Any, name: str, parametrization: Module, unsafe: bool) -> None:
    """Apply one more parametrization to a tensor that has some; the originals stay."""
    chain = module.parametrizations[name]
    if not unsafe:
        now = getattr(module, name)
        with no_grad():
            new = parametrization(now)
            _check(new, now.shape, now.dtype)
            if hasattr(parametrization, "right_inverse"):
                _check(parametrization.right_inverse(new), now.shape, now.dtype)
    chain.append(parametrization)
    chain.unsafe |= unsafe


def is_parametrized(module: Module, tensor_name: str | None = None) -> bool:
    """Whether a module has parametrizations, or one of this tensor."""
    found = module._modules.get("parametrizations")
    if not isinstance(found, ModuleDict):
        return False
    return len(found) > 0 if tensor_name is None else tensor_name in found


def remove_parametrizations(
    module: Module, tensor_name: str, leave_parametrized: bool = True
) -> Module:
    """Make module.tensor_name a plain parameter or buffer again; returns the module.

    leave_parametrized: with the value that it has now, else with the original's

    ValueError if the tensor is not parametrized, or if it has several originals and
    leave_parametrized=False.
    """
    if not is_parametrized(module, tensor_name):
        raise ValueError(f"Module {module} does not have a parametrization on {tensor_name}")
    chain = module.parametrizations[tensor_name]
    if chain.is_tensor:
        original = chain.original
        if leave_parametrized:
            with no_grad():
                _put(original, getattr(module, tensor_name))
    elif leave_parametrized:
        value = getattr(module, tensor_name).detach()
        first = chain.original0
        original = Parameter(value, first.requires_grad) if isinstance(first, Parameter) else value
    else:
        raise ValueError(
            "Cannot leave unparametrized (`leave_parametrized=False`) a tensor that is "
            "parametrized in terms of a sequence of tensors."
        )
    delattr(type(module), tensor_name)
    del module.parametrizations[tensor_name]
    _register(module, tensor_name, original)
    if not is_parametrized(module):
        del module.parametrizations
        module.__class__ = type(module).__bases__[0]
    return module


def type_before_parametrizations(module: Module) -> type:
    """The class that the module had before it was parametrized."""
    return type(module).__bases__[0] if is_parametrized(module) else type(module)


def transfer_parametrizations_and_params(
    from_module: Module, to_module: Module, tensor_name: str | None = None
) -> Module:
    """Give to_module the parametrizations of from_module (of one tensor, or all) and its values."""
    if not is_parametrized(from_module):
        return to_module
    if tensor_name is not None and tensor_name not in from_module.parametrizations:
        raise ValueError(f"{tensor_name} is not parametrized in {from_module}")
    for name in [tensor_name] if tensor_name else list(from_module.parametrizations):
        source = from_module.parametrizations[name]
        if not hasattr(to_module, name):
            _register(to_module, name, copy.deepcopy(source._originals[0]))
        for parametrization in source:
            register_parametrization(to_module, name, parametrization, unsafe=True)
        target = to_module.parametrizations[name]
        for mine, theirs in zip(target._originals, source._originals):
            _put(mine, theirs)
    return to_module
