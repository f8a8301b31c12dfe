"""The layers, a file for each family."""

import importlib

from .module import Module

_FAMILIES = (
    "activation", "attention", "batchnorm", "container", "conv", "dropout", "linear", "loss",
    "normalization", "pooling", "rnn", "shape", "sparse", "transformer",
)  # fmt: skip

__all__ = ["Module"]
for _family in _FAMILIES:
    for _name, _value in vars(importlib.import_module(f"{__name__}.{_family}")).items():
        _defined_here = getattr(_value, "__module__", None) == f"{__name__}.{_family}"
        if _defined_here and isinstance(_value, type) and not _name.startswith("_"):
            globals()[_name] = _value
            __all__.append(_name)
