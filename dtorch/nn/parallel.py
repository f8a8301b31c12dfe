"""torch.nn.parallel's names for what is in dtorch.parallel, imported when it is used."""

from __future__ import annotations

import importlib
from typing import Any

_NAMES = {
    "DataParallel", "DistributedDataParallel", "data_parallel", "gather", "parallel_apply",
    "replicate", "scatter",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        return getattr(importlib.import_module("dtorch.parallel"), name)
    raise AttributeError(f"module 'dtorch.nn.parallel' has no attribute {name!r}")
