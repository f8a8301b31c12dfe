"""Storages: the memory that a tensor and its views share, as bytes or as elements of a dtype."""

from __future__ import annotations

import gc
import operator
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from . import backend, sharing
from . import device as devices
from . import dtype as dtypes
from .geometry import geometry, strided
from .graph import writes
from .tensor import Tensor, live_views, settled

if TYPE_CHECKING:
    from typing_extensions import Self

    from .device import device


class _Storage:
    """What storages of bytes and of elements have in common.

    `_a` is the memory as a flat array, (n,).  `_tensor` is the tensor it was taken from, if any:
    a storage that moves takes that tensor, and the views that are known of it, with it.
    """

    _tensor: Tensor | None

    if TYPE_CHECKING:
        _a: Any

    @property
    def device(self) -> device:
        return devices.of(self._a)

    @property
    def is_cuda(self) -> bool:
        return self.device.type == "cuda"

    is_sparse = False

    def get_device(self) -> int | None:
        """The index of the CUDA device; None on the CPU."""
        return self.device.index

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
        return backend.of(self._a).to_numpy(self._a).tolist()

    def __iter__(self) -> Iterator[Any]:
        return iter(self.tolist())

    def _position(self, i: Any) -> int:
        i, n = operator.index(i), len(self)
        if not -n <= i < n:
            raise IndexError(f"index {i} out of range for storage of size {n}")
        return i

    def __setitem__(self, i: Any, value: Any) -> None:
        self._a[i if isinstance(i, slice) else self._position(i)] = value
        writes.stamp(self._a)

    def fill_(self, value: Any) -> Self:
        self[:] = value
        return self

    def copy_(self, source: Any, non_blocking: bool | None = None) -> Self:
        """Take the bytes of another storage of the same size."""
        if source.nbytes() != self.nbytes():
            raise RuntimeError(
                f"size does not match, self was {self.nbytes()} bytes but src was "
                f"{source.nbytes()} bytes"
            )
        self.untyped()[:] = devices.move(source.untyped()._a, self.device)
        return self

    def is_shared(self) -> bool:
        """Whether other processes can have this memory too; CUDA memory always is."""
        return self.is_cuda or sharing.of(self._a) is not None

    def resizable(self) -> bool:
        return not self.is_shared()

    def is_pinned(self, device: Any = None) -> bool:
        """Whether the memory is page-locked for copies to a GPU: this library never locks it."""
        return False

    def pin_memory(self, device: Any = None) -> Self:
        """Page-locked memory needs a CUDA device: RuntimeError where there is none."""
        devices.namespace("cuda")
        raise NotImplementedError(
            "pin_memory: copies from pageable memory are made instead; leave it out"
        )

    def __copy__(self) -> Self:
        return self.clone()

    def clone(self) -> Self:
        raise NotImplementedError

    def untyped(self) -> UntypedStorage:
        raise NotImplementedError

    def _cast(self, d: dtypes.dtype) -> TypedStorage:
        return TYPED[d](wrap_storage=UntypedStorage._of(_bytes(self._a.astype(d.np))))


