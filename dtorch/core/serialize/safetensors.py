"""Files of the safetensors library (https://github.com/huggingface/safetensors): tensors by name.

Such a file is the size of its header (8 bytes), the header in JSON, and the memory of the tensors one
after the other.  The library writes files, and checks headers; tensors are mapped from here.
"""

from __future__ import annotations

import json
import mmap
import os
from collections.abc import Iterator
from typing import Any

import safetensors as library

from .. import dtype as dtypes
from ..backend import cpu
from ..backend import of as backend_of
from ..device import move
from ..sharing import map_path
from ..tensor import Tensor, wrap
from .replacement import replacement

_DTYPES = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "I64": "int64",
    "I32": "int32", "I16": "int16", "I8": "int8", "U64": "uint64", "U32": "uint32",
    "U16": "uint16", "U8": "uint8", "BOOL": "bool", "C64": "complex64",
}  # fmt: skip


def save_file(
    tensors: dict[str, Tensor], filename: Any, metadata: dict[str, str] | None = None
) -> None:
    """Write tensors by name, and metadata (text by name), to a file.

    ValueError for what is no contiguous tensor, RuntimeError for tensors that share memory (which a
    file can't say: leave one out, or see save_model), TypeError for a dtype that files don't have.
    """
    arrays = _arrays(tensors)
    with replacement(filename) as temporary:
        library.serialize_file(_specs(arrays), temporary, metadata)


