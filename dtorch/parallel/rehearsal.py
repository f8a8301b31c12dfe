"""Rehearsal: ranks as threads that run one at a time in a seeded order, with faults on purpose.

Group, DDP and everything above them are those of a real job.  A rehearsal stands in for what is
below: its group notes each call, its transport each message, its engine each wait.  At each of
these another rank may go on (schedule.py), and what is to go wrong (faults.py) does.
"""

from __future__ import annotations

import math
import threading
from collections import Counter, deque
from collections.abc import Callable, Container, Sequence
from contextvars import ContextVar
from typing import Any, NamedTuple

from dtorch.core.backend import cpu
from dtorch.optim._hooks import register_optimizer_step_post_hook

from . import algorithms, transport_local
from .checksums import checked
from .collective import Collective
from .faults import Fault, parse
from .flight import Entry
from .group import Group, _nothing
from .schedule import Schedule
from .transport_local import Hub, LocalTransport, run_threads
from .watch import Answer, Watch, stand
from .work import DistError, Engine, Steps, Work

_PATIENCE = 60.0  # real seconds that all may take, whatever their deadlines are
_REMEDY = {
    "corrupt": "DTORCH_CHECK_MESSAGES=on finds damaged messages, ReplicaLedger what they have done",
    "mismatch": "DTORCH_CHECK_COLLECTIVES=on compares collectives before they move data",
    "drop": "nobody waited for the message",
    "kill": "nobody communicated with the rank afterwards",
}


class Rehearsal(NamedTuple):
    """Has run_local run its ranks one at a time, in an order drawn from a seed, with faults.

    The same seed and faults give the same order of events, and the same numbers.  Deadlines and
    delays are on a clock that is counted, not waited for.

    seed: any whole number
    faults: what is to go wrong, as "kill:3@step5, delay:1@all_reduce#12" (see faults.py)
    """

    seed: int = 0
    faults: str = ""

    def stage(self, size: int) -> Stage:
        """Where `size` ranks play: their threads, their order, their faults."""
        return Stage(self, size)


class Actor:
    """One rank of a rehearsal: how far it is, and what is still to go wrong on it.

    steps: how often it has called optimizer.step()
    calls: how often it has called what
    armed: messages to be lost or damaged at the next chance
    carries: whether what is being started carries data, not a comparison of records
    """

    def __init__(self, stage: Stage, rank: int, faults: Sequence[Fault]) -> None:
        self.stage, self.rank = stage, rank
        self.steps = 0
        self.calls: Counter[str] = Counter()
        self.armed: list[Fault] = []
        self.carries = False
        self.worlds = 0
        self.engine: RehearsedEngine | None = None
        self._ahead = list(faults)

    def reach(self, op: str) -> Fault | None:
        """This rank calls `op`: let happen what is due.  Returns the mismatch that is, if one is."""
        collective = op not in ("send", "recv")
        names = (op, "collective") if collective else (op,)
        self.calls.update(names)
        mismatch = None
        for fault in tuple(self._ahead):
            if not self._due(fault, names) or (fault.kind == "mismatch" and not collective):
                continue
            self._ahead.remove(fault)
            if fault.kind in ("drop", "corrupt"):
                self.armed.append(fault)
                continue
            self.stage.happens(fault)
            if fault.kind == "kill":
                self.stage.schedule.die(self.rank)
            elif fault.kind == "delay":
                self.stage.schedule.sleep(self.rank, fault.seconds)
            else:
                mismatch = fault
        self.switch()
        return mismatch

    def _due(self, fault: Fault, names: Sequence[str]) -> bool:
        if fault.op == "step":
            return self.steps >= fault.number - 1
        return fault.op in names and self.calls[fault.op] == fault.number

    def switch(self) -> None:
        self.stage.schedule.switch(self.rank)

    def pause(self, soon: bool) -> None:
        """Go on when something has been posted, or the deadline of what is waited for is there."""
        stage, seen = self.stage, self.stage.posts
        assert self.engine is not None
        stage.schedule.wait(
            self.rank,
            lambda: stage.posts != seen or stage.failed is not None,
            self.engine.until,
        )

    def carrying(self, steps: Steps) -> Steps:
        """The steps of a collective after the comparison: their messages carry data."""
        while True:
            self.carries = True
            try:
                request = next(steps)
            except StopIteration:
                return
            finally:
                self.carries = False
            yield request


