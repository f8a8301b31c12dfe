"""Ranks as processes of an MPI job, through mpi4py.  The only file that imports it."""

from __future__ import annotations

import fcntl
import os
import sys
import termios
import time
from array import array
from collections.abc import Sequence
from types import TracebackType
from typing import Any

from .identity import World, check_mpi

# A waiting rank must not keep a core from one that computes: MPI's own waits spin (MPICH with four
# ranks on two cores: the computing rank is twice as slow), tests with naps between cost 3 to 6 %.
# But MPI moves large messages in pieces, and only while it is being called: then naps would make
# 25 MB ten times as slow.  So the naps begin when even a slow transfer should have ended.
_PATIENCE = 200  # rounds of giving up the time slice, about 0.2 ms
_PIECE = 256  # bytes that are sure to move in one round
_NAP = 1e-4  # seconds


def connect(world: World) -> MPITransport:
    """The transport among all ranks of this MPI job; RuntimeError if the starter doesn't fit it."""
    from mpi4py import MPI

    check_mpi(world, MPI.COMM_WORLD.size, MPI.get_vendor()[0])
    if MPI.COMM_WORLD.size > 1:
        _abort_on_exception(MPI)
    return MPITransport(MPI.COMM_WORLD.Dup())


class MPITransport:
    """One rank of an MPI communicator (see transport.Transport).  Everything travels as bytes."""

    name = "mpi"

    def __init__(self, comm: Any) -> None:
        from mpi4py import MPI

        self._mpi = MPI
        self._comm = comm
        self._mail = comm.Dup()  # so that messages between two ranks never meet a collective's
        self.rank, self.size = comm.rank, comm.size

    def all_gather(self, send: Any, recv: Any, counts: Sequence[int]) -> _Pending:
        into = [_bytes(recv), *self._layout(counts, recv), self._mpi.BYTE]
        request = self._comm.Iallgatherv([_bytes(send), self._mpi.BYTE], into)
        return _Pending(request, recv.nbytes)

    def all_to_all(
        self, send: Any, send_counts: Sequence[int], recv: Any, recv_counts: Sequence[int]
    ) -> _Pending:
        mine = [_bytes(send), *self._layout(send_counts, send), self._mpi.BYTE]
        into = [_bytes(recv), *self._layout(recv_counts, recv), self._mpi.BYTE]
        return _Pending(self._comm.Ialltoallv(mine, into), send.nbytes + recv.nbytes)

    def broadcast(self, data: Any, root: int) -> _Pending:
        return _Pending(self._comm.Ibcast([_bytes(data), self._mpi.BYTE], root), data.nbytes)

    def gather(self, send: Any, recv: Any, root: int) -> _Pending:
        into = None if recv is None else [_bytes(recv), self._mpi.BYTE]
        request = self._comm.Igather([_bytes(send), self._mpi.BYTE], into, root)
        return _Pending(request, send.nbytes * self.size)

    def scatter(self, send: Any, recv: Any, root: int) -> _Pending:
        mine = None if send is None else [_bytes(send), self._mpi.BYTE]
        request = self._comm.Iscatter(mine, [_bytes(recv), self._mpi.BYTE], root)
        return _Pending(request, recv.nbytes * self.size)

    def send(self, data: Any, peer: int, tag: int) -> _Pending:
        request = self._mail.Isend([_bytes(data), self._mpi.BYTE], peer, tag)
        return _Pending(request, data.nbytes, f"rank {peer}")

    def recv(self, data: Any, peer: int | None, tag: int) -> _Receiving:
        source = self._mpi.ANY_SOURCE if peer is None else peer
        request = self._mail.Irecv([_bytes(data), self._mpi.BYTE], source, tag)
        return _Receiving(self._mpi, request, data.nbytes)

    def split(self, ranks: Sequence[int]) -> MPITransport | None:
        inside = self.rank in ranks
        color = 0 if inside else self._mpi.UNDEFINED
        comm = self._comm.Split(color, list(ranks).index(self.rank) if inside else 0)
        return MPITransport(comm) if inside else None

    def pause(self, soon: bool) -> None:
        if soon:
            os.sched_yield()
        else:
            time.sleep(_NAP)

    def close(self) -> None:
        self._comm.Free()
        self._mail.Free()

    def _layout(self, counts: Sequence[int], like: Any) -> tuple[list[int], list[int]]:
        """Counts and displacements in bytes."""
        sizes = [count * like.itemsize for count in counts]
        return sizes, [sum(sizes[:i]) for i in range(len(sizes))]


class _Pending:
    """A non-blocking MPI call that moves `size` bytes."""

    def __init__(
        self, request: Any, size: int, peer: str = "the other ranks (MPI can't tell which)"
    ) -> None:
        self._request = request
        self._peer = peer
        self.patience = _PATIENCE + size // _PIECE

    def test(self) -> bool:
        return bool(self._request.Test())

    def missing(self) -> str:
        return self._peer


class _Receiving:
    """A non-blocking receive, which knows afterwards where the message came from."""

    def __init__(self, mpi: Any, request: Any, size: int) -> None:
        self._mpi, self._request, self._size = mpi, request, size
        self.patience = _PATIENCE + size // _PIECE
        self.source = -1

    def test(self) -> bool:
        status = self._mpi.Status()
        if not self._request.Test(status):
            return False
        got = status.Get_count(self._mpi.BYTE)
        if got != self._size:
            raise RuntimeError(
                f"recv expects {self._size} bytes, but rank {status.Get_source()} sent {got}"
            )
        self.source = status.Get_source()
        return True

    def missing(self) -> str:
        return "a message"


def _bytes(array: Any) -> Any:
    """The memory of a flat, contiguous array of any dtype, as bytes."""
    return array.view("u1")


def _abort_on_exception(mpi: Any) -> None:
    """End the job when this rank ends by an exception: the others would wait for it for ever."""
    show = sys.excepthook

    def report_and_abort(
        kind: type[BaseException], error: BaseException, trace: TracebackType | None
    ) -> None:
        show(kind, error, trace)
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
            _drain(stream)
        mpi.COMM_WORLD.Abort(1)

    sys.excepthook = report_and_abort


def _drain(stream: Any) -> None:
    """Wait, 2 s at most, until mpirun has read what we wrote: an abort loses the rest."""
    unread = array("i", [1])
    deadline = time.monotonic() + 2.0
    try:
        while unread[0] and time.monotonic() < deadline:
            fcntl.ioctl(stream.fileno(), termios.FIONREAD, unread)
            time.sleep(0.05)  # also for passing it on
    except OSError:
        pass  # not a pipe: nothing to wait for