class UntypedStorage(_Storage):
    """A flat piece of memory, as bytes.

    UntypedStorage(nbytes) holds zeros, UntypedStorage(values) the bytes given; device=: where.
    """

    itemsize = 1

    def __init__(self, *args: Any, device: Any = None) -> None:
        self._a = _filled("UntypedStorage", args, "uint8", device)
        self._tensor = None

    @classmethod
    def _of(cls, memory: Any, tensor: Tensor | None = None) -> UntypedStorage:
        """The storage of an array of bytes, (n,), that `tensor` lies in."""
        self = cls.__new__(cls)
        self._a, self._tensor = memory, tensor
        return self

    @staticmethod
    def from_file(filename: Any, shared: bool = False, nbytes: int = 0) -> UntypedStorage:
        """The memory of a file.  shared: writes go to the file, which grows to nbytes if shorter."""
        return UntypedStorage._of(sharing.map_file(filename, shared, nbytes))

    @staticmethod
    def from_buffer(buffer: Any, *args: Any, **kwargs: Any) -> UntypedStorage:
        """A copy of the bytes of a buffer, as TypedStorage.from_buffer takes them."""
        return ByteStorage.from_buffer(buffer, *args, **kwargs).untyped()

    def __getitem__(self, i: Any) -> Any:
        if not isinstance(i, slice):
            return int(self._a[self._position(i)])
        if i.step not in (None, 1):
            raise RuntimeError(f"Trying to slice with a step of {i.step}, but only 1 is supported")
        return UntypedStorage._of(self._a[i])

    def new(self) -> UntypedStorage:
        return UntypedStorage(device=self.device)

    def clone(self) -> UntypedStorage:
        return UntypedStorage._of(self._a.copy())

    def untyped(self) -> UntypedStorage:
        return self

    def type(self, dtype: Any = None) -> str:
        return f"dtorch{'.cuda' if self.is_cuda else '.storage'}.UntypedStorage"

    def to(self, *, device: Any, non_blocking: bool = False) -> UntypedStorage:
        """The storage on a device: itself if it is there already, else a copy."""
        moved = devices.move(self._a, device)
        return self if moved is self._a else UntypedStorage._of(moved)

    def cpu(self) -> UntypedStorage:
        return self.to(device="cpu")

    def cuda(self, device: Any = None, non_blocking: bool = False) -> UntypedStorage:
        return self.to(device=devices.device("cuda" if device is None else device))

    def byteswap(self, dtype: dtypes.dtype) -> None:
        """Turn the bytes of each element of `dtype` around, in place."""
        part = dtype.itemsize // 2 if dtype.is_complex else dtype.itemsize
        self._a.view(f"u{part}").byteswap(inplace=True)

    def resize_(self, nbytes: int) -> UntypedStorage:
        """Give it `nbytes` bytes: what was there is kept, what is new is zero.

        The tensor that it was taken from comes along, as do the views that are known of it.
        RuntimeError where one of them reaches further than that.
        """
        nbytes = operator.index(nbytes)
        if nbytes < 0:
            raise RuntimeError(f"UntypedStorage.resize_: got a negative size, {nbytes}")
        if not self.resizable():
            raise RuntimeError("Trying to resize storage that is not resizable")
        kept, xp = min(nbytes, len(self._a)), backend.of(self._a)
        with xp.on(self._a):
            memory = xp.zeros(nbytes, "uint8")
            memory[:kept] = self._a[:kept]
        self._move_to(memory)
        return self

    def share_memory_(self) -> UntypedStorage:
        """Move the memory to where other processes can have it; see Tensor.share_memory_."""
        if not self.is_shared():
            memory = sharing.allocate(len(self._a))
            memory[...] = self._a
            self._move_to(memory)
        return self

    def _move_to(self, memory: Any) -> None:
        """Take new memory, which already holds the values, along with the tensors that are known."""
        if self._tensor is not None:
            family = _family(self._tensor)
            moved = [strided(memory, t._a.dtype, *geometry(t._a)) for t in family]
            for t, a in zip(family, moved):
                t._a = a
        self._a = memory

    def __reduce__(self) -> Any:
        xp = backend.of(self._a)
        owner = xp.root(self._a)
        if owner.nbytes != self._a.nbytes:  # a slice of a storage
            owner = self._a
        memory = sharing.of(owner)
        return _rebuild_storage, (owner if memory is None else memory, str(self.device))

    def __deepcopy__(self, memo: dict[Any, Any]) -> UntypedStorage:
        """One copy for all storages of the same memory in one deepcopy()."""
        key = ("storage", self.data_ptr(), self.nbytes())
        if key not in memo:
            with backend.of(self._a).on(self._a):  # the array itself keeps its address in use
                memo[key] = self._a.copy(), self._a
        return UntypedStorage._of(memo[key][0])

    def __repr__(self) -> str:
        values = "".join(f" {v}\n" for v in self)
        return f"{values}[dtorch.storage.UntypedStorage(device={self.device}) of size {len(self)}]"


