"""What the ranks of a job say of themselves: the latest, rates, who holds up the others, the past.

Pure: beats go in, a table comes out.
"""

from __future__ import annotations

import math
import time
from collections import deque
from typing import Any, NamedTuple

_WINDOW = 20  # beats that a rate is taken over: 10 seconds
_POINTS = 600  # of the past; when there are more, every second one goes
_APART = 0.2  # between shares of time spent waiting, from which on one rank holds up the others


class Beat(NamedTuple):
    """One message of a rank; see `beat` in dtorch/parallel/control.py."""

    rank: int
    number: int
    seconds: float
    host: str
    pid: int
    device: str
    steps: int
    samples: int
    loss: float | str | None  # in words if it isn't finite
    waited: float
    memory: int
    last: str
    waits: bool


_NUMBER, _TEXT = (int, float), (str,)
_TYPES = {
    "rank": (int,), "number": (int,), "seconds": _NUMBER, "host": _TEXT, "pid": (int,),
    "device": _TEXT, "steps": (int,), "samples": (int,), "loss": (*_NUMBER, str, type(None)),
    "waited": _NUMBER, "memory": (int,), "last": _TEXT, "waits": (bool,),
}  # fmt: skip
_LONGEST = 500  # characters of a text
_MOST = 1e19  # of a number; nanoseconds since the machine's start are 1e18 after 30 years


def read(told: Any, size: int) -> Beat:
    """The beat that a message holds.  ValueError for anything else."""
    if not isinstance(told, dict) or told.keys() != _TYPES.keys():
        raise ValueError(f"expected {', '.join(_TYPES)}, got {told!r}")
    for field, value in told.items():
        if type(value) not in _TYPES[field]:
            raise ValueError(f"{field} must be of {_TYPES[field]}, got {value!r}")
        if type(value) in _NUMBER and not abs(value) < (math.inf if field == "loss" else _MOST):
            raise ValueError(f"{field} must be finite, and less than {_MOST:g}, got {value!r}")
        if isinstance(value, str) and len(value) > _LONGEST:
            raise ValueError(f"{field} is longer than {_LONGEST} characters")
    beat = Beat(**told)
    if not 0 <= beat.rank < size:
        raise ValueError(f"rank must be 0 to {size - 1}, got {beat.rank}")
    return beat


class Board:
    """The beats of all ranks of a job.

    latest: of each rank that has said anything
    past: (seconds since the begin, steps, mean loss, rate) of the job, the oldest first
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._began = time.monotonic()
        self._beats: dict[int, deque[tuple[float, Beat]]] = {}  # with when they came
        self._lost: dict[int, int] = {}  # ranks that are gone, and the processes that they were
        self.past: list[tuple[float, int, float | None, float]] = []
        self._every = self._skipped = 1

    def add(self, beat: Beat) -> bool:
        """Take a beat; False for one that has been here, or that comes after a newer one."""
        now = time.monotonic()
        if self._lost.get(beat.rank) == beat.pid:
            return True  # it was on its way
        self._lost.pop(beat.rank, None)
        beats = self._beats.setdefault(beat.rank, deque(maxlen=_WINDOW))
        if beats and beat.number <= beats[-1][1].number:
            return False
        if beats and beat.pid != beats[-1][1].pid:
            beats.clear()  # another process counts from its own start
        beats.append((now, beat))
        if beat.rank == min(self._beats) and len(beats) > 1:  # else there is no rate yet
            self._remember(now)
        return True

    def lose(self, rank: int, pid: int) -> None:
        """The others go on without it, until another process has its place."""
        self._lost[rank] = pid
        self._beats.pop(rank, None)

    def last_words(self, rank: int) -> str:
        """The latest collective that a rank has told of; empty if there is none."""
        if rank not in self._beats or not self._beats[rank][-1][1].last:
            return ""
        _, beat = self._beats[rank][-1]
        return f"{beat.last} (as it said last, after {beat.steps} steps)"

    def table(self) -> dict[str, Any]:
        """For people and programs: all of JSON's types.  Shares are of the last ten seconds."""
        now = time.monotonic()
        ranks = [self._row(rank, now) for rank in sorted(self._beats)]
        return {
            "size": self._size,
            "seconds": now - self._began,
            "ranks": ranks,
            "silent": [
                r for r in range(self._size) if r not in self._beats and r not in self._lost
            ],
            "lost": sorted(self._lost),
            "straggler": straggler(ranks),
        }

    def _row(self, rank: int, now: float) -> dict[str, Any]:
        beats = self._beats[rank]
        came, beat = beats[-1]
        return {
            "rank": rank, "host": beat.host, "pid": beat.pid, "device": beat.device,
            "steps": beat.steps, "steps_per_s": self._rate(rank, "steps"),
            "samples_per_s": self._rate(rank, "samples"), "loss": beat.loss,
            "memory": beat.memory, "wait_share": min(1.0, self._rate(rank, "waited")),
            "last": beat.last, "waits": beat.waits, "age": now - came,
        }  # fmt: skip

    def _rate(self, rank: int, what: str) -> float:
        """How fast a count has grown lately, a second."""
        beats = self._beats[rank]
        first, last = beats[0][1], beats[-1][1]
        passed = last.seconds - first.seconds
        return (
            max(0.0, (getattr(last, what) - getattr(first, what)) / passed) if passed > 0 else 0.0
        )

    def _remember(self, now: float) -> None:
        self._skipped += 1
        if self._skipped < self._every:
            return
        self._skipped = 0
        newest = [beats[-1][1] for beats in self._beats.values()]
        losses = [beat.loss for beat in newest if isinstance(beat.loss, (int, float))]
        mean = sum(loss / len(losses) for loss in losses) if losses else None
        rate = sum(self._rate(rank, "samples") for rank in self._beats)
        if not any(beat.samples for beat in newest):
            rate = max(self._rate(rank, "steps") for rank in self._beats)
        self.past.append((now - self._began, max(beat.steps for beat in newest), mean, rate))
        if len(self.past) > _POINTS:
            del self.past[1::2]
            self._every *= 2


def straggler(rows: list[dict[str, Any]]) -> int | None:
    """The rank that the others wait for: it waits itself the least, by far.  None: there is none."""
    if len(rows) < 2:
        return None
    by_wait = sorted(rows, key=lambda row: row["wait_share"])
    apart = by_wait[1]["wait_share"] - by_wait[0]["wait_share"]
    return by_wait[0]["rank"] if apart > _APART else None
