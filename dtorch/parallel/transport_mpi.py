"""Ranks as processes of an MPI job, through mpi4py.  The only file that imports it."""

from __future__ import annotations

import fcntl
import os
import sys
import termios
import time
from array import array
from collections.abc import Sequence
from typing import Any

from .identity import World, check_mpi
from .transport import cut
from .transport_shm import ShmTransport, Ticket, offer

# A waiting rank must not keep a core from one that computes: MPI's own waits spin (MPICH with four
# ranks on two cores: the computing rank is twice as slow), tests with naps between cost 3 to 6 %.
# But MPI moves large messages in pieces, and only while it is being called: then naps would make
# 25 MB ten times as slow.  So the naps begin when even a slow transfer should have ended, and grow:
# who has waited long may wait a little longer.  Where a core has several ranks, what one waits for
# is the other's turn, and they begin soon.
_PATIENCE = 200  # rounds of giving up the time slice, about 0.2 ms
_PIECE = 256  # bytes that are sure to move in one round
_CROWDED = 20  # rounds, whatever moves
_NAP, _LONGEST, _GROWTH = 5e-5, 1e-3, 1.1  # seconds, seconds, a factor from one to the next

# Up to so many bytes a rank, a gather goes by the library's tree of messages, which keeps latency
# low; beyond it, each rank sends to each directly.  The library's own calls on long messages cut
# them into pieces when they must not block: three times as slow as plain messages (MPICH 5).
_DIRECT = 1 << 14


def world_comm(world: World) -> Any:
    """The communicator of all ranks of this MPI job; RuntimeError if the starter doesn't fit it."""
    from mpi4py import MPI

    check_mpi(world, MPI.COMM_WORLD.size, MPI.get_vendor()[0])
    return MPI.COMM_WORLD


def connect(world: World, machines: Sequence[str]) -> MPITransport:
    """The transport among all ranks of this MPI job; machines: which one each rank is on."""
    return MPITransport(world_comm(world).Dup(), machines)


def abort() -> None:
    """End the job: the others would wait for this rank for ever."""
    from mpi4py import MPI

    for stream in (sys.stdout, sys.stderr):
        stream.flush()
        _drain(stream)
    MPI.COMM_WORLD.Abort(1)


