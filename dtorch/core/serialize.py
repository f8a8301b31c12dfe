"""save and load: a safe file format for nested Python data with tensors in it.

The file is a zip archive, stored, without compression:

    dtorch.json        format version, checksums, and the structure as _Encoder.encode makes it
    storages/0 ...     the memory of the tensors, once for all tensors that share it
    pickles/0 ...      objects of other classes; written when there are some, and read only with
                       weights_only=False

Nothing in a file is run when it is loaded, unless weights_only=False allows it.
"""

from __future__ import annotations

import copy
import importlib
import json
import os
import pickle
import struct
import sys
import tempfile
import zipfile
import zlib
from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import Any

from . import backend
from . import device as devices
from . import dtype as dtypes
from .tensor import Size, Tensor, _init, new, wrap

FORMAT = 1
MANIFEST = "dtorch.json"
_PLAIN = (str, bool, int, float, type(None))
_SEQUENCES = {c.__name__: c for c in (list, tuple, set, Size)}
_DICTS: dict[str, type] = {c.__name__: c for c in (dict, OrderedDict, Counter)}
# The tensor classes that a file may name, and where they are: above the core, so by name.
_CLASSES = {"Parameter": "dtorch.nn.parameter", "Buffer": "dtorch.nn.parameter"}


def rebuild_tensor(
    cls: type, array: Any, requires_grad: bool, device: str, attributes: dict[str, Any]
) -> Any:
    """A tensor of class `cls` that takes over an array; what pickle calls to load one."""
    t: Any = new(cls)
    _init(t, devices.move(array, device))
    t._rg = requires_grad
    t.__dict__.update(attributes)
    return t


# ---- writing -----------------------------------------------------------------------------------


class _Encoder:
    """Turns an object into JSON, and lists the data that it refers to.

    Plain values stand for themselves; anything else is a list that begins with its kind.
    """

    def __init__(self) -> None:
        self.entries: dict[str, Any] = {}  # name in the archive -> bytes, or an array of bytes
        self.storages: dict[int, int] = {}  # id of the owning array -> its number
        self.tensors: dict[int, int] = {}
        self.keep: list[Any] = []  # what the ids belong to

    def encode(self, x: Any) -> Any:
        kind = type(x)
        if kind in _PLAIN:
            return x
        if isinstance(x, Tensor):
            return self.tensor(x)
        if _SEQUENCES.get(kind.__name__) is kind:
            return [kind.__name__, *map(self.encode, x)]
        if _DICTS.get(kind.__name__) is kind:
            pairs = [[self.encode(k), self.encode(v)] for k, v in x.items()]
            # A state_dict has its metadata in an attribute.
            attributes = getattr(x, "__dict__", None)
            return [kind.__name__, pairs, *([self.encode(attributes)] if attributes else [])]
        if kind is complex:
            return ["complex", x.real, x.imag]
        if kind is bytes:
            return ["bytes", x.hex()]
        if kind is dtypes.dtype:
            return ["dtype", x.name]
        if kind is devices.device:
            return ["device", str(x)]
        return self.pickled(x)

    def tensor(self, t: Tensor) -> Any:
        if id(t) in self.tensors:
            return ["same", self.tensors[id(t)]]
        cls = type(t).__name__
        if type(t) is not Tensor and _CLASSES.get(cls) != type(t).__module__:
            return self.pickled(t)
        self.tensors[id(t)] = len(self.tensors)
        self.keep.append(t)
        a = t._a
        xp = backend.of(a)
        root = xp.root(a)
        flat = root.ravel(order="K")
        if xp.address(flat) != xp.address(root):  # its memory has holes, or runs backwards
            root = a = flat = a.copy(order="C")
        number = self.storages.get(id(root))
        if number is None:
            number = self.storages[id(root)] = len(self.storages)
            self.keep.append(root)
            self.entries[f"storages/{number}"] = xp.to_numpy(flat).reshape(-1).view("uint8")
        strides = [s // a.itemsize for s in a.strides]
        offset = (xp.address(a) - xp.address(root)) // a.itemsize
        attributes = {k: v for k, v in t.__dict__.items() if k != "_retains"}
        return ["tensor", cls, number, t.dtype.name, list(t.shape), strides, offset,
                t.requires_grad and t.is_leaf, str(t.device), self.encode(attributes)]  # fmt: skip

    def pickled(self, x: Any) -> Any:
        try:
            data = pickle.dumps(x)
        except (pickle.PicklingError, TypeError, AttributeError, RuntimeError) as error:
            raise TypeError(f"save(): an object of {type(x)} cannot be saved: {error}") from error
        number = sum(name.startswith("pickles/") for name in self.entries)
        self.entries[f"pickles/{number}"] = data
        return ["pickle", number, f"{type(x).__module__}.{type(x).__qualname__}"]


def save(obj: Any, f: Any) -> None:
    """Write an object to a path, or to a file that is open for writing bytes.

    obj: tensors, numbers, strings, bytes, dtypes, devices, and lists, tuples, sets and dicts of
        them; tensors that share memory will share it again.  Objects of other classes are pickled,
        and load() takes them only with weights_only=False.

    A path is replaced only when the new file is complete and on the disk: one that existed before
    stays as it was if anything goes wrong.  Raises TypeError for what cannot be saved.
    """
    encoder = _Encoder()
    root = encoder.encode(obj)
    if hasattr(f, "write"):
        _write(encoder, root, f)
        return
    path = os.path.abspath(os.fspath(f))
    folder, name = os.path.split(path)
    handle, temporary = tempfile.mkstemp(prefix=f".{name}.", dir=folder)
    try:
        with os.fdopen(handle, "wb") as file:
            _write(encoder, root, file)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())  # mkstemp's is 0600
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    _sync_folder(folder)


