"""Ranks that come and go while the job goes on: who is in it, and who has the newest state.

We see a process end at once, and are the only ones to say so.  Each rank has a socket to us, on which
messages are JSON:

    rank -> us  {"park": steps}     it waits for the others; how many steps it has completed, or -1
                                    if it can't say, or has only just been started
                {"say": value}      its part of an exchange among the ranks of a roster
                {"running": steps}  it goes on
                {"done": true}      it needs the others no more
    us -> rank  {"roster": steps of each, "rank": its number now}
                {"said": values, by rank}
                {"again": true}     one of the roster is gone: park
                {"newcomer": true}  a new rank is waiting: park after this step
                {"refused": true}   nobody has gone or come: it was no loss of a rank that you saw

A roster is made when all ranks that were in the last one, those that are gone apart, have parked; new
ones that wait are in it, others will be in a later one.
"""

from __future__ import annotations

import json
import socket
from typing import Any

VARIABLE = (
    "DTORCH_ELASTIC"  # the descriptor of a rank's socket; of one that came later, "late:" and it
)
_LONGEST = 1 << 20  # bytes of a message


class _Member:
    def __init__(self, link: socket.socket) -> None:
        self.link = link
        self.state = "starting"  # "parked", "meeting", "running", "done"
        self.joined = False  # whether it has been in a roster
        self.steps = -1
        self.entered = False  # whether it has called elastic.run: before that a loss is a failure
        self.synced = False  # whether it has the state of the others of the latest roster
        self.said: Any = None
        self.told_again = False

    def tell(self, **message: Any) -> None:
        try:
            self.link.send(json.dumps(message).encode(), socket.MSG_NOSIGNAL)
        except OSError:  # it is dead; its exit will tell
            return


class Elastic:
    """The ranks of an elastic job, by the number under which they were started.

    since: when a rank was lost that the others have not yet gone on without, by the job's clock
    """

    def __init__(self) -> None:
        self._members: dict[int, _Member] = {}
        self._generation = 0
        self._changed = True
        self._stopped = False
        self.since: float | None = None
        self.done = False

    def open(self, rank: int) -> tuple[socket.socket, str]:
        """A new rank's end of its socket, and the value of VARIABLE without the descriptor."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for end in (ours, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _LONGEST)
        ours.setblocking(False)
        self._members[rank] = _Member(ours)
        return theirs, "late:" if self._generation else ""

    def link(self, rank: int) -> socket.socket:
        return self._members[rank].link

    def spares(self, rank: int) -> bool:
        """Whether the others can do without it: all that are left train, or it has come too late."""
        if self.done:
            return not self._members[rank].joined
        others = [m for r, m in self._members.items() if r != rank and m.joined]
        return bool(others) and all(m.entered for m in others)

    def too_late(self) -> list[int]:
        """Ranks that were started in the place of others, and are not needed any more."""
        return [r for r, m in self._members.items() if not m.joined] if self.done else []

    def started(self, rank: int) -> bool:
        """Whether it has ever been in a roster, or waited for one."""
        return self._members[rank].state != "starting"

    def stop(self) -> None:
        """The job has failed: nobody is to go on."""
        self._stopped = True

    def remove(self, rank: int) -> None:
        """It is gone."""
        member = self._members.pop(rank)
        member.link.close()
        if member.state == "starting":
            return
        self._changed = True
        meeting = [m for m in self._members.values() if m.state == "meeting"]
        for other in meeting:
            if not other.told_again:
                other.told_again = True
                other.tell(again=True)
        self._form()

    def receive(self, rank: int) -> list[tuple[str, Any]] | None:
        """Take what a rank says; ("running", steps) and ("done", True) among it; None at its end."""
        member = self._members[rank]
        news: list[tuple[str, Any]] = []
        while True:
            try:
                data = member.link.recv(_LONGEST)
            except BlockingIOError:
                return news
            except ConnectionError:
                return None
            if not data:
                return None
            for what, value in json.loads(data).items():
                self._take(member, what, value)
                news.append((what, value))

    def running(self) -> list[int]:
        return sorted(rank for rank, m in self._members.items() if m.state == "running")

    def settled(self) -> bool:
        """Whether all go on whom the latest roster, which was not the first, has brought together."""
        members = [m for m in self._members.values() if m.state != "starting"]
        return self._generation > 1 and all(m.state == "running" and m.synced for m in members)

    def close(self) -> None:
        for member in self._members.values():
            member.link.close()

    def _take(self, member: _Member, what: str, value: Any) -> None:
        if what == "park":
            newcomer = member.state == "starting" and self._generation > 0
            member.state, member.steps = "parked", value
            member.told_again = False
            self._changed |= newcomer
            member.entered |= newcomer
            self._form()
            if newcomer and member.state == "parked":
                for other in self._members.values():
                    if other.state in ("running", "meeting"):
                        other.tell(newcomer=True)
        elif what == "say" and not member.told_again:
            member.said = [value]
            self._pass_on()
        elif what == "running":
            member.state, member.synced, member.entered = "running", True, True
        elif what == "done":
            member.state, self.done = "done", True

    def _form(self) -> None:
        """Make a roster if nobody is missing."""
        if self._generation:
            expected = [m for m in self._members.values() if m.state != "starting"]
        else:
            expected = list(self._members.values())
        if self._stopped or not expected or any(m.state != "parked" for m in expected):
            return
        if not self._changed:
            for member in expected:
                member.tell(refused=True)
            return
        self._generation += 1
        self._changed = False
        steps = [m.steps for _, m in sorted(self._members.items()) if m.state == "parked"]
        parked = [m for _, m in sorted(self._members.items()) if m.state == "parked"]
        for number, member in enumerate(parked):
            member.state, member.said, member.synced = "meeting", None, False
            member.joined = True
            member.tell(roster=steps, rank=number)

    def _pass_on(self) -> None:
        """Give everybody what all have said, once they have."""
        meeting = [m for _, m in sorted(self._members.items()) if m.state == "meeting"]
        if all(m.said is not None for m in meeting):
            said = [m.said[0] for m in meeting]
            for member in meeting:
                member.state, member.said = "running", None
                member.tell(said=said)
