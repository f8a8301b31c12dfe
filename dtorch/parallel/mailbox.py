"""Messages from one process to another through rings of common memory.

Each pair of ranks has a ring of bytes for each direction, and two counters: how many bytes have been
written, which only the sender raises, and read, which only the receiver does.  A message is its tag,
its length and its bytes.  Whoever waits for a message takes what has come from everybody, so that no
order of sends and receives can block a ring.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from dtorch.core.backend import cpu
from dtorch.core.sharing import fence

RING = 1 << 18  # bytes
_LINE = 8  # words between two counters
_LOOK = 20


class Ranks(Protocol):
    """What a mailbox needs of its transport."""

    rank: int
    size: int
    patience: int

    def check(self, awaited: Callable[[], list[int]]) -> None:
        """DistError if the group has failed, or one of the ranks that are awaited is gone."""


class Mailbox:
    """One rank's ends of the rings.

    counters: (2 * ranks * ranks * _LINE,) words; those of the ring from s to d lie at s, d
    rings: (ranks, ranks, RING) bytes, by sender and receiver
    """

    def __init__(self, ranks: Ranks, counters: Any, rings: Any) -> None:
        self.ranks = ranks
        everyone = range(ranks.size)
        me, n = ranks.rank, ranks.size
        self._out = {r: _Ring(counters, me * n + r, rings[me, r]) for r in everyone if r != me}
        self._in = {r: _Ring(counters, r * n + me, rings[r, me]) for r in everyone if r != me}
        self._sending: dict[int, deque[_Sending]] = {r: deque() for r in self._out}
        self._coming: dict[int, _Coming] = {r: _Coming() for r in self._in}
        # What nobody has asked for yet, and who has asked for what hasn't come: a message goes to
        # the receive that was started first, a receive takes the message that came first.
        self._arrived: list[tuple[int, int, Any]] = []  # source, tag, bytes
        self._waiting: list[_Receiving] = []

    def send(self, data: Any, peer: int, tag: int) -> _Sending:
        head = cpu.array([tag, data.nbytes], cpu.int64).view("u1")
        message = _Sending(self, peer, [head, data.view("u1")])
        self._sending[peer].append(message)
        return message

    def recv(self, data: Any, peer: int | None, tag: int) -> _Receiving:
        receiving = _Receiving(self, data.view("u1"), peer, tag)
        for i, (source, its_tag, message) in enumerate(self._arrived):
            if receiving.wants(source, its_tag):
                del self._arrived[i]
                receiving.take(source, message)
                return receiving
        self._waiting.append(receiving)
        return receiving

    def turn(self) -> None:
        """Write and read what can be written and read now."""
        for peer, queue in self._sending.items():
            while queue and queue[0].write(self._out[peer]):
                queue.popleft()
        for peer, coming in self._coming.items():
            while (message := coming.read(self._in[peer])) is not None:
                self._deliver(peer, *message)

    def _deliver(self, source: int, tag: int, message: Any) -> None:
        for i, receiving in enumerate(self._waiting):
            if receiving.wants(source, tag):
                del self._waiting[i]
                receiving.take(source, message)
                return
        self._arrived.append((source, tag, message))


class _Ring:
    """A ring of bytes, and its counters."""

    def __init__(self, counters: Any, number: int, data: Any) -> None:
        self._counters, self._written, self._data = counters, 2 * number * _LINE, data
        self._read = self._written + _LINE

    def write(self, data: Any) -> int:
        """Write as many of the bytes as there is room for; how many that was."""
        start = self._counters[self._written]
        n = min(data.size, RING - (start - self._counters[self._read]))
        for here, there in _runs(start, n):
            self._data[there] = data[here]
        fence()
        self._counters[self._written] = start + n
        return n

    def read(self, data: Any) -> int:
        """Read as many bytes as are wanted and there; how many that was."""
        start = self._counters[self._read]
        n = min(data.size, self._counters[self._written] - start)
        fence()
        for here, there in _runs(start, n):
            data[here] = self._data[there]
        self._counters[self._read] = start + n
        return n


def _runs(start: int, n: int) -> list[tuple[slice, slice]]:
    """n bytes and their place in a ring from `start` on: up to its end, and from its beginning."""
    place = start % RING
    first = min(n, RING - place)
    return [(slice(0, first), slice(place, place + first)), (slice(first, n), slice(0, n - first))]


class _Coming:
    """The message that is being read from a ring: first its head, then its bytes."""

    def __init__(self) -> None:
        self._next()

    def _next(self) -> None:
        self._head = cpu.empty(2, cpu.int64)
        self._body: Any = None
        self._got = 0

    def read(self, ring: _Ring) -> tuple[int, Any] | None:
        """(tag, bytes) once the message is complete."""
        if self._body is None:
            self._got += ring.read(self._head.view("u1")[self._got :])
            if self._got < self._head.nbytes:
                return None
            self._body, self._got = cpu.empty(int(self._head[1]), "u1"), 0
        self._got += ring.read(self._body[self._got :])
        if self._got < self._body.size:
            return None
        message = int(self._head[0]), self._body
        self._next()
        return message


class _Sending:
    """A message on its way: done when the last byte is in the ring."""

    def __init__(self, mailbox: Mailbox, peer: int, parts: list[Any]) -> None:
        self._mailbox, self._peer, self._parts = mailbox, peer, parts
        self._waits = 0
        self.patience = mailbox.ranks.patience

    def write(self, ring: _Ring) -> bool:
        while self._parts:
            n = ring.write(self._parts[0])
            self._parts[0] = self._parts[0][n:]
            if self._parts[0].size:
                return False
            del self._parts[0]
        return True

    def test(self) -> bool:
        self._mailbox.turn()
        if not self._parts:
            return True
        self._waits += 1
        if self._waits % _LOOK == 0:
            self._mailbox.ranks.check(lambda: [self._peer])
        return False

    def missing(self) -> str:
        return f"rank {self._peer}"


class _Receiving:
    """Waits for a matching message."""

    def __init__(self, mailbox: Mailbox, data: Any, peer: int | None, tag: int) -> None:
        self._mailbox, self._data, self._peer, self._tag = mailbox, data, peer, tag
        self._message: Any = None
        self._waits = 0
        self.patience = mailbox.ranks.patience
        self.source = -1

    def wants(self, source: int, tag: int) -> bool:
        return tag == self._tag and self._peer in (None, source)

    def take(self, source: int, message: Any) -> None:
        self.source, self._message = source, message

    def test(self) -> bool:
        self._mailbox.turn()
        if self._message is None:
            self._waits += 1
            if self._waits % _LOOK == 0 and self._peer is not None:
                self._mailbox.ranks.check(self._awaited)
            return False
        if self._message.size != self._data.size:
            raise RuntimeError(
                f"recv expects {self._data.size} bytes, but rank {self.source} sent "
                f"{self._message.size}"
            )
        self._data[...] = self._message
        return True

    def _awaited(self) -> list[int]:
        self._mailbox.turn()
        return [self._peer] if self._message is None and self._peer is not None else []

    def missing(self) -> str:
        return "any rank" if self._peer is None else f"rank {self._peer}"
