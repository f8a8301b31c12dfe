"""Ranks that stand still, stopped by a signal: they don't end, and the others wait for them."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

from dtorch_run.loop import Loop

_LOOK = 0.25  # seconds between looks


class Standstill:
    """Looks now and then, until `over`, and says so.

    pids: the process of each rank; kills: whether a rank that stands still is not waited for
    frozen: the ranks that did at the latest look
    """

    def __init__(
        self,
        loop: Loop,
        pids: Callable[[], dict[int, int]],
        say: Callable[[str], None],
        kills: bool,
    ) -> None:
        self.frozen: set[int] = set()
        self.over = False
        self._loop, self._pids, self._say, self._kills = loop, pids, say, kills
        loop.after(_LOOK, self._look)

    def _look(self) -> None:
        if self.over:
            return
        pids = self._pids()
        frozen = {rank for rank, pid in pids.items() if _state(pid) == "T"}
        for rank in sorted(frozen - self.frozen):
            then = f"the others will wait for it: `kill -CONT {pids[rank]}` lets it go on"
            if self._kills:
                then = f"it is killed if it still does in {_LOOK} s"
            self._say(
                f"rank {rank} (process {pids[rank]}) stands still, stopped by SIGSTOP; {then}"
            )
        for rank in sorted((self.frozen - frozen) & pids.keys()):
            self._say(f"rank {rank} goes on")
        if self._kills:  # at the second look: it may be for a moment only
            for rank in frozen & self.frozen:
                os.kill(pids[rank], signal.SIGKILL)
        self.frozen = frozen
        self._loop.after(_LOOK, self._look)


def _state(pid: int) -> str:
    """proc(5): R, S, D, T (stopped by a signal), t (by a debugger), Z ..., empty when it is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0].decode()
    except OSError:
        return ""
