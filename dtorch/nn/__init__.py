"""Neural networks: modules, their functions, initial values and utilities, under torch's names."""

from typing import Any

from . import attention, common_types, functional, init, parallel, parameter, utils
from .modules import *  # noqa: F403
from .parameter import Buffer, Parameter


def __getattr__(name: str) -> Any:
    if name in ("DataParallel", "SyncBatchNorm"):  # torch has them here too
        return getattr(parallel, name)
    if name in ("UninitializedParameter", "UninitializedBuffer"):
        return getattr(parameter, name)
    raise AttributeError(f"module 'dtorch.nn' has no attribute {name!r}")
