"""Automatic differentiation under torch's names."""

from __future__ import annotations

from ..core.autograd import backward, grad
from ..core.function import Function
from ..core.gradcheck import GradcheckError, gradcheck, gradgradcheck
from ..core.modes import (
    detect_anomaly,
    enable_grad,
    inference_mode,
    is_grad_enabled,
    no_grad,
    set_detect_anomaly,
    set_grad_enabled,
)
from ..core.tensor import Tensor
from . import function, functional

__all__ = [
    "Function", "GradcheckError", "Variable", "backward", "detect_anomaly", "enable_grad", "function",
    "functional", "grad", "gradcheck", "gradgradcheck", "inference_mode", "is_grad_enabled",
    "no_grad", "set_detect_anomaly", "set_grad_enabled",
]  # fmt: skip


def Variable(data: Tensor, requires_grad: bool = False) -> Tensor:  # noqa: N802
    """The tensor itself, as a leaf: what torch has kept of its first releases."""
    t = data.detach()
    return t.requires_grad_() if requires_grad else t
