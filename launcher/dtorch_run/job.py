"""The running job: what happens to its ranks, and what follows from it.

A rank that fails ends the others; what each left behind becomes its `Ending`.  What does the work:

    loop        waits for all there is to wait for, in one thread
    ranks       the processes: started, signalled, ended (spawn: one of them)
    pipes       their output
    pmi_links   their way into an MPI world
    standstill  tells of those that are stopped
    survivors   goes on without those that are lost (--elastic)
    watchers    what others see of the job
    peers       the launchers of its other hosts
    janitor     ends what is left of it, also when we are killed
"""

from __future__ import annotations

import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from dtorch_run import cgroup, ending, janitor
from dtorch_run.elastic import VARIABLE
from dtorch_run.logs import Line, Output
from dtorch_run.loop import Loop
from dtorch_run.peers import Peers
from dtorch_run.pipes import Pipes
from dtorch_run.plan import Command, Plan
from dtorch_run.pmi import Abort, Reply
from dtorch_run.pmi_links import PmiLinks
from dtorch_run.ranks import Ranks
from dtorch_run.report import REQUEUE, Ending, Outcome
from dtorch_run.spawn import Process, stand_by
from dtorch_run.standstill import Standstill
from dtorch_run.survivors import Survivors
from dtorch_run.watchers import CONTROL_FILE, Watchers

_GRACE_AFTER_FAILURE = 1.0  # seconds from the polite signal to SIGKILL
_GRACE_AFTER_SIGNAL = 5.0


