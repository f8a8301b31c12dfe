"""torch.nn.parallel's names for what is in dtorch.parallel, imported when it is used."""

from __future__ import annotations

import importlib
from typing import Any

_FILES = {
    "DistributedDataParallel": "ddp",
    "DataParallel": "data_parallel",
    "SyncBatchNorm": "sync_batchnorm",
    "data_parallel": "data_parallel",
    "parallel_apply": "data_parallel",
    "replicate": "data_parallel",
    "gather": "scatter_gather",
    "scatter": "scatter_gather",
}


def __getattr__(name: str) -> Any:
    if name in _FILES:
        return getattr(importlib.import_module(f"dtorch.parallel.{_FILES[name]}"), name)
    raise AttributeError(f"module 'dtorch.nn.parallel' has no attribute {name!r}")