class TypedStorage(_Storage):
    """A flat piece of memory, as elements of a dtype.

    TypedStorage(n, dtype=...) holds zeros, TypedStorage(values, dtype=...) the values given.
    wrap_storage=: an UntypedStorage to show.  FloatStorage and its kin have their dtype fixed.
    """

    dtype: dtypes.dtype
    itemsize: int

    def __new__(cls, *args: Any, dtype: Any = None, **kwargs: Any) -> Any:
        if cls is TypedStorage:
            cls = TYPED[dtypes.get_default_dtype() if dtype is None else dtype]
        return object.__new__(cls)

    def __init__(
        self, *args: Any, wrap_storage: Any = None, dtype: Any = None, device: Any = None
    ) -> None:
        if dtype not in (None, self.dtype):
            raise RuntimeError(f"{type(self).__name__} is of {self.dtype}, got dtype={dtype}")
        if wrap_storage is None:
            a = _filled(type(self).__name__, args, self.dtype.np, device)
            wrap_storage = UntypedStorage._of(_bytes(a))
        elif not isinstance(wrap_storage, UntypedStorage):
            raise TypeError(
                f"wrap_storage: expected an UntypedStorage, got {type(wrap_storage).__name__}"
            )
        self._untyped = wrap_storage

    @property
    def _a(self) -> Any:
        memory = self._untyped._a
        return memory[: len(memory) - len(memory) % self.itemsize].view(self.dtype.np)

    @classmethod
    def from_buffer(
        cls, buffer: Any, byte_order: str = "native", count: int = -1, offset: int = 0,
        dtype: Any = None,
    ) -> TypedStorage:  # fmt: skip
        """A copy of the elements in a buffer.  byte_order: "native", "little" or "big"."""
        if byte_order not in ("native", "little", "big"):
            raise ValueError(f"byte_order: expected native, little or big, got {byte_order!r}")
        d = dtype or cls.dtype
        a = backend.cpu.frombuffer(buffer, d.np, count, offset).copy()
        untyped = UntypedStorage._of(_bytes(a))
        if byte_order == "big":
            untyped.byteswap(d)
        return TYPED[d](wrap_storage=untyped)

    @classmethod
    def from_file(cls, filename: Any, shared: bool = False, size: int = 0) -> TypedStorage:
        """The memory of a file as `size` elements; see UntypedStorage.from_file."""
        nbytes = size * cls.itemsize
        return cls(wrap_storage=UntypedStorage.from_file(filename, shared, nbytes))

    def __getitem__(self, i: Any) -> Any:
        if isinstance(i, slice):
            raise RuntimeError("slices are only supported in UntypedStorage.__getitem__")
        return self._a[self._position(i)].item()

    def clone(self) -> TypedStorage:
        return type(self)(wrap_storage=self._untyped.clone())

    def untyped(self) -> UntypedStorage:
        return self._untyped

    def type(self, dtype: Any = None) -> Any:
        """The name of the storage's class, or the storage as another one: a name, class or dtype."""
        name = type(self).__name__
        if dtype is None:
            return f"{dtypes.package}{'.cuda' if self.is_cuda else ''}.{name}"
        if isinstance(dtype, str):
            dtype = CLASSES[dtype.rpartition(".")[2]]
        return self._cast(dtype if isinstance(dtype, dtypes.dtype) else dtype.dtype)

    def pickle_storage_type(self) -> str:
        return type(self).__name__

    def to(self, *, device: Any, non_blocking: bool = False) -> TypedStorage:
        return type(self)(wrap_storage=self._untyped.to(device=device))

    def cpu(self) -> TypedStorage:
        return self.to(device="cpu")

    def cuda(self, device: Any = None, non_blocking: bool = False) -> TypedStorage:
        return self.to(device=devices.device("cuda" if device is None else device))

    def resize_(self, size: int) -> TypedStorage:
        """Give it `size` elements; see UntypedStorage.resize_."""
        self._untyped.resize_(size * self.itemsize)
        return self

    def share_memory_(self) -> TypedStorage:
        self._untyped.share_memory_()
        return self

    def __reduce__(self) -> Any:
        return _rebuild_typed, (self.dtype, self._untyped)

    def __deepcopy__(self, memo: dict[Any, Any]) -> TypedStorage:
        return type(self)(wrap_storage=self._untyped.__deepcopy__(memo))

    def __repr__(self) -> str:
        values = "".join(f" {v}\n" for v in self)
        return (
            f"{values}[dtorch.storage.TypedStorage(dtype={self.dtype}, device={self.device}) "
            f"of size {len(self)}]"
        )


