"""Group: some ranks that communicate, and `run`, through which every collective goes."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

from dtorch.core import backend, env
from dtorch.core.backend import cpu
from dtorch.core.graph import writes

from . import algorithms
from .collective import Collective, mismatch, user_line
from .transport import Transport
from .work import Engine, Request, Steps, Work


class Group:
    """The ranks that a collective is among, seen from one of them.

    Its methods take arrays of either backend, start a collective and return the Work: the values
    are there once that has been waited for, and until then the arrays must be left alone.

    rank, size: this rank's number in the group, and how many there are
    ranks: the numbers in the world of the group's ranks, in order
    """

    def __init__(
        self, transport: Transport, ranks: Sequence[int], name: str, engine: Engine, timeout: float
    ) -> None:
        self.transport = transport
        self.rank, self.size = transport.rank, transport.size
        self.ranks = tuple(ranks)
        self.name = name
        self.timeout = timeout
        self._engine = engine
        self._lane: deque[Work] = deque()
        self._seq = 0
        self._children = 0
        self._check = self.size > 1 and env.CHECK_COLLECTIVES.get() == "on"

    def __repr__(self) -> str:
        return f"<Group {self.name!r}: rank {self.rank} of {self.size}, {self.transport.name}>"

    # ---- the choke point -----------------------------------------------------------------------

    def record(self, op: str, x: Any = None, *, name: str = "", reduce: str = "", root: int = -1,
               same: bool = True) -> Collective:  # fmt: skip
        """The record of this group's next collective, on x; `same`: whether shapes must agree."""
        self._seq += 1
        shape = x.shape if x is not None and same else None
        dtype = "" if x is None else str(x.dtype)
        return Collective(self._seq, op, name, shape, dtype, reduce, root, user_line())

    def run(self, collective: Collective, steps: Steps, results: Sequence[_Staged] = (),
            timeout: float | None = None) -> Work:  # fmt: skip
        """Start a collective: compare it between the ranks, do its steps, store its results."""
        whole = self._checked(collective, steps, results)
        work = Work(self._engine, collective, whole, timeout or self.timeout)
        return self._engine.start(work, self._lane)

    def _checked(self, collective: Collective, steps: Steps, results: Sequence[_Staged]) -> Steps:
        if self._check:
            mine = cpu.frombuffer(collective.fingerprint(), cpu.int64)
            seen = cpu.empty((self.size, mine.size), cpu.int64)
            t = self.transport
            yield t.all_gather(mine, seen.reshape(-1), [mine.size] * self.size)
            if (seen != mine).any():  # then it is so on every rank
                records: list[Collective] = []
                yield from algorithms.all_gather_objects(t, collective, records)
                raise mismatch(self.name, records)
        yield from steps
        for result in results:
            result.store()

    def _meet(self) -> Steps:
        """Go on when every rank is here; the comparison of the records has seen to that already."""
        if not self._check:
            yield from algorithms.all_gather_bytes(self.transport, b"", [])

    def poll(self) -> None:
        """Let what is under way go on as far as it can, without waiting."""
        self._engine.poll()

    # ---- collectives ---------------------------------------------------------------------------

    def all_reduce(self, x: Any, op: str = "sum", name: str = "") -> Work:
        """Reduce x over the ranks, in place."""
        a = _Staged(x)
        steps = algorithms.all_reduce(self.transport, a.host, op) if self.size > 1 else _nothing()
        return self.run(self.record("all_reduce", x, name=name, reduce=op), steps, [a])

    def reduce(self, x: Any, root: int, op: str = "sum") -> Work:
        """Reduce x over the ranks, in place on the root; the others' stay as they are."""
        a = _Staged(x)
        steps = algorithms.reduce(self.transport, a.host, op, root)
        results = [a] if self.rank == root else []
        return self.run(self.record("reduce", x, reduce=op, root=root), steps, results)

    def broadcast(self, x: Any, root: int, name: str = "") -> Work:
        """The root's x into everybody's."""
        a = _Staged(x)
        steps = algorithms.later(self.transport.broadcast, a.host, root)
        return self.run(self.record("broadcast", x, name=name, root=root), steps, [a])

    def all_gather(self, x: Any, out: Any) -> Work:
        """out: (ranks * x.size) elements, every rank's x by rank."""
        a, b = _Staged(x), _Staged(out)
        steps = algorithms.later(
            self.transport.all_gather, a.host, b.host, [a.host.size] * self.size
        )
        return self.run(self.record("all_gather", x), steps, [b])

    def reduce_scatter(self, x: Any, out: Any, op: str = "sum") -> Work:
        """out: (n,), the reduction over the ranks of this rank's part of x: (ranks * n,)."""
        a, b = _Staged(x), _Staged(out)
        steps = algorithms.reduce_scatter(self.transport, a.host, b.host, op)
        return self.run(self.record("reduce_scatter", x, reduce=op), steps, [b])

    def gather(self, x: Any, out: Any, root: int) -> Work:
        """out (the root's; None elsewhere): every rank's x by rank."""
        a, results = _Staged(x), [] if out is None else [_Staged(out)]
        into = results[0].host if results else None
        steps = algorithms.later(self.transport.gather, a.host, into, root)
        return self.run(self.record("gather", x, root=root), steps, results)

    def scatter(self, x: Any, out: Any, root: int) -> Work:
        """out: this rank's part of x, which the root has (None elsewhere)."""
        a, b = None if x is None else _Staged(x).host, _Staged(out)
        steps = algorithms.later(self.transport.scatter, a, b.host, root)
        return self.run(self.record("scatter", out, root=root), steps, [b])

    def all_to_all(
        self, x: Any, counts: Sequence[int], out: Any, out_counts: Sequence[int]
    ) -> Work:
        """counts[i] elements of x to rank i, out_counts[i] elements of out from it."""
        a, b = _Staged(x), _Staged(out)
        steps = algorithms.later(self.transport.all_to_all, a.host, counts, b.host, out_counts)
        return self.run(self.record("all_to_all", x, same=False), steps, [b])

    def barrier(self) -> Work:
        """Nobody's is done before everybody has started it."""
        return self.run(self.record("barrier"), self._meet())

    def all_gather_objects(self, value: Any) -> list[Any]:
        """Every rank's value, by rank.  Waits."""
        values: list[Any] = []
        steps = algorithms.all_gather_objects(self.transport, value, values)
        self.run(self.record("all_gather_object"), steps).wait()
        return values

    def broadcast_objects(self, values: list[Any], root: int) -> None:
        """Replace the values in the list by the root's.  Waits."""
        steps = algorithms.broadcast_objects(self.transport, values, root)
        self.run(self.record("broadcast_object_list", root=root), steps).wait()

    # ---- one rank to another: matched by peer and tag, in no order with anything else ------------

    def send(self, x: Any, peer: int, tag: int = 0) -> Work:
        request = self.transport.send(_Staged(x).host, peer, tag)
        return self._beside("send", x, request, [], f"rank {peer}")

    def recv(self, x: Any, peer: int | None, tag: int = 0) -> Work:
        a = _Staged(x)
        request = self.transport.recv(a.host, peer, tag)
        source = "any rank" if peer is None else f"rank {peer}"
        return self._beside("recv", x, request, [a], source)

    def _beside(
        self, op: str, x: Any, request: Request, results: Sequence[_Staged], peer: str
    ) -> Work:
        def steps() -> Steps:
            yield request
            for result in results:
                result.store()

        what = f"{op} {x.dtype}{list(x.shape)}, {peer}, at {user_line()}"
        work = Work(self._engine, what, steps(), self.timeout)
        work.request = request
        return self._engine.start(work, deque())

    # ---- beginning and end -----------------------------------------------------------------------

    def split(self, ranks: Sequence[int], timeout: float | None = None) -> Group | None:
        """The group of some of this group's ranks, None on the others.  Every rank calls it."""
        ranks = list(ranks)
        if len(set(ranks)) != len(ranks) or not all(0 <= r < self.size for r in ranks):
            raise ValueError(f"expected different ranks of 0 to {self.size - 1}, got {ranks}")
        record = self.record("new_group", name=str(ranks))
        # When this is done all are here and ask for the same: a call that blocks will return.
        self.run(record, self._meet()).wait()
        self._engine.drain(self.timeout)
        part = self.transport.split(ranks)
        self._children += 1
        if part is None:
            return None
        name = f"{self.name}/{self._children}"
        world = [self.ranks[r] for r in ranks]
        return Group(part, world, name, self._engine, timeout or self.timeout)

    def close(self, timeout: float) -> None:
        """Wait until every rank is here and nothing is under way, and free what the group holds."""
        if self._engine.broken is None:
            record = self.record("destroy_process_group")
            self.run(record, self._meet(), timeout=timeout).wait()
            self._engine.drain(self.timeout)
            self.transport.close()


class _Staged:
    """An array and its flat, contiguous form on the CPU: the same memory where possible."""

    def __init__(self, array: Any) -> None:
        self.array = array
        xp = backend.of(array)
        self.host = cpu.ascontiguousarray(xp.to_numpy(array)).reshape(-1)
        self.shared = xp is cpu and array.flags.c_contiguous

    def store(self) -> None:
        """Copy the result back, where it doesn't share memory."""
        if not self.shared:
            xp = backend.of(self.array)
            self.array[...] = xp.asarray(self.host).reshape(self.array.shape)
        writes.stamp(self.array)


def _nothing() -> Steps:
    yield from ()
