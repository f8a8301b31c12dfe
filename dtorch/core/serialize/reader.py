"""load(): the object of a file, its tensors on memory that is read or mapped."""

from __future__ import annotations

import io
import mmap as mapping
import os
import pickle
import pickletools
import sys
import warnings
from collections.abc import Callable
from typing import Any

from .. import env, sharing
from ..backend import cpu
from ..storage import UntypedStorage, shown_as
from . import legacy, options
from .archive import Reader
from .placement import Restorer, placement
from .unpickler import WeightsUnpickler, is_safe, trusting

Unpickle = Callable[[Any, Callable[[Any], Any]], Any]


def load(
    f: Any,
    map_location: Any = None,
    pickle_module: Any = None,
    *,
    weights_only: bool | None = None,
    mmap: bool | None = None,
    **pickle_load_args: Any,
) -> Any:
    """Read what save(), or torch.save, wrote to a path, or to a file that is open for reading bytes.

    map_location: where storages go: a device, its name, a dict from the name of a location to
        another's, or a function (storage, name) -> storage or None; None: to where they were
    weights_only: take only data, and classes that serialization.add_safe_globals() names.  False
        also unpickles other objects, which can run any code, so do it only with a file that you
        trust.  TORCH_FORCE_WEIGHTS_ONLY_LOAD=1 overrides it.
    mmap: leave the storages in the file, which has to be a path, until they are used; checksums are
        then not looked at.  Writes stay with the tensors, see set_default_mmap_options().
    pickle_module, pickle_load_args: the unpickler and its options, where weights_only=False

    A path that ends in .safetensors is read as such.  Raises RuntimeError for a file that is damaged,
    pickle.UnpicklingError for an object that weights_only forbids: nothing of it has then been run.
    """
    weights_only = _weights_only(weights_only, pickle_module)
    if weights_only and pickle_module is not None:
        raise RuntimeError("Can not safely load weights when explicit pickle_module is specified")
    if weights_only and pickle_load_args:
        warnings.warn("pickle_load_args only works if `weights_only=False`.", stacklevel=2)
        pickle_load_args = {}
    unpickle = _unpickle_weights if weights_only else _unpickle_all(pickle_module, pickle_load_args)
    place = placement(map_location)
    if hasattr(f, "read"):
        if mmap:
            raise ValueError("f must be a file path in order to use the mmap argument")
        return _load(f, getattr(f, "name", repr(f)), place, unpickle)
    path = os.fsdecode(f)
    if path.endswith(".safetensors"):
        return _load_safetensors(path, map_location)
    with open(path, "rb") as file:
        return _load(file, path, place, unpickle, mmap)


def _weights_only(asked: bool | None, pickle_module: Any) -> bool:
    """What weights_only is, after what the environment forces."""
    always, never = (
        variable.get().lower() in ("1", "y", "yes", "true")
        for variable in (env.FORCE_WEIGHTS_ONLY_LOAD, env.FORCE_NO_WEIGHTS_ONLY_LOAD)
    )
    if always and never:
        raise RuntimeError(
            "Only one of `TORCH_FORCE_WEIGHTS_ONLY_LOAD` or `TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD` "
            "should be set, but both were set."
        )
    if always:
        return True
    if asked is not None:
        return asked
    if never:
        warnings.warn(
            "Environment variable TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD detected, since the "
            "`weights_only` argument was not explicitly passed to `dtorch.load`, forcing "
            "weights_only=False.",
            stacklevel=3,
        )
        return False
    return pickle_module is None


def _unpickle_weights(file: Any, storage: Callable[[Any], Any]) -> Any:
    try:
        return WeightsUnpickler(file, storage).load()
    except pickle.UnpicklingError as error:
        raise pickle.UnpicklingError(
            f"Weights only load failed. {error}\nIf you trust the source of the file, there are two "
            "ways: allow by name what it needs, or load it with `weights_only=False`, which can "
            "result in arbitrary code execution."
        ) from None


def _unpickle_all(pickle_module: Any, pickle_load_args: dict[str, Any]) -> Unpickle:
    unpickler_class = trusting(pickle if pickle_module is None else pickle_module)

    def unpickle(file: Any, storage: Callable[[Any], Any]) -> Any:
        unpickler = unpickler_class(file, **{"encoding": "utf-8", **pickle_load_args})
        unpickler.persistent_load = storage
        return unpickler.load()

    return unpickle