class Stage(Hub):
    """Where one rehearsal takes place: the hub of its messages, its schedule and its faults.

    members: the world's numbers of the ranks of a group, by its transport's key
    damaged: the faults on what a rank has posted, by the movement and the rank
    happened: the faults that have, in order
    noticed: whether communication has failed on some rank
    """

    def __init__(self, rehearsal: Rehearsal, size: int) -> None:
        super().__init__(size)
        self.rehearsal = rehearsal
        faults = parse(rehearsal.faults, size)
        self.schedule = Schedule(size, rehearsal.seed)
        self.schedule.stuck = self._stuck
        self.actors = [Actor(self, r, [f for f in faults if f.rank == r]) for r in range(size)]
        self.members: dict[Any, Sequence[int]] = {}
        self.damaged: dict[Any, list[Fault]] = {}
        self.happened: list[Fault] = []
        self.noticed = False
        self._faults = faults
        self._victims: dict[Fault, Any] = {}

    def group(self, rank: int, timeout: float, backend: str = LocalTransport.name) -> Group:
        """The group of all ranks, seen from one of them; every rank must make it.

        backend: what it says that it is
        """
        actor = self.actors[rank]
        actor.worlds += 1
        actor.engine = RehearsedEngine(actor)
        key = ("world", actor.worlds)
        self.members[key] = range(self.size)
        transport = RehearsedTransport(self, rank, self.size, key, actor, backend)
        return RehearsedGroup(checked(transport), range(self.size), "world", actor.engine, timeout)

    def run(self, bodies: Sequence[Callable[[], Any]], timeout: float) -> list[Any]:
        """perform(), and RuntimeError for a fault that never came, or that no rank has noticed."""
        try:
            results = self.perform(bodies, max(timeout, _PATIENCE))
        except Exception as error:
            if hasattr(error, "add_note"):
                error.add_note(self.story())
            raise
        self.check_faults()
        return results

    def perform(self, bodies: Sequence[Callable[[], Any]], timeout: float) -> list[Any]:
        """Run each rank's function; what they return, by rank (None for those that have died).

        Raises what the first that failed has raised, and DistError after `timeout` real seconds.
        """
        watching = register_optimizer_step_post_hook(self._stepped)
        ranks = [self._part(rank, body) for rank, body in enumerate(bodies)]
        try:
            return run_threads(ranks, lambda rank, why: self.fail(why), timeout, self.schedule.end)
        finally:
            watching.remove()

    def _part(self, rank: int, body: Callable[[], Any]) -> Callable[[], Any]:
        def part() -> Any:
            _actor.set(self.actors[rank])
            self.schedule.begin(rank)
            try:
                return body()
            except BaseException:
                if rank in self.schedule.dead:  # a process that is gone raises nothing
                    return None
                raise

        return part

    def _stepped(self, *_: Any) -> None:
        actor = _actor.get(None)
        if actor is not None and actor.stage is self:
            actor.steps += 1

    def ask(self, ranks: Sequence[int]) -> dict[int, Answer]:
        """Where some ranks are, as they would say when asked."""
        answers: dict[int, Answer] = {}
        for rank in ranks:
            engine = self.actors[rank].engine
            if rank in self.schedule.dead:
                answers[rank] = "it has died"
            elif engine is None:
                answers[rank] = "it has no group yet"
            else:
                answers[rank] = stand(engine, engine.thread)
        return answers

    # ---- what happens ----------------------------------------------------------------------------

    def happens(self, fault: Fault) -> None:
        self.happened.append(fault)
        self.posts += 1  # news for those who wait

    def lost(self, key: Any, source: int, taker: int) -> bool:
        """Whether what a source has posted does not get to a taker."""
        return any(
            fault.kind == "drop" and self._hits(fault, (key, taker))
            for fault in self.damaged.get((key, source), ())
            if source != taker
        )

    def spoil(self, key: Any, source: int, taker: int, array: Any) -> None:
        """Flip a bit of what a taker has got from a source, where that is to be."""
        for fault in self.damaged.get((key, source), ()):
            if fault.kind == "corrupt" and source != taker and array.size:
                if fault not in self._victims:
                    self.flip(array)
                self._hits(fault, (key, taker))

    def _hits(self, fault: Fault, victim: Any) -> bool:
        """A fault hits one message to one rank: the first that is taken."""
        if fault not in self._victims:
            self._victims[fault] = victim
            self.actors[fault.rank].armed.remove(fault)
            self.happens(fault)
        return self._victims[fault] == victim

    def flip(self, array: Any) -> None:
        as_bytes = array.view(cpu.uint8)
        as_bytes[self.schedule.draw(as_bytes.size)] ^= 1 << self.schedule.draw(8)

    def gone(self, waiter: int, ranks: Sequence[int]) -> None:
        """DistError if one of the ranks, which are waited for, has died."""
        for rank in ranks:
            if rank in self.schedule.dead:
                fault = next(f for f in self.happened if f.kind == "kill" and f.rank == rank)
                raise DistError(f"rank {rank} ended while rank {waiter} waited for it ({fault})")

    def chain(self, ranks: Sequence[int]) -> str:
        """Some ranks, those that they wait for, and so on."""
        links, seen = [], set(ranks)
        while ranks:
            s = "s" if len(ranks) > 1 else ""
            links.append(f"rank{s} {', '.join(map(str, ranks))}")
            behind = {r for rank in ranks for r in self._awaited_by(rank)} - seen
            seen |= behind
            ranks = sorted(behind)
        return ", in turn waiting for ".join(links)

    def _awaited_by(self, rank: int) -> list[int]:
        engine = self.actors[rank].engine
        request = None if engine is None else engine.blocked()
        request = getattr(request, "_request", request)  # inside of one that checks its messages
        return request.awaited() if isinstance(request, (_Taking, _Receiving)) else []

    def _stuck(self) -> None:
        """All that live wait, and not for a deadline."""
        waits = [
            f"rank {rank} waits for {self.chain(awaited)}"
            for rank in range(self.size)
            if (awaited := self._awaited_by(rank)) and rank not in self.schedule.dead
        ]
        self.fail(f"the ranks would wait for ever: {'; '.join(waits)}")

    # ---- what is told ----------------------------------------------------------------------------

    def check_faults(self) -> None:
        """After a run: RuntimeError for a fault that never came, or that no rank has noticed."""
        for fault in self._faults:
            if fault not in self.happened:
                actor = self.actors[fault.rank]
                calls = ", ".join(f"{n} {op}" for op, n in sorted(actor.calls.items()))
                raise RuntimeError(
                    f"the fault {fault} never came: rank {fault.rank} took {actor.steps} steps, and "
                    f"called {calls or 'nothing'}"
                )
            if fault.kind != "delay" and not self.noticed:
                raise RuntimeError(
                    f"the fault {fault} has happened, and no rank has noticed: "
                    f"{_REMEDY[fault.kind]}\n{self.story()}"
                )

    def story(self) -> str:
        seed, faults = self.rehearsal
        happened = ", ".join(map(str, self.happened)) or "none"
        return (
            f"rehearsed with seed {seed}, which replays it; faults that had happened by "
            f"{self.schedule.now:.6f} s: {happened} (of {faults or 'none'})"
        )


