"""Checkpoints: a part of a model is computed again in backward instead of keeping what it saved.

use_reentrant=False (recommended): hooks on saved tensors note which values the part saves, and drop
them; the first one that backward asks for runs the part again, up to the last value that is needed.
use_reentrant=True: the part is one Function, whose backward runs it again and goes back through it.

Chen, Xu, Zhang, Guestrin, "Training Deep Nets with Sublinear Memory Cost", 2016.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any

from .. import autograd
from ..amp.autocast_mode import as_now
from ..core.autograd import backward
from ..core.modes import enable_grad, grad_on, no_grad
from ..core.random import fork_rng, get_rng_state, set_rng_state
from ..core.recording import saved_tensors_hooks
from ..core.tensor import Tensor
from ..core.walk import current_task, running_task
from ..nn.modules.container import Sequential

__all__ = [
    "CheckpointError", "CheckpointFunction", "DefaultDeviceType", "GraphExecGroup",
    "check_backward_validity", "checkpoint", "checkpoint_sequential", "detach_variable",
    "get_device_states", "noop_context_fn", "set_checkpoint_debug_enabled",
    "set_checkpoint_early_stop", "set_device_states",
]  # fmt: skip

Contexts = tuple[AbstractContextManager[Any], AbstractContextManager[Any]]

_early_stop: ContextVar[bool] = ContextVar("early_stop", default=True)
_debug: ContextVar[bool | None] = ContextVar("debug", default=None)
_group: ContextVar[GraphExecGroup | None] = ContextVar("group", default=None)


class CheckpointError(RuntimeError):
    """The part did not do the same again."""


def noop_context_fn() -> Contexts:
    return nullcontext(), nullcontext()


@contextmanager
def _set(variable: ContextVar[Any], value: Any) -> Iterator[None]:
    token = variable.set(value)
    try:
        yield
    finally:
        variable.reset(token)


def set_checkpoint_early_stop(enable: bool) -> AbstractContextManager[None]:
    """Whether parts that are checkpointed in here run again only as far as they must (default)."""
    return _set(_early_stop, enable)


def set_checkpoint_debug_enabled(enabled: bool | None) -> AbstractContextManager[None]:
    """Sets `debug` of all checkpoints in here; None: what each says."""
    return _set(_debug, enabled)


class GraphExecGroup:
    """Several backwards in here, over parts of the graph that don't overlap, run each checkpointed
    part again only once."""

    def __enter__(self) -> GraphExecGroup:
        if _group.get() is not None:
            raise RuntimeError(
                f"GraphExecGroup contexts cannot be nested. Already inside group {_group.get()}"
            )
        _group.set(self)
        return self

    def __exit__(self, *error: object) -> None:
        _group.set(None)


# ---- the checkpoint ----------------------------------------------------------------------------


def checkpoint(
    function: Callable[..., Any],
    *args: Any,
    use_reentrant: bool | None = None,
    context_fn: Callable[[], Contexts] = noop_context_fn,
    determinism_check: str = "default",
    debug: bool = False,
    early_stop: bool = True,
    preserve_rng_state: bool = True,
    **kwargs: Any,
) -> Any:
    """function(*args, **kwargs), keeping only the arguments for backward.

    use_reentrant: see the module's docstring; should be given (default: True, with a warning)
    context_fn: two context managers, for the forward pass and for running again (not reentrant)
    determinism_check: "default" compares the shapes and dtypes of what is saved, "none" doesn't
    debug: an error about a difference lists all that was saved, both times (not reentrant)
    early_stop: run again only up to the last value that is needed (not reentrant)
    preserve_rng_state: draw the same random numbers again

    Raises CheckpointError in backward if the function does not save the same again.
    """
    if use_reentrant is None:
        warnings.warn(
            "dtorch.utils.checkpoint: the use_reentrant parameter should be passed explicitly. "
            "use_reentrant=False is recommended; without it, it is True.",
            stacklevel=2,
        )
        use_reentrant = True
    if determinism_check not in ("default", "none"):
        raise ValueError(
            f"determinism_check should be one of ['default', 'none'] but got {determinism_check}"
        )
    if not use_reentrant:
        if not grad_on():
            return function(*args, **kwargs)
        part = _Part(lambda: function(*args, **kwargs), preserve_rng_state,
                     determinism_check == "default", debug, early_stop)  # fmt: skip
        return part.forward(*context_fn())
    if kwargs:
        raise ValueError("Unexpected keyword arguments: " + ",".join(kwargs))
    if context_fn is not noop_context_fn or debug:
        raise ValueError(
            "Passing `context_fn` or `debug` is only supported when use_reentrant=False."
        )
    return CheckpointFunction.apply(function, preserve_rng_state, *args)


def checkpoint_sequential(
    functions: Any,
    segments: int,
    input: Any,
    use_reentrant: bool | None = None,
    preserve_rng_state: bool = True,
    **kwargs: Any,
) -> Any:
    """The functions, or the modules of a Sequential, one after the other: in `segments` parts, of
    which all but the last are checkpointed."""
    if kwargs:
        raise ValueError("Unexpected keyword arguments: " + ",".join(kwargs))
    if isinstance(functions, Sequential):
        functions = list(functions.children())
    size = len(functions) // segments

    def run(start: int, end: int) -> Callable[[Any], Any]:
        def forward(x: Any) -> Any:
            for f in functions[start:end]:
                x = f(x)
            return x

        return forward

    for start in range(0, size * (segments - 1), size):
        input = checkpoint(run(start, start + size), input, use_reentrant=use_reentrant,
                           preserve_rng_state=preserve_rng_state)  # fmt: skip
    return run(size * (segments - 1), len(functions))(input)


# ---- use_reentrant=False -----------------------------------------------------------------------


class _Enough(Exception):
    """The part has saved again all that it saved: the rest need not be run."""


class _Slot:
    """Stands in the graph for a value that was saved and dropped."""

    __slots__ = ("part", "index")

    def __init__(self, part: _Part, index: int) -> None:
        self.part, self.index = part, index


class _Part:
    """One checkpointed call: what it saved, in order, and how to have it again."""

    def __init__(self, run: Callable[[], Any], preserve_rng: bool, check: bool, debug: bool,
                 early_stop: bool) -> None:  # fmt: skip
        self.run = run
        self.state = get_rng_state() if preserve_rng else None
        self.autocast = as_now()
        self.check = check
        self.debug = debug if _debug.get() is None else bool(_debug.get())
        self.early_stop = early_stop and _early_stop.get()
        self.again: AbstractContextManager[Any] = nullcontext()
        self.kinds: list[str] = []  # of each value saved: shape, dtype, device
        # what a backward has computed again: index -> value, for the backward whose key it is
        self.key: Any = None
        self.values: dict[int, Tensor] = {}

    def forward(self, context: Any, again: Any) -> Any:
        self.again = again

        def pack(t: Tensor) -> _Slot:
            self.kinds.append(_kind(t))
            return _Slot(self, len(self.kinds) - 1)

        with saved_tensors_hooks(pack, _value), context:
            return self.run()

    def value(self, index: int) -> Tensor:
        """The value number `index`, computed again with all the others when the first is asked for."""
        task = running_task()
        key = _group.get() or (None if task is None else task.id)
        if key is None or key != self.key:
            self.key, self.values = key, self._computed()
            if task is not None and _group.get() is None:
                task.callbacks.append(self.values.clear)
        if index not in self.values:
            raise CheckpointError(
                "dtorch.utils.checkpoint: Unpack is being triggered for a tensor that was already "
                "unpacked once. If you are calling ctx.saved_tensors in backward, make sure to do so "
                "only once. Otherwise please open an issue with details on your use case."
            )
        return self.values.pop(index)

    def _computed(self) -> dict[int, Tensor]:
        values: list[Tensor] = []

        def pack(t: Tensor) -> Tensor:
            values.append(t.detach())
            if self.early_stop and len(values) == len(self.kinds):
                raise _Enough
            return values[-1]

        with fork_rng(enabled=self.state is not None), enable_grad(), self.autocast(), self.again:
            if self.state is not None:
                set_rng_state(self.state)
            try:
                with saved_tensors_hooks(pack, lambda t: t):
                    self.run()
            except _Enough:
                pass
        self._compare([_kind(t) for t in values])
        return dict(enumerate(values))

    def _compare(self, kinds: list[str]) -> None:
        """CheckpointError unless the same kinds of values were saved as in the forward pass."""
        both = f"\nforward: {self.kinds}\nrecomputation: {kinds}" if self.debug else ""
        if len(kinds) != len(self.kinds):
            raise CheckpointError(
                "dtorch.utils.checkpoint: A different number of tensors was saved during the original "
                f"forward and recomputation.\nNumber of tensors saved during forward: "
                f"{len(self.kinds)}\nNumber of tensors saved during recomputation: {len(kinds)}{both}"
            )
        for i, (a, b) in enumerate(zip(self.kinds, kinds)):
            if self.check and a != b:
                raise CheckpointError(
                    "dtorch.utils.checkpoint: Recomputed values for the following tensors have "
                    f"different metadata than during the forward pass.\ntensor at position {i}:\n"
                    f"saved metadata: {a}\nrecomputed metadata: {b}{both}"
                )


def _value(slot: _Slot) -> Tensor:
    return slot.part.value(slot.index)


def _kind(t: Tensor) -> str:
    return f"{{'shape': {t.shape}, 'dtype': {t.dtype}, 'device': {t.device}}}"


# ---- use_reentrant=True ------------------------------------------------------------------------


class CheckpointFunction(autograd.Function):
    """A checkpointed call as one Function."""

    @staticmethod
    def forward(ctx: Any, run_function: Any, preserve_rng_state: bool, *args: Any) -> Any:
        check_backward_validity(args)
        ctx.run_function = run_function
        ctx.state = get_rng_state() if preserve_rng_state else None
        ctx.autocast = as_now()
        ctx.others = [None if isinstance(x, Tensor) else x for x in args]
        ctx.save_for_backward(*[x if isinstance(x, Tensor) else None for x in args])
        with no_grad():
            return run_function(*args)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        if current_task().targets is not None:
            raise RuntimeError(
                "When use_reentrant=True, dtorch.utils.checkpoint is incompatible with .grad() or "
                "passing an `inputs` parameter to .backward(). To resolve this error, you can either "
                "set use_reentrant=False, or call .backward() without passing the `inputs` argument."
            )
        given = zip(ctx.saved_tensors, ctx.others)
        args = detach_variable(tuple(x if t is None else t for t, x in given))
        with fork_rng(enabled=ctx.state is not None), enable_grad(), ctx.autocast():
            if ctx.state is not None:
                set_rng_state(ctx.state)
            outputs = ctx.run_function(*args)
        ys = outputs if isinstance(outputs, tuple) else (outputs,)
        kept = [(y, g) for y, g in zip(ys, grads) if isinstance(y, Tensor) and y.requires_grad]
        if not kept:
            raise RuntimeError(
                "none of output has requires_grad=True, this checkpoint() is not necessary"
            )
        backward([y for y, _ in kept], [g for _, g in kept])
        return None, None, *[x.grad if isinstance(x, Tensor) else None for x in args]


def detach_variable(inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """The tensors of a tuple as leaves of their own, which require gradients if they did."""
    if not isinstance(inputs, tuple):
        raise RuntimeError(
            "Only tuple of tensors is supported. Got Unsupported input type: "
            f"{type(inputs).__name__}"
        )
    return tuple(
        x.detach().requires_grad_(x.requires_grad) if isinstance(x, Tensor) else x for x in inputs
    )


def check_backward_validity(inputs: Iterable[Any]) -> None:
    """Warn if no input requires a gradient: the reentrant checkpoint then gives none."""
    if not any(x.requires_grad for x in inputs if isinstance(x, Tensor)):
        warnings.warn(
            "None of the inputs have requires_grad=True. Gradients will be None", stacklevel=2
        )


# ---- random states of devices ------------------------------------------------------------------


class DefaultDeviceType:
    """torch's setting of which devices' random states are kept; dtorch's generator is one for all."""

    _type = "cuda"

    @staticmethod
    def set_device_type(device: str = "cuda") -> None:
        DefaultDeviceType._type = device

    @staticmethod
    def get_device_type() -> str:
        return DefaultDeviceType._type


def get_device_states(*args: Any) -> tuple[list[int], list[Tensor]]:
    """The devices, other than the CPU, of the arguments, and the random state for each."""
    devices = sorted({x.get_device() for x in args if isinstance(x, Tensor) and x.is_cuda})
    return devices, [get_rng_state() for _ in devices]


def set_device_states(
    devices: Iterable[int], states: Iterable[Tensor], *, device_type: str | None = None
) -> None:
    """Set the states that get_device_states returned."""
    for _, state in zip(devices, states):
        set_rng_state(state)
