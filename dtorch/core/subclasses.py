"""Users' subclasses of Tensor: what ops make of them is of the subclass, by __torch_function__.

Plain tensors pay nothing for it: a subclass gets methods of its own when it is defined, and each of
them calls the class's __torch_function__(func, types, args, kwargs) with the plain method as func.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

from .tensor import Tensor, as_subclass, disabled_torch_function

# Whether a subclass exists whose __torch_function__ the package's functions have to look for.
defined: list[type] = []
# Inside the default __torch_function__ the methods of a subclass are the plain ones.
_plain: ContextVar[bool] = ContextVar("plain", default=False)


def adopt(cls: type) -> None:
    """Give a new subclass methods that call its __torch_function__."""
    from .methods import ATTACHED

    if not any(base in defined for base in cls.__mro__):
        for name in ATTACHED - cls.__dict__.keys():
            plain = getattr(Tensor, name)
            if isinstance(plain, property):
                setattr(cls, name, property(_dispatching(plain.fget)))  # type: ignore[arg-type]
            elif callable(plain):
                setattr(cls, name, _dispatching(plain))
    defined.append(cls)


def _dispatching(plain: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(plain)
    def method(*args: Any, **kwargs: Any) -> Any:
        if _plain.get():
            return plain(*args, **kwargs)
        return call(plain, args, kwargs)

    return method


def _tensors(args: Any) -> Iterator[Tensor]:
    for x in args:
        if isinstance(x, Tensor):
            yield x
        elif isinstance(x, (list, tuple)):
            yield from _tensors(x)


def call(func: Callable[..., Any], args: Any, kwargs: dict[str, Any]) -> Any:
    """func(*args, **kwargs), by the __torch_function__ of an argument, the most derived one first."""
    types: list[type] = []
    for t in () if _plain.get() else _tensors((*args, *kwargs.values())):
        kind = type(t)
        if kind is Tensor or kind in types or kind.__torch_function__ is disabled_torch_function:
            continue
        types.insert(
            next((i for i, k in enumerate(types) if issubclass(kind, k)), len(types)), kind
        )
    for kind in types:
        result = kind.__torch_function__(func, tuple(types), args, kwargs)
        if result is not NotImplemented:
            return result
    if types:
        raise TypeError(f"no implementation found for {func.__name__!r} on types {types}")
    return func(*args, **kwargs)


def default(cls: type, func: Callable[..., Any], args: Any, kwargs: dict[str, Any]) -> Any:
    """Tensor.__torch_function__: the plain function, with its results as instances of cls."""
    token = _plain.set(True)
    try:
        result = func(*args, **kwargs)
    finally:
        _plain.reset(token)
    return _converted(result, cls, [id(t) for t in _tensors((*args, *kwargs.values()))])


def _converted(result: Any, cls: type, given: list[int]) -> Any:
    if isinstance(result, (tuple, list)) and type(result).__name__ != "Size":
        parts = [_converted(r, cls, given) for r in result]
        return type(result)(*parts) if hasattr(result, "_fields") else type(result)(parts)
    if not isinstance(result, Tensor) or isinstance(result, cls):
        return result
    if id(result) in given or type(result) is not Tensor:
        return as_subclass(result, cls)
    result.__class__ = cls  # a new tensor; what knows it as a view still does
    return result
