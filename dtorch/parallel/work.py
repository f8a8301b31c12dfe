"""Collectives under way: what is started, what has arrived, who waits, and for how long."""

from __future__ import annotations

import datetime
import time
from collections import deque
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, Protocol

from dtorch.core import env

from .flight import Entry, FlightRecorder
from .future import Future

if TYPE_CHECKING:
    from .watch import Watch

Seconds = float | datetime.timedelta | None


class DistError(RuntimeError):
    """Communication failed: the ranks disagree, a deadline has passed, or another rank is gone."""


class Request(Protocol):
    """A movement of bytes under way, as a transport returns it."""

    def test(self) -> bool:
        """True once it is done.  Never waits."""

    def missing(self) -> str:
        """Who or what it waits for, as far as the transport can tell."""

    # How many tests in a row are worth their time, before it is politer to sleep between them.
    patience: int


# An algorithm yields each movement that it has started, and goes on when that is done.
Steps = Generator[Request, None, None]


class Work:
    """A collective under way: the handle that the asynchronous calls return.

    entry: what the flight recorder notes of it
    """

    def __init__(self, engine: Engine, entry: Entry, steps: Steps, timeout: float) -> None:
        self._engine = engine
        self.entry = entry
        self._steps = steps
        self._timeout = timeout
        self._request: Request | None = None
        self._done = self._told = False
        self._error: Exception | None = None
        self._afterwards: list[Callable[[], None]] = []
        self._future: Future[list[Any]] | None = None
        self._result: list[Any] = []
        self.request: Any = None  # a receive's, which knows its source

    def gives(self, tensors: list[Any]) -> None:
        """Say which tensors have their values when it is done."""
        self._result = tensors

    def then(self, function: Callable[[], None]) -> None:
        """Call a function when it is done without an error (at once if it is, and has been told)."""
        if self._told:
            function()
        else:
            self._afterwards.append(function)

    def advance(self) -> bool:
        """Go as far as the bytes that have arrived allow; True when nothing is left to do."""
        while not self._done:
            try:
                if self._request is not None and not self._request.test():
                    return False
                self._request = next(self._steps)
                self._engine.moves += 1
            except StopIteration:
                self._done = True
            except Exception as error:  # noqa: BLE001 (wait() raises it, where the user can see it)
                self._error, self._done = error, True
        return True

    def conclude(self) -> None:
        """Tell those who asked that it is done.  They may start and wait for others."""
        self._told = True
        if self._error is None:
            try:
                for function in self._afterwards:
                    function()
            except Exception as error:  # noqa: BLE001 (as in advance)
                self._error = error
        if self._future is not None:
            self._settle(self._future)

    def _settle(self, future: Future[list[Any]]) -> None:
        if self._error is not None:
            future.set_exception(self._error)
        else:
            future.set_result(self._result)

    def wait(self, timeout: Seconds = None) -> bool:
        """Return True when it is done; DistError after `timeout` (the group's unless given)."""
        self._engine.wait(self, self._timeout if timeout is None else seconds(timeout))
        if self._error is not None:
            raise self._engine.failure(self._error)
        return True

    def is_completed(self) -> bool:
        """Whether it has ended, well or not; does not wait."""
        self._engine.poll()
        if self._done:
            self._engine.tell(self)
        return self._done

    def is_success(self) -> bool:
        """Whether it has ended well; does not wait."""
        return self.is_completed() and self._error is None

    def exception(self) -> Exception | None:
        """What went wrong, or None."""
        return self._error

    def synchronize(self) -> None:
        """wait(): values are there when it is done, also those on a GPU."""
        self.wait()

    def result(self) -> list[Any]:
        """The tensors that it has changed, once it is done."""
        self.wait()
        return self._result

    def source_rank(self) -> int:
        """The rank in the group that a received tensor came from."""
        if self.request is None or not hasattr(self.request, "source"):
            raise RuntimeError("sourceRank() may only be called on work of a receive")
        self.wait()
        return self.request.source

    def get_future(self) -> Future[list[Any]]:
        """The future of result()."""
        if self._future is None:
            self._future = Future()
            self._future._drive = lambda: self._engine.wait(self, self._timeout)
            if self._told:
                self._settle(self._future)
        return self._future

    @property
    def patience(self) -> int:
        """How many rounds of asking come before naps begin, by what the transport moves."""
        return self._request.patience if self._request is not None else 0

    def missing(self) -> str:
        """Who or what it waits for, as far as the transport can tell."""
        return self._request.missing() if self._request is not None else "nobody"


