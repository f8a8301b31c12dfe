"""Mixed precision on the CPU, under torch's older names; dtorch.amp has it for each device type."""

from __future__ import annotations

from ..amp import older

__all__ = ["GradScaler", "autocast"]


class autocast(older.OlderAutocast):
    device_type = "cpu"


class GradScaler(older.OlderGradScaler):
    device_type = "cpu"
