"""Buckets: many tensors laid end to end, so that they are communicated as few large ones."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from dtorch.core.backend import of as backend_of
from dtorch.core.device import of as device_of


def assign(order: Iterable[int], arrays: Sequence[Any], cap: int, first: int) -> list[list[int]]:
    """Cut arrays, in `order`, into buckets of one device and dtype each; returns their indices.

    A bucket is closed when it holds `cap` bytes or more, the first one at `first` bytes.  Buckets
    come in the order in which their last arrays do: that in which they will be full.
    """
    full: list[list[int]] = []
    filling: dict[Any, tuple[list[int], int]] = {}
    for i in order:
        kind = device_of(arrays[i]), arrays[i].dtype
        bucket, size = filling.pop(kind, ([], 0))
        bucket.append(i)
        size += arrays[i].nbytes
        if size >= (cap if full else first):
            full.append(bucket)
        else:
            filling[kind] = bucket, size  # the one that was added to last comes last
    return full + [bucket for bucket, _ in filling.values()]


def flatten(arrays: Sequence[Any]) -> Any:
    """All elements of arrays of one dtype in one new array."""
    return backend_of(*arrays).concatenate([a.reshape(-1) for a in arrays])


def unflatten(flat: Any, arrays: Sequence[Any]) -> None:
    """Copy the elements of a flat array into arrays, in their order."""
    start = 0
    for a in arrays:
        a[...] = flat[start : start + a.size].reshape(a.shape)
        start += a.size


class Bucket:
    """The memory of some parameters' gradients; in the last one, of a number for each parameter.

    views: for each parameter, by its index, its part of `flat`, in its shape
    used: (number of parameters,) in the last bucket of all, (0,) in the others
    pending: the parameters whose gradients are not there yet
    """

    def __init__(self, indices: Sequence[int], params: Sequence[Any], extra: int) -> None:
        arrays = {i: params[i]._a for i in indices}
        first = arrays[indices[0]]
        size = sum(a.size for a in arrays.values())
        self.flat = backend_of(first).zeros(size + extra, first.dtype)
        self.used = self.flat[size:]
        self.views: dict[int, Any] = {}
        start = 0
        for i, a in arrays.items():
            self.views[i] = self.flat[start : start + a.size].reshape(a.shape)
            start += a.size
        self.pending = set(indices)

    def reset(self) -> None:
        self.pending = set(self.views)
