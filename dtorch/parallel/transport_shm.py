"""Ranks as processes of one machine, which read each other's memory.

A group has one segment of memory without a name (nothing is left of it when its processes are gone,
however they ended).  It holds, for each rank, a counter and two halves of an outbox.  A movement
goes in rounds: each rank puts a piece into its outbox, raises its counter, waits until everybody's
has come as far, and takes what it needs from the others' outboxes.  The next round uses the other
half; when that is over, everybody has read the first one.

An all-reduce needs no copies of what lies in memory that all ranks have mapped (`zeros`): each rank
reduces its share of it, and writes the result into everybody's.
"""

from __future__ import annotations

import os
import select
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from dtorch.core import env, sharing
from dtorch.core.backend import cpu
from dtorch.core.sharing import fence

from .algorithms import SMALL
from .mailbox import RING, Mailbox
from .transport import cut
from .work import DistError

_HALF = 1 << 20  # bytes: some of these stay in a core's cache, and a round is worth its wait
_LINE = 8  # words: 64 bytes, a cache line, so that ranks don't write to each other's
_WHY = 1024  # bytes, for why the group has failed

# A waiting rank must not keep a core from one that computes.  So it only looks again and again, some
# 0.1 ms long, where each rank can have a core of its own; after that it naps.  To give up the time
# slice instead would be dearer: on a busy machine that is gone for milliseconds.
_PATIENCE = 30  # looks
_NAP = 5e-5  # seconds
_LOOK = 20  # waits between two looks at whether the others are alive


class Ticket(NamedTuple):
    """Where others find a piece of memory: a descriptor of a process."""

    pid: int
    handle: int
    nbytes: int

    def open(self) -> Any:
        """The memory as bytes, (nbytes,)."""
        path = f"/proc/{self.pid}/fd/{self.handle}"
        try:
            handle = os.open(path, os.O_RDWR)
        except OSError as error:
            raise DistError(
                f"the memory of process {self.pid} can't be opened: {error}; ranks that share it "
                "must belong to one user and one container, and live; 'mpi' does without"
            ) from None
        try:
            return cpu.frombuffer(sharing.SharedMemory(handle, self.nbytes), "uint8", self.nbytes)
        finally:
            os.close(handle)


class _Shared(NamedTuple):
    """Memory that all ranks have mapped: the how-manieth, its address here, the others' bytes."""

    number: int
    address: int
    others: dict[int, Any]


def machine() -> str:
    """What is the same for processes that can share memory: the machine, and its container."""
    if env.MACHINE.get():
        return env.MACHINE.get()
    with open("/proc/sys/kernel/random/boot_id") as file:
        return f"{file.read().strip()}/{os.stat('/proc/self/ns/pid').st_ino}/{os.getuid()}"


def offer(size: int) -> tuple[Any, Ticket]:
    """New memory for a group of `size` ranks, and where the others find it."""
    return _allocate(_layout(size)[-1])


def _allocate(nbytes: int) -> tuple[Any, Ticket]:
    memory = sharing.allocate(nbytes)
    handle = sharing.of(memory)
    assert handle is not None
    return memory, Ticket(os.getpid(), handle.handle, nbytes)