def _filled(name: str, args: Any, dtype: Any, device: Any) -> Any:
    """The memory of a new storage: zeros for a size, or the values of a sequence."""
    given = args[0] if args else 0
    if (
        len(args) > 1
        or isinstance(given, str)
        or not (isinstance(given, int) or hasattr(given, "__getitem__"))
    ):
        raise TypeError(f"{name}(): expected nothing, a size or a sequence of values, got {args}")
    if isinstance(given, int) and given < 0:
        raise RuntimeError(f"{name}(): expected a size that is not negative, got {given}")
    xp = devices.namespace(device)
    return xp.zeros(given, dtype) if isinstance(given, int) else xp.array(list(given), dtype)


def _typed(d: dtypes.dtype, prefix: str) -> type[TypedStorage]:
    members = {"dtype": d, "itemsize": d.itemsize, "__module__": __name__}
    return type(f"{prefix}Storage", (TypedStorage,), members)


TYPED = {d: _typed(d, dtypes.LEGACY_NAMES[d]) for d in dtypes.ALL.values()}
# Those that torch has too: FloatStorage and its kin.  Tensors of other dtypes are saved as bytes.
CLASSES = {
    cls.__name__: cls for d, cls in TYPED.items() if d.name not in ("uint16", "uint32", "uint64")
}
globals().update(CLASSES)
ByteStorage = TYPED[dtypes.uint8]

_CASTS = {
    "double": dtypes.float64, "float": dtypes.float32, "half": dtypes.float16,
    "bfloat16": dtypes.bfloat16, "long": dtypes.int64, "int": dtypes.int32,
    "short": dtypes.int16, "char": dtypes.int8, "byte": dtypes.uint8, "bool": dtypes.bool_,
    "complex_float": dtypes.complex64, "complex_double": dtypes.complex128,
}  # fmt: skip
for _name, _d in _CASTS.items():
    setattr(_Storage, _name, lambda self, d=_d: self._cast(d))


def is_storage(obj: Any) -> bool:
    """Whether the object is a storage."""
    return isinstance(obj, _Storage)


def shown_as(cls: Any, untyped: UntypedStorage) -> Any:
    """An UntypedStorage as a storage of class `cls`."""
    return untyped if cls is UntypedStorage else cls(wrap_storage=untyped)


# ---- a tensor's storage ----------------------------------------------------------------------


def untyped_storage(self: Tensor) -> UntypedStorage:
    """The memory that this tensor shares with its views, as bytes."""
    if self.layout is not dtypes.strided:
        raise NotImplementedError(
            f"a tensor of layout {self.layout} has no storage; its parts have"
        )
    return UntypedStorage._of(_bytes(backend.of(self._a).memory(settled(self))), self)


def storage(self: Tensor) -> TypedStorage:
    """The memory that this tensor shares with its views, as elements of its dtype."""
    return TYPED[self.dtype](wrap_storage=untyped_storage(self))


def _bytes(flat: Any) -> Any:
    return flat if flat.dtype == "uint8" else flat.view("uint8")


def _family(t: Tensor) -> list[Tensor]:
    """The tensors known to share memory with one: its base, the live views of that, their detach()."""
    base = t if t._base is None else t._base
    family = {id(x): x for x in (t, base, *live_views(base))}
    for x in list(family.values()):
        if sys.getrefcount(x._a) > 2:  # somebody else holds this very array: x.detach()
            others = gc.get_referrers(x._a)
            family |= {id(other): other for other in others if isinstance(other, Tensor)}
    return list(family.values())


def _rebuild_storage(owner: Any, device: str) -> UntypedStorage:
    """What pickle calls to load a storage: it takes over an array, or a buffer."""
    if isinstance(owner, (bytearray, sharing.SharedMemory)):
        owner = backend.cpu.frombuffer(owner, "uint8")
    return UntypedStorage._of(_bytes(devices.move(backend.of(owner).memory(owner), device)))


def _rebuild_typed(dtype: dtypes.dtype, untyped: UntypedStorage) -> TypedStorage:
    return TYPED[dtype](wrap_storage=untyped)