_actor: ContextVar[Actor] = ContextVar("actor")


# ---- the places where a rehearsal stands in ------------------------------------------------------


class RehearsedGroup(Group):
    """A group whose every call may be where something goes wrong."""

    _engine: RehearsedEngine

    def run(self, collective: Collective, steps: Steps, results: Sequence[Any] = (),
            timeout: float | None = None) -> Work:  # fmt: skip
        actor = self._engine.actor
        mismatch = actor.reach(collective.op)
        if mismatch is None:
            return super().run(collective, actor.carrying(steps), results, timeout)
        self._seq -= 1  # as if the call were not there
        if not mismatch.change:
            entry = Entry(self.name, self.ranks, collective)
            return self._engine.start(Work(self._engine, entry, _nothing(), 0), deque())
        if collective.op != "barrier":
            return super().run(self.record("barrier"), self._meet(), (), timeout)
        x = cpu.zeros(1)
        return super().run(
            self.record("all_reduce", x), algorithms.all_reduce(self.transport, x, "sum")
        )

    def send(self, x: Any, peer: int, tag: int = 0) -> Work:
        actor = self._engine.actor
        actor.reach("send")
        actor.carries = True
        try:
            return super().send(x, peer, tag)
        finally:
            actor.carries = False

    def recv(self, x: Any, peer: int | None, tag: int = 0) -> Work:
        self._engine.actor.reach("recv")
        return super().recv(x, peer, tag)


