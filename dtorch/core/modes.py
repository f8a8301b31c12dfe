"""Modes that hold for the current context (thread or task): whether gradients are recorded.

A ContextVar, because ranks and DataParallel replicas run as threads, each with modes of its own.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])

_grad: ContextVar[bool] = ContextVar("grad", default=True)
_inference: ContextVar[bool] = ContextVar("inference", default=False)
_anomaly: ContextVar[bool] = ContextVar("anomaly", default=False)
_check_nan: ContextVar[bool] = ContextVar("check_nan", default=True)
_threads: ContextVar[bool] = ContextVar("threads", default=True)
_grad_layout: ContextVar[bool] = ContextVar("grad_layout", default=True)

grad_on = _grad.get  # the hot path's spelling
is_grad_enabled = _grad.get
is_inference_mode_enabled = _inference.get
is_anomaly_enabled = _anomaly.get
is_anomaly_check_nan_enabled = _check_nan.get
is_multithreading_enabled = _threads.get
is_grad_layout_enforced = _grad_layout.get


class _Mode:
    """A context manager that also decorates functions and generator functions."""

    def __call__(self, function: F) -> F:
        if inspect.isgeneratorfunction(function):

            @functools.wraps(function)
            def generator(*args: Any, **kwargs: Any) -> Any:
                inner = function(*args, **kwargs)
                try:
                    with self._again():
                        item = next(inner)
                    while True:
                        try:
                            sent = yield item
                        except BaseException as error:  # noqa: BLE001 (handed on)
                            with self._again():
                                item = inner.throw(error)
                        else:
                            with self._again():
                                item = inner.send(sent)
                except StopIteration as stop:
                    return stop.value

            return generator  # type: ignore[return-value]

        @functools.wraps(function)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            with self._again():
                return function(*args, **kwargs)

        return wrapped  # type: ignore[return-value]

    def _again(self) -> Any:
        return type(self)()

    def __enter__(self) -> None:
        raise NotImplementedError

    def __exit__(self, *error: object) -> None:
        raise NotImplementedError


class _SetGrad(_Mode):
    """Sets whether gradients are recorded, and restores what was."""

    value = True

    def __enter__(self) -> None:
        self.before = _grad.get()
        _grad.set(self.value)

    def __exit__(self, *error: object) -> None:
        _grad.set(self.before)


class no_grad(_SetGrad):
    """Nothing is recorded for backward in here.  Also a decorator, with or without parentheses."""

    value = False

    def __new__(cls, function: Callable[..., Any] | None = None) -> Any:
        self = super().__new__(cls)
        return self if function is None else self(function)


class enable_grad(_SetGrad):
    """Gradients are recorded in here, also inside no_grad.  Also a decorator."""

    def __new__(cls, function: Callable[..., Any] | None = None) -> Any:
        self = super().__new__(cls)
        return self if function is None else self(function)


class set_grad_enabled(_SetGrad):
    """Sets whether gradients are recorded: at once, and as a context manager until its end."""

    def __init__(self, mode: bool) -> None:
        self.value = bool(mode)
        self.before = _grad.get()
        _grad.set(self.value)

    def _again(self) -> Any:
        return type(self)(self.value)

    def __call__(self, function: F) -> F:
        _grad.set(self.before)
        return super().__call__(function)

    def __enter__(self) -> None:
        _grad.set(self.value)


class _Setting(_Mode):
    """Sets a variable: at once, and as a context manager until its end."""

    variable: ContextVar[bool]

    def __init__(self, mode: bool) -> None:
        self.mode = bool(mode)
        self.before = self.variable.get()
        self.variable.set(self.mode)

    def _again(self) -> Any:
        return type(self)(self.mode)

    def __call__(self, function: F) -> F:
        self.variable.set(self.before)
        return super().__call__(function)

    def __enter__(self) -> None:
        self.variable.set(self.mode)

    def __exit__(self, *error: object) -> None:
        self.variable.set(self.before)


class set_multithreading_enabled(_Setting):
    """torch's switch for backward on several threads; here it runs on the thread that calls it."""

    variable = _threads


class enforce_grad_layout_policy(_Setting):
    """Whether a leaf's first gradient must have the memory layout of the leaf (the default), or is
    taken over as it comes where nobody else holds it."""

    variable = _grad_layout

    def __init__(self, enable: bool = True) -> None:
        super().__init__(enable)


class inference_mode(_SetGrad):
    """no_grad under torch's other name, or with False the opposite of both.

    The tensors made in here are ordinary ones, which may be used and written to outside: a flag on
    each would slow down every op, and there is no version counter to save.
    """

    def __new__(cls, mode: bool | Callable[..., Any] = True) -> Any:
        self = super().__new__(cls)
        if callable(mode):
            self.mode = True
            return self(mode)
        return self

    def __init__(self, mode: bool = True) -> None:
        self.mode = mode

    def _again(self) -> Any:
        return type(self)(self.mode)

    def __enter__(self) -> None:
        self.before, self.inference_before = _grad.get(), _inference.get()
        _grad.set(not self.mode)
        _inference.set(self.mode)

    def __exit__(self, *error: object) -> None:
        _grad.set(self.before)
        _inference.set(self.inference_before)


def _set_anomaly(mode: bool, check_nan: bool) -> None:
    from .recording import watch  # it needs nodes, which need modes

    watch(mode - _anomaly.get())
    _anomaly.set(mode)
    _check_nan.set(check_nan)


class detect_anomaly(_Mode):
    """Backward names the op whose rule raises or (check_nan) makes a NaN, and the line of its
    forward call, in a note on the error."""

    def __init__(self, check_nan: bool = True) -> None:
        self.mode, self.check_nan = True, check_nan

    def _again(self) -> Any:
        return type(self)(self.check_nan)

    def __enter__(self) -> None:
        self.before = _anomaly.get(), _check_nan.get()
        _set_anomaly(self.mode, self.check_nan)

    def __exit__(self, *error: object) -> None:
        _set_anomaly(*self.before)


class set_detect_anomaly(detect_anomaly):
    """detect_anomaly switched on or off, at once or as a context manager."""

    def __init__(self, mode: bool, check_nan: bool = True) -> None:
        self.mode, self.check_nan = bool(mode), check_nan
        super().__enter__()

    def _again(self) -> Any:
        return type(self)(self.mode, self.check_nan)

    def __enter__(self) -> None:
        """Switched on already; what was before comes back at the end of the block."""
