"""torch's older names, for one device type each: what cuda.amp and cpu.amp share, and dtorch.* has."""

from __future__ import annotations

import warnings
from functools import partial
from typing import ClassVar

from ..core.dtype import dtype as DType
from . import casts
from .autocast_mode import autocast
from .grad_scaler import GradScaler


def deprecated(device_type: str, old: str, new: str) -> None:
    """Say that dtorch.<device_type>.amp.<old> is now dtorch.amp.<new>."""
    warnings.warn(
        f"`dtorch.{device_type}.amp.{old}` is deprecated. Please use `dtorch.amp.{new}` instead.",
        FutureWarning,
        stacklevel=3,
    )


class OlderAutocast(autocast):
    """autocast(device_type, ...), with enabled first."""

    device_type: ClassVar[str]

    def __init__(
        self, enabled: bool = True, dtype: DType | None = None, cache_enabled: bool = True
    ) -> None:
        d = self.device_type
        deprecated(d, "autocast(args...)", f"autocast('{d}', args...)")
        super().__init__(d, dtype, enabled, cache_enabled)


class OlderGradScaler(GradScaler):
    """GradScaler(device_type, ...)"""

    device_type: ClassVar[str]

    def __init__(
        self,
        init_scale: float = 2.0**16,
        growth_factor: float = 2.0,
        backoff_factor: float = 0.5,
        growth_interval: int = 2000,
        enabled: bool = True,
    ) -> None:
        d = self.device_type
        deprecated(d, "GradScaler(args...)", f"GradScaler('{d}', args...)")
        super().__init__(d, init_scale, growth_factor, backoff_factor, growth_interval, enabled)


is_autocast_cpu_enabled = partial(casts.is_autocast_enabled, "cpu")
set_autocast_cpu_enabled = partial(casts.set_autocast_enabled, "cpu")
get_autocast_cpu_dtype = partial(casts.get_autocast_dtype, "cpu")
set_autocast_cpu_dtype = partial(casts.set_autocast_dtype, "cpu")
get_autocast_gpu_dtype = partial(casts.get_autocast_dtype, "cuda")
set_autocast_gpu_dtype = partial(casts.set_autocast_dtype, "cuda")