def save(tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> bytes:
    """The content of the file that save_file() writes."""
    arrays = _arrays(tensors)
    return bytes(library.serialize(_specs(arrays), metadata))


def load_file(filename: Any, device: Any = "cpu") -> dict[str, Tensor]:
    """The tensors of a file by name, mapped: what isn't used is not read, and writes stay here."""
    with safe_open(filename, device=device) as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def load(data: bytes) -> dict[str, Tensor]:
    """The tensors, by name, of the content of a file."""
    return {
        name: wrap(_array(bytearray(entry["data"]), 0, entry["dtype"], entry["shape"]))
        for name, entry in library.deserialize(data)
    }


class safe_open:
    """A file of which single tensors are wanted.

        with safe_open("model.safetensors") as file:
            weight = file.get_tensor("weight")  # shares the file's memory until it is written to

    framework: "dtorch", or "pt" as is usual.  Raises safetensors.SafetensorError for a bad file.
    """

    def __init__(self, filename: Any, framework: str = "dtorch", device: Any = "cpu") -> None:
        if framework not in ("dtorch", "pt", "torch", "pytorch"):
            raise ValueError(f"framework: expected 'dtorch' or 'pt', got {framework!r}")
        with library.safe_open(filename, "numpy"):
            pass  # it has a header in order, whose tensors lie in the file
        with open(filename, "rb") as file:
            size = int.from_bytes(file.read(8), "little")
            self._entries = json.loads(file.read(size))
        self._metadata = self._entries.pop("__metadata__", None)
        self._begin = 8 + size
        self._device = device
        self._map = map_path(filename, False, os.path.getsize(filename))

    def __enter__(self) -> safe_open:
        return self

    def __exit__(self, *error: object) -> None:
        """The tensors stay: they hold the map of the file."""

    def keys(self) -> list[str]:
        return sorted(self._entries)

    def offset_keys(self) -> list[str]:
        """The names in the order in which the tensors lie in the file."""
        return sorted(self._entries, key=lambda name: self._entries[name]["data_offsets"])

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def metadata(self) -> dict[str, str] | None:
        return self._metadata

    def get_tensor(self, name: str) -> Tensor:
        a = self._mapped(name)
        return wrap(move(a, self._device))

    def get_slice(self, name: str) -> Slice:
        """A tensor of which only a part is wanted: get_slice(name)[:10]."""
        return Slice(self._mapped(name), self._entries[name], self._device)

    def _mapped(self, name: str) -> Any:
        if name not in self._entries:
            raise library.SafetensorError(f"File does not contain tensor {name}")
        entry = self._entries[name]
        begin = self._begin + entry["data_offsets"][0]
        return _array(self._map, begin, entry["dtype"], entry["shape"])


class Slice:
    """A tensor in a file: its shape, its dtype, and parts of it by indexing."""

    def __init__(self, array: Any, entry: dict[str, Any], device: Any) -> None:
        self._a, self._entry, self._device = array, entry, device

    def get_shape(self) -> list[int]:
        return self._entry["shape"]

    def get_dtype(self) -> str:
        return self._entry["dtype"]

    def __getitem__(self, index: Any) -> Tensor:
        return wrap(move(wrap(self._a)[index].contiguous()._a, self._device))


def save_model(
    model: Any, filename: Any, metadata: dict[str, str] | None = None, force_contiguous: bool = True
) -> None:
    """Write a module's state_dict; of parameters that are the same, the first by name.

    The others' names are put in the metadata, for load_model.
    """
    state = model.state_dict()
    same = _duplicates(state)
    kept = {k: v.contiguous() if force_contiguous else v for k, v in state.items() if k not in same}
    save_file(kept, filename, {**same, **(metadata or {})} or None)


def load_model(
    model: Any, filename: Any, strict: bool = True, device: Any = "cpu"
) -> tuple[set[str], list[str]]:
    """Load a module's state_dict from a file of save_model: the names missing, and not expected.

    strict: RuntimeError if there are any
    """
    result = model.load_state_dict(load_file(filename, device), strict=False)
    same = _duplicates(model.state_dict())
    groups: dict[str, set[str]] = {}
    for name, first in same.items():
        groups.setdefault(first, {first}).add(name)
    missing = set(result.missing_keys)
    for group in groups.values():
        if group - missing:  # one of the names is enough
            missing -= group
    if strict and (missing or result.unexpected_keys):
        raise RuntimeError(
            f"Error(s) in loading state_dict for {type(model).__name__}: missing keys "
            f"{sorted(missing)}, unexpected keys {sorted(result.unexpected_keys)}"
        )
    return missing, result.unexpected_keys


def _duplicates(state: dict[str, Tensor]) -> dict[str, str]:
    """The names of tensors that are the same as an earlier one, by name -> the name of that."""
    first: dict[Any, str] = {}
    same = {}
    for name in sorted(state):
        t = state[name]
        place = (t.data_ptr(), t.shape, t.stride(), t.dtype)
        if t.numel() and first.setdefault(place, name) != name:
            same[name] = first[place]
    return same


def _specs(arrays: dict[str, Any]) -> dict[str, library.TensorSpec]:
    """What the library wants to know of each array, which has to be kept until it has written them."""
    return {
        name: library.TensorSpec(
            dtype=a.dtype.name, shape=a.shape, data_ptr=cpu.address(a), data_len=a.nbytes
        )
        for name, a in arrays.items()
    }


def _arrays(tensors: Any) -> dict[str, Any]:
    """The CPU arrays of tensors that can be written."""
    if not isinstance(tensors, dict):
        raise ValueError(f"Expected a dict of [str, dtorch.Tensor] but received {type(tensors)}")
    for name, t in tensors.items():
        if not isinstance(t, Tensor):
            raise ValueError(f"Key `{name}` is invalid, expected dtorch.Tensor but got {type(t)}")
        if t.dtype.name not in _DTYPES.values():
            raise TypeError(f"Key `{name}`: safetensors files have no dtype {t.dtype}; convert it")
        if not t.is_contiguous():
            raise ValueError(
                f"You are trying to save a non contiguous tensor: `{name}` which is not allowed. "
                "Call `.contiguous()` on it to pack it before saving."
            )
    _refuse_shared(tensors)
    return {name: backend_of(t._a).to_numpy(t._a) for name, t in tensors.items()}


def _refuse_shared(tensors: dict[str, Tensor]) -> None:
    reached = 0
    before = ""
    for t, name in sorted(
        ((t, name) for name, t in tensors.items() if t.numel()), key=lambda pair: pair[0].data_ptr()
    ):
        if t.data_ptr() < reached:
            raise RuntimeError(
                "Some tensors share memory, this will lead to duplicate memory on disk and potential "
                f"differences when loading them again: {[before, name]}. Save a clone() of one, or "
                "see save_model."
            )
        reached, before = t.data_ptr() + t.nbytes, name


def _array(buffer: bytearray | mmap.mmap, begin: int, code: str, shape: list[int]) -> Any:
    """The array of a tensor at a place in a buffer."""
    name = _DTYPES.get(code)
    if name not in dtypes.ALL:
        raise TypeError(f"the file has a tensor of dtype {code}, which dtorch does not have")
    d = dtypes.ALL[name].np
    count = 1
    for n in shape:
        count *= n
    if not count:
        return cpu.empty(shape, d)
    return cpu.frombuffer(buffer, d, count, begin).reshape(shape)
