"""The memory of GPUs.  Before CUDA is initialised there is none in use, and nothing to do."""

from __future__ import annotations

import warnings
from typing import Any

from .devices import cupy, get_device_name, get_device_properties, index_of, is_initialized

__all__ = [
    "empty_cache", "get_per_process_memory_fraction", "max_memory_allocated", "max_memory_cached",
    "max_memory_reserved", "mem_get_info", "memory_allocated", "memory_cached", "memory_reserved",
    "memory_stats", "memory_summary", "reset_accumulated_memory_stats",
    "reset_max_memory_allocated", "reset_max_memory_cached", "reset_peak_memory_stats",
    "set_per_process_memory_fraction",
]  # fmt: skip

# The most bytes (in use, held) on each device, as far as they have been seen.
_peaks: dict[int, tuple[int, int]] = {}


def _now(device: Any) -> tuple[int, int, int]:
    """The device's index, and the bytes in use and held on it; the peaks take note."""
    index = index_of(device)
    with cupy().cuda.Device(index):
        pool = cupy().get_default_memory_pool()
        used, held = int(pool.used_bytes()), int(pool.total_bytes())
    before = _peaks.get(index, (0, 0))
    _peaks[index] = max(before[0], used), max(before[1], held)
    return index, used, held


def memory_allocated(device: Any = None) -> int:
    """The bytes that tensors occupy on a device."""
    return _now(device)[1] if is_initialized() else 0


def memory_reserved(device: Any = None) -> int:
    """The bytes that the memory pool holds on a device."""
    return _now(device)[2] if is_initialized() else 0


def max_memory_allocated(device: Any = None) -> int:
    """The most that memory_allocated and its kin have seen since the last reset.

    CuPy's pool counts no peaks, so what came and went between two looks is missed; the bytes held,
    max_memory_reserved(), miss nothing that empty_cache() has not given back.
    """
    return _peaks[_now(device)[0]][0] if is_initialized() else 0


def max_memory_reserved(device: Any = None) -> int:
    """The most bytes that the pool has held since the last reset: it grows until empty_cache()."""
    return _peaks[_now(device)[0]][1] if is_initialized() else 0


def reset_peak_memory_stats(device: Any = None) -> None:
    """Let the peaks begin anew, at what is in use now."""
    if is_initialized():
        _peaks.pop(index_of(device), None)
        _now(device)


def reset_accumulated_memory_stats(device: Any = None) -> None:
    """Does nothing: only current and peak values are counted."""


def empty_cache() -> None:
    """Give the memory that no tensor uses back to the driver."""
    if is_initialized():
        _now(None)
        cupy().get_default_memory_pool().free_all_blocks()


def memory_stats(device: Any = None) -> dict[str, int]:
    """Bytes under torch's names, "allocated_bytes.all.current" and kin; {} before initialisation."""
    if not is_initialized():
        return {}
    index, used, held = _now(device)
    peak_used, peak_held = _peaks[index]
    return {
        "allocated_bytes.all.current": used,
        "allocated_bytes.all.peak": peak_used,
        "reserved_bytes.all.current": held,
        "reserved_bytes.all.peak": peak_held,
    }


def memory_summary(device: Any = None, abbreviated: bool = False) -> str:
    """memory_stats as text; abbreviated is torch's, and changes nothing."""
    if not is_initialized():
        return "CUDA is not initialised: no memory is in use"
    lines = [f"{name:<32} {n / 2**20:12.1f} MiB" for name, n in memory_stats(device).items()]
    return "\n".join([f"{get_device_name(device)}, device {index_of(device)}", *lines])


def mem_get_info(device: Any = None) -> tuple[int, int]:
    """(free, total) bytes of a device, as the driver sees it."""
    with cupy().cuda.Device(index_of(device)):
        free, total = cupy().cuda.runtime.memGetInfo()
    return int(free), int(total)


def set_per_process_memory_fraction(fraction: float, device: Any = None) -> None:
    """Let the pool hold at most this part of a device's memory; beyond, OutOfMemoryError."""
    if not 0 <= fraction <= 1:
        raise ValueError(f"Invalid fraction value: {fraction}. Allowed range: 0~1")
    with cupy().cuda.Device(index_of(device)):
        cupy().get_default_memory_pool().set_limit(fraction=fraction)


def get_per_process_memory_fraction(device: Any = None) -> float:
    with cupy().cuda.Device(index_of(device)):
        limit = int(cupy().get_default_memory_pool().get_limit())
    return limit / get_device_properties(device).total_memory if limit else 1.0


# ---- older names ---------------------------------------------------------------------------------


def _renamed(old: str, new: str) -> None:
    warnings.warn(f"`dtorch.cuda.{old}` has been renamed to `dtorch.cuda.{new}`", FutureWarning,
                  stacklevel=3)  # fmt: skip


def memory_cached(device: Any = None) -> int:
    """memory_reserved"""
    _renamed("memory_cached", "memory_reserved")
    return memory_reserved(device)


def max_memory_cached(device: Any = None) -> int:
    """max_memory_reserved"""
    _renamed("max_memory_cached", "max_memory_reserved")
    return max_memory_reserved(device)


def reset_max_memory_allocated(device: Any = None) -> None:
    """reset_peak_memory_stats"""
    _renamed("reset_max_memory_allocated", "reset_peak_memory_stats")
    reset_peak_memory_stats(device)


def reset_max_memory_cached(device: Any = None) -> None:
    """reset_peak_memory_stats"""
    _renamed("reset_max_memory_cached", "reset_peak_memory_stats")
    reset_peak_memory_stats(device)
