"""Files of torch before 1.6, and of _use_new_zipfile_serialization=False: pickles in a row.

A magic number, the protocol's version, facts about the machine, the object, the keys of its storages;
then for each storage its number of elements (8 bytes) and its memory.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

from .. import backend
from .. import device as devices
from ..backend import cpu
from ..storage import UntypedStorage, shown_as

MAGIC = 0x1950A86A20F9469CFC6C
PROTOCOL = 1001


def load(file: Any, name: Any, place: Any, unpickle: Callable[..., Any]) -> Any:
    """place: (storage, location) -> storage; unpickle: (file, persistent_load) -> object"""
    storages: dict[str, UntypedStorage] = {}
    element: dict[str, int] = {}

    def storage(reference: Any) -> Any:
        if not isinstance(reference, tuple) or reference[0] not in ("storage", "module"):
            raise pickle.UnpicklingError(
                f"Only persistent_load of storage is allowed, but got {reference!r}"
            )
        if reference[0] == "module":  # a class, and its source, which nobody needs
            return reference[1]
        cls, key, location, size, view = reference[1:]
        k = cls.itemsize
        if key not in storages:  # its values follow below
            storages[key] = place(UntypedStorage(size * k), location).untyped()
            element[key] = k
        untyped = storages[key]
        if view is not None:
            _, offset, length = view
            untyped = untyped[offset * k : (offset + length) * k]
        return shown_as(cls, untyped)

    if unpickle(file, storage) != MAGIC:
        raise RuntimeError(f"{name}: Invalid magic number; it is a pickle, but not of save()")
    if unpickle(file, storage) != PROTOCOL:
        raise RuntimeError(f"{name}: Invalid protocol version")
    unpickle(file, storage)  # about the machine: the byte order is always little
    result = unpickle(file, storage)
    for key in unpickle(file, storage):
        if key not in storages:
            raise RuntimeError(
                f"{name} is damaged: it has storage {key!r}, which nothing refers to"
            )
        memory = storages[key]
        size = int.from_bytes(file.read(8), "little")
        data = file.read(memory.nbytes()) if size * element[key] == memory.nbytes() else b""
        if len(data) != memory.nbytes():
            raise RuntimeError(
                f"{name} is truncated: storage {key} should have {memory.nbytes()} bytes, found "
                f"{len(data)} for {size} elements"
            )
        backend.store(memory._a, devices.move(cpu.frombuffer(data, "uint8"), memory.device))
    return result
