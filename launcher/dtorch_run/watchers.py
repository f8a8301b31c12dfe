"""What lets others watch a running job: its control plane (see `control`), and the dashboard."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dtorch_run.loop import Loop
from dtorch_run.peers import Peers
from dtorch_run.plan import Plan

if TYPE_CHECKING:
    from dtorch_run.control import Control

CONTROL_FILE = "control.json"  # in the folder where ranks leave word: how to reach the job


class Watchers:
    """Opened while the ranks start: they look for it later.  Without it the job goes on unwatched."""

    def __init__(self, plan: Plan, loop: Loop, peers: Peers, say: Callable[[str], None]) -> None:
        self._plan, self._loop, self._peers, self._say = plan, loop, peers, say
        self._control: Control | None = None
        self._dashboard: subprocess.Popen[bytes] | None = None

    def listen(self, file: Path) -> None:
        """Open the control plane; `file` will say how to reach it."""
        from dtorch_run.control import Control, ZMQError  # loads zmq

        plan = self._plan
        about = {"job": plan.job, "folder": plan.folder, "pid": os.getpid()}
        forward = None if plan.hosts.node == 0 else lambda beat: self._peers.tell(beat=beat)
        try:
            self._control = Control(file, plan.size, about, forward)
        except (OSError, ZMQError) as error:  # a full disk is no reason to end the job
            self._say(f"no status of this job can be had: {error}")
            return
        for fd in self._control.fds:
            self._loop.watch(fd, self._on_message)
        self._on_message()

    def show(self) -> None:
        """Have a process serve the dashboard.  It ends with the job, as all of its processes do.

        It prints the address itself: with its token, that is nothing for the job's folder.
        """
        if self._control is None:
            return
        self._dashboard = subprocess.Popen(
            (sys.executable, "-m", "dtorch_run", "dashboard", self._plan.folder),
            env={**os.environ, "DTORCH_PART": self._plan.part},
            stdin=subprocess.DEVNULL,
            stdout=2,
            start_new_session=True,
        )

    def add(self, beat: Any) -> None:
        """What a rank of another host says."""
        if self._control is not None:
            self._control.add(beat)

    def last_words(self, rank: int) -> str:
        """The latest collective that a rank has told of; empty if there is none."""
        return "" if self._control is None else self._control.board.last_words(rank)

    def lose(self, rank: int, pid: int) -> None:
        """The others go on without it."""
        if self._control is not None:
            self._control.board.lose(rank, pid)

    def status(self) -> dict[str, Any] | None:
        return None if self._control is None else self._control.status(past=True)

    def close(self) -> None:
        """When the job's processes have ended, the dashboard among them."""
        if self._control is not None:
            self._control.close()
        if self._dashboard is not None:
            self._dashboard.wait()

    def _on_message(self) -> None:
        assert self._control is not None
        if self._control.turn():  # a flood: the rest of the loop has its turn first
            self._loop.after(0.0, self._on_message)
