"""Module: the base class of all layers and models."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from ...core import dtype as dtypes
from ...core.surface import typename
from ...core.tensor import Tensor
from ..parameter import Buffer, Parameter, UninitializedTensorMixin
from ._global_hooks import (
    _global_buffer_registration_hooks,
    _global_module_registration_hooks,
    _global_parameter_registration_hooks,
    register_module_backward_hook,
    register_module_buffer_registration_hook,
    register_module_forward_hook,
    register_module_forward_pre_hook,
    register_module_full_backward_hook,
    register_module_full_backward_pre_hook,
    register_module_module_registration_hook,
    register_module_parameter_registration_hook,
    registering,
)
from ._hooks import TABLES, Hooks
from ._state import State

__all__ = [
    "Module", "register_module_backward_hook", "register_module_buffer_registration_hook",
    "register_module_forward_hook", "register_module_forward_pre_hook",
    "register_module_full_backward_hook", "register_module_full_backward_pre_hook",
    "register_module_module_registration_hook", "register_module_parameter_registration_hook",
]  # fmt: skip

M = TypeVar("M", bound="Module")


class Module(Hooks, State):
    """Base class of all layers and models, with torch's behaviour.

    A subclass calls super().__init__(), assigns Parameters, Buffers and other Modules to its
    attributes, which registers them, and defines forward().
    """

    dump_patches = False
    call_super_init = False  # whether Module passes its arguments on, to the next class of several
    training: bool

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if (args or kwargs) and not self.call_super_init:
            wrong = (
                f"got an unexpected keyword argument '{next(iter(kwargs))}'"
                if kwargs
                else f"takes 1 positional argument but {len(args) + 1} were given"
            )
            raise TypeError(f"{type(self).__name__}.__init__() {wrong}")
        fill = object.__setattr__
        fill(self, "training", True)
        for table in ("_parameters", "_buffers", "_modules"):
            fill(self, table, {})
        fill(self, "_non_persistent_buffers_set", set())
        fill(self, "_is_full_backward_hook", None)
        for hooks in TABLES:
            fill(self, hooks, OrderedDict())
        if self.call_super_init:
            super().__init__(*args, **kwargs)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the module computes; each subclass defines it."""
        raise NotImplementedError(
            f'Module [{type(self).__name__}] is missing the required "forward" function'
        )

    # ---- attributes ------------------------------------------------------------------------------

    def __getattr__(self, name: str) -> Any:
        own = self.__dict__
        for table in ("_parameters", "_buffers", "_modules"):
            if table in own and name in own[table]:
                return own[table][name]
        raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")

    def __setattr__(self, name: str, value: Any) -> None:
        for table_name, kind, word, hooks in _KINDS:
            table = self.__dict__.get(table_name)
            if isinstance(value, kind):
                if table is None:
                    some = "parameters" if word == "parameter" else word
                    raise AttributeError(f"cannot assign {some} before Module.__init__() call")
                self._forget(name, but=table)
                if word == "buffer":
                    self.register_buffer(name, value, value.persistent)
                elif word == "parameter":
                    self.register_parameter(name, value)
                else:
                    table[name] = registering(_global_module_registration_hooks, self, name, value)
                return
            if table and name in table:
                if value is not None and not (word == "buffer" and isinstance(value, Tensor)):
                    raise TypeError(
                        f"cannot assign '{typename(value)}' as {_AS[word].format(name)}"
                    )
                table[name] = value if hooks is None else registering(hooks, self, name, value)
                return
        object.__setattr__(self, name, value)

    def __delattr__(self, name: str) -> None:
        for table in (self._parameters, self._buffers, self._modules):
            if name in table:
                del table[name]
                self._non_persistent_buffers_set.discard(name)
                return
        object.__delattr__(self, name)

    def __dir__(self) -> list[str]:
        names = {*super().__dir__(), *self._parameters, *self._buffers, *self._modules}
        return sorted(n for n in names if not n[0].isdigit())

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.__dict__.setdefault("_non_persistent_buffers_set", set())
        self.__dict__.setdefault("_is_full_backward_hook", None)
        for hooks in TABLES:
            self.__dict__.setdefault(hooks, OrderedDict())

    def _forget(self, name: str, but: dict[str, Any]) -> None:
        """Take `name` out of wherever else it is registered."""
        for table in (self.__dict__, self._parameters, self._buffers, self._modules):
            if table is not but:
                table.pop(name, None)
        self._non_persistent_buffers_set.discard(name)

    def _check_name(self, kind: str, name: str, table: dict[str, Any]) -> None:
        if not isinstance(name, str):
            raise TypeError(f"{kind} name should be a string. Got {typename(name)}")
        if "." in name:
            raise KeyError(f'{kind} name can\'t contain ".", got: {name}')
        if name == "":
            raise KeyError(f'{kind} name can\'t be empty string ""')
        if name not in table and hasattr(self, name):
            raise KeyError(f"attribute '{name}' already exists")

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Register a leaf Parameter (or None: a place for one) under `name`."""
        if "_parameters" not in self.__dict__:
            raise AttributeError("cannot assign parameter before Module.__init__() call")
        self._check_name("parameter", name, self._parameters)
        if param is not None and not isinstance(param, Parameter):
            raise TypeError(
                f"cannot assign '{typename(param)}' object to parameter '{name}' "
                "(dtorch.nn.Parameter or None required)"
            )
        if param is not None and param.grad_fn is not None:
            raise ValueError(
                f"Cannot assign non-leaf Tensor to parameter '{name}'. Model parameters must be "
                f"created explicitly. To express '{name}' as a function of another Tensor, compute "
                "the value in the forward() method."
            )
        if param is not None:
            param = registering(_global_parameter_registration_hooks, self, name, param)
        self._parameters[name] = param

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Register a tensor that is no parameter; one that is not persistent is not saved."""
        if "_buffers" not in self.__dict__:
            raise AttributeError("cannot assign buffer before Module.__init__() call")
        self._check_name("buffer", name, self._buffers)
        if tensor is not None and not isinstance(tensor, Tensor):
            raise TypeError(
                f"cannot assign '{typename(tensor)}' object to buffer '{name}' "
                "(dtorch Tensor or None required)"
            )
        self._buffers[name] = registering(_global_buffer_registration_hooks, self, name, tensor)
        if persistent:
            self._non_persistent_buffers_set.discard(name)
        else:
            self._non_persistent_buffers_set.add(name)

    def add_module(self, name: str, module: Module | None) -> None:
        """Register a child module under `name`."""
        if module is not None and not isinstance(module, Module):
            raise TypeError(f"{typename(module)} is not a Module subclass")
        self._check_name("module", name, self._modules)
        self._modules[name] = registering(_global_module_registration_hooks, self, name, module)

    register_module = add_module

    # ---- walking ---------------------------------------------------------------------------------

    def named_modules(
        self, memo: set[Any] | None = None, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Module]]:
        """This module and all below it, each once, by their dotted names."""
        memo = set() if memo is None else memo
        if self not in memo:
            if remove_duplicate:
                memo.add(self)
            yield prefix, self
            for name, module in self._modules.items():
                if module is not None:
                    below = f"{prefix}.{name}" if prefix else name
                    yield from module.named_modules(memo, below, remove_duplicate)

    def modules(self, remove_duplicate: bool = True) -> Iterator[Module]:
        """Itself and all modules below it, each once."""
        for _, module in self.named_modules(remove_duplicate=remove_duplicate):
            yield module

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """(name, module) of those directly below it."""
        memo = set()
        for name, module in self._modules.items():
            if module is not None and module not in memo:
                memo.add(module)
                yield name, module

    def children(self) -> Iterator[Module]:
        """The modules directly below it."""
        for _, module in self.named_children():
            yield module

    def _named_members(
        self, get: Callable[[Module], Any], prefix: str, recurse: bool, remove_duplicate: bool
    ) -> Iterator[tuple[str, Any]]:
        memo: set[Any] = set()
        modules = (
            self.named_modules(prefix=prefix, remove_duplicate=remove_duplicate)
            if recurse
            else [(prefix, self)]
        )
        for at, module in modules:
            for name, member in get(module).items():
                if member is None or member in memo:
                    continue
                if remove_duplicate:
                    memo.add(member)
                yield f"{at}.{name}" if at else name, member

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Parameter]]:
        """The parameters by their dotted names; a shared one comes once."""
        return self._named_members(lambda m: m._parameters, prefix, recurse, remove_duplicate)

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """What is trained: of this module and, with `recurse`, of those below it; each once."""
        for _, param in self.named_parameters(recurse=recurse):
            yield param

    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Tensor]]:
        """(dotted name, buffer) of this module and, with `recurse`, of those below it."""
        return self._named_members(lambda m: m._buffers, prefix, recurse, remove_duplicate)

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        """The tensors that are saved and moved, but not trained, as batch norm's averages."""
        for _, buffer in self.named_buffers(recurse=recurse):
            yield buffer

    def get_submodule(self, target: str) -> Module:
        """The module of a dotted name; AttributeError if there is none."""
        module: Any = self
        for item in target.split(".") if target else ():
            if not hasattr(module, item):
                raise AttributeError(f"{module._get_name()} has no attribute `{item}`")
            module = getattr(module, item)
            if not isinstance(module, Module):
                raise AttributeError(f"`{item}` is not an nn.Module")
        return module  # type: ignore[no-any-return]

    def set_submodule(self, target: str, module: Module, strict: bool = False) -> None:
        """Put a module in the place of a dotted name."""
        if not target:
            raise ValueError("Cannot set the submodule without a target name!")
        if not isinstance(module, Module):
            raise ValueError(f"`module` is not an nn.Module, found {type(module)}")
        where, _, name = target.rpartition(".")
        parent = self.get_submodule(where)
        if strict and not hasattr(parent, name):
            raise AttributeError(f"{type(parent).__name__} has no attribute `{name}`")
        if not isinstance(getattr(parent, name, module), Module):
            raise AttributeError(f"`{name}` is not an nn.Module")
        setattr(parent, name, module)

    def _get_member(self, target: str, table: str, kind: str) -> Any:
        where, _, name = target.rpartition(".")
        module = self.get_submodule(where)
        if not hasattr(module, name):
            raise AttributeError(f"{module._get_name()} has no attribute `{name}`")
        if name not in getattr(module, table):
            raise AttributeError(f"`{name}` is not {kind}")
        return getattr(module, name)

    def get_parameter(self, target: str) -> Parameter:
        """The parameter of a dotted name.  AttributeError: there is none, or it is something else."""
        return self._get_member(target, "_parameters", "an nn.Parameter")  # type: ignore[no-any-return]

    def get_buffer(self, target: str) -> Tensor:
        """The buffer of a dotted name.  AttributeError: there is none, or it is something else."""
        return self._get_member(target, "_buffers", "a buffer")  # type: ignore[no-any-return]

    # ---- changing all of it ----------------------------------------------------------------------

    def apply(self: M, fn: Callable[[Module], Any]) -> M:
        """Call fn on every module below this one, then on this one."""
        for module in self.children():
            module.apply(fn)
        fn(self)
        return self

    def _apply(self: M, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> M:
        """Exchange the memory of all parameters, gradients and buffers.

        A parameter stays the object that it is, so that an optimizer which holds it goes on.
        """
        if recurse:
            for module in self.children():
                module._apply(fn)
        for param in self._parameters.values():
            if param is not None:
                grad, data = param.grad, fn(param.data)
                if grad is not None:
                    grad = fn(grad.data).requires_grad_(grad.requires_grad)
                param.grad = None
                param.data = data
                param.grad = grad
        for name, buffer in self._buffers.items():
            if buffer is not None:
                self._buffers[name] = fn(buffer)
        return self

    def to(self: M, *args: Any, **kwargs: Any) -> M:
        """to(device), to(dtype), to(device, dtype), to(tensor); a dtype changes floats only."""
        probe = Tensor(0).to(*args, **kwargs)
        given = [*args, *kwargs.values()]
        has_dtype = any(isinstance(x, (dtypes.dtype, type, Tensor)) for x in given)
        has_device = kwargs.get("device") is not None or any(
            not isinstance(x, (dtypes.dtype, type, bool, type(None))) for x in args
        )
        dtype, device = probe.dtype, probe.device
        if has_dtype and dtype.category < 2:
            raise TypeError(
                "nn.Module.to only accepts floating point or complex dtypes, but got desired "
                f"dtype={dtype}"
            )

        def convert(t: Any) -> Any:
            floats = t.dtype.category >= 2
            return t.to(device if has_device else None, dtype if has_dtype and floats else None)

        return self._apply(convert)

    def to_empty(self: M, *, device: Any, recurse: bool = True) -> M:
        """Move to a device without the values."""
        return self._apply(lambda t: t.new_empty(t.shape, device=device), recurse)  # type: ignore[attr-defined]

    def cuda(self: M, device: Any = None) -> M:
        """Parameters and buffers go to a GPU, the current one by default.  RuntimeError: none."""
        return self._apply(lambda t: t.cuda(device))  # type: ignore[attr-defined]

    def cpu(self: M) -> M:
        """Parameters and buffers go to the CPU's memory."""
        return self._apply(lambda t: t.cpu())  # type: ignore[attr-defined]

    def type(self: M, dst_type: dtypes.dtype) -> M:
        """All parameters and buffers get this dtype."""
        return self._apply(lambda t: t.type(dst_type))  # type: ignore[attr-defined]

    def _cast(self: M, dtype: dtypes.dtype) -> M:
        return self._apply(lambda t: t.to(dtype) if t.dtype.is_floating_point else t)  # type: ignore[attr-defined]

    def float(self: M) -> M:
        """Floating-point parameters and buffers become float32."""
        return self._cast(dtypes.float32)

    def double(self: M) -> M:
        """Floating-point parameters and buffers become float64."""
        return self._cast(dtypes.float64)

    def half(self: M) -> M:
        """Floating-point parameters and buffers become float16."""
        return self._cast(dtypes.float16)

    def bfloat16(self: M) -> M:
        """Floating-point parameters and buffers become bfloat16."""
        return self._cast(dtypes.bfloat16)

    def train(self: M, mode: bool = True) -> M:
        """Switch to training mode (mode=False: to evaluation), with all modules below."""
        if not isinstance(mode, bool):
            raise ValueError("training mode is expected to be boolean")
        self.training = mode
        for module in self.children():
            module.train(mode)
        return self

    def eval(self: M) -> M:
        """For use, not training: dropout does nothing, batch norm uses its averages."""
        return self.train(False)

    def requires_grad_(self: M, requires_grad: bool = True) -> M:
        """Whether its parameters are to have gradients; False freezes it."""
        for p in self.parameters():
            p.requires_grad_(requires_grad)
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of all parameters, or set them to zeros."""
        for p in self.parameters():
            if p.grad is not None:
                if set_to_none:
                    p.grad = None
                else:
                    p.grad = p.grad.detach().zero_()  # type: ignore[attr-defined]

    def share_memory(self: M) -> M:
        """Let other processes have the parameters and buffers: see Tensor.share_memory_."""
        gradients = [p.grad for p in self.parameters() if p.grad is not None]
        for t in (*self.parameters(), *self.buffers(), *gradients):
            t.share_memory_()
        return self

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Accepted for torch's sake: there is nothing to compile, the module runs as it is."""

    # ---- text ------------------------------------------------------------------------------------

    def _get_name(self) -> str:
        return type(self).__name__

    def extra_repr(self) -> str:
        """What repr() shows between the brackets, before the children."""
        return ""

    def __repr__(self) -> str:
        extra = self.extra_repr()
        lines = extra.split("\n") if extra else []
        if len(lines) == 1 and not self._modules:
            return f"{self._get_name()}({extra})"
        for name, module in self._modules.items():
            lines.append(f"({name}): " + repr(module).replace("\n", "\n  "))
        inner = "\n  ".join(lines)
        return f"{self._get_name()}(\n  {inner}\n)" if lines else f"{self._get_name()}()"


_KINDS: Any = (
    # table, what is registered there, its name, the hooks that see a value for a name it has
    ("_parameters", Parameter, "parameter", None),
    ("_modules", Module, "module", _global_module_registration_hooks),
    ("_buffers", (Buffer, UninitializedTensorMixin), "buffer", _global_buffer_registration_hooks),
)
_AS = {
    "parameter": "parameter '{}' (dtorch.nn.Parameter or None expected)",
    "module": "child module '{}' (dtorch.nn.Module or None expected)",
    "buffer": "buffer '{}' (dtorch.nn.Buffer, dtorch.Tensor or None expected)",
}
