"""How the big arrays of a batch come from a worker process: in memory that both have mapped.

A worker writes them to a slot, a file in memory without a name, and tells its number; the slot's
descriptor goes along once, when the slot is new. The parent's arrays lie in the slot. When the last of
them is gone, the next request tells the worker that it may write there again, so that neither side
maps or clears pages batch by batch. The kernel frees a slot with the last process that maps it,
however that ends.
"""

from __future__ import annotations

import collections
import ctypes
import io
import mmap
import os
import pickle
import weakref
from collections.abc import Iterable
from multiprocessing.connection import Connection
from multiprocessing.reduction import recv_handle, send_handle
from typing import Any, NamedTuple

from dtorch.core import sharing
from dtorch.core.tensor import Tensor

_SMALL = 1 << 14  # bytes: arrays below it travel in the message
_LENT = 4  # slots a worker whose arrays the parent may keep; what it keeps beyond is copied
_ALIGNMENT = 64


class Freed(NamedTuple):
    """A slot that the parent has no arrays in any more; a forked child of the parent's may."""

    slot: int
    reusable: bool


class _Message(NamedTuple):
    """pickled: the batch without its big arrays, which are `extents` (start, end) of a slot."""

    pickled: bytes
    slot: int | None = None
    new_size: int | None = None  # of the slot, whose descriptor then follows
    extents: tuple[tuple[int, int], ...] = ()


class Letter(NamedTuple):
    """A message as bytes, and the descriptor that goes along, which is closed then."""

    content: bytes
    handle: int | None = None

    def send(self, connection: Connection) -> None:
        connection.send_bytes(self.content)
        if self.handle is not None:
            send_handle(connection, self.handle, None)
            os.close(self.handle)


class Outbox:
    """The worker's side: its slots."""

    def __init__(self) -> None:
        self._slots: list[mmap.mmap | None] = []
        self._free: list[int] = []

    def release(self, freed: Iterable[Freed]) -> None:
        for slot, reusable in freed:
            self._free.append(slot)
            if not reusable:
                self._slots[slot] = None

    def pack(self, message: Any) -> Letter:
        """Any picklable message, with its big arrays moved to a slot."""
        big: list[memoryview] = []

        def stays(buffer: pickle.PickleBuffer) -> bool:
            view = buffer.raw()
            if view.nbytes >= _SMALL:
                big.append(view)
            return view.nbytes < _SMALL

        pickled = _dumps(message, stays)
        if not big:
            return Letter(pickle.dumps(_Message(pickled)))
        extents, end = [], 0
        for view in big:
            start = -(-end // _ALIGNMENT) * _ALIGNMENT
            end = start + view.nbytes
            extents.append((start, end))
        slot, handle = self._slot(end)
        memory = self._slots[slot]
        assert memory is not None
        for view, (start, stop) in zip(big, extents, strict=True):
            memory[start:stop] = view
        new_size = None if handle is None else len(memory)
        return Letter(pickle.dumps(_Message(pickled, slot, new_size, tuple(extents))), handle)

    def _slot(self, nbytes: int) -> tuple[int, int | None]:
        """A slot that is free and large enough, and its descriptor if the parent has it not yet."""
        for slot in self._free:
            memory = self._slots[slot]
            if memory is not None and len(memory) >= nbytes:
                self._free.remove(slot)
                return slot, None
        if self._free:
            slot = self._free.pop()
        else:
            slot = len(self._slots)
            self._slots.append(None)
        size = 1 << (nbytes - 1).bit_length()  # what isn't written to takes no memory
        handle = sharing.nameless_file(size)
        self._slots[slot] = mmap.mmap(handle, size)
        return slot, handle


class Inbox:
    """The parent's side: the same slots, and which of them its arrays lie in."""

    def __init__(self) -> None:
        self._slots: dict[int, mmap.mmap] = {}
        self._lent: set[int] = set()
        self._freed: collections.deque[Freed] = collections.deque()

    def receive(self, connection: Connection) -> Any:
        message: _Message = pickle.loads(connection.recv_bytes())
        slot = message.slot
        if slot is None:
            return pickle.loads(message.pickled)
        if message.new_size is not None:
            handle = recv_handle(connection)
            self._slots[slot] = mmap.mmap(handle, message.new_size)
            os.close(handle)
        if len(self._lent) < _LENT:
            whole = memoryview(self._lend(slot)).cast("B")
            arrays: list[Any] = [whole[start:end] for start, end in message.extents]
        else:
            arrays = [bytearray(self._slots[slot][start:end]) for start, end in message.extents]
            self._freed.append(Freed(slot, True))
        return pickle.loads(message.pickled, buffers=arrays)

    def _lend(self, slot: int) -> Any:
        """The slot's memory as an object that lives for as long as an array lies in it."""
        memory = self._slots[slot]
        loan = (ctypes.c_ubyte * len(memory)).from_buffer(memory)
        self._lent.add(slot)
        weakref.finalize(loan, _give_back, slot, _forks, self._lent, self._freed).atexit = False
        return loan

    def freed(self) -> list[Freed]:
        """What may be written to again, told once."""
        return [self._freed.popleft() for _ in range(len(self._freed))]


def _give_back(slot: int, forks: int, lent: set[int], freed: collections.deque[Freed]) -> None:
    lent.discard(slot)
    freed.append(Freed(slot, reusable=forks == _forks))


class _Pickler(pickle.Pickler):
    """Of a view, such as a sample in the memory of the whole data set, only what it shows."""

    def reducer_override(self, x: Any) -> Any:
        if type(x) is Tensor and not x.requires_grad and x.nbytes < x.untyped_storage().nbytes():
            return x.clone().__reduce_ex__(5)
        return NotImplemented


def _dumps(message: Any, stays: Any) -> bytes:
    file = io.BytesIO()
    _Pickler(file, protocol=5, buffer_callback=stays).dump(message)
    return file.getvalue()


# A child that is forked while an array lies in a slot has the array too, and may read it when the
# parent's is long gone: such a slot is not written to again.
_forks = 0


def _count_fork() -> None:
    global _forks
    _forks += 1


os.register_at_fork(after_in_parent=_count_fork)