class MPITransport:
    """One rank of an MPI communicator (see transport.Transport).  Everything travels as bytes.

    machines: by rank; those of one machine have common memory beside, if there are several machines
    """

    name = "mpi"
    common_memory = False

    def __init__(self, comm: Any, machines: Sequence[str]) -> None:
        from mpi4py import MPI

        self._mpi = MPI
        self._comm = comm
        self._mail = comm.Dup()  # so that messages between two ranks never meet a collective's
        self.rank, self.size = comm.rank, comm.size
        self._nap = _NAP
        self._machines = list(machines)
        self.nodes = [
            [r for r, where in enumerate(machines) if where == machine]
            for machine in dict.fromkeys(machines)
        ]
        here = next(ranks for ranks in self.nodes if self.rank in ranks)
        allowed = comm.allgather(os.sched_getaffinity(0))
        self._crowded = len(here) > len(set().union(*(allowed[r] for r in here)))
        self.several_nodes = 1 < len(self.nodes) < self.size
        if self.several_nodes:
            self.node = self._common_memory(here)

    def _common_memory(self, ranks: Sequence[int]) -> ShmTransport:
        """Among the ranks of this machine; all of the communicator call it."""
        memory, ticket = offer(len(ranks)) if self.rank == ranks[0] else (None, None)
        told = self._comm.allgather((os.getpid(), ticket))
        if memory is None:
            memory = Ticket(*told[ranks[0]][1]).open()
        transport = ShmTransport(memory, ranks.index(self.rank), [told[r][0] for r in ranks])
        self._comm.Barrier()  # all have it open
        return transport

    def all_gather(self, send: Any, recv: Any, counts: Sequence[int]) -> _Pending:
        if recv.nbytes > _DIRECT * self.size:
            return self._exchange([send] * self.size, cut(recv, counts))
        cut(recv, counts)[self.rank][...] = send  # it may lie there already
        into = [_bytes(recv), *self._layout(counts, recv), self._mpi.BYTE]
        return self._pending(self._comm.Iallgatherv(self._mpi.IN_PLACE, into), recv.nbytes)

    def all_to_all(
        self, send: Any, send_counts: Sequence[int], recv: Any, recv_counts: Sequence[int]
    ) -> _Pending:
        return self._exchange(cut(send, send_counts), cut(recv, recv_counts))

    def _exchange(self, out: Sequence[Any], into: Sequence[Any]) -> _Pending:
        """out[r] to rank r, into[r] from it; those of this rank may be one."""
        requests = []
        for step in range(1, self.size):  # so that not all begin with the same rank
            source, peer = (self.rank - step) % self.size, (self.rank + step) % self.size
            requests.append(self._comm.Irecv([_bytes(into[source]), self._mpi.BYTE], source))
            requests.append(self._comm.Isend([_bytes(out[peer]), self._mpi.BYTE], peer))
        into[self.rank][...] = out[self.rank]
        return self._pending(_All(self._mpi, requests), sum(part.nbytes for part in (*out, *into)))

    def broadcast(self, data: Any, root: int) -> _Pending:
        return self._pending(self._comm.Ibcast([_bytes(data), self._mpi.BYTE], root), data.nbytes)

    def gather(self, send: Any, recv: Any, root: int) -> _Pending:
        into = None if recv is None else [_bytes(recv), self._mpi.BYTE]
        request = self._comm.Igather([_bytes(send), self._mpi.BYTE], into, root)
        return self._pending(request, send.nbytes * self.size)

    def scatter(self, send: Any, recv: Any, root: int) -> _Pending:
        mine = None if send is None else [_bytes(send), self._mpi.BYTE]
        request = self._comm.Iscatter(mine, [_bytes(recv), self._mpi.BYTE], root)
        return self._pending(request, recv.nbytes * self.size)

    def send(self, data: Any, peer: int, tag: int) -> _Pending:
        request = self._mail.Isend([_bytes(data), self._mpi.BYTE], peer, tag)
        return _Pending(request, self._patience(data.nbytes), f"rank {peer}")

    def recv(self, data: Any, peer: int | None, tag: int) -> _Receiving:
        source = self._mpi.ANY_SOURCE if peer is None else peer
        request = self._mail.Irecv([_bytes(data), self._mpi.BYTE], source, tag)
        return _Receiving(self._mpi, request, data.nbytes, self._patience(data.nbytes))

    def invite(self, ranks: Sequence[int]) -> None:
        return None

    def split(self, ranks: Sequence[int], invitations: Sequence[Any]) -> MPITransport | None:
        inside = self.rank in ranks
        color = 0 if inside else self._mpi.UNDEFINED
        comm = self._comm.Split(color, list(ranks).index(self.rank) if inside else 0)
        return MPITransport(comm, [self._machines[r] for r in ranks]) if inside else None

    def pause(self, soon: bool) -> None:
        if soon:
            os.sched_yield()
            self._nap = _NAP
        else:
            time.sleep(self._nap)
            self._nap = min(self._nap * _GROWTH, _LONGEST)

    def abort(self, why: str) -> None:
        abort()

    def close(self) -> None:
        self._comm.Free()
        self._mail.Free()

    def _pending(self, request: Any, nbytes: int) -> _Pending:
        return _Pending(request, self._patience(nbytes))

    def _patience(self, nbytes: int) -> int:
        return _CROWDED if self._crowded else _PATIENCE + nbytes // _PIECE

    def _layout(self, counts: Sequence[int], like: Any) -> tuple[list[int], list[int]]:
        """Counts and displacements in bytes."""
        sizes = [count * like.itemsize for count in counts]
        return sizes, [sum(sizes[:i]) for i in range(len(sizes))]


class _All:
    """Several requests as one."""

    def __init__(self, mpi: Any, requests: list[Any]) -> None:
        self._mpi, self._requests = mpi, requests

    def Test(self) -> bool:
        return self._mpi.Request.Testall(self._requests)


class _Pending:
    """A non-blocking MPI call."""

    def __init__(
        self, request: Any, patience: int, peer: str = "the other ranks (MPI can't tell which)"
    ) -> None:
        self._request = request
        self._peer = peer
        self.patience = patience

    def test(self) -> bool:
        return bool(self._request.Test())

    def missing(self) -> str:
        return self._peer


class _Receiving:
    """A non-blocking receive, which knows afterwards where the message came from."""

    def __init__(self, mpi: Any, request: Any, size: int, patience: int) -> None:
        self._mpi, self._request, self._size = mpi, request, size
        self.patience = patience
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
