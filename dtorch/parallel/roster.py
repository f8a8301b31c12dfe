"""A rank's talk with dtorch-run --elastic, which says who is in the job (launcher's elastic.py)."""

from __future__ import annotations

import functools
import json
import select
import socket
from typing import Any, NamedTuple

from dtorch.core import env

from .identity import World
from .rendezvous import Meeting
from .work import DistError

_LONGEST = 1 << 20  # bytes of a message


class Refused(Exception):
    """No rank has gone or come."""


class Roster(NamedTuple):
    """Who is in the job now: this rank's number, and how many steps each rank has completed.

    -1 stands for a rank whose state is of no use: it is new, or was in the middle of an update.
    """

    rank: int
    steps: list[int]

    @property
    def donor(self) -> int | None:
        """The lowest of the ranks that are furthest; None where no state is of use."""
        return self.steps.index(max(self.steps)) if max(self.steps) >= 0 else None


class Launcher:
    """The socket to dtorch-run.

    late: this process was started in place of one that is gone: the others are training
    joining: whether it is to join the others now; before that, one that is late is alone
    steps: what is to be told of this rank's state when it next waits for a roster
    """

    def __init__(self, handle: int, late: bool) -> None:
        self._link = socket.socket(fileno=handle)
        self.late = late
        self.joining = not late
        self.steps = -1
        self.roster = Roster(0, [-1])

    def meet(self) -> Meeting:
        """Wait for the other ranks.  Refused where none has gone or come since."""
        self._tell(park=self.steps)
        told = self._hear("roster", "refused")
        if "refused" in told:
            raise Refused
        self.roster = Roster(told["rank"], told["roster"])
        return _Elastically(self)

    def exchange(self, value: Any) -> list[Any]:
        self._tell(say=value)
        told = self._hear("said", "again")
        if "again" in told:
            raise DistError("a rank ended while the others waited for it")
        return told["said"]

    def running(self, steps: int) -> None:
        self._tell(running=steps)

    def done(self) -> None:
        self._tell(done=True)

    def newcomer(self) -> bool:
        """Whether a new rank waits to be let in."""
        return bool(select.select([self._link], [], [], 0)[0])  # it is all that can come now

    def _tell(self, **message: Any) -> None:
        self._link.send(json.dumps(message).encode())

    def _hear(self, *expected: str) -> dict[str, Any]:
        while True:
            data = self._link.recv(_LONGEST)
            if not data:
                raise DistError("dtorch-run is gone")
            told = json.loads(data)
            if any(what in told for what in expected):
                return told


class _Elastically(Meeting):
    """The ranks of a roster."""

    def __init__(self, launcher: Launcher) -> None:
        rank, size = launcher.roster.rank, len(launcher.roster.steps)
        super().__init__(World(rank, size, rank, size, "dtorch-run --elastic"), None)
        self._launcher = launcher

    def exchange(self, value: Any) -> list[Any]:
        return self._launcher.exchange(value)


@functools.cache
def launcher() -> Launcher | None:
    """The launcher, if this is a rank of `dtorch-run --elastic`."""
    told = env.ELASTIC.get()
    late, _, handle = told.rpartition(":")
    return Launcher(int(handle), bool(late)) if told else None
