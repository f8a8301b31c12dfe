"""Tools around training; each part is imported when it is first asked for."""

import importlib
from types import ModuleType

_PARTS = [
    "_pytree",
    "checkpoint",
    "cpp_extension",
    "data",
    "dlpack",
    "hooks",
    "model_zoo",
    "safetensors",
]


def __getattr__(name: str) -> ModuleType:
    if name in _PARTS:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
