"""Collectives under way: what is started, what has arrived, who waits, and for how long."""

from __future__ import annotations

import datetime
import time
from collections import deque
from collections.abc import Callable, Generator
from typing import Any, Protocol

Seconds = float | datetime.timedelta | None


class DistError(RuntimeError):
    """Communication failed: a deadline has passed, or another rank is gone."""


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
    """A collective under way: the handle that the asynchronous calls return."""

    def __init__(self, engine: Engine, what: Any, steps: Steps, timeout: float) -> None:
        self._engine = engine
        self._what = what
        self._steps = steps
        self._timeout = timeout
        self._request: Request | None = None
        self._done = False
        self._error: Exception | None = None
        self._afterwards: list[Callable[[], None]] = []
        self.request: Any = None  # a receive's, which knows its source

    def then(self, function: Callable[[], None]) -> None:
        """Call a function when it is done (at once if it is)."""
        if self._done:
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
                for function in self._afterwards:
                    function()
                self._done = True
            except Exception as error:  # noqa: BLE001 (wait() raises it, where the user can see it)
                self._error, self._done = error, True
        return True

    def wait(self, timeout: Seconds = None) -> bool:
        """Return True when it is done; DistError after `timeout` (the group's unless given)."""
        self._engine.wait(self, self._timeout if timeout is None else seconds(timeout))
        if self._error is not None:
            raise self._error
        return True

    def is_completed(self) -> bool:
        self._engine.poll()
        return self._done

    def is_success(self) -> bool:
        return self.is_completed() and self._error is None

    def exception(self) -> Exception | None:
        return self._error

    @property
    def patience(self) -> int:
        return self._request.patience if self._request is not None else 0

    def late(self, timeout: float) -> DistError:
        waits = f"; waiting for {self._request.missing()}" if self._request is not None else ""
        return DistError(f"no end after {timeout:g} s of {self._what}{waits}")


class Engine:
    """All that one rank has under way; it moves on whenever that rank starts or waits for anything.

    The works of one lane (a group's collectives) run strictly one after the other.  A transport
    sees them in the order in which they were started, which is the same on every rank, however many
    are asynchronous and whenever they are polled.
    """

    def __init__(self, pause: Callable[[bool], None]) -> None:
        self._pause = pause
        self.moves = 0  # movements started so far
        self._lanes: list[deque[Work]] = []
        self.broken: DistError | None = None

    def start(self, work: Work, lane: deque[Work]) -> Work:
        if self.broken is not None:
            raise self.broken
        lane.append(work)
        if len(lane) == 1:
            self._lanes.append(lane)
        self.poll()
        return work

    def poll(self) -> None:
        """Let everything go on as far as it can, without waiting."""
        for lane in tuple(self._lanes):
            while lane and lane[0].advance():
                lane.popleft()
            if not lane:
                self._lanes.remove(lane)

    def wait(self, work: Work, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        rounds, moves = 0, self.moves
        while not work._done:
            self.poll()
            if work._done:
                return
            if moves != self.moves:
                rounds, moves = 0, self.moves
            if time.monotonic() > deadline or self.broken is not None:
                # What is half exchanged can't be taken up again.
                self.broken = self.broken or work.late(timeout)
                raise self.broken
            self._pause(any(rounds < lane[0].patience for lane in self._lanes))
            rounds += 1

    def drain(self, timeout: float) -> None:
        """Wait for all that is under way; what failed has been, or will be, raised by wait."""
        for lane in tuple(self._lanes):
            for work in tuple(lane):
                self.wait(work, timeout)


def seconds(timeout: Seconds) -> float:
    """A timeout as seconds; ValueError unless it is positive."""
    value = timeout.total_seconds() if isinstance(timeout, datetime.timedelta) else timeout
    if value is None or not value > 0:
        raise ValueError(f"expected a positive timeout (timedelta or seconds), got {timeout!r}")
    return value
