"""dtorch: distributed data-parallel training in Python, with PyTorch's names and behaviour.

    import dtorch
    from dtorch import nn, optim
    from dtorch.nn.parallel import DistributedDataParallel

Submodules are imported on first use, so that `import dtorch` is quick.
"""

from __future__ import annotations

import importlib
from math import e, inf, nan, pi
from typing import Any

from .core import dtype as _dtypes
from .core.backend.threads import get_num_threads, set_num_threads
from .core.device import device
from .core.dtype import (
    bfloat16,
    can_cast,
    cdouble,
    cfloat,
    channels_last,
    channels_last_3d,
    complex64,
    complex128,
    contiguous_format,
    double,
    dtype,
    finfo,
    float16,
    float32,
    float64,
    get_default_dtype,
    half,
    iinfo,
    int8,
    int16,
    int32,
    int64,
    layout,
    long,
    memory_format,
    preserve_format,
    promote_types,
    set_default_dtype,
    short,
    sparse_bsc,
    sparse_bsr,
    sparse_coo,
    sparse_csc,
    sparse_csr,
    strided,
    uint8,
    uint16,
    uint32,
    uint64,
)
from .core.errors import AcceleratorError, OutOfMemoryError
from .core.methods import FUNCTIONS as _functions
from .core.modes import (
    enable_grad,
    inference_mode,
    is_anomaly_check_nan_enabled,
    is_anomaly_enabled,
    is_grad_enabled,
    is_inference_mode_enabled,
    no_grad,
    set_grad_enabled,
)
from .core.printing import get_printoptions, printoptions, set_printoptions
from .core.random import (
    Generator,
    get_rng_state,
    initial_seed,
    manual_seed,
    seed,
    set_rng_state,
)
from .core.settings import SETTINGS as _settings
from .core.storage import CLASSES as _storages
from .core.storage import TypedStorage, UntypedStorage
from .core.surface import CLASSES as _typed
from .core.tensor import Size, Tensor

__version__ = "0.1.0"

newaxis = None
bool, int, float = _dtypes.bool_, _dtypes.int_, _dtypes.float_
globals().update(_functions | _storages | _settings | _typed)

_SUBMODULES = {
    "accelerator", "amp", "as_torch", "autograd", "backends", "compiler", "cpu", "cuda",
    "distributed", "distributions", "fft", "func", "futures", "hub", "jit", "linalg", "masked",
    "multiprocessing", "nn", "onnx", "optim", "parallel", "profiler", "random", "serialization",
    "signal", "sparse", "special", "storage", "testing", "types", "utils", "version", "vision",
}  # fmt: skip
# Names that are at home in a module which is imported when they are used.
_ELSEWHERE = {
    "vmap": "func", "load": "core.serialize", "save": "core.serialize",
    "autocast": "amp", "GradScaler": "amp", "compile": "compiler",
} | dict.fromkeys([
    "autocast_decrement_nesting", "autocast_increment_nesting", "clear_autocast_cache",
    "get_autocast_dtype", "is_autocast_cache_enabled", "is_autocast_enabled",
    "set_autocast_cache_enabled", "set_autocast_dtype", "set_autocast_enabled",
], "amp.casts") | dict.fromkeys([
    "get_autocast_cpu_dtype", "get_autocast_gpu_dtype", "is_autocast_cpu_enabled",
    "set_autocast_cpu_dtype", "set_autocast_cpu_enabled", "set_autocast_gpu_dtype",
], "amp.older")  # fmt: skip


def __dir__() -> list[str]:
    return sorted({*globals(), *_SUBMODULES, *_ELSEWHERE})


def __getattr__(name: str) -> Any:
    if name == "default_generator":  # the context's: ranks that run as threads have their own
        return importlib.import_module(f"{__name__}.random").default_generator()
    if name in _ELSEWHERE:
        return getattr(importlib.import_module(f"{__name__}.{_ELSEWHERE[name]}"), name)
    if name in _SUBMODULES:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module 'dtorch' has no attribute {name!r}")
