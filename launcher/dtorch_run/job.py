"""The running job: every rank's exit, output, PMI socket and deadline, in one loop without threads.

A rank that fails ends the others; what each left behind becomes its `Ending`.
"""

from __future__ import annotations

import contextlib
import errno
import heapq
import os
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dtorch_run import cgroup, ending, janitor
from dtorch_run.elastic import VARIABLE, Elastic
from dtorch_run.logs import Line, Lines, Output
from dtorch_run.peers import Peers
from dtorch_run.plan import Command, Plan
from dtorch_run.pmi import Abort, Pmi, Reply
from dtorch_run.report import REQUEUE, Ending, Outcome, ranks_named, signal_name
from dtorch_run.spawn import Process

if TYPE_CHECKING:
    from dtorch_run.control import Control

_GRACE_AFTER_FAILURE = 1.0  # seconds from the polite signal to SIGKILL
_GRACE_AFTER_SIGNAL = 5.0
CONTROL_FILE = "control.json"  # in the folder where ranks leave word: how to reach the job
_LOOK = 0.25  # seconds between looks at whether a rank stands still


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
        self._plan = plan
        self._output = output
        self._settle = settle
        self._stop_signal = signal.SIGABRT if stacks else signal.SIGTERM
        self._selector = selectors.DefaultSelector()
        self._alarms: list[tuple[float, int, Callable[[], None]]] = []
        self._alarm_number = count()
        self._running: set[Process] = set()
        self._streams: dict[int, _Stream] = {}  # by descriptor
        self._pmi = Pmi(plan.size, plan.job, plan.hosts.size)
        self._peers = peers or Peers({}, {})
        self._waiting = set(self._peers.links)  # hosts whose ranks, or the whole job, go on
        self._elastic = None if plan.elastic is None else Elastic()
        self._links: dict[int, socket.socket] = {}  # PMI sockets by rank
        self._endings: list[Ending] = []
        self._failed = self._timed_out = False
        self._signal: int | None = None
        self._stopped_at: float | None = None
        self._aborted_at: float | None = None
        self._frozen: set[int] = set()  # ranks that stood still at the latest look
        self._killed_before = cgroup.memory().kills
        self._folder = Path()
        self._watched, self._shows = watched, dashboard and plan.hosts.node == 0
        self._dashboard: subprocess.Popen[bytes] | None = None
        self._control: Control | None = None
        self._janitor: subprocess.Popen[bytes] | None = None

    def run(self) -> Outcome:
        """Start all ranks, and return when nothing of them is left."""
        self._folder = Path(tempfile.mkdtemp(prefix=f"{self._plan.job}-"))
        try:
            self._janitor = self._call_janitor()
            for command in self._plan.commands:
                self._start(command)
            if self._watched:  # while they are starting: they look for it later
                self._listen()
            self._after(_LOOK, self._look)
            for node, peer in self._peers.links.items():
                self.watch(peer.fileno(), partial(self._on_peer, node))
            if self._plan.timeout is not None:
                self._after(self._plan.timeout, self._on_timeout)
            while self._running or self._waiting:
                self._turn()
            self._peers.tell(end=True)
        finally:
            self._clean_up()
        return Outcome(
            self._plan.size,
            tuple(self._endings),
            self._signal,
            self._plan.timeout if self._timed_out else None,
            self._memory(),
            None if self._control is None else self._control.status(past=True),
        )

    def watch(self, fd: int, callback: Callable[[], None]) -> None:
        """Have the loop call back whenever there is something to read."""
        self._selector.register(fd, selectors.EVENT_READ, callback)

    def interrupt(self, signum: int) -> None:
        """The launcher was told to end: pass it on to the ranks.  The second time, kill them.

        SIGUSR1 only asks them to: Slurm sends it before the time is up, and they have what is left.
        """
        if signum == signal.SIGUSR1:
            self._peers.tell(signal=signum)
            for process in self._running:
                process.send(signum)
        elif self._signal is None:
            self._signal = signum
            self._peers.tell(signal=signum)
            self._stop(signum, _GRACE_AFTER_SIGNAL)
        else:
            self._kill()

    # the loop

    def _turn(self) -> None:
        alarm = max(0.0, self._alarms[0][0] - time.monotonic()) if self._alarms else None
        output = self._output.settle()
        wait = min((x for x in (alarm, output) if x is not None), default=None)
        for key, _ in self._selector.select(wait):
            if key.fd in self._selector.get_map():  # an earlier callback may have closed it
                key.data()
        while self._alarms and self._alarms[0][0] <= time.monotonic():
            heapq.heappop(self._alarms)[2]()

    def _after(self, seconds: float, action: Callable[[], None]) -> None:
        alarm = (time.monotonic() + seconds, next(self._alarm_number), action)
        heapq.heappush(self._alarms, alarm)

    # starting

    def _start(self, command: Command) -> None:
        if command.rank is None:  # mpirun would mix the lines of its ranks: they write to us
            for rank in self._plan.ranks:
                for stream in (1, 2):
                    fifo = self._folder / f"{rank}.{stream}"
                    os.mkfifo(fifo)
                    self._follow(os.open(fifo, os.O_RDONLY | os.O_NONBLOCK), rank, stream)
        told = {
            "DTORCH_WORD_DIR": str(self._folder),
            "DTORCH_CONTROL": str(self._folder / CONTROL_FILE) if self._watched else "",
        }
        if self._plan.starter == "pmi" and command.rank is not None:
            rank = command.rank
            ours, theirs = socket.socketpair()
            with theirs:
                fd = theirs.fileno()
                process = Process(command, {**told, "PMI_FD": str(fd)}, (fd,))
            self._links[rank] = ours
            self.watch(ours.fileno(), lambda: self._on_pmi(rank))
        elif self._elastic is not None and command.rank is not None:
            process = self._start_elastic(command, command.rank, told)
        else:
            process = Process(command, told)
        self._running.add(process)
        self._follow(process.stdout, command.rank, 1)
        self._follow(process.stderr, command.rank, 2)
        self.watch(process.pidfd, lambda: self._on_exit(process))

    def _listen(self) -> None:
        """Open the control plane."""
        from dtorch_run.control import Control, ZMQError  # loads zmq

        plan = self._plan
        about = {"job": plan.job, "folder": plan.folder, "pid": os.getpid()}
        forward = None if plan.hosts.node == 0 else lambda beat: self._peers.tell(beat=beat)
        try:
            self._control = Control(self._folder / CONTROL_FILE, plan.size, about, forward)
        except (OSError, ZMQError) as error:  # a full disk is no reason to end the job
            self._say(f"no status of this job can be had: {error}")
            return
        for fd in self._control.fds:
            self.watch(fd, self._on_control)
        self._on_control()
        if self._shows:
            self._show()

    def _show(self) -> None:
        """Have a process serve the dashboard.  It ends with the job, as all of its processes do.

        It prints the address itself: with its token, that is nothing for the job's folder.
        """
        self._dashboard = subprocess.Popen(
            (sys.executable, "-m", "dtorch_run", "dashboard", self._plan.folder),
            env={**os.environ, "DTORCH_PART": self._plan.part},
            stdin=subprocess.DEVNULL,
            stdout=2,
            start_new_session=True,
        )

    def _start_elastic(self, command: Command, rank: int, told: dict[str, str]) -> Process:
        assert self._elastic is not None
        theirs, mark = self._elastic.open(rank)
        self.watch(
            self._elastic.link(rank).fileno(), partial(self._on_elastic, self._elastic, rank)
        )
        with theirs:
            fd = theirs.fileno()
            return Process(command, {**told, VARIABLE: f"{mark}{fd}"}, (fd,))

    def _follow(self, fd: int, rank: int | None, stream: int) -> None:
        os.set_blocking(fd, False)
        self._streams[fd] = _Stream(rank, stream == 2, self._output)
        self.watch(fd, lambda: self._on_output(fd))

    # what may happen

    def _on_output(self, fd: int) -> None:
        data = _read_ready(fd)
        if data:
            self._streams[fd].feed(data)
        elif data is not None:
            self._unfollow(fd)

    def _on_control(self) -> None:
        assert self._control is not None
        if self._control.turn():  # a flood: the rest of the loop has its turn first
            self._after(0.0, self._on_control)

    def _on_pmi(self, rank: int) -> None:
        try:
            data = self._links[rank].recv(1 << 16)
        except ConnectionError:
            data = b""
        if not data:
            self._unlink(rank)
            return
        if self._plan.hosts.node == 0:
            self._answer(rank, data)
        else:
            self._peers.tell(pmi=rank, data=data.decode("utf-8", "replace"))

    def _answer(self, rank: int, data: bytes) -> None:
        """Serve a rank of any host."""
        for reply in self._pmi.feed(rank, data):
            node = reply.rank // self._plan.local_size
            if node == 0:
                self._pass_on(reply)
            else:
                self._peers.tell_one(node, pmi=reply.rank, data=reply.data.decode())
        if self._pmi.abort is not None and self._aborted_at is None:
            self._peers.tell(abort=self._pmi.abort)
            self._on_abort(self._pmi.abort)

    def _pass_on(self, reply: Reply) -> None:
        link = self._links.get(reply.rank)
        if link is not None:
            try:
                link.sendall(reply.data, socket.MSG_NOSIGNAL)
            except ConnectionError:  # it is dead; its exit will tell
                self._unlink(reply.rank)

    def _on_abort(self, abort: Abort) -> None:
        self._pmi.abort = abort
        self._aborted_at = time.monotonic()
        # In the library MPI_Abort returns: it counts on us to end the process.
        for process in self._running:
            if process.rank == abort.rank:
                process.sweep()
        self._fail()

    def _on_exit(self, process: Process) -> None:
        now = time.monotonic()
        process.sweep()
        mpirun = process.rank is None  # all ranks end with it
        for fd in list(self._streams) if mpirun else [process.stdout, process.stderr]:
            self._unfollow(fd)
        self._selector.unregister(process.pidfd)
        self._running.remove(process)
        code, peak = process.reap()
        if self._elastic is not None and self._lose(self._elastic, process, code, now):
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

    # ranks that come and go

    def _on_elastic(self, elastic: Elastic, rank: int) -> None:
        news = elastic.receive(rank)
        if news is None:  # its exit will tell
            self._selector.unregister(elastic.link(rank))
            return
        for process in self._running:
            if process.rank in elastic.too_late():
                process.send(signal.SIGKILL)
        if any(what == "running" for what, _ in news) and elastic.settled():
            step = next(value for what, value in news if what == "running")
            lost = elastic.since
            took = f", {time.monotonic() - lost:.3f} s after the loss" if lost else ""
            elastic.since = None
            self._say(f"{ranks_named(elastic.running())} go on from step {step}{took}")

    def _lose(self, elastic: Elastic, process: Process, code: int, when: float) -> bool:
        """Whether the others go on without a rank that has ended."""
        rank = process.rank
        assert rank is not None
        link = elastic.link(rank)
        if link.fileno() in self._selector.get_map():
            self._selector.unregister(link)
        lost = code < 0 and self._stopped_at is None and elastic.spares(rank)
        replaced = lost and self._plan.elastic == "refill" and elastic.started(rank)
        if lost and not elastic.done:
            elastic.since = elastic.since or when
            then = "one is started in its place" if replaced else "the others go on without it"
            self._say(
                f"rank {rank} (process {process.pid}) was killed by {signal_name(-code)}; {then}"
            )
        if code != 0 and not lost:
            elastic.stop()
        elastic.remove(rank)
        self._frozen.discard(rank)
        if replaced:
            self._start(next(c for c in self._plan.commands if c.rank == rank))
        return lost

    # the other hosts

    def _tell_first(self, end: Ending) -> None:
        """The first host keeps account of all ranks."""
        if self._plan.hosts.node > 0:
            self._peers.tell(ending=asdict(end))
            if not self._running:
                self._peers.tell(done=True)

    def _on_peer(self, node: int) -> None:
        messages = self._peers.links[node].receive()
        if messages is None:
            self._selector.unregister(self._peers.links[node].fileno())
            if node in self._waiting:
                self._waiting.remove(node)
                self._on_loss(node)
        for message in messages or []:
            for what, value in message.items():
                if what != "data":
                    self._on_message(node, what, value, message)

    def _on_message(self, node: int, what: str, value: Any, message: dict[str, Any]) -> None:
        if what == "pmi" and self._plan.hosts.node == 0:
            self._answer(value, message["data"].encode())
        elif what == "pmi":
            self._pass_on(Reply(value, message["data"].encode()))
        elif what == "ending":  # its clock is another's
            end = Ending(**{**value, "time": time.monotonic()})
            self._endings.append(replace(end, done=end.done and end.time))
            if end.code not in (0, REQUEUE) and not end.stopped:
                self._fail()
        elif what == "beat" and self._control is not None:
            self._control.add(value)
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
        why = f"its host, {self._peers.names[node]}, can't be reached any more"
        for rank in range(first, first + self._plan.local_size):
            if rank not in told:
                self._endings.append(Ending(rank, 1, time.monotonic(), False, why))
        self._fail()

    def _on_timeout(self) -> None:
        if self._stopped_at is None:
            self._timed_out = True
            self._stop(signal.SIGABRT, _GRACE_AFTER_FAILURE)

    def _fail(self) -> None:
        if not self._failed:
            self._failed = True
            self._after(self._settle, self._stop_others)

    # ending

    def _stop_others(self) -> None:
        first = Outcome(self._plan.size, tuple(self._endings)).first_failure()
        if self._plan.hosts.node == 0 and first is not None:
            self._peers.tell(stop=asdict(first))
        if self._stopped_at is None:
            self._stop(self._stop_signal, _GRACE_AFTER_FAILURE)

    def _stop(self, signum: int, grace: float) -> None:
        self._stopped_at = self._stopped_at or time.monotonic()
        for process in self._running:
            if process.rank is None and signum == signal.SIGABRT:
                self._abort_ranks()  # mpirun would keep it to itself
            else:
                process.send(signum)
                process.send(signal.SIGCONT)  # a stopped process would never see it
        self._after(grace, self._kill)
        self._after(2 * grace, self._waiting.clear)  # of hosts that give no answer

    def _abort_ranks(self) -> None:
        for pid in self._pids().values():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGABRT)

    def _pids(self) -> dict[int, int]:
        """The process of each rank: our children, or as those of an mpirun have told us."""
        pids = {each.rank: each.pid for each in self._running if each.rank is not None}
        for path in self._folder.glob("*.pid"):
            with contextlib.suppress(ValueError):  # not yet written
                pids[int(path.stem)] = int(path.read_text())
        return pids

    def _look(self) -> None:
        """Say so when a rank stands still: it doesn't end, and the others wait for it."""
        if self._stopped_at is not None:
            return
        pids = self._pids()
        frozen = {rank for rank, pid in pids.items() if _state(pid) == "T"}
        for rank in sorted(frozen - self._frozen):
            then = f"the others will wait for it: `kill -CONT {pids[rank]}` lets it go on"
            if self._elastic is not None:
                then = f"it is killed if it still does in {_LOOK} s"
            self._say(
                f"rank {rank} (process {pids[rank]}) stands still, stopped by SIGSTOP; {then}"
            )
        for rank in sorted((self._frozen - frozen) & pids.keys()):
            self._say(f"rank {rank} goes on")
        if self._elastic is not None:  # at the second look: it may be for a moment only
            for rank in frozen & self._frozen:
                os.kill(pids[rank], signal.SIGKILL)
        self._frozen = frozen
        self._after(_LOOK, self._look)

    def _say(self, text: str) -> None:
        self._output.line(None, True, Line(f"dtorch-run: {text}".encode(), False))

    def _kill(self) -> None:
        for process in self._running:
            process.sweep()

    def _ending(self, rank: int | None, code: int, now: float, peak: int | None = None) -> Ending:
        end = ending.read(self._folder, Path(self._plan.folder), rank, code, now, peak)
        abort = self._pmi.abort
        if not end.summary and abort is not None and self._aborted_at and abort.rank == rank:
            # We ended it for that, so how it exited says nothing.
            end = replace(
                end, code=abort.code, time=self._aborted_at, summary="MPI_Abort", done=None
            )
        if self._stopped_at is None or end.time < self._stopped_at:
            if self._control is not None and end.code < 0 and rank is not None and not end.last:
                return replace(end, last=self._control.board.last_words(rank))  # it left no record
            return end
        frozen = rank in self._frozen
        return replace(
            end, stopped=True, frozen=frozen, code=-signal.SIGSTOP if frozen else end.code
        )

    def _unfollow(self, fd: int) -> None:
        """Pass on what is left in a pipe, and close it."""
        stream = self._streams.pop(fd, None)
        if stream is not None:
            # Its writers are gone, or out of our reach in a session of their own: don't wait, and
            # read no more than a pipe holds (1 MiB at most, pipe(7)).
            for _ in range(16):
                stream.feed(_read_ready(fd) or b"")
            stream.end()
            self._selector.unregister(fd)
            os.close(fd)

    def _unlink(self, rank: int) -> None:
        link = self._links.pop(rank)
        self._selector.unregister(link)
        link.close()

    def _memory(self) -> cgroup.Memory:
        """Our control group's, with the kills for want of memory since the job began."""
        now = cgroup.memory()
        if now.kills is None or self._killed_before is None:
            return now
        return now._replace(kills=now.kills - self._killed_before)

    def _call_janitor(self) -> subprocess.Popen[bytes]:
        """Have a process stand by that cleans up when we are killed."""
        python = (sys.executable, "-I", "-S", janitor.__file__)
        env = {name: value for name, value in os.environ.items() if name != "DTORCH_PART"}
        return subprocess.Popen(
            (*python, self._plan.part, *self._leftovers()),
            env=env,  # the janitor of a job that we are part of must not end ours
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def _leftovers(self) -> list[str]:
        """What the job may leave in the file system; a killed rank leaves MPICH's shared memory."""
        return [str(self._folder), *(f"/dev/shm/{name}*" for name in self._pmi.segments())]

    def _clean_up(self) -> None:
        self._kill()
        for process in self._running:
            process.reap()
        janitor.end(self._plan.part)  # what has moved to a session of its own
        for fd in self._streams:  # none, unless the output itself has failed
            os.close(fd)
        for link in self._links.values():
            link.close()
        if self._elastic is not None:
            self._elastic.close()
        self._peers.close()
        self._selector.close()
        if self._control is not None:
            self._control.close()
        if self._dashboard is not None:
            self._dashboard.wait()  # the janitor has killed it
        janitor.remove(self._leftovers())
        if self._janitor is not None:
            self._janitor.communicate(b"done")
        self._output.settle(everything=True)


class _Stream:
    """The lines of one rank's stdout or stderr, on their way to the output."""

    def __init__(self, rank: int | None, error: bool, output: Output) -> None:
        self._rank, self._error, self._output = rank, error, output
        self._lines = Lines()
        self._drawing = False

    def feed(self, data: bytes) -> None:
        for line in self._lines.feed(data):
            self._output.line(self._rank, self._error, line)
        bar = self._lines.bar
        if bar or self._drawing:  # the empty one erases it
            self._output.bar(self._rank, bar)
        self._drawing = bool(bar)

    def end(self) -> None:
        for line in self._lines.end():
            self._output.line(self._rank, self._error, line)
        if self._drawing:
            self._output.bar(self._rank, b"")


def _read_ready(fd: int) -> bytes | None:
    """What a pipe holds right now; empty at its end, None when there is nothing yet."""
    try:
        return os.read(fd, 1 << 16)
    except BlockingIOError:
        return None
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        return b""  # how a terminal says that nobody has it open any more


def _state(pid: int) -> str:
    """proc(5): R, S, D, T (stopped by a signal), t (by a debugger), Z ..., empty when it is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0].decode()
    except OSError:
        return ""