class Job:
    """The ranks of one plan, from start to end.

    `settle` is how many seconds the other ranks go on after the first failure: one that saw its
    peer's connection close may be noticed before the peer's death is.  With `stacks` they then
    end by SIGABRT, at which each leaves its stack in its `Ending`; else by SIGTERM.  `watched`: ranks
    tell how far they are, and others may ask for it; `dashboard`: on a web page, too.
    """

    def __init__(
        self,
        plan: Plan,
        output: Output,
        settle: float = 0.1,
        stacks: bool = False,
        peers: Peers | None = None,
        watched: bool = False,
        dashboard: bool = False,
    ) -> None:
        self._plan, self._output, self._settle = plan, output, settle
        self._stop_signal = signal.SIGABRT if stacks else signal.SIGTERM
        self._watched, self._shows = watched, dashboard and plan.hosts.node == 0
        self._endings: list[Ending] = []
        self._lost: list[Ending] = []  # of ranks without which the others have gone on
        self._failed = self._timed_out = False
        self._signal: int | None = None
        self._stopped_at: float | None = None
        self._abort: tuple[float, Abort] | None = None  # when, and what MPI_Abort said
        self._killed_before = cgroup.memory().kills
        self._peers = peers or Peers({}, {})
        self._waiting = set(self._peers.links)  # hosts whose ranks, or the whole job, go on
        self._folder = Path(tempfile.mkdtemp(prefix=f"{plan.job}-"))  # where ranks leave word
        self._loop = Loop()
        self._pipes = Pipes(self._loop, output)
        self._ranks = Ranks(plan, self._folder, self._loop, self._pipes, self._on_exit)
        self._pmi = PmiLinks(plan, self._loop, self._peers, self._on_abort)
        self._watchers = Watchers(plan, self._loop, self._peers, self._say)
        self._survivors = None
        if plan.elastic is not None:
            self._survivors = Survivors(plan, self._loop, self._ranks, self._say, self._start)
        elastic = self._survivors is not None
        self._standstill = Standstill(self._loop, self._ranks.pids, self._say, kills=elastic)
        self._janitor: subprocess.Popen[bytes] | None = None

    def run(self) -> Outcome:
        """Start all ranks, and return when nothing of them is left."""
        plan = self._plan
        try:
            self._janitor = stand_by(plan.part, self._leftovers())
            for command in plan.commands:
                self._start(command.rank)
            if self._watched:  # while they are starting: they look for it later
                self._watchers.listen(self._folder / CONTROL_FILE)
            if self._shows:
                self._watchers.show()
            for node, peer in self._peers.links.items():
                self._loop.watch(peer, partial(self._on_peer, node))
            if plan.timeout is not None:
                self._loop.after(plan.timeout, self._on_timeout)
            while self._ranks.running or self._waiting:
                self._loop.turn(self._output.settle())
            self._peers.tell(end=True)
        finally:
            self._clean_up()
        timeout = plan.timeout if self._timed_out else None
        status = self._watchers.status()
        return Outcome(
            plan.size, tuple(self._endings), self._signal, timeout, self._memory(), status,
            tuple(self._lost),
        )  # fmt: skip

    def watch(self, fd: int, callback: Callable[[], None]) -> None:
        """Have the loop call back whenever there is something to read."""
        self._loop.watch(fd, callback)

    def interrupt(self, signum: int) -> None:
        """The launcher was told to end: pass it on to the ranks.  The second time, kill them.

        SIGUSR1 only asks them to: Slurm sends it before the time is up, and they have what is left.
        """
        if signum == signal.SIGUSR1:
            self._peers.tell(signal=signum)
            self._ranks.send(signum)
        elif self._signal is None:
            self._signal = signum
            self._peers.tell(signal=signum)
            self._stop(signum, _GRACE_AFTER_SIGNAL)
        else:
            self._ranks.kill()

    # starting

    def _start(self, rank: int | None) -> None:
        command = next(each for each in self._plan.commands if each.rank == rank)
        told = {
            "DTORCH_WORD_DIR": str(self._folder),
            "DTORCH_CONTROL": str(self._folder / CONTROL_FILE) if self._watched else "",
        }
        if rank is not None and self._plan.starter == "pmi":
            self._start_with("PMI_FD", "", self._pmi.open(rank), command, told)
        elif rank is not None and self._survivors is not None:
            link, mark = self._survivors.open(rank)
            self._start_with(VARIABLE, mark, link, command, told)
        else:
            self._ranks.start(command, told)

    def _start_with(
        self, variable: str, mark: str, link: socket.socket, command: Command, told: dict[str, str]
    ) -> None:
        """A rank that inherits its end of a socket, whose number a variable says, after a mark."""
        with link:
            fd = link.fileno()
            self._ranks.start(command, {**told, variable: f"{mark}{fd}"}, (fd,))

    # what may happen

    def _on_exit(self, process: Process) -> None:
        now = time.monotonic()
        code, peak = self._ranks.take(process)
        if self._survivors is not None and process.rank is not None:
            lost = self._survivors.lose(process, code, now, stopping=self._stopped_at is not None)
            if lost:
                self._lost.append(self._ending(process.rank, code, now, peak))
                self._standstill.frozen.discard(process.rank)
                self._watchers.lose(process.rank, process.pid)
                return
        if process.rank is not None:
            self._endings.append(self._ending(process.rank, code, now, peak))
        else:
            ends = [self._ending(rank, code, now) for rank in self._plan.ranks]
            told = [end for end in ends if end.summary or end.traceback]  # the others left no word
            self._endings += told or [self._ending(None, code, now)]
        self._tell_first(self._endings[-1])
        if code not in (0, REQUEUE):  # which all ranks end with, or none
            self._fail()

    def _on_abort(self, abort: Abort) -> None:
        self._abort = time.monotonic(), abort
        # In the library MPI_Abort returns: it counts on us to end the process.
        for process in self._ranks.running:
            if process.rank == abort.rank:
                process.sweep()
        self._fail()

    def _on_timeout(self) -> None:
        if self._stopped_at is None:
            self._timed_out = True
            self._stop(signal.SIGABRT, _GRACE_AFTER_FAILURE)

    # the other hosts

    def _tell_first(self, end: Ending) -> None:
        """The first host keeps account of all ranks."""
        if self._plan.hosts.node > 0:
            self._peers.tell(ending=asdict(end))
            if not self._ranks.running:
                self._peers.tell(done=True)

    def _on_peer(self, node: int) -> None:
        messages = self._peers.links[node].receive()
        if messages is None:
            self._loop.forget(self._peers.links[node])
            if node in self._waiting:
                self._waiting.remove(node)
                self._on_loss(node)
        for message in messages or []:
            for what, value in message.items():
                if what != "data":
                    self._on_message(node, what, value, message)

    def _on_message(self, node: int, what: str, value: Any, message: dict[str, Any]) -> None:
        if what == "pmi" and self._plan.hosts.node == 0:
            self._pmi.serve(value, message["data"].encode())
        elif what == "pmi":
            self._pmi.pass_on(Reply(value, message["data"].encode()))
        elif what == "ending":  # its clock is another's
            end = Ending(**{**value, "time": time.monotonic()})
            self._endings.append(replace(end, done=end.done and end.time))
            if end.code not in (0, REQUEUE) and not end.stopped:
                self._fail()
        elif what == "beat":
            self._watchers.add(value)
        elif what == "abort":
            self._on_abort(Abort(*value))
        elif what == "stop":
            if value["rank"] not in self._plan.ranks:  # else it is among the endings already
                self._endings.append(Ending(**{**value, "time": 0.0}))
            self._stop_others()
        elif what == "signal" and (self._signal is None or value == signal.SIGUSR1):
            self.interrupt(value)
        elif what in ("done", "end"):
            self._waiting.discard(node)

    def _on_loss(self, node: int) -> None:
        """A host's launcher is gone, and so are its ranks."""
        first = node * self._plan.local_size
        told = {end.rank for end in self._endings}
        why = f"its host, {self._peers.names[node]} (number {node}), can't be reached any more"
        for rank in range(first, first + self._plan.local_size):
            if rank not in told:
                self._endings.append(Ending(rank, 1, time.monotonic(), False, why))
        self._fail()

    # ending

    def _fail(self) -> None:
        if not self._failed:
            self._failed = True
            self._loop.after(self._settle, self._stop_others)

    def _stop_others(self) -> None:
        first = Outcome(self._plan.size, tuple(self._endings)).first_failure()
        if self._plan.hosts.node == 0 and first is not None:
            self._peers.tell(stop=asdict(first))
        if self._stopped_at is None:
            self._stop(self._stop_signal, _GRACE_AFTER_FAILURE)

    def _stop(self, signum: int, grace: float) -> None:
        self._stopped_at = self._stopped_at or time.monotonic()
        self._standstill.over = True
        self._ranks.stop(signum)
        self._loop.after(grace, self._ranks.kill)
        self._loop.after(2 * grace, self._waiting.clear)  # of hosts that give no answer

    def _ending(self, rank: int | None, code: int, now: float, peak: int | None = None) -> Ending:
        end = ending.read(self._folder, Path(self._plan.folder), rank, code, now, peak)
        if not end.summary and self._abort is not None and self._abort[1].rank == rank:
            # We ended it for that, so how it exited says nothing.
            when, abort = self._abort
            end = replace(end, code=abort.code, time=when, summary="MPI_Abort", done=None)
        if self._stopped_at is None or end.time < self._stopped_at:
            if end.code < 0 and rank is not None and not end.last:  # it left no record
                return replace(end, last=self._watchers.last_words(rank))
            return end
        frozen = rank in self._standstill.frozen
        return replace(
            end, stopped=True, frozen=frozen, code=-signal.SIGSTOP if frozen else end.code
        )

    def _say(self, text: str) -> None:
        self._output.line(None, True, Line(f"dtorch-run: {text}".encode(), False))

    def _memory(self) -> cgroup.Memory:
        """Our control group's, with the kills for want of memory since the job began."""
        now = cgroup.memory()
        if now.kills is None or self._killed_before is None:
            return now
        return now._replace(kills=now.kills - self._killed_before)

    def _leftovers(self) -> list[str]:
        """What the job may leave in the file system; a killed rank leaves MPICH's shared memory."""
        return [str(self._folder), *(f"/dev/shm/{name}*" for name in self._pmi.segments())]

    def _clean_up(self) -> None:
        self._ranks.close()
        janitor.end(self._plan.part)  # what has moved to a session of its own
        self._pipes.close()
        self._pmi.close()
        if self._survivors is not None:
            self._survivors.close()
        self._peers.close()
        self._loop.close()
        self._watchers.close()
        janitor.remove(self._leftovers())
        if self._janitor is not None:
            self._janitor.communicate(b"done")
        self._output.settle(everything=True)