def _load(
    file: Any, name: Any, place: Restorer, unpickle: Unpickle, mmap: bool | None = None
) -> Any:
    try:
        start = file.tell()
        head = file.read(4)
        file.seek(start)
    except (AttributeError, OSError) as error:
        raise type(error)(
            f"{error}. You can only load from a file that is seekable. Please pre-load the data into "
            "a buffer like io.BytesIO and load from it instead."
        ) from error
    if isinstance(head, str):
        raise TypeError(f"{name} is open for reading text; open it with mode 'rb'")
    if head == b"PK\x03\x04":
        archive = Reader(file, name)
        storages = _Storages(archive, place, file.name if mmap else None)
        return unpickle(io.BytesIO(archive.read("data.pkl")), storages.load)
    if head[:1] != b"\x80":
        raise RuntimeError(f"{name} is no file of save(), or its beginning is damaged")
    if mmap:
        raise RuntimeError(
            f"{name}: mmap can only be used with zip files, which torch writes since 1.6; load it "
            "without, and save it again"
        )
    return legacy.load(file, name, place, unpickle)


class _Storages:
    """The storages of an archive, each read, or mapped, when the pickle first refers to it."""

    def __init__(self, archive: Reader, place: Restorer, path: Any) -> None:
        """path: of the file, if the storages are to be mapped"""
        if "constants.pkl" in archive:
            raise RuntimeError(f"{archive.name} is a TorchScript archive, which only torch can run")
        self.archive = archive
        self.place = place
        self.loaded: dict[str, UntypedStorage] = {}
        order = b"little"
        if "byteorder" in archive:
            order = bytes(archive.read("byteorder"))
        elif options.get_default_load_endianness() is options.LoadEndianness.BIG:
            order = b"big"
        elif options.get_default_load_endianness() is options.LoadEndianness.NATIVE:
            order = sys.byteorder.encode()
        if order not in (b"little", b"big"):
            raise ValueError(f"{archive.name} is damaged: its byte order is {order!r}")
        self.swapped = order.decode() != sys.byteorder
        self.map: Any = None
        if path is not None:
            if self.swapped:
                raise RuntimeError(
                    f"{archive.name} is {order.decode()}-endian, and can't be mapped"
                )
            shared = options.get_default_mmap_options() == mapping.MAP_SHARED
            self.map = sharing.map_path(path, shared, os.path.getsize(path))

    def load(self, reference: Any) -> Any:
        """The storage that a persistent id of the pickle refers to."""
        if not (isinstance(reference, tuple) and len(reference) == 5 and reference[0] == "storage"):
            raise pickle.UnpicklingError(
                f"Only persistent_load of storage is allowed, but got {reference!r}"
            )
        _, cls, key, location, size = reference
        if key not in self.loaded:
            self.loaded[key] = self._read(f"data/{key}", cls, location, size)
        return shown_as(cls, self.loaded[key])

    def _read(self, record: str, cls: Any, location: str, size: int) -> UntypedStorage:
        nbytes = size * cls.itemsize
        if options.skipping.get():
            memory = cpu.zeros(nbytes, "uint8")
        elif self.map is not None:
            begin, found = self.archive.place(record)
            memory = cpu.frombuffer(self.map, "uint8", found, begin)
        else:
            memory = self.archive.read(record)
        if len(memory) != nbytes:
            raise RuntimeError(
                f"{self.archive.name} is damaged: {record} should have {nbytes} bytes, as data.pkl "
                f"says, but it has {len(memory)}"
            )
        untyped = UntypedStorage._of(memory)
        if self.swapped and cls is not UntypedStorage:
            untyped.byteswap(cls.dtype)
        return self.place(untyped, location).untyped()


def _load_safetensors(path: Any, map_location: Any) -> Any:
    from . import safetensors

    if isinstance(map_location, dict) or callable(map_location):
        raise RuntimeError(
            "map_location: of a safetensors file, the tensors all go to one device: give its name, "
            f"not a {type(map_location).__name__}"
        )
    return safetensors.load_file(path, "cpu" if map_location is None else map_location)


def get_unsafe_globals_in_checkpoint(f: Any) -> list[str]:
    """The full names of what a file needs, and load(weights_only=True) would refuse.

    The file is only looked at, and nothing of it is loaded.
    """
    if not hasattr(f, "read"):
        with open(f, "rb") as file:
            return get_unsafe_globals_in_checkpoint(file)
    if f.read(4) != b"PK\x03\x04":
        raise ValueError(
            "Expected input to be a checkpoint returned by save(), which is a zip file"
        )
    archive = Reader(f, getattr(f, "name", repr(f)))
    found = set()
    for instruction, argument, _ in pickletools.genops(bytes(archive.read("data.pkl"))):
        if instruction.name == "STACK_GLOBAL":
            raise ValueError(
                "the file has a pickle of protocol 4 or higher, in which names can't be told without "
                "running it"
            )
        if instruction.name == "GLOBAL":
            module, name = str(argument).split(" ")
            if not is_safe(module, name):
                found.add(f"{module.replace('__builtin__', 'builtins')}.{name}")
    return sorted(found)
