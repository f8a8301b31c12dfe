"""Detours: for a while, calls of functions of this package go another way.

Autocast and the profiler have to see calls of functions that are held everywhere: in tables, in
classes, in other modules and in users' scripts.  A check in each function would cost every call of
everybody.  So while a detour is on, in whichever thread, the functions have another code object
(their __code__), which hands the call to a handler; without one they are as they were written, and
not one instruction is added.

A function gets its own code back in the first call after the detour has ended.  So a block that is
entered again and again, as in a training loop, costs only for the functions called in between.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from types import CodeType, FunctionType
from typing import Any

# handler(plain, *args, **kwargs), where plain is the function as it was written
Handler = Callable[..., Any]

_SOURCE = """
def make({free}):
    def detour(*args, **kwargs):
        from dtorch.core.detours import take
        return take({number}, args, kwargs)
        return ({free})  # never run: it only makes them free variables
    return detour
"""

_sites: list[_Site] = []
_by_function: dict[FunctionType, _Site] = {}
_lock = threading.Lock()


class _Site:
    """A function that calls can be led away from."""

    def __init__(self, function: FunctionType, number: int) -> None:
        self.function = function
        self.code = function.__code__
        self.plain = FunctionType(self.code, function.__globals__, function.__name__,
                                  function.__defaults__, function.__closure__)  # fmt: skip
        self.plain.__kwdefaults__ = function.__kwdefaults__
        self.detour = _detour(self.code, number)
        self.ways: list[tuple[Detours, Handler]] = []

    def restore(self) -> None:
        """Give the function its own code back, unless a detour has just been switched on."""
        with _lock:
            if not any(detours.users for detours, _ in self.ways):
                self.function.__code__ = self.code
                for detours, _ in self.ways:
                    detours.restored.add(self)


def _detour(code: CodeType, number: int) -> CodeType:
    """Code that can stand in for a function's: it must have the same free variables."""
    free = "".join(f"{name}, " for name in code.co_freevars)
    scope: dict[str, Any] = {}
    source = _SOURCE.format(free=free, number=number)
    exec(compile(source, f"{__file__}:detour", "exec"), scope)  # to reports, a line of this library
    found: CodeType = scope["make"](*code.co_freevars).__code__
    return found


def take(number: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What a detoured function does: call the handlers, that of the newest Detours outermost."""
    site = _sites[number]
    call: Callable[..., Any] = site.plain
    for detours, handler in site.ways:
        if detours.users:
            call = functools.partial(handler, call)
    if call is site.plain:
        site.restore()
    return call(*args, **kwargs)


class Detours:
    """Handlers for functions; they are in force while at least one context has switched them on."""

    def __init__(self, ways: dict[FunctionType, Handler]) -> None:
        self.users = 0
        self.restored: set[_Site] = set()  # those that have their own code
        with _lock:
            for function, handler in ways.items():
                site = _by_function.get(function)
                if site is None:
                    site = _by_function[function] = _Site(function, len(_sites))
                    _sites.append(site)
                site.ways.append((self, handler))
                self.restored.add(site)

    def switch(self, on: bool) -> None:
        """One context more (True) or less (False) that has them on."""
        with _lock:
            self.users += 1 if on else -1
            while on and self.restored:
                site = self.restored.pop()
                site.function.__code__ = site.detour
