"""The CPU as a device under torch.cpu's names: there is one, and its work is done when calls return."""

from __future__ import annotations

import contextlib
import importlib
from typing import Any

from ..core.settings import Event, Stream

__all__ = [
    "Event", "Stream", "StreamContext", "current_device", "current_stream", "device_count",
    "is_available", "is_initialized", "set_device", "stream", "synchronize",
]  # fmt: skip


def is_available() -> bool:
    return True


def is_initialized() -> bool:
    return True


def device_count() -> int:
    """1"""
    return 1


def current_device() -> str:
    """ "cpu" """
    return "cpu"


def set_device(device: Any) -> None:
    """Does nothing: there is one CPU."""


def synchronize(device: Any = None) -> None:
    """Does nothing: there is nothing to wait for."""


def current_stream(device: Any = None) -> None:
    """None: the CPU has no streams."""


class StreamContext(contextlib.nullcontext[None]):
    """A block that does nothing, for code that names current_stream()."""


def stream(stream: Any = None) -> StreamContext:
    """A block that does nothing, for code that names current_stream()."""
    return StreamContext()


def __getattr__(name: str) -> Any:
    if name == "amp":
        return importlib.import_module(f"{__name__}.amp")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
