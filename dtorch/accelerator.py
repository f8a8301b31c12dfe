"""The GPU that there is, if any, whatever its kind: torch.accelerator's names over dtorch.cuda."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import cuda
from .core.device import device as Device

__all__ = [
    "current_accelerator", "current_device_idx", "current_device_index", "current_stream",
    "device_count", "device_index", "empty_cache", "get_device_capability", "get_memory_info",
    "is_available", "max_memory_allocated", "max_memory_reserved", "memory_allocated",
    "memory_reserved", "memory_stats", "reset_accumulated_memory_stats", "reset_peak_memory_stats",
    "set_device_idx", "set_device_index", "set_stream", "synchronize",
]  # fmt: skip


def is_available() -> bool:
    """Whether there is a GPU."""
    return cuda.is_available()


def device_count() -> int:
    """How many GPUs there are."""
    return cuda.device_count() if is_available() else 0


def current_accelerator(check_available: bool = False) -> Device | None:
    """device("cuda") where there is a GPU, else None.

    check_available: torch's; here a GPU that can't be used counts as none anyway
    """
    return Device("cuda") if is_available() else None


def _on_gpu(function: Callable[..., Any]) -> Callable[..., Any]:
    """dtorch.cuda's function; RuntimeError where there is no GPU, as all of torch.accelerator."""

    def call(*args: Any, **kwargs: Any) -> Any:
        if not is_available():
            raise RuntimeError(
                "Cannot access accelerator device when none is available. Ask "
                "dtorch.accelerator.is_available() first."
            )
        return function(*args, **kwargs)

    call.__name__ = call.__qualname__ = function.__name__
    call.__doc__ = function.__doc__
    return call


class device_index(cuda.device):
    """A context in which another GPU is the current one; nothing for None."""

    def __enter__(self) -> None:
        if self.index is not None:
            current_device_index()  # which says what is missing
        super().__enter__()


current_device_index = _on_gpu(cuda.current_device)
set_device_index = _on_gpu(cuda.set_device)
synchronize = _on_gpu(cuda.synchronize)
current_stream = _on_gpu(cuda.current_stream)
set_stream = _on_gpu(cuda.set_stream)
get_device_capability = _on_gpu(cuda.get_device_capability)
empty_cache = _on_gpu(cuda.empty_cache)
get_memory_info = _on_gpu(cuda.mem_get_info)
memory_allocated = _on_gpu(cuda.memory_allocated)
memory_reserved = _on_gpu(cuda.memory_reserved)
memory_stats = _on_gpu(cuda.memory_stats)
max_memory_allocated = _on_gpu(cuda.max_memory_allocated)
max_memory_reserved = _on_gpu(cuda.max_memory_reserved)
reset_peak_memory_stats = _on_gpu(cuda.reset_peak_memory_stats)
reset_accumulated_memory_stats = _on_gpu(cuda.reset_accumulated_memory_stats)

current_device_idx = current_device_index  # older names
set_device_idx = set_device_index
