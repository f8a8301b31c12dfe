"""Hooks of optimizers: around a step, and around saving and loading their state."""

from __future__ import annotations

import functools
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from ..core.graph import Handle, add_hook

_all_step_pre_hooks: dict[int, Any] = {}
_all_step_post_hooks: dict[int, Any] = {}


def register_optimizer_step_pre_hook(hook: Callable[..., Any]) -> Handle:
    """Call hook(optimizer, args, kwargs) before each step of any optimizer."""
    return add_hook(_all_step_pre_hooks, hook)


def register_optimizer_step_post_hook(hook: Callable[..., Any]) -> Handle:
    """Call hook(optimizer, args, kwargs) after each step of any optimizer."""
    return add_hook(_all_step_post_hooks, hook)


def _with_hooks(step: Callable[..., Any]) -> Callable[..., Any]:
    """An optimizer's step between its hooks."""

    @functools.wraps(step)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        self = args[0]
        for hook in [*_all_step_pre_hooks.values(), *self._step_pre_hooks.values()]:
            got = hook(self, args, kwargs)
            if got is not None:
                if not (isinstance(got, tuple) and len(got) == 2):
                    raise RuntimeError(
                        f"{step} must return None or a tuple of (new_args, new_kwargs), but got "
                        f"{got}."
                    )
                args, kwargs = got
        out = step(*args, **kwargs)
        self._opt_called = True  # for LRScheduler, which is to be stepped after it
        for hook in [*self._step_post_hooks.values(), *_all_step_post_hooks.values()]:
            hook(self, args, kwargs)
        return out

    return wrapper


class Hooked:
    """The hooks of one optimizer.  What registers a hook returns a handle with remove()."""

    def _init_hooks(self) -> None:
        self._step_pre_hooks: OrderedDict[int, Any] = OrderedDict()
        self._step_post_hooks: OrderedDict[int, Any] = OrderedDict()
        self._state_dict_pre_hooks: OrderedDict[int, Any] = OrderedDict()
        self._state_dict_post_hooks: OrderedDict[int, Any] = OrderedDict()
        self._load_state_dict_pre_hooks: OrderedDict[int, Any] = OrderedDict()
        self._load_state_dict_post_hooks: OrderedDict[int, Any] = OrderedDict()
        self._opt_called = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "step" in cls.__dict__:
            cls.step = _with_hooks(cls.step)  # type: ignore[attr-defined]

    def register_step_pre_hook(self, hook: Callable[..., Any]) -> Handle:
        """Call hook(optimizer, args, kwargs) before step; it may return other (args, kwargs).

        The first of args is the optimizer.
        """
        return _add(self._step_pre_hooks, hook)

    def register_step_post_hook(self, hook: Callable[..., Any]) -> Handle:
        """Call hook(optimizer, args, kwargs) after step."""
        return _add(self._step_post_hooks, hook)

    def register_state_dict_pre_hook(
        self, hook: Callable[..., Any], prepend: bool = False
    ) -> Handle:
        """Call hook(optimizer) before state_dict."""
        return _add(self._state_dict_pre_hooks, hook, prepend)

    def register_state_dict_post_hook(
        self, hook: Callable[..., Any], prepend: bool = False
    ) -> Handle:
        """Call hook(optimizer, state_dict), whose result replaces it."""
        return _add(self._state_dict_post_hooks, hook, prepend)

    def register_load_state_dict_pre_hook(
        self, hook: Callable[..., Any], prepend: bool = False
    ) -> Handle:
        """Call hook(optimizer, state_dict), whose result is loaded instead."""
        return _add(self._load_state_dict_pre_hooks, hook, prepend)

    def register_load_state_dict_post_hook(
        self, hook: Callable[..., Any], prepend: bool = False
    ) -> Handle:
        """Call hook(optimizer) after load_state_dict."""
        return _add(self._load_state_dict_post_hooks, hook, prepend)


def _add(hooks: OrderedDict[int, Any], hook: Any, prepend: bool = False) -> Handle:
    handle = add_hook(hooks, hook)
    if prepend:
        hooks.move_to_end(handle.id, last=False)
    return handle


def replaced(hooks: OrderedDict[int, Any], optimizer: Any, value: Any) -> Any:
    """`value` after each hook(optimizer, value) that returns something has replaced it."""
    for hook in list(hooks.values()):
        got = hook(optimizer, value)
        if got is not None:
            value = got
    return value
