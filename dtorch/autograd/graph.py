"""torch.autograd.graph's names: nodes and edges of the graph, and what may be hung on them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any

from ..core.autograd import GradientEdge, get_gradient_edge
from ..core.graph import Handle, Node, writes
from ..core.recording import disable_saved_tensors_hooks, saved_tensors_hooks
from ..core.tensor import Tensor, edge
from ..core.walk import current_task

__all__ = [
    "GradientEdge", "Node", "allow_mutation_on_saved_tensors", "disable_saved_tensors_hooks",
    "get_gradient_edge", "increment_version", "region_activation_memory_budget",
    "register_multi_grad_hook", "save_on_cpu", "saved_tensors_hooks",
    "set_override_stale_capture_stream", "set_warn_on_accumulate_grad_stream_mismatch",
]  # fmt: skip


def increment_version(tensor: Tensor | Sequence[Tensor]) -> None:
    """Tell autograd that a tensor, or each of several, has been written to behind its back."""
    for t in (tensor,) if isinstance(tensor, Tensor) else tensor:
        writes.stamp(t._a)


# ---- hooks on several tensors ----------------------------------------------------------------


class _Handles:
    def __init__(self, handles: Sequence[Handle]) -> None:
        self.handles = tuple(handles)

    def remove(self) -> None:
        for handle in self.handles:
            handle.remove()

    def __enter__(self) -> _Handles:
        return self

    def __exit__(self, *error: object) -> None:
        self.remove()


def register_multi_grad_hook(
    tensors: Sequence[Tensor], fn: Callable[[Any], None], *, mode: str = "all"
) -> _Handles:
    """Call a hook once in each backward that computes gradients of these tensors.

    mode: "all": fn(gradients), once all that are going to come have come; None for the others.
        "any": fn(gradient), with the first one
    """
    if mode not in ("all", "any"):
        raise ValueError(f"Expects mode to be one of ('all', 'any') but got {mode}")
    if mode == "any":
        return _first_gradient([t for t in tensors if t.requires_grad], fn)
    return _all_gradients(tensors, fn)


def _first_gradient(tensors: Sequence[Tensor], fn: Callable[[Tensor], None]) -> _Handles:
    last = -1  # the number of the backward that fn was last called in

    def hook(g: Tensor) -> None:
        nonlocal last
        number = current_task().id
        if number != last:
            last = number
            fn(g)

    return _Handles([t.register_hook(hook) for t in tensors])


def _all_gradients(tensors: Sequence[Tensor], fn: Callable[[Any], None]) -> _Handles:
    arrived: dict[int, list[Any]] = {}  # number of a running backward -> the gradients so far
    missing: dict[int, int] = {}
    edges = [edge(t) for t in tensors]

    def hook(i: int, g: Tensor) -> None:
        task = current_task()
        if task.id not in arrived:
            arrived[task.id] = [None] * len(edges)
            missing[task.id] = sum(map(task.reaches, edges))
        arrived[task.id][i] = g
        missing[task.id] -= 1
        if not missing[task.id]:
            del missing[task.id]
            fn(arrived.pop(task.id))

    return _Handles([t.register_hook(partial(hook, i)) for i, t in enumerate(tensors)])


# ---- what nodes save -------------------------------------------------------------------------


class save_on_cpu(saved_tensors_hooks):
    """What is saved in here waits in the CPU's memory until backward.

    pin_memory: accepted; the copies are made before the op returns, pinned or not
    """

    def __init__(self, pin_memory: bool = False, device_type: str = "cuda") -> None:
        def pack(t: Tensor) -> tuple[Any, Tensor]:
            return t.device, t.detach().cpu() if t.is_cuda else t.detach().clone()

        def unpack(packed: tuple[Any, Tensor]) -> Tensor:
            device, t = packed
            return t.to(device)

        super().__init__(pack, unpack)


_mutable: ContextVar[object | None] = ContextVar("allow_mutation", default=None)


@contextmanager
def allow_mutation_on_saved_tensors() -> Iterator[None]:
    """In here a tensor may be written to in place after an op has saved it for backward.

    The op keeps a copy of its own, made at once (torch's: when the tensor is first written to).
    backward() must be called in here too.
    """
    if _mutable.get() is not None:
        raise RuntimeError("allow_mutation_on_saved_tensors contexts cannot be nested")
    me = object()

    def unpack(t: Tensor) -> Tensor:
        if _mutable.get() is not me:
            raise AssertionError(
                "Trying to backward outside of the 'allow_mutation_on_saved_tensors' context in "
                "which the graph was originally recorded."
            )
        return t

    token = _mutable.set(me)
    try:
        with saved_tensors_hooks(lambda t: t.detach().clone(), unpack):
            yield
    finally:
        _mutable.reset(token)


# ---- names that concern what dtorch doesn't have ---------------------------------------------


def region_activation_memory_budget(budget: float) -> None:
    """For code that torch.compile compiles; RuntimeError, as torch's outside of it."""
    raise RuntimeError(
        "region_activation_memory_budget is for compiled code; to save memory here use "
        "dtorch.utils.checkpoint"
    )


def set_warn_on_accumulate_grad_stream_mismatch(enabled: bool) -> None:
    """Nothing to warn about: backward runs on the stream that is current where it is called."""


def set_override_stale_capture_stream(enabled: bool) -> None:
    """Nothing to override: backward runs on the stream that is current where it is called."""
