"""Buckets: many tensors laid end to end, so that they are communicated as few large ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from dtorch.core.backend import of as backend_of
from dtorch.core.device import of as device_of
from dtorch.core.graph import writes
from dtorch.core.tensor import Tensor, wrap


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
        writes.stamp(a)
        start += a.size


class Bucket:
    """The memory of some parameters' gradients; in the last one, of some further numbers.

    views: for each parameter, by its index, its part of `flat`, in its shape
    grads: the part of `flat` that holds gradients
    numbers: (extra,) the rest of `flat`; where that is in half precision, which is too little for
        them, float32 of their own
    pending: the parameters whose gradients are not there yet
    zeros: makes its memory, of a size and like an array
    """

    def __init__(self, indices: Sequence[int], params: Sequence[Any], extra: int,
                 zeros: Callable[[int, Any], Any]) -> None:  # fmt: skip
        arrays = {i: params[i]._a for i in indices}
        first = arrays[indices[0]]
        size = sum(a.size for a in arrays.values())
        half = first.dtype.itemsize == 2
        self.flat = zeros(size if half else size + extra, first)
        self.grads, self.numbers = self.flat[:size], self.flat[size:]
        if half:
            self.numbers = backend_of(first).zeros(extra, "float32")
        self.views: dict[int, Any] = {}
        start = 0
        for i, a in arrays.items():
            self.views[i] = self.flat[start : start + a.size].reshape(a.shape)
            start += a.size
        self.pending = set(indices)

    def reset(self) -> None:
        self.pending = set(self.views)


class GradBucket:
    """A bucket as communication hooks see it."""

    def __init__(self, index: int, last: bool, flat: Any, params: Sequence[Tensor]) -> None:
        self._index, self._last = index, last
        self._buffer = wrap(flat)
        self._params = list(params)

    def index(self) -> int:
        """Its number, in the order in which buckets are communicated."""
        return self._index

    def is_last(self) -> bool:
        """Whether this is the last bucket of the step."""
        return self._last

    def parameters(self) -> list[Tensor]:
        """The parameters whose gradients lie in it, in order."""
        return self._params

    def buffer(self) -> Tensor:
        """All of its gradients end to end; one dimension.  Hooks may change it."""
        return self._buffer

    def set_buffer(self, buffer: Tensor) -> None:
        """Another tensor in its place, as of another dtype."""
        self._buffer = buffer

    def gradients(self) -> list[Tensor]:
        """The gradient of each parameter: a view of the buffer."""
        sizes = [p.numel() for p in self._params]
        parts = self._buffer.split(sizes)
        return [part.view(p.shape) for part, p in zip(parts, self._params)]