class Engine:
    """All that one rank has under way; it moves on whenever that rank starts or waits for anything.

    The works of one lane (a group's collectives) run strictly one after the other.  A transport
    sees them in the order in which they were started, which is the same on every rank, however many
    are asynchronous and whenever they are polled.

    clock: the seconds that deadlines are counted in; a rehearsal's are not real ones
    flight: the record of what this rank (its number in the world) has done
    watch: knows what the others are doing, where it has been given
    waiting: what this rank waits for, or has waited for in vain
    waited: seconds of its waits that are over
    """

    def __init__(
        self,
        pause: Callable[[bool], None],
        clock: Callable[[], float] = time.monotonic,
        rank: int = 0,
    ) -> None:
        self._pause = pause
        self.clock = clock
        self.flight = FlightRecorder(rank)
        self.watch: Watch | None = None
        self.waiting: Work | None = None
        self.waited = self._began = 0.0
        self._patience = env.STALL_TIMEOUT.seconds()
        self.moves = 0  # movements started so far
        self._held: list[Work] | None = None  # those started since hold(), in order
        self._lanes: dict[int, deque[Work]] = {}  # by id: those that have something under way
        self.broken: DistError | None = None

    def start(self, work: Work, lane: deque[Work]) -> Work:
        if self.broken is not None:
            raise self.broken
        lane.append(work)
        self._lanes[id(lane)] = lane
        if self._held is not None:
            self._held.append(work)
        self.poll()
        return work

    def hold(self) -> None:
        """What is started from now on is told to be done only by release(), or to who waits for it.

        What is told may start further works, and all ranks must start theirs in the same order,
        whichever is done first on which rank.
        """
        self._held = [] if self._held is None else self._held

    def release(self) -> None:
        """Wait for all that has been held, and for what that starts, in the order of the starts."""
        try:
            while self._held:
                self.wait(self._held[0], self._held[0]._timeout)
        finally:
            self._held = None

    def tell(self, work: Work) -> None:
        """Tell that a work is done, if that has been held."""
        if self._held is not None and work in self._held:
            self._held.remove(work)
            work.conclude()

    def poll(self) -> None:
        """Let everything go on as far as it can, without waiting."""
        for lane in tuple(self._lanes.values()):
            while lane and lane[0].advance():
                work = lane.popleft()
                if self._held is None or work not in self._held:
                    work.conclude()
            if not lane:
                self._lanes.pop(id(lane), None)

    def wait(self, work: Work, timeout: float) -> None:
        if not work._done:
            outer = self.waiting
            if outer is None:
                self._began = self.clock()
            self.waiting = work
            self._wait(work, timeout)
            self.waiting = outer  # after an error it stays, for others who ask later
            if outer is None:
                self.waited += self.clock() - self._began
        self.tell(work)

    def time_waited(self) -> float:
        """Seconds that this rank has waited so far, also in the wait it may be in right now."""
        now = self.clock() - self._began if self.waiting is not None else 0.0
        return self.waited + now

    def _wait(self, work: Work, timeout: float) -> None:
        start = self.clock()
        silent = self.watch is not None  # until it has been told once who holds this up
        rounds, moves = 0, self.moves
        while not work._done:
            self.poll()
            if work._done:
                return
            if moves != self.moves:
                rounds, moves = 0, self.moves
            waited = self.clock() - start
            if waited >= timeout or self.broken is not None:
                # What is half exchanged can't be taken up again.
                self.broken = self.broken or self._late(work, timeout)
                raise self.failure(self.broken)
            if silent and waited >= self._patience:
                silent = False
                self.watch.announce(work, waited)  # type: ignore[union-attr]
            lanes = self._lanes.values()
            self._pause(any(rounds < lane[0].patience for lane in lanes))
            rounds += 1

    def _late(self, work: Work, timeout: float) -> DistError:
        text = f"no end after {timeout:g} s of {work.entry}; waiting for {work.missing()}"
        if self.watch is not None:
            text += f"; {self.watch.report(work)}"
        return DistError(text)

    def failure(self, error: Exception) -> Exception:
        """The error to be raised; where communication has failed, with the flight record kept."""
        if isinstance(error, DistError):
            self.flight.attach(error)
        return error

    def drain(self, timeout: float) -> None:
        """Wait for all that is under way; what failed has been, or will be, raised by wait."""
        for lane in tuple(self._lanes.values()):
            for work in tuple(lane):
                self.wait(work, timeout)


def seconds(timeout: Seconds) -> float:
    """A timeout as seconds; ValueError unless it is positive."""
    value = timeout.total_seconds() if isinstance(timeout, datetime.timedelta) else timeout
    if value is None or not value > 0:
        raise ValueError(f"expected a positive timeout (timedelta or seconds), got {timeout!r}")
    return value
