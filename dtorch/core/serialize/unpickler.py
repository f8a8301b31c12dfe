"""Unpicklers: one that runs nothing but what it knows, and one that trusts the file.

A pickle is a program for a little stack machine.  The careful one takes only the instructions that
make data; it calls, makes and fills only objects from a list: names.harmless(), and what the user has
added to it.
"""

from __future__ import annotations

import pickle
import struct
from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import Any

from . import names

# Modules whose names are refused even if they have been called safe.
_BLOCKED = ("sys", "os", "posix", "nt")

_safe: dict[str, Any] = {}


def add_safe_globals(safe_globals: list[Any]) -> None:
    """Let load(weights_only=True) call these functions and make objects of these classes.

    safe_globals: functions and classes, or pairs of one and the full name that files have for it
    """
    _safe.update(_named(safe_globals))


def get_safe_globals() -> list[Any]:
    """What add_safe_globals() has added."""
    return list(_safe.values())


def clear_safe_globals() -> None:
    """Forget all that add_safe_globals() has added."""
    _safe.clear()


class safe_globals:
    """add_safe_globals(), for the length of a `with` block."""

    def __init__(self, safe_globals: list[Any]) -> None:
        self.added = _named(safe_globals)

    def __enter__(self) -> None:
        self.before = dict(_safe)
        _safe.update(self.added)

    def __exit__(self, *error: object) -> None:
        _safe.clear()
        _safe.update(self.before)


def _named(given: list[Any]) -> dict[str, Any]:
    table = {}
    for x in given:
        if isinstance(x, tuple):
            if len(x) != 2 or not isinstance(x[1], str):
                raise ValueError(f"expected a pair of a function or class and its name, got {x}")
            table[x[1]] = x[0]
        elif callable(x):
            table[f"{x.__module__}.{x.__qualname__}"] = x
        else:
            raise TypeError(f"expected functions and classes, got {x!r}")
    return table


def find_safe(module: str, name: str) -> Any:
    """The harmless object of this name; UnpicklingError when it isn't on the list."""
    module = {"__builtin__": "builtins"}.get(module, module)  # Python 2's, as in protocol 2
    full = f"{module}.{name}"
    if module.partition(".")[0] in _BLOCKED:
        raise pickle.UnpicklingError(
            f"Trying to load unsupported GLOBAL {full} whose module {module} is blocked."
        )
    if full in names.harmless():
        return names.harmless()[full]
    if full in _safe:
        return _safe[full]
    if module.partition(".")[0] == "torch":  # what was called safe has another module here
        for x in _safe.values():
            if x.__name__ == name and x.__module__.partition(".")[0] == "dtorch":
                return x
    shown = full.removeprefix("builtins.")
    ours = f"d{shown}" if shown.startswith("torch.") else shown
    raise pickle.UnpicklingError(
        f"Unsupported global: GLOBAL {shown} was not an allowed global by default. Please use "
        f"`dtorch.serialization.add_safe_globals([{ours}])` or the "
        f"`dtorch.serialization.safe_globals([{ours}])` context manager to allowlist this global "
        "if you trust this class/function."
    )


def is_safe(module: str, name: str) -> bool:
    try:
        find_safe(module, name)
    except pickle.UnpicklingError:
        return False
    return True


class _Instructions(dict[int, Callable[..., None]]):
    def __missing__(self, code: int) -> Any:
        raise pickle.UnpicklingError(f"Unsupported operand {code}")


# Instructions that only make plain data, move it on the stack, or ask find_class.
_PLAIN = (
    "PROTO", "FRAME", "STOP", "MARK", "POP", "POP_MARK", "DUP", "MEMOIZE", "BINPUT", "LONG_BINPUT",
    "BINGET", "LONG_BINGET", "NONE", "NEWTRUE", "NEWFALSE", "BININT", "BININT1", "BININT2", "LONG1",
    "LONG4", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINSTRING",
    "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8", "EMPTY_TUPLE",
    "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "EMPTY_LIST", "LIST", "EMPTY_DICT", "EMPTY_SET",
    "FROZENSET", "GLOBAL", "STACK_GLOBAL", "BINPERSID",
)  # fmt: skip

