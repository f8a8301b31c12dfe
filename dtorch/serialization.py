"""save() and load() and what goes with them, under torch.serialization's names."""

from __future__ import annotations

import warnings
from typing import Any

from .core.serialize import load, save
from .core.serialize.options import (
    LoadEndianness,
    get_crc32_options,
    get_default_load_endianness,
    get_default_mmap_options,
    set_crc32_options,
    set_default_load_endianness,
    set_default_mmap_options,
    skip_data,
)
from .core.serialize.placement import default_restore_location, location_tag, register_package
from .core.serialize.reader import get_unsafe_globals_in_checkpoint
from .core.serialize.unpickler import (
    add_safe_globals,
    clear_safe_globals,
    get_safe_globals,
    safe_globals,
)

__all__ = [
    "LoadEndianness", "add_safe_globals", "check_module_version_greater_or_equal",
    "clear_safe_globals", "default_restore_location", "get_crc32_options",
    "get_default_load_endianness", "get_default_mmap_options", "get_safe_globals",
    "get_unsafe_globals_in_checkpoint", "load", "location_tag", "register_package",
    "safe_globals", "save", "set_crc32_options", "set_default_load_endianness",
    "set_default_mmap_options", "skip_data",
]  # fmt: skip


def check_module_version_greater_or_equal(
    module: Any, req_version_tuple: tuple[Any, ...], error_if_malformed: bool = True
) -> bool:
    """Whether a module's __version__ is at least this one, part by part.

    RuntimeError, or a warning and True, where the version has fewer parts or other ones.
    """
    parts = module.__version__.split(".")
    try:
        version = tuple(type(want)(parts[i]) for i, want in enumerate(req_version_tuple))
    except (IndexError, ValueError) as error:
        message = (
            f"'{module.__name__}' module version string is malformed '{module.__version__}' and "
            f"cannot be compared with tuple {req_version_tuple}"
        )
        if error_if_malformed:
            raise RuntimeError(message) from error
        warnings.warn(message + ", but continuing assuming that requirement is met", stacklevel=2)
        return True
    return version >= req_version_tuple
