"""Convolution weights in another memory format: accepted, since values never depend on it."""

from __future__ import annotations

from typing import Any

from ...core.dtype import memory_format as MemoryFormat
from ..modules.module import Module


def _convert(module: Module, memory_format: Any) -> Module:
    if not isinstance(memory_format, MemoryFormat):
        raise TypeError(f"expected a dtorch.memory_format, got {type(memory_format).__name__}")
    return module


def convert_conv2d_weight_memory_format(module: Module, memory_format: Any) -> Module:
    """The module itself: its weights' memory order is this library's own affair."""
    return _convert(module, memory_format)


def convert_conv3d_weight_memory_format(module: Module, memory_format: Any) -> Module:
    """The module itself: its weights' memory order is this library's own affair."""
    return _convert(module, memory_format)
