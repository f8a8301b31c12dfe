"""Ranks as threads of one process: for tests, for rehearsing a job, and for being alone."""

from __future__ import annotations

import contextvars
import sys
import threading
import time
import traceback
from collections.abc import Callable, Container, Sequence
from typing import Any

from .transport import cut
from .work import DistError

_NAP = 0.05  # seconds after which a waiting rank looks at its deadline, though nothing was posted


class Hub:
    """Where the ranks of one process leave arrays for each other.

    slots: what has been posted for a movement, by rank, and how many ranks are done with it
    mail: what has been sent and not yet received
    receives: those under way, in the order in which they were started
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.changed = threading.Condition()
        self.posts = 0
        self.slots: dict[Any, tuple[dict[int, Any], list[int]]] = {}
        self.mail: list[tuple[Any, int, int, int, Any]] = []  # group, source, peer, tag, array
        self.receives: list[Receiving] = []
        self.failed: str | None = None

    def fail(self, why: str) -> None:
        """End every wait, now and from now on, with an error that says why."""
        with self.changed:
            self.failed = self.failed or why
            self.changed.notify_all()

    def check(self) -> None:
        if self.failed is not None:
            raise DistError(self.failed)


class LocalTransport:
    """One rank of a group of threads (see transport.Transport)."""

    name = "local"
    common_memory = False  # whoever is late must not find what it gave changed
    several_nodes = False

    def __init__(self, hub: Hub, rank: int, size: int, key: tuple[Any, ...] = ()) -> None:
        self.rank, self.size = rank, size
        self._hub = hub
        self._key = key
        self._moves = 0
        self._seen = 0
        self.taking = Taking

    # ---- movements: post what others need, then take what they posted ----------------------------

    def all_gather(self, send: Any, recv: Any, counts: Sequence[int]) -> Taking:
        return self._move(send, range(self.size), [(p, ...) for p in cut(recv, counts)])

    def all_to_all(
        self, send: Any, send_counts: Sequence[int], recv: Any, recv_counts: Sequence[int]
    ) -> Taking:
        posted = [p.copy() for p in cut(send, send_counts)]
        into = [(p, self.rank) for p in cut(recv, recv_counts)]
        return self._move(posted, range(self.size), into)

    def broadcast(self, data: Any, root: int) -> Taking:
        mine = self.rank == root
        return self._move(data if mine else None, [] if mine else [root], [(data, ...)])

    def gather(self, send: Any, recv: Any, root: int) -> Taking:
        if self.rank != root:
            return self._move(send, [], [])
        parts = cut(recv, [send.size] * self.size)
        return self._move(send, range(self.size), [(p, ...) for p in parts])

    def scatter(self, send: Any, recv: Any, root: int) -> Taking:
        posted = None
        if self.rank == root:
            posted = [p.copy() for p in cut(send, [recv.size] * self.size)]
        return self._move(posted, [root], [(recv, self.rank)])

    def _move(self, post: Any, sources: Sequence[int], into: Sequence[tuple[Any, Any]]) -> Taking:
        """Post; then take from each source, into an array, a part of what it posted (...: all)."""
        self._moves += 1
        key = (self._key, self._moves)
        hub = self._hub
        with hub.changed:
            hub.check()
            posted, _ = hub.slots.setdefault(key, ({}, []))
            posted[self.rank] = post if post is None or isinstance(post, list) else post.copy()
            hub.posts += 1
            hub.changed.notify_all()
        return self.taking(hub, key, self.size, self.rank, sources, into)

    def send(self, data: Any, peer: int, tag: int) -> Sent:
        hub = self._hub
        with hub.changed:
            hub.check()
            hub.mail.append((self._key, self.rank, peer, tag, data.copy()))
            hub.posts += 1
            hub.changed.notify_all()
        return Sent()

    def recv(self, data: Any, peer: int | None, tag: int) -> Receiving:
        return Receiving(self._hub, self._key, self.rank, peer, tag, data)

    # ---- the rest --------------------------------------------------------------------------------

    def invite(self, ranks: Sequence[int]) -> None:
        return None

    def split(self, ranks: Sequence[int], invitations: Sequence[Any]) -> LocalTransport | None:
        self._moves += 1
        if self.rank not in ranks:
            return None
        key = (self._key, self._moves)
        return LocalTransport(self._hub, list(ranks).index(self.rank), len(ranks), key)

    def pause(self, soon: bool) -> None:
        hub = self._hub
        with hub.changed:
            if hub.posts == self._seen and hub.failed is None:
                hub.changed.wait(_NAP)
            self._seen = hub.posts

    def abort(self, why: str) -> None:
        self._hub.fail(why)

    def close(self) -> None:
        pass


class Taking:
    """Waits for what the sources post."""

    patience = 0

    def __init__(self, hub: Hub, key: Any, size: int, rank: int, sources: Sequence[int],
                 into: Sequence[tuple[Any, Any]]) -> None:  # fmt: skip
        self._hub, self._key, self._size, self._rank = hub, key, size, rank
        self._sources, self._into = sources, into

    def test(self) -> bool:
        hub = self._hub
        with hub.changed:
            hub.check()
            posted, done = hub.slots[self._key]
            if self.absent(posted):
                return False
            done.append(self._rank)
            if len(done) == self._size:
                del hub.slots[self._key]
        for source, (array, part) in zip(self._sources, self._into):
            array[...] = posted[source] if part is ... else posted[source][part]
        return True

    def missing(self) -> str:
        with self._hub.changed:
            posted, _ = self._hub.slots[self._key]
            absent = [str(s) for s in self.absent(posted)]
        return f"rank{'s' if len(absent) > 1 else ''} {', '.join(absent)}"

    def absent(self, posted: Container[int]) -> list[int]:
        """The sources whose posts are not there yet."""
        return [s for s in self._sources if s not in posted]


class Sent:
    patience = 0

    def test(self) -> bool:
        return True

    def missing(self) -> str:
        return "nobody"


class Receiving:
    """Waits for the oldest message that matches it, and no receive that was started before it."""

    patience = 0

    def __init__(
        self, hub: Hub, group: Any, rank: int, peer: int | None, tag: int, data: Any
    ) -> None:
        self._hub, self._group, self._rank, self._peer, self._tag = hub, group, rank, peer, tag
        self._data = data
        self.source = -1
        with hub.changed:
            hub.receives.append(self)

    def wants(self, letter: tuple[Any, int, int, int, Any]) -> bool:
        group, source, peer, tag, _ = letter
        mine = (group, peer, tag) == (self._group, self._rank, self._tag)
        return mine and self._peer in (None, source)

    def test(self) -> bool:
        hub = self._hub
        with hub.changed:
            hub.check()
            for letter in hub.mail:
                if self is next((r for r in hub.receives if r.wants(letter)), None):
                    break
            else:
                return False
            hub.mail = [other for other in hub.mail if other is not letter]
            hub.receives.remove(self)
        _, source, _, _, array = letter
        if (array.size, array.dtype) != (self._data.size, self._data.dtype):
            raise RuntimeError(
                f"recv expects {self._data.size} elements of {self._data.dtype}, but rank {source} "
                f"sent {array.size} of {array.dtype}"
            )
        self._data[...] = array
        self.source = source
        return True

    def missing(self) -> str:
        return "any rank" if self._peer is None else f"rank {self._peer}"


# ---- running -------------------------------------------------------------------------------------


def run_threads(
    ranks: Sequence[Callable[[], Any]],
    failed: Callable[[int, str], None],
    timeout: float,
    ended: Callable[[int], None] = lambda rank: None,
) -> list[Any]:
    """Run a function for each rank in a thread with a context of its own; return their results.

    failed(rank, why) is called at once when one raises, ended(rank) when one is done, either way.
    The error that came first is raised here when all have ended, or after `timeout` seconds a
    DistError with the stacks of those that haven't.
    """
    results: list[Any] = [None] * len(ranks)
    errors: list[BaseException] = []

    def body(rank: int, function: Callable[[], Any]) -> None:
        try:
            results[rank] = contextvars.Context().run(function)
        except BaseException as error:  # noqa: BLE001 (raised in the caller's thread)
            errors.append(error)
            failed(rank, f"rank {rank} failed with {type(error).__name__}: {error}")
        finally:
            ended(rank)

    threads = [
        threading.Thread(target=body, args=(r, f), name=f"rank {r}", daemon=True)
        for r, f in enumerate(ranks)
    ]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + timeout
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    alive = [thread for thread in threads if thread.is_alive()]
    if alive:
        where = "\n".join(f"{thread.name}:\n{_stack(thread)}" for thread in alive)
        late = DistError(f"no end after {timeout:g} s; where the ranks are:\n{where}")
        failed(-1, "another rank is late")
        raise late from (errors[0] if errors else None)
    if errors:
        raise errors[0]
    return results


def _stack(thread: threading.Thread) -> str:
    frame = sys._current_frames().get(thread.ident or 0)
    return "".join(traceback.format_stack(frame)) if frame is not None else "  (ended)"
