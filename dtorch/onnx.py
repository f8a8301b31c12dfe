"""torch.onnx's names.  There is no export yet: asking for one says so."""

from __future__ import annotations

from enum import Enum
from typing import Any, NoReturn

__all__ = ["OperatorExportTypes", "TrainingMode", "dynamo_export", "export", "is_in_onnx_export"]


class TrainingMode(Enum):
    """In which mode a module is exported."""

    EVAL = 0
    PRESERVE = 1
    TRAINING = 2


class OperatorExportTypes(Enum):
    """What becomes of ops that ONNX does not have."""

    ONNX = 0
    ONNX_ATEN = 1
    ONNX_ATEN_FALLBACK = 2
    ONNX_FALLTHROUGH = 3


def export(model: Any, *args: Any, **options: Any) -> NoReturn:
    """RuntimeError."""
    raise RuntimeError(
        "dtorch can't export to ONNX. Save the weights with dtorch.save(model.state_dict(), file), "
        "load them into the same model in PyTorch, and export it there."
    )


dynamo_export = export


def is_in_onnx_export() -> bool:
    """Whether an export is under way."""
    return False
