"""The flight recorder: a rank's latest collectives, kept in memory, and written down on failure."""

from __future__ import annotations

import functools
import json
import os
import socket
import tempfile
import time
from collections import deque

from dtorch.core import env

from .collective import Collective

_KEPT = 1000


class Entry:
    """One collective, or message, of this rank.

    group, ranks: the group's name, and the numbers in the world of its ranks
    started, ended: seconds since 1970; None: not yet
    state: "scheduled" (asked for), "started" (the ranks agree, data moves), "completed", "failed"
    """

    __slots__ = ("collective", "ended", "group", "ranks", "started", "state")

    def __init__(self, group: str, ranks: tuple[int, ...], collective: Collective) -> None:
        self.group, self.ranks, self.collective = group, ranks, collective
        self.started = time.time()
        self.ended: float | None = None
        self.state = "scheduled"

    def end(self, state: str) -> None:
        self.state, self.ended = state, time.time()

    def __str__(self) -> str:
        return str(self.collective)


class FlightRecorder:
    """The latest 1,000 collectives of one rank, whatever their groups.

    entries: the oldest first
    latest: for each group, by its name, the last one that was asked for
    """

    def __init__(self, rank: int) -> None:
        self.rank = rank
        self.entries: deque[Entry] = deque(maxlen=_KEPT)
        self.latest: dict[str, Entry] = {}

    def record(self, group: str, ranks: tuple[int, ...], collective: Collective) -> Entry:
        entry = Entry(group, ranks, collective)
        self.entries.append(entry)
        if collective.seq:
            self.latest[group] = entry
        return entry

    def dump(self, path: str | None = None) -> str:
        """Write everything to a file, as JSON, a line for each entry; returns its path.

        path: flight-rank<rank>.json in the folder that DTORCH_RUN_DIR names if None, or in a new
            one for temporary files
        """
        if path is None:
            folder = env.RUN_DIR.get() or _temporary()
            os.makedirs(folder, exist_ok=True)
            path = os.path.join(folder, f"flight-rank{self.rank}.json")
        who = {"rank": self.rank, "host": socket.gethostname(), "pid": os.getpid()}
        lines = [json.dumps(_told(entry)) for entry in tuple(self.entries)]
        with open(path, "w", encoding="utf-8") as file:  # a line for each, for grep
            file.write(f'{json.dumps(who)[:-1]}, "entries": [\n' + ",\n".join(lines) + "\n]}\n")
        return path

    def attach(self, error: Exception) -> None:
        """Write everything down for an error, and say in its text where; once for each error."""
        if hasattr(error, "flight_record"):
            return
        try:
            path = self.dump()
            note = f"The latest collectives of rank {self.rank} are in {path}"
        except OSError as failure:  # a full disk must not hide what has happened
            path = ""
            note = f"The latest collectives of rank {self.rank} can't be written: {failure}"
        error.flight_record = path  # type: ignore[attr-defined]
        error.args = (f"{error}\n{note}",)


@functools.cache
def _temporary() -> str:
    return tempfile.mkdtemp(prefix="dtorch-")


def _told(entry: Entry) -> dict[str, object]:
    collective = entry.collective._asdict()
    site = collective.pop("site")
    return {
        **collective,
        "group": entry.group,
        "line": site.line,
        "source": site.text,
        "started": entry.started,
        "ended": entry.ended,
        "state": entry.state,
    }