def _layout(size: int) -> tuple[int, int, int, int]:
    """Where the outboxes and the rings begin, the bytes of half an outbox, and of everything."""
    words = 8 * _LINE * (1 + size + 2 * size * size) + _WHY
    outboxes = -(-words // 4096) * 4096
    half = _HALF + -(-(_HALF // size + 64) // 64) * 64  # a piece, and a rank's share of a result
    rings = outboxes + 2 * size * half
    return outboxes, rings, half, rings + size * size * RING


class ShmTransport:
    """One rank of processes with common memory (see transport.Transport).

    segment: the group's memory, as bytes
    pids: the ranks' processes
    """

    name = "shm"
    common_memory = True
    several_nodes = False

    def __init__(self, segment: Any, rank: int, pids: Sequence[int]) -> None:
        self.rank, self.size = rank, len(pids)
        self._pids = list(pids)
        outboxes, rings, half, _ = _layout(self.size)
        control = memoryview(segment[:outboxes])
        self._words = control.cast("q")
        self._why = segment[outboxes - _WHY : outboxes]
        ends = segment[outboxes:rings]
        self._halves = [
            [ends[(2 * r + h) * half : (2 * r + h + 1) * half] for h in (0, 1)]
            for r in range(self.size)
        ]
        mail = self._words[_LINE * (1 + self.size) :]
        self._mail = Mailbox(self, mail, segment[rings:].reshape(self.size, self.size, RING))
        self._count = 0  # of the rounds that this rank has posted
        cores = set().union(*(os.sched_getaffinity(pid) for pid in pids))
        self.patience = _PATIENCE if self.size <= len(cores) else 0
        self._lives = _Lives(self._pids)
        self._shared: weakref.WeakKeyDictionary[Any, _Shared] = weakref.WeakKeyDictionary()
        self._shares = 0

    # ---- rounds ----------------------------------------------------------------------------------

    def post(self, word: int) -> None:
        """Tell the others that what is in this rank's outbox can be read, and a word with it."""
        self._count += 1
        line = _LINE * (1 + self.rank)
        self._words[line + 1 + self._count % 2] = word
        fence()
        self._words[line] = self._count

    def words(self) -> list[int]:
        """Everybody's word of this round."""
        return [self._words[_LINE * (1 + r) + 1 + self._count % 2] for r in range(self.size)]

    def late(self) -> list[int]:
        """The ranks that have not come to this round."""
        return [r for r in range(self.size) if self._words[_LINE * (1 + r)] < self._count]

    def _half(self, rank: int, ahead: int = 0) -> Any:
        """A rank's half of its outbox: this round's, or the next one's."""
        return self._halves[rank][(self._count + ahead) % 2]

    # ---- movements -------------------------------------------------------------------------------

    def all_gather(self, send: Any, recv: Any, counts: Sequence[int]) -> _Rounds:
        into = enumerate(cut(recv, counts))
        return self._move([(0, send)], [(r, 0, part) for r, part in into], _HALF)

    def all_to_all(
        self, send: Any, send_counts: Sequence[int], recv: Any, recv_counts: Sequence[int]
    ) -> _Rounds:
        out, into = cut(send, send_counts), cut(recv, recv_counts)
        return self._deal(out, [(r, part) for r, part in enumerate(into)])

    def broadcast(self, data: Any, root: int) -> _Rounds:
        if self.rank == root:
            return self._move([(0, data)], [], _HALF)
        return self._move([], [(root, 0, data)], _HALF)

    def gather(self, send: Any, recv: Any, root: int) -> _Rounds:
        into = enumerate(cut(recv, [send.size] * self.size) if self.rank == root else [])
        return self._move([(0, send)], [(r, 0, part) for r, part in into], _HALF)

    def scatter(self, send: Any, recv: Any, root: int) -> _Rounds:
        out = cut(send, [recv.size] * self.size) if self.rank == root else []
        return self._deal(out, [(root, recv)])

    def _deal(self, out: Sequence[Any], into: Sequence[tuple[int, Any]]) -> _Rounds:
        """A movement of something else to each rank, in a compartment of its own."""
        piece = _HALF // self.size // 64 * 64
        sends = [(r * piece, part) for r, part in enumerate(out)]
        return self._move(sends, [(r, self.rank * piece, part) for r, part in into], piece)

    def _move(self, sends: Sequence[tuple[int, Any]], into: Sequence[tuple[int, int, Any]],
              piece: int) -> _Rounds:  # fmt: skip
        """sends: (place in the outbox, array); into: (rank, place in its outbox, array)."""
        out = [(place, a.view("u1")) for place, a in sends]
        take = [(r, place, a.view("u1")) for r, place, a in into]

        def steps() -> Iterator[int]:
            start, longest = 0, max([a.size for _, a in out], default=0)
            while start == 0 or start < longest:
                for place, a in out:
                    part = a[start : start + piece]
                    self._half(self.rank, 1)[place : place + part.size] = part
                yield longest
                longest = max(self.words())
                for r, place, a in take:
                    part = a[start : start + piece]
                    part[...] = self._half(r)[place : place + part.size]
                start += piece

        return _Rounds(self, steps())

    def exchange(self, number: int, into: list[int]) -> _Rounds:
        def steps() -> Iterator[int]:
            yield number
            into.extend(self.words())

        return _Rounds(self, steps())

    def all_reduce(self, x: Any, tree: Callable[..., None]) -> _Rounds:
        """x: (n,), reduced in place over the ranks by tree(parts, *outs), a share on each rank."""

        def steps() -> Iterator[int]:
            if x.nbytes <= SMALL:
                self._typed(self.rank, 1, x)[: x.size] = x
                yield 0
                tree([self._typed(r, 0, x)[: x.size].copy() for r in range(self.size)], x)
                return
            yield self._place(x)
            places = self.words()
            if places[0] < 0 or set(places) != {places[0]}:
                yield from self._reduce_copies(x, tree)
                return
            everyones = self._everyones(x)
            mine = _share(x.size, self.rank, self.size)
            parts = [a[mine] for a in everyones]
            tree(parts, *parts)
            yield 0

        return _Rounds(self, steps())

    def _reduce_copies(self, x: Any, tree: Callable[..., None]) -> Iterator[int]:
        """Chunk after chunk: copied in, reduced a round later, and copied out in the one after."""
        n = _HALF // x.itemsize
        chunks = [x[i : i + n] for i in range(0, x.size, n)]
        for k in range(len(chunks) + 2):
            if k < len(chunks):
                self._typed(self.rank, 1, x)[: chunks[k].size] = chunks[k]
            if 0 < k <= len(chunks):
                mine = _share(chunks[k - 1].size, self.rank, self.size)
                out = self._typed(self.rank, 1, x, _HALF)[: mine.stop - mine.start]
                tree([self._typed(r, 0, x)[mine] for r in range(self.size)], out)
            if k > 1:
                for r in range(self.size):
                    done = chunks[k - 2][_share(chunks[k - 2].size, r, self.size)]
                    done[...] = self._typed(r, 0, x, _HALF)[: done.size]
            if k <= len(chunks):
                yield 0

    def _typed(self, rank: int, ahead: int, like: Any, start: int = 0) -> Any:
        """A half of an outbox, as an array of another's dtype."""
        half = self._half(rank, ahead)[start:]
        return half[: half.size // like.itemsize * like.itemsize].view(like.dtype)

    # ---- memory that all ranks have mapped -------------------------------------------------------

    def zeros(self, size: int, dtype: Any) -> tuple[Any, Ticket]:
        """(size,) zeros that others can map, and where they find it."""
        memory, ticket = _allocate(size * cpu.dtype(dtype).itemsize)
        return memory.view(dtype), ticket

    def adopt(self, array: Any, tickets: Sequence[Ticket]) -> None:
        """Map the arrays that the others have got by the same call of `zeros`, by rank."""
        others = {r: ticket.open() for r, ticket in enumerate(tickets) if r != self.rank}
        self._shared[sharing.of(array)] = _Shared(self._shares, _address(array), others)
        self._shares += 1

    def _place(self, x: Any) -> int:
        """Where x lies in the memory that all have mapped; -1 if not there."""
        memory = sharing.of(x)
        shared = None if memory is None else self._shared.get(memory)
        return -1 if shared is None else shared.number << 44 | (_address(x) - shared.address)

    def _everyones(self, x: Any) -> list[Any]:
        """Everybody's array in the place of x."""
        shared = self._shared[sharing.of(x)]
        start = _address(x) - shared.address
        place = slice(start, start + x.nbytes)
        return [
            x if r == self.rank else shared.others[r][place].view(x.dtype) for r in range(self.size)
        ]

    # ---- messages --------------------------------------------------------------------------------

    def send(self, data: Any, peer: int, tag: int) -> Any:
        return self._mail.send(data, peer, tag)

    def recv(self, data: Any, peer: int | None, tag: int) -> Any:
        return self._mail.recv(data, peer, tag)

    # ---- beginning and end -----------------------------------------------------------------------

    def meet(self, timeout: float) -> None:
        """Return when everybody has the memory open; DistError after the timeout."""
        deadline = time.monotonic() + timeout
        meeting = self._move([], [], _HALF)
        while not meeting.test():
            if time.monotonic() > deadline:
                raise DistError(f"{meeting.missing()} did not come within {timeout:g} s")
            self.pause(False)

    def invite(self, ranks: Sequence[int]) -> Ticket | None:
        """What the others of a part of the group must know to be in it."""
        if self.rank != ranks[0]:
            return None
        self._invited, ticket = offer(len(ranks))
        return ticket

    def split(self, ranks: Sequence[int], invitations: Sequence[Any]) -> ShmTransport | None:
        if self.rank not in ranks:
            return None
        first = self.rank == ranks[0]
        segment = self._invited if first else invitations[ranks[0]].open()
        self._invited = None
        return ShmTransport(segment, list(ranks).index(self.rank), [self._pids[r] for r in ranks])

    def pause(self, soon: bool) -> None:
        if not soon:
            time.sleep(_NAP)

    def abort(self, why: str) -> None:
        """End every wait of every rank, now and from now on, with an error that says why."""
        text = why.encode()[: _WHY - 1]
        self._why[: len(text)] = cpu.frombuffer(text, "uint8")
        fence()
        self._words[0] = 1

    def check(self, awaited: Callable[[], list[int]]) -> None:
        """DistError if the group has failed, or one of the ranks that are awaited is gone."""
        if self._words[0]:
            raise DistError(bytes(self._why).partition(b"\0")[0].decode("utf-8", "replace"))
        gone = self._lives.gone()
        # Asked after they were seen to be gone: they may have come here just before.
        gone = [r for r in awaited() if r in gone] if gone else []
        if gone:
            raise DistError(
                f"{_ranks(gone)} ended while rank {self.rank} waited for it (process "
                f"{', '.join(str(self._pids[r]) for r in gone)})"
            )

    def close(self) -> None:
        """The memory goes with the last that refers to it."""


class _Rounds:
    """A movement under way: steps that each yield a word to post, and go on when all have posted."""

    def __init__(self, transport: ShmTransport, steps: Iterator[int]) -> None:
        self._transport, self._steps = transport, steps
        self._waits = 0
        self.patience = transport.patience
        transport.post(next(steps))

    def test(self) -> bool:
        transport = self._transport
        while True:
            if transport.late():
                self._waits += 1
                if self._waits % _LOOK == 0:
                    transport.check(transport.late)
                return False
            fence()
            word = next(self._steps, None)
            if word is None:
                return True
            transport.post(word)
            self.patience = self._waits + transport.patience

    def missing(self) -> str:
        return _ranks(self._transport.late())


class _Lives:
    """Which of some processes have ended."""

    def __init__(self, pids: Sequence[int]) -> None:
        self._handles = {os.pidfd_open(pid): r for r, pid in enumerate(pids) if pid != os.getpid()}
        self._poll = select.poll()
        for handle in self._handles:
            self._poll.register(handle, select.POLLIN)
            weakref.finalize(self, os.close, handle).atexit = False  # needed until the very end

    def gone(self) -> list[int]:
        return [self._handles[handle] for handle, _ in self._poll.poll(0)]


def _share(size: int, rank: int, n: int) -> slice:
    """The part of `size` elements that a rank of n reduces."""
    k = -(-size // n)
    return slice(min(rank * k, size), min((rank + 1) * k, size))


def _address(array: Any) -> int:
    return array.__array_interface__["data"][0]


def _ranks(ranks: Sequence[int]) -> str:
    return f"rank{'s' if len(ranks) > 1 else ''} {', '.join(map(str, ranks))}"
