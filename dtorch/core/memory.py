"""What gives a tensor other memory, or other people's memory to a tensor."""

from __future__ import annotations

from math import prod
from typing import Any

from . import backend, sharing
from . import device as devices
from . import dtype as dtypes
from .geometry import contiguous_strides, strided
from .graph import writes
from .ops.shape import sizes as shape_of
from .storage import TypedStorage, is_storage, storage, untyped_storage
from .tensor import Tensor, settled, wrap


def _refuse_history(t: Tensor, what: str) -> None:
    if t._rg or t._node is not None:
        raise RuntimeError(f"cannot {what} variables that require grad")


def resize_(self: Tensor, *sizes: Any, size: Any = None, memory_format: Any = None) -> Tensor:
    """Give the tensor another shape, contiguous, in place: its memory is kept and grown if needed.

    Elements beyond the old memory are uninitialized.  RuntimeError if it requires gradients.
    """
    shape = shape_of(sizes, size)
    _refuse_history(self, "resize")
    if any(n < 0 for n in shape):
        raise RuntimeError(f"Trying to resize storage with a negative dimension: {list(shape)}")
    a = settled(self)
    writes.stamp(a)
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
    """Let the tensor share the memory of a storage or of another tensor, or (no source) have none.

    storage_offset, size, stride: where its elements lie in a storage, in elements
    """
    _refuse_history(self, "set")
    if source is None:
        self._a = backend.of(self._a).empty(0, self._a.dtype)
        return self
    if isinstance(source, Tensor):
        if source._a.dtype != self._a.dtype:
            raise RuntimeError(f"set_: expected a tensor of {self.dtype}, got {source.dtype}")
        if size is None:
            self._a = settled(source)
            return self
        source = untyped_storage(source)
    if not is_storage(source):
        raise TypeError(
            f"set_(): argument 'source' must be Tensor or Storage, not {type(source).__name__}"
        )
    if isinstance(source, TypedStorage) and source.dtype is not self.dtype:
        raise RuntimeError(
            f"set_: expected a storage of {self.dtype} or an UntypedStorage, got {source.dtype}"
        )
    memory = source.untyped()._a
    shape = (len(memory) // self._a.itemsize - storage_offset,) if size is None else tuple(size)
    steps = contiguous_strides(shape) if stride is None else tuple(stride)
    self._a = strided(memory, self._a.dtype, shape, steps, storage_offset)
    return self


def is_set_to(self: Tensor, tensor: Tensor) -> bool:
    """Whether both show the same memory with the same shape and strides."""
    return (
        self.data_ptr() == tensor.data_ptr()
        and self.shape == tensor.shape
        and self.stride() == tensor.stride()
    )


def is_shared(self: Tensor) -> bool:
    """Whether other processes can have the tensor's memory too; CUDA memory always is."""
    return untyped_storage(self).is_shared()


def share_memory_(self: Tensor) -> Tensor:
    """Move the tensor's memory, in place, to where other processes can have it too.

    A process forked later, one that gets the tensor as an argument, and the other end of a
    multiprocessing Queue then work on the same memory.  (Who puts a tensor in a Queue has to live
    until it is taken out.)  The tensor's base and its views come along, and what detach() made
    of them; NumPy arrays, .data, and views of what detach() made, keep the old memory.
    """
    untyped_storage(self).share_memory_()
    return self


def is_pinned(self: Tensor, device: Any = None) -> bool:
    """Whether the memory is page-locked for copies to a GPU: this library never locks it."""
    return untyped_storage(self).is_pinned()


def pin_memory(self: Tensor, device: Any = None) -> Tensor:
    """Page-locked memory needs a CUDA device: RuntimeError where there is none."""
    untyped_storage(self).pin_memory()
    return self


# ---- other people's memory -------------------------------------------------------------------


def frombuffer(
    buffer: Any, *, dtype: dtypes.dtype, count: int = -1, offset: int = 0,
    requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """A tensor, (count,), on the memory of an object that has Python's buffer interface.

    count: how many elements; -1: as many as there are.  offset: where they begin, in bytes.
    Raises ValueError when they are not in the buffer.  A buffer that can't be written to gives a
    tensor that can't either.
    """
    try:
        size = memoryview(buffer).nbytes
    except TypeError:
        raise ValueError(
            "object does not implement Python buffer protocol: expected bytes, bytearray, array or "
            f"their like, got {type(buffer).__name__}"
        ) from None
    dtype = dtypes.as_dtype(dtype)
    k = dtype.itemsize
    if not size or not count:
        raise ValueError(f"both buffer length ({size}) and count ({count}) must not be 0")
    if not 0 <= offset < size:
        raise ValueError(
            f"offset ({offset} bytes) must be non-negative and no greater than buffer length "
            f"({size} bytes) minus 1"
        )
    if count < 0 and (size - offset) % k:
        raise ValueError(
            f"buffer length ({size - offset} bytes) after offset ({offset} bytes) must be a "
            f"multiple of element size ({k})"
        )
    if offset + max(count, 1) * k > size:
        raise ValueError(
            f"requested buffer length ({count} * {k} bytes) after offset ({offset} bytes) must not "
            f"be greater than actual buffer length ({size} bytes)"
        )
    t = wrap(backend.cpu.frombuffer(buffer, dtype.np, count, offset))
    return t.requires_grad_() if requires_grad else t


def from_file(
    filename: Any, shared: bool | None = None, size: int = 0, *, dtype: Any = None,
    layout: Any = None, device: Any = None, pin_memory: bool = False, requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """A CPU tensor, (size,), on the memory of a file.

    shared: writes to the tensor go to the file, which is made, or grows, as needed; otherwise they
        stay with the tensor, and RuntimeError says if the file is too short
    """
    if devices.device(device or "cpu") != devices.CPU:
        raise RuntimeError(f"from_file: expected device='cpu', got {device}; move it with .to()")
    d = dtypes.get_default_dtype() if dtype is None else dtype
    t = wrap(sharing.map_file(filename, bool(shared), size * d.itemsize).view(d.np))
    return t.requires_grad_() if requires_grad else t


FUNCTIONS: dict[str, Any] = {
    "is_storage": is_storage, "frombuffer": frombuffer,
    "from_file": from_file,
}  # fmt: skip
METHODS: dict[str, Any] = {
    "storage": storage, "untyped_storage": untyped_storage, "resize_": resize_, "set_": set_,
    "is_set_to": is_set_to, "is_pinned": is_pinned, "pin_memory": pin_memory,
    "is_shared": is_shared, "share_memory_": share_memory_,
    "resize_as_": lambda self, other: resize_(self, other.shape),
}  # fmt: skip
