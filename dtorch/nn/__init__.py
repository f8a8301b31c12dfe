"""Neural networks: modules, their functions, initial values and utilities, under torch's names."""

from typing import Any

from . import functional, init, parallel, utils
from .modules import *  # noqa: F403
from .parameter import Buffer, Parameter


def __getattr__(name: str) -> Any:
    if name == "DataParallel":  # torch has it here too
        return parallel.DataParallel
    raise AttributeError(f"module 'dtorch.nn' has no attribute {name!r}")
