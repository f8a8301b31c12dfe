"""The processes of this host's ranks: starting them, signalling them, and what is left at the end."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from dtorch_run.loop import Loop
from dtorch_run.pipes import Pipes
from dtorch_run.plan import Command, Plan
from dtorch_run.spawn import End, Process


class Ranks:
    """All that run; one of rank None is an mpirun, whose ranks are not our children.

    folder: where ranks leave word
    on_exit: called when a process has ended, and to call `take`
    """

    def __init__(
        self, plan: Plan, folder: Path, loop: Loop, pipes: Pipes, on_exit: Callable[[Process], None]
    ) -> None:
        self.running: set[Process] = set()
        self._plan, self._folder = plan, folder
        self._loop, self._pipes, self._on_exit = loop, pipes, on_exit

    def start(
        self, command: Command, told: Mapping[str, str], inherited: tuple[int, ...] = ()
    ) -> None:
        """`told` goes into its environment; it has the descriptors `inherited`."""
        if command.rank is None:  # mpirun would mix the lines of its ranks: they write to us
            for rank in self._plan.ranks:
                for stream in (1, 2):
                    fifo = self._folder / f"{rank}.{stream}"
                    os.mkfifo(fifo)
                    self._pipes.follow(os.open(fifo, os.O_RDONLY | os.O_NONBLOCK), rank, stream)
        process = Process(command, told, inherited)
        self.running.add(process)
        self._pipes.follow(process.stdout, command.rank, 1)
        self._pipes.follow(process.stderr, command.rank, 2)
        self._loop.watch(process.pidfd, partial(self._on_exit, process))

    def take(self, process: Process) -> End:
        """How a process has ended; the last of its output is passed on."""
        process.sweep()
        if process.rank is None:  # all ranks end with it
            self._pipes.finish_all()
        for fd in (process.stdout, process.stderr):
            self._pipes.finish(fd)
        self._loop.forget(process.pidfd)
        self.running.remove(process)
        return process.reap()

    def pids(self) -> dict[int, int]:
        """The process of each rank: our children, or as those of an mpirun have told us."""
        pids = {each.rank: each.pid for each in self.running if each.rank is not None}
        for path in self._folder.glob("*.pid"):
            with contextlib.suppress(ValueError):  # not yet written
                pids[int(path.stem)] = int(path.read_text())
        return pids

    def send(self, signum: int) -> None:
        for process in self.running:
            process.send(signum)

    def stop(self, signum: int) -> None:
        """Ask all to end."""
        for process in self.running:
            if process.rank is None and signum == signal.SIGABRT:
                self._abort_ranks()  # mpirun would keep it to itself
            else:
                process.send(signum)
                process.send(signal.SIGCONT)  # a stopped process would never see it

    def kill(self) -> None:
        for process in self.running:
            process.sweep()

    def close(self) -> None:
        """Kill those that are left, if the job's loop has been left by an exception."""
        self.kill()
        for process in self.running:
            process.reap()

    def _abort_ranks(self) -> None:
        for pid in self.pids().values():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGABRT)
