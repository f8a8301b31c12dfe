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
    strided,
    uint8,
)
from .core.methods import FUNCTIONS as _functions
from .core.modes import (
    enable_grad,
    inference_mode,
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
from .core.tensor import Size, Tensor

__version__ = "0.1.0"

newaxis = None
bool, int, float = _dtypes.bool_, _dtypes.int_, _dtypes.float_
globals().update(_functions)

_SUBMODULES = {
    "autograd", "cuda", "distributed", "linalg", "nn", "optim", "parallel", "random", "utils",
    "vision",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    if name == "default_generator":  # the context's: ranks that run as threads have their own
        return importlib.import_module(f"{__name__}.random").default_generator()
    if name in ("load", "save"):  # zipfile and its kin would be a tenth of the import
        return getattr(importlib.import_module(f"{__name__}.core.serialize"), name)
    if name in _SUBMODULES:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module 'dtorch' has no attribute {name!r}")
