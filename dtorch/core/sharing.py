"""Memory that processes share: mapped, and passed on by its file descriptor.

A forked process has it anyway.  Through a multiprocessing Queue, or to a spawned process, goes the
descriptor instead of the bytes, so that both map the same memory; it is freed with its last mapping.
"""

from __future__ import annotations

import mmap
import os
import platform
import sys
import tempfile
import weakref
from typing import Any

from . import backend

_ORDERED = platform.machine() in ("x86_64", "AMD64")


class SharedMemory(mmap.mmap):
    """Memory that other processes can map too; `handle` is the descriptor of its file."""

    handle: int

    def __new__(cls, handle: int, size: int) -> SharedMemory:
        let_multiprocessing_pass_it_on()
        options: Any = (
            {"trackfd": False} if sys.version_info >= (3, 13) else {}
        )  # one file is enough
        self = super().__new__(cls, handle, max(size, 1), **options)  # no mapping is empty
        self.handle = os.dup(handle)
        weakref.finalize(self, os.close, self.handle)
        return self

    def __reduce__(self) -> Any:
        """For an ordinary pickle, which may outlive this process: the bytes."""
        return bytearray, (self[:],)


def of(a: Any) -> SharedMemory | None:
    """The shared memory that an array lies in, if any."""
    memory = getattr(backend.of(a).root(a).base, "obj", None)
    return memory if isinstance(memory, SharedMemory) else None


def allocate(nbytes: int) -> Any:
    """Shared memory as an array of bytes, (nbytes,)."""
    handle = nameless_file(nbytes)
    try:
        return backend.cpu.frombuffer(SharedMemory(handle, nbytes), "uint8", nbytes)
    finally:
        os.close(handle)


def nameless_file(nbytes: int) -> int:
    """The descriptor of a new file without a name, to map: it is freed with its last mapping."""
    # Linux has such in memory only; elsewhere it is a deleted one.
    if hasattr(os, "memfd_create"):
        handle = os.memfd_create("dtorch")
    else:
        handle, path = tempfile.mkstemp()
        os.unlink(path)
    os.truncate(handle, max(nbytes, 1))
    return handle


def fence() -> None:
    """Let other processes see what was written before no later than what is written after.

    x86 does so by itself; other processors when the kernel looks for another thread to run.
    """
    if not _ORDERED:
        os.sched_yield()


def map_path(path: Any, shared: bool, nbytes: int) -> mmap.mmap:
    """The first `nbytes` bytes of a file, mapped.

    shared: writes go to the file, which is made, or grows, as needed; otherwise each page is copied
    when it is written to.  RuntimeError where an unshared file is too short.
    """
    if shared and not os.path.exists(path):
        open(path, "xb").close()
    with open(path, "r+b" if shared else "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size < nbytes and shared:
            file.truncate(nbytes)
        elif size < nbytes:
            raise RuntimeError(f"{path} has {size} bytes, and {nbytes} were asked for")
        if shared:
            return SharedMemory(file.fileno(), nbytes)
        return mmap.mmap(file.fileno(), nbytes, access=mmap.ACCESS_COPY)


def map_file(path: Any, shared: bool, nbytes: int) -> Any:
    """map_path() as an array of bytes, (nbytes,)."""
    if not nbytes:
        return backend.cpu.empty(0, "uint8")
    return backend.cpu.frombuffer(map_path(path, shared, nbytes), "uint8")


def let_multiprocessing_pass_it_on() -> None:
    """By its descriptor, where it goes to another process."""
    from multiprocessing.reduction import ForkingPickler

    ForkingPickler.register(SharedMemory, _pass_on)


def _pass_on(memory: SharedMemory) -> Any:
    from multiprocessing.reduction import DupFd

    return _attach, (DupFd(memory.handle), len(memory))


def _attach(handle: Any, size: int) -> SharedMemory:
    descriptor = handle.detach()
    try:
        return SharedMemory(descriptor, size)
    finally:
        os.close(descriptor)
