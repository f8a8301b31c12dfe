"""autocast, and the decorators with which a user's autograd.Function takes part in it."""

from __future__ import annotations

import copy
import functools
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

from .. import cuda
from ..core.dtype import dtype as DType
from ..core.modes import _Mode
from ..core.tensor import Tensor
from ..core.walk import running_task
from . import casts

__all__ = ["autocast", "custom_bwd", "custom_fwd", "is_autocast_available"]


def is_autocast_available(device_type: str) -> bool:
    """Whether autocast knows the device type: "cpu" and "cuda"."""
    return device_type in casts.DEVICES


def _checked(device_type: Any) -> str:
    if not isinstance(device_type, str):
        raise ValueError(f"Expected `device_type` of type `str`, got: `{type(device_type)}`")
    return device_type


class autocast(_Mode):
    """Matrix products run in a lower precision in here, losses and their kin in float32.

    device_type: "cpu" or "cuda"; tensors on the other are left alone
    dtype: the lower precision, bfloat16 or float16; by default get_autocast_dtype(device_type)
    enabled: False switches autocast off inside a block that has it on
    cache_enabled: whether the casts of weights are kept until the outermost block ends, so that a
        weight used twice is cast once

    Functions are listed in amp/policies.py; in place and with out= they are not cast, and neither
    is float64.  Weights stay float32, and so do their gradients.  Leave the block before backward():
    each gradient rule runs in the dtype of its forward call.  Also a decorator.  On the CPU it saves
    memory and not time: halves are computed in float32, and rounded.

    RuntimeError for another device type.  It warns, and is off, for a dtype that is neither of the
    two, and for "cuda" where there is none.

    Source: Micikevicius et al., Mixed Precision Training, ICLR 2018.
    """

    def __init__(
        self,
        device_type: str,
        dtype: DType | None = None,
        enabled: bool = True,
        cache_enabled: bool | None = None,
    ) -> None:
        if not is_autocast_available(_checked(device_type)):
            raise RuntimeError(
                f"User specified an unsupported autocast device_type {device_type!r}: expected one "
                f"of {', '.join(casts.DEVICES)}"
            )
        self.device = device_type
        self.fast_dtype = casts.get_autocast_dtype(device_type) if dtype is None else dtype
        self._cache_enabled = (
            casts.is_autocast_cache_enabled() if cache_enabled is None else cache_enabled
        )
        if enabled and device_type == "cuda" and not cuda.is_available():
            warnings.warn(
                "User provided device_type of 'cuda', but CUDA is not available. Disabling autocast.",
                stacklevel=2,
            )
            enabled = False
        elif enabled and self.fast_dtype not in casts.SUPPORTED:
            name = device_type.upper()
            warnings.warn(
                f"In {name} autocast, but the target dtype is not supported. Disabling autocast.\n"
                f"{name} Autocast only supports dtypes of "
                f"{', '.join(map(str, casts.SUPPORTED))} currently.",
                stacklevel=2,
            )
            enabled = False
        self._enabled = enabled
        self._before: list[Any] = []  # one entry each time it is entered

    def _again(self) -> autocast:
        twin = copy.copy(self)  # a decorated function may run on several threads at once
        twin._before = []
        return twin

    def __call__(self, function: Any) -> Any:
        if not callable(function):
            raise TypeError(
                f"autocast()(func) requires a callable, but got {type(function).__name__}. Did you "
                "mean to use autocast as a context manager? For example:\n"
                "    with dtorch.autocast(device_type=...):\n"
                "        output = model(input)"
            )
        return super().__call__(function)

    def __enter__(self) -> autocast:  # type: ignore[override]
        self._before.append(casts.settings(self.device))
        new = self._enabled, self.fast_dtype, self._cache_enabled, running_task()
        casts.apply(self.device, new)
        casts.autocast_increment_nesting()
        return self

    def __exit__(self, *error: object) -> None:
        if casts.autocast_decrement_nesting() == 0:
            casts.clear_autocast_cache()
        casts.apply(self.device, self._before.pop())


@contextmanager
def _all(contexts: list[autocast]) -> Iterator[None]:
    with ExitStack() as stack:
        for context in contexts:
            stack.enter_context(context)
        yield


def as_now() -> Callable[[], AbstractContextManager[None]]:
    """Makes blocks in which autocast is as it is now: for what backward computes again."""
    now = [(d, casts.settings(d)) for d in casts.DEVICES]
    return lambda: _all([autocast(d, dtype, on, cache) for d, (on, dtype, cache, _) in now])


# ---- users' own Functions ------------------------------------------------------------------------


def _cast(value: Any, device_type: str, dtype: DType) -> Any:
    """The eligible tensors in a value, also in its containers, in the dtype."""
    if isinstance(value, Tensor):
        return value.to(dtype) if casts.eligible(value, device_type) else value
    if isinstance(value, Mapping):
        return {_cast(k, device_type, dtype): _cast(v, device_type, dtype)
                for k, v in value.items()}  # fmt: skip
    if isinstance(value, (list, tuple)):
        return casts.mapped(lambda v: _cast(v, device_type, dtype), value)
    return value


def custom_fwd(
    fwd: Callable[..., Any] | None = None, *, device_type: str, cast_inputs: DType | None = None
) -> Any:
    """For `forward` of an autograd.Function: what it does where autocast is on.

    cast_inputs: cast floating point tensors to this dtype and run with autocast off; None: run as
        any other code.  Without autocast it changes nothing
    """
    _checked(device_type)
    if fwd is None:
        return functools.partial(custom_fwd, device_type=device_type, cast_inputs=cast_inputs)

    @functools.wraps(fwd)
    def forward(ctx: Any, *args: Any, **kwargs: Any) -> Any:
        on = casts.is_autocast_enabled(device_type)
        ctx._dtype = casts.get_autocast_dtype(device_type)
        ctx._fwd_used_autocast = on and cast_inputs is None
        if not on or cast_inputs is None:
            return fwd(ctx, *args, **kwargs)
        with autocast(device_type, enabled=False):
            return fwd(ctx, *_cast(args, device_type, cast_inputs),
                       **_cast(kwargs, device_type, cast_inputs))  # fmt: skip

    return forward


def custom_bwd(bwd: Callable[..., Any] | None = None, *, device_type: str) -> Any:
    """For `backward` of an autograd.Function: autocast is on as it was in its forward."""
    _checked(device_type)
    if bwd is None:
        return functools.partial(custom_bwd, device_type=device_type)

    @functools.wraps(bwd)
    def backward(ctx: Any, *args: Any, **kwargs: Any) -> Any:
        with autocast(device_type, dtype=ctx._dtype, enabled=ctx._fwd_used_autocast):
            return bwd(ctx, *args, **kwargs)

    return backward
