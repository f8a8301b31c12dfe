"""What autocast does to a call: casts, by the lists of policies.py, and the cache of weights' casts.

Its settings hold for the current context (thread or task), as all modes do.
"""

from __future__ import annotations

import functools
import importlib
import inspect
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from types import FunctionType
from typing import Any

from ..core import dtype as dtypes
from ..core.detours import Detours
from ..core.methods import FUNCTIONS
from ..core.modes import grad_on
from ..core.ops import shape
from ..core.tensor import Tensor
from ..core.walk import running_task
from . import policies

DEVICES = ("cpu", "cuda")
SUPPORTED = (dtypes.bfloat16, dtypes.float16)

_enabled: dict[str, ContextVar[bool]] = {
    d: ContextVar(f"autocast_{d}", default=False) for d in DEVICES
}
_dtype: dict[str, ContextVar[dtypes.dtype]] = {
    "cpu": ContextVar("autocast_cpu_dtype", default=dtypes.bfloat16),
    "cuda": ContextVar("autocast_cuda_dtype", default=dtypes.float16),
}
_caching: ContextVar[bool] = ContextVar("autocast_cache", default=True)
_nesting: ContextVar[int] = ContextVar("autocast_nesting", default=0)
_casts: ContextVar[dict[int, Tensor] | None] = ContextVar("autocast_casts", default=None)
# Where autocast was switched on: gradient rules that run later, in a backward, are not meant.
_owner: ContextVar[Any] = ContextVar("autocast_owner", default=None)
_inside: ContextVar[bool] = ContextVar("autocast_inside", default=False)  # of a listed function


# ---- settings ----------------------------------------------------------------------------------


def _known(device_type: str) -> str:
    if device_type not in DEVICES:
        raise RuntimeError(
            f"unknown device type for autocast: expected one of {', '.join(DEVICES)}, got "
            f"{device_type!r}"
        )
    return device_type


def is_autocast_enabled(device_type: str = "cuda") -> bool:
    """Whether calls on tensors of this device type are autocast in this context."""
    return _enabled[_known(device_type)].get()


def set_autocast_enabled(device_type: str | bool, enabled: bool | None = None) -> None:
    """Switch autocast on or off; with one argument, for CUDA.  `autocast` does it for a block."""
    if enabled is None:
        device_type, enabled = "cuda", bool(device_type)
    variable = _enabled[_known(str(device_type))]
    if variable.get() != enabled:
        _detours().switch(enabled)
        variable.set(bool(enabled))
    _owner.set(running_task())


def get_autocast_dtype(device_type: str) -> dtypes.dtype:
    """The lower precision of a device type: bfloat16 on the CPU and float16 on CUDA, unless set."""
    return _dtype[_known(device_type)].get()


def set_autocast_dtype(device_type: str, dtype: dtypes.dtype) -> None:
    """The dtype that autocast takes on a device type."""
    _dtype[_known(device_type)].set(dtype)


def is_autocast_cache_enabled() -> bool:
    """What set_autocast_cache_enabled() has set."""
    return _caching.get()


def set_autocast_cache_enabled(enabled: bool) -> None:
    """Whether casts of parameters are kept within an autocast block."""
    _caching.set(bool(enabled))


def clear_autocast_cache() -> None:
    """Forget the casts of weights.  Leaving the outermost `autocast` does so."""
    _casts.set(None)


def autocast_increment_nesting() -> int:
    """One autocast block more; how many there are now."""
    _nesting.set(_nesting.get() + 1)
    return _nesting.get()


def autocast_decrement_nesting() -> int:
    """One autocast block less; how many are left."""
    _nesting.set(_nesting.get() - 1)
    return _nesting.get()


Settings = tuple[bool, dtypes.dtype, bool, Any]  # enabled, lower precision, cache, the owner


def settings(device_type: str) -> Settings:
    return (is_autocast_enabled(device_type), get_autocast_dtype(device_type), _caching.get(),
            _owner.get())  # fmt: skip


def apply(device_type: str, new: Settings) -> None:
    enabled, dtype, caching, owner = new
    set_autocast_enabled(device_type, enabled)
    set_autocast_dtype(device_type, dtype)
    set_autocast_cache_enabled(caching)
    _owner.set(owner)


# ---- casting -----------------------------------------------------------------------------------


def eligible(x: Any, device_type: str) -> bool:
    """Whether autocast may cast it: a tensor on the device, floating point, but not float64."""
    return (
        isinstance(x, Tensor)
        and x.dtype.is_floating_point
        and x.dtype is not dtypes.float64
        and x.device.type == device_type
    )


def mapped(function: Callable[[Any], Any], x: Any) -> Any:
    """x with the function applied to it or, if it is a list or tuple, to its elements."""
    if isinstance(x, (list, tuple)):
        parts = [mapped(function, v) for v in x]
        return type(x)(*parts) if hasattr(x, "_fields") else type(x)(parts)
    return function(x)


def tensors(values: Any) -> Iterator[Tensor]:
    """The tensors among values, and in lists and tuples among them."""
    for x in values:
        if isinstance(x, Tensor):
            yield x
        elif isinstance(x, (list, tuple)):
            yield from tensors(x)


