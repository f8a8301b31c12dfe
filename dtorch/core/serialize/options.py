"""The settings of save() and load() that hold for the process."""

from __future__ import annotations

import mmap
from contextvars import ContextVar
from enum import Enum


class LoadEndianness(Enum):
    NATIVE = 1
    LITTLE = 2
    BIG = 3


_endianness: LoadEndianness | None = None
_mmap_flags = mmap.MAP_PRIVATE
skipping: ContextVar[bool] = ContextVar("skip_data", default=False)


def get_default_load_endianness() -> LoadEndianness | None:
    """The byte order of files that don't say theirs; None: little."""
    return _endianness


def set_default_load_endianness(endianness: LoadEndianness | None) -> None:
    """Set the byte order of files that don't say theirs: only torch before 2.1 wrote such."""
    global _endianness
    if not isinstance(endianness, (LoadEndianness, type(None))):
        raise TypeError(
            f"Invalid argument type in function set_default_load_endianness: {endianness}"
        )
    _endianness = endianness


def get_default_mmap_options() -> int:
    """mmap.MAP_PRIVATE or mmap.MAP_SHARED: what load(mmap=True) maps files with."""
    return _mmap_flags


class set_default_mmap_options:
    """Set what load(mmap=True) maps files with: for good, or for the length of a `with` block.

    flags: mmap.MAP_PRIVATE, the default: writes stay with the tensor; mmap.MAP_SHARED: writes go to
        the file, whose checksums then no longer hold, and to others who map it
    """

    def __init__(self, flags: int) -> None:
        global _mmap_flags
        if flags not in (mmap.MAP_PRIVATE, mmap.MAP_SHARED):
            raise ValueError(
                "Invalid argument in function set_default_mmap_options, expected mmap.MAP_PRIVATE "
                f"or mmap.MAP_SHARED, but got {flags}"
            )
        self.before, _mmap_flags = _mmap_flags, flags

    def __enter__(self) -> None:
        pass

    def __exit__(self, *error: object) -> None:
        global _mmap_flags
        _mmap_flags = self.before


def get_crc32_options() -> bool:
    """Whether save() writes a checksum of each record: it always does."""
    return True


def set_crc32_options(compute_crc32: bool) -> None:
    """Accepts only True: files without checksums are read, but none are written."""
    if not compute_crc32:
        raise NotImplementedError(
            "set_crc32_options: save() always writes checksums, without which load() could not "
            "tell a damaged file"
        )


class skip_data:
    """Within this `with` block, save() leaves the bytes of storages zero, and load() doesn't read them.

    The structure of the objects, and the room for the bytes, are there all the same.
    """

    def __init__(self, materialize_fake_tensors: bool = False) -> None:
        if materialize_fake_tensors:
            raise NotImplementedError("skip_data: there are no fake tensors to materialize")

    def __enter__(self) -> None:
        self.token = skipping.set(True)

    def __exit__(self, *error: object) -> None:
        skipping.reset(self.token)