class RehearsedEngine(Engine):
    """An engine that lets other ranks go on where it looks, or waits, for what has arrived.

    until: when what is waited for will be late
    """

    def __init__(self, actor: Actor) -> None:
        super().__init__(actor.pause, actor.stage.schedule.clock, actor.rank)
        self.actor = actor
        self.thread = threading.get_ident()
        self.watch = Watch(self, actor.stage.ask)
        self.until = math.inf

    def poll(self) -> None:
        self.actor.switch()
        super().poll()

    def wait(self, work: Work, timeout: float) -> None:
        outer, self.until = self.until, self.clock() + timeout
        try:
            super().wait(work, timeout)
        finally:
            self.until = outer

    def failure(self, error: Exception) -> Exception:
        self.actor.stage.noticed = True
        return super().failure(error)

    def blocked(self) -> Any:
        """The movement under way that this rank's works wait for, None if there is none."""
        return next((lane[0]._request for lane in self._lanes.values() if lane), None)


class RehearsedTransport(LocalTransport):
    """A transport whose messages get lost and damaged where they are to."""

    _hub: Stage

    def __init__(self, hub: Stage, rank: int, size: int, key: Any, actor: Actor, name: str) -> None:
        super().__init__(hub, rank, size, key)
        self._actor = actor
        self.name = name
        self.taking = _Taking

    def _move(self, post: Any, sources: Sequence[int], into: Sequence[tuple[Any, Any]]) -> Any:
        self._actor.switch()
        if post is not None and self._actor.carries and self._actor.armed:
            movement = (self._key, self._moves + 1)
            self._hub.damaged[movement, self.rank] = list(self._actor.armed)
        return super()._move(post, sources, into)

    def recv(self, data: Any, peer: int | None, tag: int) -> Any:
        return _Receiving(self._hub, self._key, self.rank, peer, tag, data)

    def send(self, data: Any, peer: int, tag: int) -> Any:
        self._actor.switch()
        armed, self._actor.armed = self._actor.armed, []
        if not armed:
            return super().send(data, peer, tag)
        for fault in armed:
            self._hub.happens(fault)
        if any(fault.kind == "drop" for fault in armed):
            return transport_local.Sent()
        data = data.copy()
        self._hub.flip(data)
        return super().send(data, peer, tag)

    def split(self, ranks: Sequence[int], invitations: Sequence[Any]) -> LocalTransport | None:
        part = super().split(ranks, invitations)
        if part is None:
            return None
        self._hub.members[part._key] = [self._hub.members[self._key][r] for r in ranks]
        return RehearsedTransport(
            self._hub, part.rank, part.size, part._key, self._actor, self.name
        )


class _Taking(transport_local.Taking):
    _hub: Stage

    def test(self) -> bool:
        if super().test():
            for source, (array, _) in zip(self._sources, self._into):
                self._hub.spoil(self._key, source, self._rank, array)
            return True
        self._hub.gone(self._hub.members[self._key[0]][self._rank], self.awaited())
        return False

    def absent(self, posted: Container[int]) -> list[int]:
        lost = self._hub.lost
        return [s for s in self._sources if s not in posted or lost(self._key, s, self._rank)]

    def awaited(self) -> list[int]:
        """The world's numbers of the ranks that it waits for."""
        posted, _ = self._hub.slots[self._key]
        return [self._hub.members[self._key[0]][s] for s in self.absent(posted)]

    def missing(self) -> str:
        return self._hub.chain(self.awaited())


class _Receiving(transport_local.Receiving):
    _hub: Stage

    def test(self) -> bool:
        if super().test():
            return True
        self._hub.gone(self._hub.members[self._group][self._rank], self.awaited())
        return False

    def awaited(self) -> list[int]:
        return [] if self._peer is None else [self._hub.members[self._group][self._peer]]

    def missing(self) -> str:
        return super().missing() if self._peer is None else self._hub.chain(self.awaited())
