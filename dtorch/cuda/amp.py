"""Mixed precision on CUDA, under torch's older names; dtorch.amp has it for each device type."""

from __future__ import annotations

from typing import Any

from .. import amp
from ..amp import older
from ..core.dtype import dtype as DType

__all__ = ["GradScaler", "autocast", "custom_bwd", "custom_fwd"]


class autocast(older.OlderAutocast):
    device_type = "cuda"


class GradScaler(older.OlderGradScaler):
    device_type = "cuda"


def custom_fwd(fwd: Any = None, *, cast_inputs: DType | None = None) -> Any:
    """dtorch.amp.custom_fwd(device_type="cuda")"""
    older.deprecated("cuda", "custom_fwd(args...)", "custom_fwd(args..., device_type='cuda')")
    return amp.custom_fwd(fwd, device_type="cuda", cast_inputs=cast_inputs)


def custom_bwd(bwd: Any) -> Any:
    """dtorch.amp.custom_bwd(device_type="cuda")"""
    older.deprecated("cuda", "custom_bwd(args...)", "custom_bwd(args..., device_type='cuda')")
    return amp.custom_bwd(bwd, device_type="cuda")