def _cast(x: Any, dtype: dtypes.dtype, device_type: str) -> Any:
    """x in the dtype, where it is eligible.  The cast of a weight is kept until autocast ends."""
    if not eligible(x, device_type) or x.dtype is dtype:
        return x
    weight = x.dtype is dtypes.float32 and x.requires_grad and x.is_leaf and x._base is None
    if not (weight and dtype is get_autocast_dtype(device_type) and _caching.get() and grad_on()):
        return shape.cast(x, dtype.np)
    casts = _casts.get()
    if casts is None:
        casts = {}
        _casts.set(casts)
    if id(x) not in casts:  # the cast's history holds x, so the id is not used again
        casts[id(x)] = shape.cast(x, dtype.np)
    return casts[id(x)]


# ---- policies: what dtype a call's tensors are cast to, None for none ---------------------------

Policy = Callable[[Any, dict[str, Any], str], Any]  # of the arguments and the device type


def _lower(args: Any, kwargs: dict[str, Any], device_type: str) -> Any:
    return get_autocast_dtype(device_type)


def _float32(args: Any, kwargs: dict[str, Any], device_type: str) -> Any:
    return None if kwargs.get("dtype") is not None else dtypes.float32  # a dtype asked for counts


def _contraction(args: Any, kwargs: dict[str, Any], device_type: str) -> Any:
    equation = args[0]
    if isinstance(equation, str):
        left, arrow, out = equation.replace(" ", "").partition("->")
        names = [set(name) - {"."} for name in left.split(",")]
        shared = {c for name in names for c in name if sum(c in n for n in names) > 1}
        if not shared - set(out if arrow else ""):
            return None
    return get_autocast_dtype(device_type)


def _padding(args: Any, kwargs: dict[str, Any], device_type: str) -> Any:
    mode = args[2] if len(args) > 2 else kwargs.get("mode")
    return dtypes.float32 if mode in ("reflect", "replicate") else None


def _widest(args: Any, kwargs: dict[str, Any], device_type: str) -> Any:
    given = [x.dtype for x in tensors((*args, *kwargs.values())) if eligible(x, device_type)]
    return dtypes.float32 if dtypes.float32 in given else get_autocast_dtype(device_type)


def _refused(args: Any, kwargs: dict[str, Any], device_type: str) -> Any:
    raise RuntimeError(
        "dtorch.nn.functional.binary_cross_entropy and dtorch.nn.BCELoss are unsafe to autocast.\n"
        "Many models use a sigmoid layer right before the binary cross entropy layer.\n"
        "In this case, combine the two layers using "
        "dtorch.nn.functional.binary_cross_entropy_with_logits\n"
        "or dtorch.nn.BCEWithLogitsLoss, which are safe to autocast."
    )


# ---- calls ---------------------------------------------------------------------------------------


def _autocast(policy: dict[str, Policy], plain: Any, *args: Any, **kwargs: Any) -> Any:
    """A call of a listed function: on cast arguments, and what it calls is not cast again.

    policy: for each device type that lists the function, what to cast to
    """
    if _inside.get() or running_task() is not _owner.get():
        return plain(*args, **kwargs)
    first = next(tensors((*args, *kwargs.values())), None)
    device_type = "none" if first is None else first.device.type
    if device_type not in policy or not _enabled[device_type].get():
        return plain(*args, **kwargs)
    dtype = policy[device_type](args, kwargs, device_type)
    if dtype is not None:
        cast = functools.partial(_cast, dtype=dtype, device_type=device_type)
        args = tuple(mapped(cast, x) for x in args)
        kwargs = {name: mapped(cast, x) for name, x in kwargs.items()}
    return _as_written(plain, *args, **kwargs)


def _as_written(plain: Any, *args: Any, **kwargs: Any) -> Any:
    """A call in which nothing is cast: listed functions in place, and with out=."""
    token = _inside.set(True)
    try:
        return plain(*args, **kwargs)
    finally:
        _inside.reset(token)


def _as_written_with_out(plain: Any, *args: Any, **kwargs: Any) -> Any:
    if kwargs.get("out") is None:
        return plain(*args, **kwargs)
    return _as_written(plain, *args, **kwargs)


# ---- where calls are seen ------------------------------------------------------------------------


def named(name: str) -> Any:
    """The package's function of this name, None if there is none."""
    where, _, last = name.rpartition(".")
    if where:
        return getattr(importlib.import_module(f"dtorch.{where}"), last, None)
    return FUNCTIONS.get(name) or getattr(
        importlib.import_module("dtorch.nn.functional"), name, None
    )


@functools.cache
def _detours() -> Detours:
    """The listed functions, wherever they are held: as functions, methods and operators."""
    tables = {
        _lower: policies.LOWER, _contraction: policies.CONTRACTION, _float32: policies.FLOAT32,
        _padding: policies.PADDING, _widest: policies.WIDEST, _refused: policies.REFUSED,
    }  # fmt: skip
    policy: dict[str, dict[str, Policy]] = {}
    for what, table in tables.items():
        for device_type, names in table.items():
            for name in names:
                policy.setdefault(name, {})[device_type] = what
    ways: dict[FunctionType, Any] = {}
    for name, of in policy.items():
        public = named(name)
        handler = functools.partial(_autocast, of)
        for function in (public, getattr(Tensor, name, None), getattr(Tensor, f"__{name}__", None)):
            if function is not None:
                ways[inspect.unwrap(function)] = handler
        if public is not inspect.unwrap(public):
            ways[public] = _as_written_with_out
        if hasattr(Tensor, f"{name}_"):
            ways[getattr(Tensor, f"{name}_")] = _as_written
    return Detours(ways)
