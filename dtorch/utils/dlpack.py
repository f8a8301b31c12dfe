"""Sharing memory with other libraries by DLPack."""

from ..core.dlpack import from_dlpack, to_dlpack

__all__ = ["from_dlpack", "to_dlpack"]
