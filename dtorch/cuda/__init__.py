"""CUDA devices under torch.cuda's names.  Nothing here imports CuPy before a GPU is used."""

from __future__ import annotations

import importlib.util
from types import ModuleType, TracebackType
from typing import Any

from ..core.backend.visible import device_count as _visible_count
from ..core.device import device as Device
from ..core.device import namespace
from ..core.errors import OutOfMemoryError

__all__ = [
    "OutOfMemoryError", "current_device", "device", "device_count", "empty_cache",
    "get_device_name", "is_available", "is_initialized",
    "memory_allocated", "memory_reserved", "set_device", "synchronize",
]  # fmt: skip

_cupy: ModuleType | None = None


def _cuda() -> Any:
    """CuPy, imported on first use; RuntimeError that says what is missing where it can't be."""
    global _cupy
    if _cupy is None:
        _cupy = namespace("cuda").cp
    return _cupy


def is_initialized() -> bool:
    """Whether a GPU has been used in this process."""
    return _cupy is not None


def device_count() -> int:
    """How many GPUs are visible (CUDA_VISIBLE_DEVICES); does not initialise CUDA."""
    return _visible_count()


def is_available() -> bool:
    """Whether CuPy is installed and a GPU is visible."""
    return importlib.util.find_spec("cupy") is not None and device_count() > 0


def _index(d: Any) -> int:
    if d is None:
        return current_device()
    if isinstance(d, int):
        return d
    where = Device(d)
    if where.type != "cuda":
        raise ValueError(f"Expected a cuda device, but got: {where}")
    return current_device() if where.index is None else where.index


def current_device() -> int:
    """The index of the device that new CUDA tensors go to in this thread."""
    return int(_cuda().cuda.Device().id)


def set_device(device: Any) -> None:
    """Make a device the current one of this thread."""
    _cuda().cuda.Device(_index(device)).use()


class device:
    """A context in which another device is the current one: with dtorch.cuda.device(1): ..."""

    def __init__(self, device: Any) -> None:
        self.index = _index(device)

    def __enter__(self) -> None:
        self.before = current_device()
        set_device(self.index)

    def __exit__(
        self, kind: type | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        set_device(self.before)


def synchronize(device: Any = None) -> None:
    """Wait until all work given to a device is done."""
    _cuda().cuda.Device(_index(device)).synchronize()


def get_device_name(device: Any = None) -> str:
    return str(_cuda().cuda.runtime.getDeviceProperties(_index(device))["name"].decode())


def memory_allocated(device: Any = None) -> int:
    """The bytes that tensors occupy on a device; 0 before CUDA is initialised."""
    if not is_initialized():
        return 0
    with _cuda().cuda.Device(_index(device)):
        return int(_cuda().get_default_memory_pool().used_bytes())


def memory_reserved(device: Any = None) -> int:
    """The bytes that the memory pool holds on a device; 0 before CUDA is initialised."""
    if not is_initialized():
        return 0
    with _cuda().cuda.Device(_index(device)):
        return int(_cuda().get_default_memory_pool().total_bytes())


def empty_cache() -> None:
    """Give the memory that no tensor uses back to the driver; nothing before initialisation."""
    if is_initialized():
        _cuda().get_default_memory_pool().free_all_blocks()
