"""CUDA devices under torch.cuda's names.  Nothing here imports CuPy before a GPU is used.

Where there is no GPU, what asks for one raises RuntimeError with the reason; what only looks, or
cleans up, answers as of a machine without.
"""

from __future__ import annotations

import importlib
from typing import Any

from ..core.errors import AcceleratorError, OutOfMemoryError
from ..core.surface import classes
from . import devices, graphs, memory, random, streams
from .devices import *  # noqa: F403
from .graphs import *  # noqa: F403
from .memory import *  # noqa: F403
from .random import *  # noqa: F403
from .streams import *  # noqa: F403

__all__ = ["AcceleratorError", "OutOfMemoryError", "has_half", "has_magma"]  # noqa: PLE0604
__all__ += [*devices.__all__, *graphs.__all__, *memory.__all__, *random.__all__, *streams.__all__]

globals().update(classes(".cuda"))  # FloatTensor and its kin
has_half = True
has_magma = False  # matrices are factored by cuSOLVER


def __getattr__(name: str) -> Any:
    if name == "amp":
        return importlib.import_module(f"{__name__}.amp")
    if name == "default_generators":  # one for all devices
        count = devices.device_count() if devices.is_available() else 0
        return tuple(random.default_generator() for _ in range(count))
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