_build_anything: Callable[[Any], None] = pickle._Unpickler.dispatch[pickle.BUILD[0]]


class WeightsUnpickler(pickle._Unpickler):
    """Python's own unpickler, in Python, with all that can run code taken out or checked."""

    dispatch = _Instructions(
        (code, pickle._Unpickler.dispatch[code])
        for code in (getattr(pickle, name)[0] for name in _PLAIN)
    )
    stack: list[Any]

    def __init__(self, file: Any, storage: Callable[[Any], Any]) -> None:
        """storage: from a persistent id of the pickle to the storage that it refers to"""
        super().__init__(file, encoding="utf-8")
        self._storage = storage

    def persistent_load(self, reference: Any) -> Any:
        return self._storage(reference)

    def load(self) -> Any:
        try:
            return super().load()
        except (
            ArithmeticError, AttributeError, EOFError, LookupError, TypeError, ValueError, struct.error
        ) as error:  # fmt: skip
            raise pickle.UnpicklingError(f"It is malformed: {error!r}") from error

    def find_class(self, module: str, name: str) -> Any:
        return find_safe(module, name)

    def _check(self, x: Any, what: str) -> None:
        if not any(x is known for known in (*names.harmless().values(), *_safe.values())):
            raise pickle.UnpicklingError(
                f"Trying to {what} {x}: only what is known to be harmless, or allowlisted via "
                "`add_safe_globals`, can be used so"
            )

    def _reduce(self) -> None:
        args, function = self.stack.pop(), self.stack.pop()
        self._check(function, "call reduce for unrecognized function")
        self.stack.append(function(*args))

    def _newobj(self) -> None:
        args, cls = self.stack.pop(), self.stack.pop()
        self._check(cls, "make an object of")
        self.stack.append(cls.__new__(cls, *args))

    def _build(self) -> None:
        state, x = self.stack.pop(), self.stack[-1]
        if type(x) is OrderedDict:
            x.__dict__.update(state)
            return
        if not any(type(x) is known for known in _safe.values()):
            raise pickle.UnpicklingError(
                "Can only build OrderedDict or types allowlisted via `add_safe_globals`, but got "
                f"{type(x)}"
            )
        self.stack.append(state)
        _build_anything(self)

    dispatch[pickle.REDUCE[0]] = _reduce
    dispatch[pickle.NEWOBJ[0]] = _newobj
    dispatch[pickle.BUILD[0]] = _build


def _only_into(instruction: str, depth: Callable[[Any], Any], *types: type) -> None:
    """Let an instruction fill only containers of these very types."""
    code = getattr(pickle, instruction)[0]
    fill = pickle._Unpickler.dispatch[code]

    def checked(self: Any) -> None:
        target = depth(self)
        if type(target) not in types:
            raise pickle.UnpicklingError(
                f"Can only {instruction} for {', '.join(t.__name__ for t in types)}, but got "
                f"{type(target)}"
            )
        fill(self)

    WeightsUnpickler.dispatch[code] = checked


# Where the container is on the stack: below one item, below a pair, or below the mark.
_only_into("APPEND", lambda self: self.stack[-2], list)
_only_into("APPENDS", lambda self: self.metastack[-1][-1], list)
_only_into("SETITEM", lambda self: self.stack[-3], dict, OrderedDict, Counter)
_only_into("SETITEMS", lambda self: self.metastack[-1][-1], dict, OrderedDict, Counter)
_only_into("ADDITEMS", lambda self: self.metastack[-1][-1], set)


def trusting(module: Any) -> type[Any]:
    """The Unpickler of a module like pickle, with torch's names led to what stands for them here."""

    class Unpickler(module.Unpickler):
        def find_class(self, module: str, name: str) -> Any:
            full = f"{module}.{name}"
            if full.startswith("torch.") and full in names.harmless():
                return names.harmless()[full]
            return super().find_class(*names.here(module, name))

    return Unpickler