def _write(encoder: _Encoder, root: Any, file: Any) -> None:
    checks = {name: [zlib.crc32(data), len(data)] for name, data in encoder.entries.items()}
    manifest = {
        "format": FORMAT, "byteorder": sys.byteorder, "entries": checks, "root": root,
    }  # fmt: skip
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        # It comes first, so that a file that was cut off can still say what it should hold.
        archive.writestr(MANIFEST, json.dumps(manifest, separators=(",", ":")))
        for name, data in encoder.entries.items():
            with archive.open(zipfile.ZipInfo(name), "w", force_zip64=True) as entry:
                entry.write(data)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _sync_folder(folder: str) -> None:
    """Put the file's new name on the disk too, where folders can be opened."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


# ---- reading -----------------------------------------------------------------------------------


class _Decoder:
    """Makes the object of a file again; the kinds are methods, so a file can name no others."""

    def __init__(
        self, archive: zipfile.ZipFile, name: str, manifest: Any, place: Any, weights_only: bool
    ) -> None:
        self.archive = archive
        self.name = name
        self.entries = manifest["entries"]
        self.place = place
        self.weights_only = weights_only
        self.storages: dict[int, Any] = {}
        self.tensors: list[Tensor] = []

    def entry(self, name: str) -> bytearray:
        """The bytes of an entry; RuntimeError unless they are those that were written."""
        crc, size = self.entries[name]
        data = bytearray(size)
        found = 0
        try:
            info = copy.copy(self.archive.getinfo(name))
            del info.CRC  # the checksum is judged here, so that the error can say what was found
            with self.archive.open(info) as file:
                while found < size and (n := file.readinto(memoryview(data)[found:])):  # type: ignore[attr-defined]
                    found += n
        except (KeyError, EOFError, OSError, zipfile.BadZipFile):
            pass  # what there is of it is judged below
        actual = zlib.crc32(memoryview(data)[:found])
        if found != size or actual != crc:
            raise RuntimeError(
                f"{self.name} is damaged: {name} should be {size} bytes with checksum {crc:08x}, "
                "but "
                f"is {found} with {actual:08x}"
            )
        return data

    def decode(self, x: Any) -> Any:
        if not isinstance(x, list):
            return x
        kind, *rest = x
        if kind in _SEQUENCES:
            return _SEQUENCES[kind](map(self.decode, rest))
        if kind in _DICTS:
            return self.mapping(_DICTS[kind], *rest)
        read: Callable[..., Any] | None = getattr(self, f"read_{kind}", None)
        if read is None:
            raise RuntimeError(f"{self.name} is damaged: it has something of unknown kind {kind!r}")
        return read(*rest)

    def mapping(self, cls: Any, pairs: Any, attributes: Any = None) -> Any:
        result = cls({self.decode(k): self.decode(v) for k, v in pairs})
        if attributes is not None:
            result.__dict__.update(self.decode(attributes))
        return result

    def read_complex(self, real: float, imag: float) -> complex:
        return complex(real, imag)

    def read_bytes(self, text: str) -> bytes:
        return bytes.fromhex(text)

    def read_dtype(self, name: str) -> dtypes.dtype:
        return dtypes.dtype_named(name)

    def read_device(self, text: str) -> devices.device:
        return devices.device(text)

    def read_same(self, number: int) -> Tensor:
        return self.tensors[number]

    def read_tensor(
        self, cls: str, storage: int, dtype: str, shape: Any, strides: Any, offset: int,
        requires_grad: bool, device: str, attributes: Any,
    ) -> Any:  # fmt: skip
        d = dtypes.dtype_named(dtype).np
        if storage not in self.storages:
            flat = backend.cpu.frombuffer(self.entry(f"storages/{storage}"), "uint8")
            self.storages[storage] = self.place(wrap(flat), device)._a
        flat = self.storages[storage]
        reach = [(n - 1) * s for n, s in zip(shape, strides)]
        first = offset + sum(r for r in reach if r < 0)
        last = offset + sum(r for r in reach if r > 0)
        if 0 not in shape and not 0 <= first <= last < flat.size // d.itemsize:
            raise RuntimeError(
                f"{self.name} is damaged: a tensor of shape {shape}, strides {strides} and offset "
                f"{offset} does not lie in its {flat.size} bytes of memory"
            )
        xp = backend.of(flat)
        if 0 in shape:
            a = xp.empty(shape, d)
        else:
            typed = flat[: flat.size - flat.size % d.itemsize].view(d)
            a = xp.as_strided(typed[offset:], shape, [s * d.itemsize for s in strides])
        tensor_class = Tensor
        if cls != "Tensor":
            tensor_class = getattr(importlib.import_module(_CLASSES[cls]), cls)
        where = str(devices.of(a))
        t = rebuild_tensor(tensor_class, a, requires_grad, where, self.decode(attributes))
        self.tensors.append(t)
        return t

    def read_pickle(self, number: int, cls: str) -> Any:
        if self.weights_only:
            raise pickle.UnpicklingError(
                f"{self.name} holds an object of class {cls}, which only weights_only=False loads. "
                "Do so only if you trust the file: loading it can run any code."
            )
        return pickle.loads(self.entry(f"pickles/{number}"))


def load(f: Any, map_location: Any = None, weights_only: bool = True) -> Any:
    """Read what save() wrote to a path, or to a file that is open for reading bytes.

    map_location: where tensors go: a device, a dict from a device's name to another's, or a
        function (tensor, name) -> tensor or None; None: to the device that they were on
    weights_only: take only data; False also unpickles objects of other classes, which can run any
        code, so do it only with a file that you trust

    Raises RuntimeError for a file that is damaged, or in torch's format; pickle.UnpicklingError for
    an object that weights_only forbids.
    """
    if hasattr(f, "read"):
        return _read(f, getattr(f, "name", repr(f)), map_location, weights_only)
    path = os.fspath(f)
    with open(path, "rb") as file:
        return _read(file, path, map_location, weights_only)


def _read(file: Any, name: Any, map_location: Any, weights_only: bool) -> Any:
    start = file.tell()
    try:
        archive = zipfile.ZipFile(file)
    except zipfile.BadZipFile:
        raise _unreadable(file, start, name) from None
    with archive:
        names = archive.namelist()
        if MANIFEST not in names:
            torch = any(n.rpartition("/")[2] == "data.pkl" for n in names)
            raise _foreign(name, "a file in torch's format" if torch else "some other zip archive")
        try:
            manifest = json.loads(archive.read(MANIFEST))
        except (ValueError, zipfile.BadZipFile) as error:
            raise RuntimeError(f"{name} is damaged: {MANIFEST} is unreadable: {error}") from None
        if manifest["format"] > FORMAT:
            raise RuntimeError(
                f"{name} has format {manifest['format']}, and this version of dtorch reads up to "
                f"{FORMAT}: update dtorch"
            )
        if manifest["byteorder"] != sys.byteorder:
            raise RuntimeError(
                f"{name} was written on a {manifest['byteorder']}-endian machine, and this one is "
                f"{sys.byteorder}-endian"
            )
        decoder = _Decoder(archive, name, manifest, _placement(map_location, name), weights_only)
        return decoder.decode(manifest["root"])


def _foreign(name: Any, what: str) -> RuntimeError:
    return RuntimeError(
        f"{name} is {what}, not one that dtorch.save wrote; of torch's own formats none can be "
        "read "
        "yet: convert it with safetensors, or save its values with numpy"
    )


def _unreadable(file: Any, start: int, name: Any) -> RuntimeError:
    """What is wrong with a file that has no zip directory at its end."""
    file.seek(start)
    head = file.read(30)
    if head[:4] == b"PK\x03\x04" and len(head) == 30:
        size, name_size, extra_size = struct.unpack("<18xL4xHH", head)
        if file.read(name_size + extra_size)[:name_size] == MANIFEST.encode():
            text = file.read(size)
            found = file.seek(0, os.SEEK_END) - start
            if len(text) < size:
                return RuntimeError(f"{name} is truncated: found only {found} bytes")
            expected = sum(n for _, n in json.loads(text)["entries"].values())
            return RuntimeError(
                f"{name} is truncated: it should hold {expected} bytes of data besides its index "
                "of "
                f"{size}, found {found} in all"
            )
    if head[:1] == b"\x80":
        return _foreign(name, "a pickle, perhaps in torch's old format")
    return RuntimeError(f"{name} is no file of dtorch.save, or its beginning and end are damaged")


def _placement(map_location: Any, name: Any) -> Callable[[Tensor, str], Tensor]:
    """A function that puts the memory of a storage, a CPU tensor of bytes, where it is to be."""

    def place(t: Tensor, location: str) -> Tensor:
        target = location
        if callable(map_location):
            moved = map_location(t, location)
            if moved is not None:
                return moved
        elif isinstance(map_location, dict):
            target = map_location.get(location, location)
        elif map_location is not None:
            target = map_location
        try:
            return wrap(devices.move(t._a, target))
        except RuntimeError as error:
            raise RuntimeError(
                f"{name} has tensors on {location}, and they cannot go to {target}: {error} Load "
                "them elsewhere with map_location='cpu'."
            ) from error

    return place
