"""The hooks of a Module: functions that are called around forward and around its backward.

The tables hold the functions themselves, as torch's do; what else is to be known of one is noted in
further tables, under the same number.
"""

from __future__ import annotations

import warnings
from typing import Any

from ...core.graph import Handle
from ...core.modes import grad_on
from ._backward_hooks import Gates, as_tuple, on_last_node
from ._global_hooks import (
    Hook,
    Table,
    _global_backward_hooks,
    _global_backward_pre_hooks,
    _global_forward_hooks,
    _global_forward_hooks_always_called,
    _global_forward_hooks_with_kwargs,
    _global_forward_pre_hooks,
    add,
    global_backward_hooks,
    one_kind,
)

TABLES = (
    "_forward_pre_hooks", "_forward_pre_hooks_with_kwargs",
    "_forward_hooks", "_forward_hooks_with_kwargs", "_forward_hooks_always_called",
    "_backward_pre_hooks", "_backward_hooks",
    "_state_dict_pre_hooks", "_state_dict_hooks", "_state_dict_hooks_without_result",
    "_load_state_dict_pre_hooks", "_load_state_dict_post_hooks",
)  # fmt: skip


class Hooks:
    """The part of Module that registers hooks and calls forward with them."""

    _forward_pre_hooks: Table
    _forward_pre_hooks_with_kwargs: Table
    _forward_hooks: Table
    _forward_hooks_with_kwargs: Table
    _forward_hooks_always_called: Table
    _backward_pre_hooks: Table
    _backward_hooks: Table
    _is_full_backward_hook: bool | None  # the kind of _backward_hooks
    forward: Hook

    def register_forward_pre_hook(
        self, hook: Hook, *, prepend: bool = False, with_kwargs: bool = False
    ) -> Handle:
        """Call hook(module, args) before forward; what it returns replaces the arguments.

        with_kwargs: call hook(module, args, kwargs), which returns None or (args, kwargs)
        """
        notes = ((with_kwargs, self._forward_pre_hooks_with_kwargs),)
        return add(self._forward_pre_hooks, hook, prepend, notes)

    def register_forward_hook(
        self,
        hook: Hook,
        *,
        prepend: bool = False,
        with_kwargs: bool = False,
        always_call: bool = False,
    ) -> Handle:
        """Call hook(module, args, output) after forward; what it returns replaces the output.

        with_kwargs: call hook(module, args, kwargs, output)
        always_call: call it, too, when forward or another hook raises, with the output there is
        """
        notes = (
            (with_kwargs, self._forward_hooks_with_kwargs),
            (always_call, self._forward_hooks_always_called),
        )
        return add(self._forward_hooks, hook, prepend, notes)

    def register_full_backward_pre_hook(self, hook: Hook, prepend: bool = False) -> Handle:
        """Call hook(module, grad_output) before the module's backward; a result replaces it."""
        return add(self._backward_pre_hooks, hook, prepend)

    def register_full_backward_hook(self, hook: Hook, prepend: bool = False) -> Handle:
        """Call hook(module, grad_input, grad_output) when the gradients of the module's positional
        inputs are known; a result replaces grad_input."""
        return self._register_backward(hook, True, prepend)

    def register_backward_hook(self, hook: Hook) -> Handle:
        """The deprecated kind, which sees the module's last node alone."""
        return self._register_backward(hook, False)

    def _register_backward(self, hook: Hook, full: bool, prepend: bool = False) -> Handle:
        self._is_full_backward_hook = one_kind(
            self._is_full_backward_hook, full, "on a single Module"
        )
        return add(self._backward_hooks, hook, prepend)

    # ---- calling ---------------------------------------------------------------------------------

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not (self._forward_hooks or self._forward_pre_hooks or self._backward_hooks
                or self._backward_pre_hooks or _global_forward_hooks or _global_forward_pre_hooks
                or _global_backward_hooks or _global_backward_pre_hooks):  # fmt: skip
            return self.forward(*args, **kwargs)
        return _Call(self, args, kwargs).run()

    def _all_backward_hooks(self, full: bool) -> list[Hook]:
        own = self._backward_hooks.values() if self._is_full_backward_hook is full else ()
        return [*global_backward_hooks(full), *own]


class _Call:
    """One call of a module that has hooks."""

    def __init__(self, module: Hooks, args: Any, kwargs: Any) -> None:
        self.module, self.args, self.kwargs, self.output = module, args, kwargs, None
        self.called: set[int] = set()

    def run(self) -> Any:
        try:
            return self.run_all()
        except Exception:
            self.run_always_called()
            raise

    def forward_hooks(self) -> list[tuple[int, Hook, bool, bool]]:
        """The number of each, the hook, whether it takes kwargs, whether it is always called."""
        module = self.module
        tables = (
            (_global_forward_hooks, _global_forward_hooks_with_kwargs,
             _global_forward_hooks_always_called),
            (module._forward_hooks, module._forward_hooks_with_kwargs,
             module._forward_hooks_always_called),
        )  # fmt: skip
        return [
            (key, hook, key in kwargs_too, key in always)
            for hooks, kwargs_too, always in tables
            for key, hook in hooks.items()
        ]

    def run_all(self) -> Any:
        module = self.module
        self.run_pre_hooks()
        gates = None
        if grad_on():
            pre = [*_global_backward_pre_hooks.values(), *module._backward_pre_hooks.values()]
            full = module._all_backward_hooks(True)
            if pre or full:
                gates = Gates(module, pre, full)
                self.args = gates.enter(self.args)
        self.output = module.forward(*self.args, **self.kwargs)
        for key, hook, with_kwargs, _ in self.forward_hooks():
            self.called.add(key)
            self.run_hook(hook, with_kwargs)
        if gates is not None:
            self.output = gates.leave(self.output)
        last = module._all_backward_hooks(False)
        if last:
            on_last_node(module, last, self.output)
        return self.output

    def run_pre_hooks(self) -> None:
        module = self.module
        for key, hook in [*_global_forward_pre_hooks.items(), *module._forward_pre_hooks.items()]:
            if key in module._forward_pre_hooks_with_kwargs:
                got = hook(module, self.args, self.kwargs)
                if got is not None:
                    if not (isinstance(got, tuple) and len(got) == 2):
                        raise RuntimeError(
                            "forward pre-hook must return None or a tuple of (new_args, "
                            f"new_kwargs), but got {got}."
                        )
                    self.args, self.kwargs = got
            else:
                got = hook(module, self.args)
                if got is not None:
                    self.args = as_tuple(got)

    def run_hook(self, hook: Hook, with_kwargs: bool) -> None:
        given = (self.args, self.kwargs) if with_kwargs else (self.args,)
        got = hook(self.module, *given, self.output)
        if got is not None:
            self.output = got

    def run_always_called(self) -> None:
        """Those that have still to be called when the call has failed; what they raise is only a
        warning, so that the first error is the one that is seen."""
        for key, hook, with_kwargs, always in self.forward_hooks():
            if always and key not in self.called:
                try:
                    self.run_hook(hook, with_kwargs)
                except Exception as e:  # noqa: BLE001  whatever it is, the first error is raised
                    warnings.warn(
                        "module forward hook with ``always_call=True`` raised an exception that "
                        f"was silenced as another error was raised in forward: {e}",
                        stacklevel=5,
                    )
