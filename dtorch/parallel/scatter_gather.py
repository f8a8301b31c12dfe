"""Splitting inputs over devices and putting outputs together again."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

from dtorch.core.device import device
from dtorch.core.ops.join import cat
from dtorch.core.tensor import Tensor

Devices = Sequence[Any]


def as_device(d: Any) -> device:
    """A device from a number (of a GPU), a name or a device."""
    return device(d)


def to_device(value: Any, d: Any) -> Any:
    """The value with all tensors in it (in lists, tuples and dicts) on device d."""
    return map_tensors(lambda t: t.to(d), value)


def map_tensors(function: Callable[[Any], Any], value: Any) -> Any:
    """The value with function(tensor) for each tensor in it."""
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(map_tensors(function, v) for v in value))
    if isinstance(value, (list, tuple)):
        return type(value)(map_tensors(function, v) for v in value)
    if isinstance(value, dict):
        return type(value)((k, map_tensors(function, v)) for k, v in value.items())
    return value


def scatter(inputs: Any, target_gpus: Devices, dim: int = 0) -> tuple[Any, ...]:
    """One value for each device, with its part of every tensor in `inputs`, cut along `dim`.

    What is not a tensor goes to all.  A batch with fewer rows than there are devices gives fewer
    values.  Differentiable.
    """
    devices = [as_device(d) for d in target_gpus]
    pieces: dict[Tensor, list[Any]] = {}

    def cut(t: Any) -> Any:
        if not t.ndim:
            raise RuntimeError("scatter: a 0-d tensor has no dimension to be cut along")
        pieces[t] = [p.to(d) for p, d in zip(t.chunk(len(devices), dim), devices)]
        return t

    map_tensors(cut, inputs)
    counts = {len(p) for p in pieces.values()}
    if len(counts) > 1:
        raise RuntimeError(
            f"scatter: tensors give parts for {sorted(counts)} of {len(devices)} devices; they "
            f"must have equal sizes along dim {dim}"
        )
    n = counts.pop() if counts else len(devices)

    def part(i: int) -> Any:
        return map_tensors(lambda t: pieces[t][i], inputs)

    return tuple(map(part, range(n)))


def scatter_kwargs(
    inputs: tuple[Any, ...], kwargs: dict[str, Any] | None, target_gpus: Devices, dim: int = 0
) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Positional and keyword arguments for each device."""
    both = scatter((tuple(inputs), kwargs or {}), target_gpus, dim)
    return tuple(i for i, _ in both), tuple(k for _, k in both)


def gather(outputs: Sequence[Any], target_device: Any, dim: int = 0) -> Any:
    """The devices' outputs as one: tensors are concatenated along `dim` on target_device.

    Lists, tuples and dicts are gathered element by element.  Differentiable.
    """
    first = outputs[0]
    if isinstance(first, Tensor):
        parts: list[Any] = [o.to(as_device(target_device)) for o in outputs]
        if not first.ndim:
            warnings.warn(
                "Was asked to gather along dimension 0, but all input tensors were scalars; will "
                "instead unsqueeze and return a vector.",
                stacklevel=2,
            )
            parts = [p.unsqueeze(0) for p in parts]
        return cat(parts, dim)
    if first is None:
        return None
    if isinstance(first, dict):
        if any(o.keys() != first.keys() for o in outputs):
            raise ValueError("All dicts must have the same keys")
        return type(first)((k, gather([o[k] for o in outputs], target_device, dim)) for k in first)
    if isinstance(first, tuple) and hasattr(first, "_fields"):
        return type(first)(*(gather(o, target_device, dim) for o in zip(*outputs)))
    if isinstance(first, (list, tuple)):
        return type(first)(gather(o, target_device, dim) for o in zip(*outputs))
    raise TypeError(f"gather: can't put together outputs of type {type(first).__name__}")
