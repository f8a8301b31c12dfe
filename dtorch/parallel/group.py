"""Group: some ranks that communicate, and `run`, through which every collective goes."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any, cast

from dtorch.core import backend, env
from dtorch.core.backend import cpu
from dtorch.core.graph import writes

from . import algorithms
from .callsite import here
from .checks import Comparison
from .collective import LABEL, Collective, dtype_name
from .flight import Entry
from .transport import CommonMemory, Transport
from .work import DistError, Engine, Request, Steps, Work


class Group:
    """The ranks that a collective is among, seen from one of them.

    Its methods take arrays of either backend, start a collective and return the Work: the values
    are there once that has been waited for, and until then the arrays must be left alone.

    ranks: the numbers in the world of the group's ranks, in order
    """

    def __init__(
        self, transport: Transport, ranks: Sequence[int], name: str, engine: Engine, timeout: float
    ) -> None:
        self.transport = transport
        self._rank, self._size = transport.rank, transport.size
        self.ranks = tuple(ranks)
        self.name = name
        self.timeout = timeout
        self._engine = engine
        self.clock = engine.clock
        self.flight = engine.flight
        self._lane: deque[Work] = deque()
        self._seq = 0
        self._children = 0
        check = self._size > 1 and env.CHECK_COLLECTIVES.get() == "on"
        self._comparison = Comparison(transport, name) if check else None

    def rank(self) -> int:
        """This rank's number in the group."""
        return self._rank

    def size(self) -> int:
        """How many ranks there are."""
        return self._size

    def __repr__(self) -> str:
        return f"<Group {self.name!r}: rank {self._rank} of {self._size}, {self.transport.name}>"

    # ---- the choke point -----------------------------------------------------------------------

    def record(self, op: str, x: Any = None, *, name: str = "", reduce: str = "", root: int = -1,
               same: bool = True) -> Collective:  # fmt: skip
        """The record of this group's next collective, on x; `same`: whether shapes must agree."""
        self._seq += 1
        return self._record(self._seq, op, x, name or LABEL.get(), reduce, root, same)

    def _record(self, seq: int, op: str, x: Any, name: str, reduce: str = "", root: int = -1,
                same: bool = True) -> Collective:  # fmt: skip
        shape = x.shape if x is not None and same else None
        dtype = "" if x is None else dtype_name(x.dtype)
        return Collective(seq, op, name, shape, dtype, reduce, root, here())

    def run(self, collective: Collective, steps: Steps, results: Sequence[_Staged] = (),
            timeout: float | None = None) -> Work:  # fmt: skip
        """Start a collective: compare it between the ranks, do its steps, store its results."""
        entry = self.flight.record(self.name, self.ranks, collective)
        whole = self._whole(entry, steps, results, self._comparison)
        work = Work(self._engine, entry, whole, timeout or self.timeout)
        return self._engine.start(work, self._lane)

    def _whole(self, entry: Entry, steps: Steps, results: Sequence[_Staged],
               comparison: Comparison | None) -> Steps:  # fmt: skip
        """All steps of an entry of the flight recorder, which notes how far they are."""
        try:
            if comparison is not None:
                yield from comparison.compare(entry.collective)
            entry.state = "started"
            yield from steps
            for result in results:
                result.store()
        except Exception:
            entry.end("failed")
            raise
        entry.end("completed")

    def _meet(self) -> Steps:
        """Go on when every rank is here; the comparison of the records has seen to that already."""
        if self._comparison is None:
            yield from algorithms.all_gather_bytes(self.transport, b"", [])

    def poll(self) -> None:
        """Let what is under way go on as far as it can, without waiting."""
        self._engine.poll()

    def hold(self) -> None:
        """See Engine.hold: what is started from now on is told to be done by release()."""
        self._engine.hold()

    def release(self) -> None:
        """Wait for all that has been held, in the order of the starts: see Engine.release."""
        self._engine.release()

    # ---- collectives ---------------------------------------------------------------------------

    def all_reduce(self, x: Any, op: str = "sum", name: str = "") -> Work:
        """Reduce x over the ranks, in place."""
        a = _Staged(x)
        steps = algorithms.all_reduce(self.transport, a.host, op) if self._size > 1 else _nothing()
        return self.run(self.record("all_reduce", x, name=name, reduce=op), steps, [a])

    def reduce(self, x: Any, root: int, op: str = "sum") -> Work:
        """Reduce x over the ranks, in place on the root; the others' stay as they are."""
        a = _Staged(x)
        steps = algorithms.reduce(self.transport, a.host, op, root)
        results = [a] if self._rank == root else []
        return self.run(self.record("reduce", x, reduce=op, root=root), steps, results)

    def broadcast(self, x: Any, root: int, name: str = "") -> Work:
        """The root's x into everybody's."""
        a = _Staged(x)
        steps = algorithms.later(self.transport.broadcast, a.host, root)
        return self.run(self.record("broadcast", x, name=name, root=root), steps, [a])

    def all_gather(self, x: Any, out: Any, counts: Sequence[int] | None = None) -> Work:
        """out: every rank's x by rank, counts[i] elements of rank i; x.size of each if None."""
        a, b = _Staged(x), _Staged(out)
        sizes = [a.host.size] * self._size if counts is None else counts
        steps = algorithms.later(self.transport.all_gather, a.host, b.host, sizes)
        return self.run(self._shared("all_gather", x, counts), steps, [b])

    def reduce_scatter(
        self, x: Any, out: Any, op: str = "sum", counts: Sequence[int] | None = None
    ) -> Work:
        """out: the reduction over the ranks of this rank's part of their x.

        x: counts[i] elements for rank i; equally many for each if None
        """
        a, b = _Staged(x), _Staged(out)
        sizes = [b.host.size] * self._size if counts is None else counts
        steps = algorithms.reduce_scatter(self.transport, a.host, sizes, b.host, op)
        return self.run(self._shared("reduce_scatter", x, counts, op), steps, [b])

    def _shared(
        self, op: str, x: Any, counts: Sequence[int] | None, reduce: str = ""
    ) -> Collective:
        """The record where ranks have different shapes, but must agree on how many elements each."""
        if counts is None:
            return self.record(op, x, reduce=reduce)
        name = f"{list(counts)} elements by rank"
        return self.record(op, x, name=name, reduce=reduce, same=False)

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
        record = self.record("all_to_all", x, same=False)

        def steps() -> Steps:
            if self._comparison is not None:
                yield from self._comparison.compare_counts(record, counts, out_counts)
            yield self.transport.all_to_all(a.host, counts, b.host, out_counts)

        return self.run(record, steps(), [b])

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
        """Send x to rank `peer`; what a receive with the same tag gets."""
        request = self.transport.send(_Staged(x).host, peer, tag)
        return self._beside("send", x, request, [], f"to rank {peer}, tag {tag}")

    def recv(self, x: Any, peer: int | None, tag: int = 0) -> Work:
        """Receive into x from rank `peer` (None: from any)."""
        a = _Staged(x)
        request = self.transport.recv(a.host, peer, tag)
        source = "any rank" if peer is None else f"rank {peer}"
        return self._beside("recv", x, request, [a], f"from {source}, tag {tag}")

    def _beside(
        self, op: str, x: Any, request: Request, results: Sequence[_Staged], peer: str
    ) -> Work:
        entry = self.flight.record(self.name, self.ranks, self._record(0, op, x, peer))
        whole = self._whole(entry, algorithms.one(request), results, None)
        work = Work(self._engine, entry, whole, self.timeout)
        work.request = request
        return self._engine.start(work, deque())

    # ---- memory ----------------------------------------------------------------------------------

    def zeros(self, size: int, like: Any) -> Any:
        """(size,) zeros of an array's dtype and device, where all_reduce is fastest.

        Every rank calls it, as a collective.  Waits.
        """
        xp = backend.of(like)
        if xp is not cpu or not self.transport.common_memory:
            return xp.zeros(size, like.dtype)
        transport = cast(CommonMemory, self.transport)
        array, ticket = transport.zeros(size, like.dtype)
        tickets: list[Any] = []
        steps = algorithms.all_gather_objects(transport, ticket, tickets)
        self.run(self.record("zeros", array), steps).wait()
        transport.adopt(array, tickets)
        self._opened()
        return array

    def _opened(self) -> None:
        """Wait until all ranks have opened what one has offered: it may give that up afterwards."""
        if self.transport.common_memory:
            self.run(self.record("open memory"), self._meet()).wait()

    # ---- beginning and end -----------------------------------------------------------------------

    def abort(self, why: str) -> None:
        """This rank has failed: take part in nothing more, and let nobody wait for it."""
        self._engine.broken = self._engine.broken or DistError(why)
        self.transport.abort(why)

    def split(self, ranks: Sequence[int], timeout: float | None = None) -> Group | None:
        """The group of some of this group's ranks, None on the others.  Every rank calls it."""
        ranks = list(ranks)
        if len(set(ranks)) != len(ranks) or not all(0 <= r < self._size for r in ranks):
            raise ValueError(f"expected different ranks of 0 to {self._size - 1}, got {ranks}")
        record = self.record("new_group", name=str(ranks))
        invitations: list[Any] = []
        mine = self.transport.invite(ranks)
        # When this is done all are here and ask for the same: a call that blocks will return.
        steps = algorithms.all_gather_objects(self.transport, mine, invitations)
        self.run(record, steps).wait()
        self._engine.drain(self.timeout)
        part = self.transport.split(ranks, invitations)
        self._opened()
        self._children += 1
        if part is None:
            return None
        name = f"{self.name}/{self._children}"
        world = [self.ranks[r] for r in ranks]
        return type(self)(part, world, name, self._engine, timeout or self.timeout)

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
