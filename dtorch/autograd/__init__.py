"""Automatic differentiation under torch's names."""

from __future__ import annotations

import importlib
from typing import Any

from ..core.autograd import backward, grad
from ..core.function import Function
from ..core.gradcheck import GradcheckError, gradcheck, gradgradcheck
from ..core.modes import (
    detect_anomaly,
    enable_grad,
    enforce_grad_layout_policy,
    inference_mode,
    is_grad_enabled,
    is_multithreading_enabled,
    no_grad,
    set_detect_anomaly,
    set_grad_enabled,
    set_multithreading_enabled,
)
from . import forward_ad, function, functional, graph
from .function import NestedIOFunction
from .variable import Variable

__all__ = [
    "Function", "GradcheckError", "NestedIOFunction", "Variable", "backward", "detect_anomaly",
    "enable_grad", "enforce_grad_layout_policy", "forward_ad", "function", "functional", "grad",
    "gradcheck", "gradgradcheck", "graph", "inference_mode", "is_grad_enabled",
    "is_multithreading_enabled", "no_grad", "set_detect_anomaly", "set_grad_enabled",
    "set_multithreading_enabled",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name == "profiler":  # it needs all of the package, which needs this
        return importlib.import_module(f"{__name__}.profiler")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
