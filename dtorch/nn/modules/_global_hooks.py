"""Hooks of all modules, for debugging and profiling: they run before those of a single module.

Each table holds the functions themselves by number, as torch's do; what else is to be known of one
is noted in further tables, under the same number.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from ...core.graph import Handle

Hook = Callable[..., Any]
Table = OrderedDict[int, Any]

_global_forward_pre_hooks: Table = OrderedDict()
_global_forward_hooks: Table = OrderedDict()
_global_forward_hooks_with_kwargs: Table = OrderedDict()
_global_forward_hooks_always_called: Table = OrderedDict()
_global_backward_pre_hooks: Table = OrderedDict()
_global_backward_hooks: Table = OrderedDict()
_global_is_full_backward_hook: bool | None = None  # the kind of _global_backward_hooks
_global_buffer_registration_hooks: Table = OrderedDict()
_global_module_registration_hooks: Table = OrderedDict()
_global_parameter_registration_hooks: Table = OrderedDict()


def add(
    hooks: Table, hook: Hook, prepend: bool = False, notes: tuple[tuple[bool, Table], ...] = ()
) -> Handle:
    """Add a hook, behind the others or before them; the handle takes it away again.

    notes: (whether the hook's number belongs there, a table) for each thing to be known of it
    """
    wanted = [table for want, table in notes if want]
    handle = Handle(hooks, *wanted)
    hooks[handle.id] = hook
    if prepend:
        hooks.move_to_end(handle.id, last=False)
    for table in wanted:
        table[handle.id] = True
    return handle


def one_kind(now: bool | None, full: bool, where: str) -> bool:
    """Backward hooks of the two kinds don't mix; returns the kind of the new one."""
    if now is (not full):
        raise RuntimeError(
            f"Cannot use both regular backward hooks and full backward hooks {where}. Please use "
            "only one of them."
        )
    return full


def register_module_forward_pre_hook(hook: Hook) -> Handle:
    """Call hook(module, args) before the forward of any module; what it returns replaces args."""
    return add(_global_forward_pre_hooks, hook)


def register_module_forward_hook(
    hook: Hook, *, with_kwargs: bool = False, always_call: bool = False
) -> Handle:
    """Call hook(module, args, output) after the forward of any module.

    Options as in Module.register_forward_hook.
    """
    notes = (
        (with_kwargs, _global_forward_hooks_with_kwargs),
        (always_call, _global_forward_hooks_always_called),
    )
    return add(_global_forward_hooks, hook, notes=notes)


def register_module_full_backward_pre_hook(hook: Hook) -> Handle:
    """Call hook(module, grad_output) before the backward of any module."""
    return add(_global_backward_pre_hooks, hook)


def register_module_full_backward_hook(hook: Hook) -> Handle:
    """Call hook(module, grad_input, grad_output) after the backward of any module."""
    return _register_backward(hook, True)


def register_module_backward_hook(hook: Hook) -> Handle:
    """The deprecated kind, which sees a module's last node alone."""
    return _register_backward(hook, False)


def _register_backward(hook: Hook, full: bool) -> Handle:
    global _global_is_full_backward_hook
    now = _global_is_full_backward_hook if _global_backward_hooks else None
    _global_is_full_backward_hook = one_kind(now, full, "as a global Module hook")
    return add(_global_backward_hooks, hook)


def global_backward_hooks(full: bool) -> list[Hook]:
    """Those of one kind."""
    return list(_global_backward_hooks.values()) if _global_is_full_backward_hook is full else []


def register_module_buffer_registration_hook(hook: Hook) -> Handle:
    """Call hook(module, name, buffer) when a buffer is registered; a result takes its place."""
    return add(_global_buffer_registration_hooks, hook)


def register_module_module_registration_hook(hook: Hook) -> Handle:
    """Call hook(module, name, child) when a child is registered; a result takes its place."""
    return add(_global_module_registration_hooks, hook)


def register_module_parameter_registration_hook(hook: Hook) -> Handle:
    """Call hook(module, name, parameter) when one is registered; a result takes its place."""
    return add(_global_parameter_registration_hooks, hook)


def registering(hooks: Table, module: Any, name: str, value: Any) -> Any:
    """What is to be registered, after the hooks have seen it."""
    for hook in list(hooks.values()):
        got = hook(module, name, value)
        if got is not None:
            value = got
    return value
