"""torch's global switches.  Those that change nothing here say why, and remember what was set."""

from __future__ import annotations

import os
import warnings
from typing import Any

from . import device as devices
from . import dtype as dtypes
from .backend import cublas
from .device import device
from .surface import of_type

# ---- the device of new tensors ---------------------------------------------------------------


def get_default_device() -> device:
    """Where tensors are made that name no device: the CPU, unless set."""
    return devices.default() or devices.CPU


def set_default_device(device: Any) -> None:
    """Make new tensors on this device from now on (None: the CPU).  `with device:` does it for a block.

    RuntimeError if there is no such device.
    """
    if device is not None:
        device = devices.device(device)
        devices.namespace(device)
    devices.default_device.set(device)


def set_default_tensor_type(t: Any) -> None:
    """set_default_dtype for older scripts: dtorch.DoubleTensor or its name as a string."""
    dtypes.set_default_dtype(of_type(t))


# ---- determinism -----------------------------------------------------------------------------

_MODES = ["default", "warn", "error"]
_deterministic = 0  # an index into _MODES


def use_deterministic_algorithms(mode: bool, *, warn_only: bool = False) -> None:
    """Ask for results that repeat bit for bit.  The kernels on the CPU always do."""
    set_deterministic_debug_mode((1 if warn_only else 2) if mode else 0)


def are_deterministic_algorithms_enabled() -> bool:
    """What use_deterministic_algorithms() has set."""
    return _deterministic > 0


def is_deterministic_algorithms_warn_only_enabled() -> bool:
    """Whether what is not deterministic warns, and does not raise."""
    return _deterministic == 1


def set_deterministic_debug_mode(debug_mode: int | str) -> None:
    """0 or "default", 1 or "warn", 2 or "error"."""
    global _deterministic
    if debug_mode in _MODES:
        debug_mode = _MODES.index(str(debug_mode))
    if debug_mode not in (0, 1, 2):
        raise RuntimeError(
            f"invalid value of debug_mode, expected one of `default`, `warn`, `error`, 0, 1, 2, got "
            f"{debug_mode!r}"
        )
    _deterministic = int(debug_mode)


def get_deterministic_debug_mode() -> int:
    """0: anything goes, 1: what is not deterministic warns, 2: it raises."""
    return _deterministic


# ---- numbers ---------------------------------------------------------------------------------

_precision = "highest"


def set_float32_matmul_precision(precision: str) -> None:
    """Allow "high" or "medium" precision in float32 products: TF32, on GPUs; in full on the CPU."""
    global _precision
    if precision not in ("highest", "high", "medium"):
        warnings.warn(
            f"{precision} is not one of 'highest', 'high', or 'medium'; the current "
            "setFloat32MatmulPrecision call has no effect.",
            stacklevel=2,
        )
        return
    _precision = precision
    cublas.allow_tf32 = precision != "highest"


def get_float32_matmul_precision() -> str:
    """What set_float32_matmul_precision() has set."""
    return _precision


def set_flush_denormal(mode: bool) -> bool:
    """False: NumPy can't make the CPU flush denormal numbers to zero."""
    return False


# ---- threads and warnings --------------------------------------------------------------------

_interop_threads = os.cpu_count() or 1
_warn_always = False


def get_num_interop_threads() -> int:
    """What set_num_interop_threads() has set."""
    return _interop_threads


def set_num_interop_threads(n: int) -> None:
    """How many ops may run at once.  One does; see set_num_threads for the threads within it."""
    global _interop_threads
    if n <= 0:
        raise RuntimeError(f"set_num_interop_threads expects a positive integer, got {n}")
    _interop_threads = int(n)


def is_warn_always_enabled() -> bool:
    """What set_warn_always() has set."""
    return _warn_always


def set_warn_always(b: bool) -> None:
    """Python's own filters decide how often a warning is shown: warnings.simplefilter("always")."""
    global _warn_always
    _warn_always = bool(b)


# ---- devices that are not the CPU ------------------------------------------------------------


def get_device_module(device: Any = None) -> Any:
    """dtorch.cpu or dtorch.cuda: that of a device, by default of the default device."""
    import importlib

    where = get_default_device() if device is None else devices.device(device)
    return importlib.import_module(f"dtorch.{where.type}")


class _OfAnAccelerator:
    """On the CPU work is done when a call returns: there is nothing to queue, or to wait for."""

    def __init__(self, *args: Any, **options: Any) -> None:
        raise RuntimeError(
            f"dtorch.{type(self).__name__} is for accelerators: work on the CPU is done when the "
            "call returns. Leave it out."
        )


class Event(_OfAnAccelerator):
    pass


class Stream(_OfAnAccelerator):
    pass


SETTINGS: dict[str, Any] = {
    name: value for name, value in list(globals().items())
    if callable(value) and getattr(value, "__module__", "") == __name__ and name[0] != "_"
} | {"has_lapack": True, "has_mkl": False, "has_openmp": False, "has_spectral": True}  # fmt: skip
