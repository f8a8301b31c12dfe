"""One program, run with dtorch and with torch: the outcome must be the same."""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any

import torch

import dtorch

# A function of the library and of a list to log in.
Program = Callable[[Any, list[Any]], Any]


def plain(x: Any) -> Any:
    """Tensors as nested lists of rounded numbers, so that the libraries' can be compared."""
    if hasattr(x, "tolist"):
        return plain(x.tolist())
    if isinstance(x, complex):
        return round(x.real, 6), round(x.imag, 6)
    if isinstance(x, float):
        return round(x, 6)
    if isinstance(x, dict):
        return {k: plain(v) for k, v in x.items()}
    if isinstance(x, (list, tuple)):
        return [plain(e) for e in x]
    return x


def outcome(program: Program, lib: types.ModuleType, letters: int = 28) -> list[Any]:
    """What a program logged, then what it returned or raised: the type, and so many letters of the
    message."""
    log: list[Any] = []
    try:
        log.append(program(lib, log))
    except (AssertionError, LookupError, RuntimeError, TypeError, ValueError) as error:
        log.append((type(error).__name__, str(error).replace("dtorch", "torch")[:letters]))
    return [plain(x) for x in log]


def assert_same(program: Program, letters: int = 28) -> None:
    assert outcome(program, dtorch, letters) == outcome(program, torch, letters)


def leaf(lib: Any, *values: float) -> Any:
    return lib.tensor(list(values or (1.0, 2.0)), dtype=lib.float64, requires_grad=True)
