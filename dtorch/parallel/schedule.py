"""Schedule: threads of which one runs at a time, in an order drawn from a seed.

Where a thread communicates it hands over to one that is drawn from those that can go on; so the
same seed gives the same order of events, and nothing depends on the machine.  Time is counted, not
measured: a communication takes a microsecond, and while all wait the clock jumps to the moment at
which the first has waited long enough.  A deadline of an hour passes at once.
"""

from __future__ import annotations

import math
import random
import threading
from collections.abc import Callable
from typing import NamedTuple

_TICK = 1e-6  # seconds that a communication takes, so that who began to wait first is late first


class Killed(BaseException):
    """Ends the thread of a rank that has died; nobody else's."""


class _Wait(NamedTuple):
    ready: Callable[[], bool]
    until: float


class Schedule:
    """The threads of `size` ranks.  What is in here belongs to the one that runs.

    stuck: called when all wait, with no deadline, for what can't come; must make one of them ready
    resume, leave: called with a rank when it gets, and before it gives up, its turn
    over: called when every rank has ended or died, before the threads of the dead are ended

    now: seconds since the beginning, as the ranks see it
    running: the rank whose turn it is
    dead: the ranks that have died
    """

    def __init__(self, size: int, seed: int) -> None:
        self.now = 0.0
        self.running = -1
        self.dead: set[int] = set()
        self.stuck: Callable[[], None] = _nothing
        self.resume: Callable[[int], None] = _nothing
        self.leave: Callable[[int], None] = _nothing
        self.over: Callable[[], None] = _nothing
        self._random = random.Random(seed)
        self._turns = [threading.Lock() for _ in range(size)]  # held: not this rank's turn
        for turn in self._turns:
            turn.acquire()
        self._arriving = threading.Lock()
        self._arrived = 0
        self._living = set(range(size))
        self._waits: dict[int, _Wait] = {}
        self._parked: list[int] = []  # the dead whose threads are still there

    def clock(self) -> float:
        return self.now

    def draw(self, n: int) -> int:
        """A number of 0 to n - 1, from the seed."""
        return self._random.randrange(n)

    def begin(self, rank: int) -> None:
        """A rank's thread is there; returns when its first turn comes, after all are."""
        with self._arriving:
            self._arrived += 1
            last = self._arrived == len(self._turns)
        if last:
            self._hand_over()
        self._take_turn(rank)

    def switch(self, rank: int) -> None:
        """Let another rank go on, or this one."""
        self._check(rank)
        self.now += _TICK
        self._yield(rank)

    def wait(self, rank: int, ready: Callable[[], bool], until: float) -> None:
        """Let others go on until `ready` is true, or the clock shows `until`."""
        self._check(rank)
        self._waits[rank] = _Wait(ready, until)
        self._yield(rank)

    def sleep(self, rank: int, seconds: float) -> None:
        """Come back when the clock has gone on by some seconds."""
        self.wait(rank, _never, self.now + seconds)

    def die(self, rank: int) -> None:
        """This rank does nothing any more.  Raises Killed, when all others have ended."""
        self._living.remove(rank)
        self.dead.add(rank)
        self._parked.append(rank)
        self._yield(rank)
        raise Killed

    def end(self, rank: int) -> None:
        """This rank's thread is done."""
        self._living.discard(rank)
        self.leave(rank)
        self._hand_over()

    def _check(self, rank: int) -> None:
        if rank in self.dead:
            raise Killed

    def _yield(self, rank: int) -> None:
        following = self._choose()
        if following != rank:
            self.leave(rank)
            self._turns[following].release()
            self._take_turn(rank)

    def _hand_over(self) -> None:
        if self._living or self._parked:
            self._turns[self._choose()].release()
        else:
            self._finish()

    def _take_turn(self, rank: int) -> None:
        self._turns[rank].acquire()
        self.running = rank
        self.resume(rank)

    def _choose(self) -> int:
        """Whose turn it is next; the clock goes on where nobody's could be."""
        if not self._living:
            self._finish()
            return self._parked.pop()
        able = self._able()
        while not able:
            soonest = min(self._waits[rank].until for rank in self._living)
            if soonest == math.inf:
                self.stuck()
            else:
                self.now = soonest
            able = self._able()
        rank = able[self.draw(len(able))]
        self._waits.pop(rank, None)
        return rank

    def _able(self) -> list[int]:
        return [
            rank
            for rank in sorted(self._living)
            if (wait := self._waits.get(rank)) is None or wait.until <= self.now or wait.ready()
        ]

    def _finish(self) -> None:
        over, self.over = self.over, _nothing
        over()


def _nothing(rank: int = -1) -> None:
    pass


def _never() -> bool:
    return False
