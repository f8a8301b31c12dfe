"""Storage: the memory that a tensor and its views share; and what changes a tensor's memory."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import TYPE_CHECKING, Any

from . import backend
from . import device as devices
from . import dtype as dtypes
from .graph import writes
from .tensor import Tensor, wrap

if TYPE_CHECKING:
    from .device import device


class Storage:
    """A flat piece of memory, as elements of a dtype (untyped_storage: as bytes)."""

    def __init__(self, memory: Any) -> None:
        self._a = memory  # (n,)

    @property
    def dtype(self) -> dtypes.dtype:
        return dtypes.of_numpy(self._a.dtype)

    @property
    def device(self) -> device:
        return devices.of(self._a)

    def data_ptr(self) -> int:
        """The address of the first byte."""
        return backend.of(self._a).address(self._a)

    def nbytes(self) -> int:
        return self._a.nbytes

    def size(self) -> int:
        """The number of elements."""
        return len(self._a)

    __len__ = size

    def element_size(self) -> int:
        return self._a.itemsize

    def tolist(self) -> list[Any]:
        return self._a.tolist()

    def __iter__(self) -> Iterator[Any]:
        return iter(self.tolist())

    def __getitem__(self, i: int) -> Any:
        return self._a[i].item()

    def __setitem__(self, i: int, value: Any) -> None:
        self._a[i] = value
        writes.stamp(self._a)

    def fill_(self, value: Any) -> Storage:
        self._a[...] = value
        writes.stamp(self._a)
        return self

    def clone(self) -> Storage:
        return Storage(self._a.copy())

    def untyped(self) -> Storage:
        return Storage(self._a.view("uint8"))

    def __repr__(self) -> str:
        return f"dtorch.Storage(dtype={self.dtype}, device={self.device}, size={len(self)})"


def is_storage(obj: Any) -> bool:
    return isinstance(obj, Storage)


def storage(self: Tensor) -> Storage:
    """The memory that this tensor shares with its views, as elements of its dtype."""
    return Storage(backend.of(self._a).memory(self._a))


def untyped_storage(self: Tensor) -> Storage:
    """The memory that this tensor shares with its views, as bytes."""
    return storage(self).untyped()


def _refuse_history(t: Tensor, what: str) -> None:
    if t._rg or t._node is not None:
        raise RuntimeError(f"cannot {what} variables that require grad")


def resize_(self: Tensor, *sizes: Any, memory_format: Any = None) -> Tensor:
    """Give the tensor another shape, contiguous, in place: its memory is kept and grown if needed.

    Elements beyond the old memory are uninitialized.  RuntimeError if it requires gradients.
    """
    from .ops.shape import sizes as shape_of

    shape = shape_of(sizes)
    _refuse_history(self, "resize")
    if any(n < 0 for n in shape):
        raise RuntimeError(f"Trying to resize storage with a negative dimension: {list(shape)}")
    a = self._a
    if a.shape == shape:
        return self
    xp = backend.of(a)
    memory = xp.memory(a)
    start = self.storage_offset() if a.size else 0
    n = prod(shape)
    if start + n > len(memory):
        grown = xp.empty(start + n, a.dtype)
        grown[: len(memory)] = memory
        memory = grown
    self._a = memory[start : start + n].reshape(shape)
    return self


def set_(self: Tensor, source: Any = None, storage_offset: int = 0, size: Any = None,
         stride: Any = None) -> Tensor:  # fmt: skip
    """Let the tensor share the memory of a Storage or of another tensor, or (no source) have none.

    storage_offset, size, stride: where its elements lie in a Storage, in elements
    """
    _refuse_history(self, "set")
    if source is None:
        self._a = backend.of(self._a).empty(0, self._a.dtype)
        return self
    if isinstance(source, Tensor):
        if source._a.dtype != self._a.dtype:
            raise RuntimeError(f"set_: expected a tensor of {self.dtype}, got {source.dtype}")
        if size is None:
            self._a = source._a
            return self
    xp = backend.of(source._a)
    memory = xp.memory(source._a)
    memory = memory if memory.dtype == self._a.dtype else memory.view(self._a.dtype)
    shape = (len(memory) - storage_offset,) if size is None else tuple(size)
    steps = _contiguous(shape) if stride is None else tuple(stride)
    end = (
        storage_offset + 1 + sum((n - 1) * s for n, s in zip(shape, steps)) if 0 not in shape else 0
    )
    if end > len(memory):
        raise RuntimeError(
            f"setStorage: sizes {list(shape)}, strides {list(steps)}, storage offset "
            f"{storage_offset} require {end} elements, and are out of bounds for storage of size "
            f"{len(memory)}"
        )
    self._a = xp.strided_storage(memory, shape, steps, storage_offset)
    return self


def _contiguous(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(prod(shape[i + 1 :]) for i in range(len(shape)))


def is_set_to(self: Tensor, tensor: Tensor) -> bool:
    """Whether both show the same memory with the same shape and strides."""
    return (
        self.data_ptr() == tensor.data_ptr()
        and self.shape == tensor.shape
        and self.stride() == tensor.stride()
    )


def is_pinned(self: Tensor) -> bool:
    """Whether the memory is page-locked for copies to a GPU: this library never locks it."""
    return False


def pin_memory(self: Tensor) -> Tensor:
    """Page-locked memory needs a CUDA device: RuntimeError where there is none."""
    devices.namespace("cuda")
    raise NotImplementedError(
        "pin_memory: copies from pageable memory are made instead; leave it out"
    )


# ---- DLPack ----------------------------------------------------------------------------------


def _dlpack(self: Tensor, **options: Any) -> Any:
    """The tensor's memory as a DLPack capsule (https://dmlc.github.io/dlpack)."""
    if self._rg:
        raise BufferError("Can't export tensors that require gradient, use tensor.detach()")
    if self._a.dtype.kind == "V":
        raise BufferError("bfloat16 has no DLPack form in NumPy; convert with .float() first")
    return self._a.__dlpack__(**options)


def _dlpack_device(self: Tensor) -> Any:
    return self._a.__dlpack_device__()


def from_dlpack(ext_tensor: Any) -> Tensor:
    """A tensor on the memory of another library's array: of anything that has __dlpack__."""
    if not hasattr(ext_tensor, "__dlpack__"):
        raise TypeError(
            f"from_dlpack: expected an object with __dlpack__, got {type(ext_tensor).__name__}"
        )
    kind = ext_tensor.__dlpack_device__()[0]
    xp = devices.namespace("cpu" if kind in (1, 3) else "cuda")  # 1, 3: host memory, pinned or not
    a = xp.from_dlpack(ext_tensor)
    dtypes.of_numpy(a.dtype)
    return wrap(a)


METHODS: dict[str, Any] = {
    "storage": storage, "untyped_storage": untyped_storage, "resize_": resize_, "set_": set_,
    "is_set_to": is_set_to, "is_pinned": is_pinned, "pin_memory": pin_memory,
    "__dlpack__": _dlpack, "__dlpack_device__": _dlpack_device,
    "resize_as_": lambda self, other: resize_(self, other.shape),
}  # fmt: skip
