"""The running job: every rank's exit, output, PMI socket and deadline, in one loop without threads.

A rank that fails ends the others; what each left behind becomes its `Ending`.
"""

from __future__ import annotations

import contextlib
import heapq
import json
import os
import selectors
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path

from dtorch_run.logs import Lines, Output
from dtorch_run.plan import Command, Plan
from dtorch_run.pmi import Pmi
from dtorch_run.report import Ending, Outcome
from dtorch_run.spawn import Process

_GRACE_AFTER_FAILURE = 1.0  # seconds from the polite signal to SIGKILL
_GRACE_AFTER_SIGNAL = 5.0


class Job:
    """The ranks of one plan, from start to end.

    `settle` is how many seconds the other ranks go on after the first failure: one that saw its
    peer's connection close may be noticed before the peer's death is.  With `stacks` they then
    end by SIGABRT, at which each leaves its stack in its `Ending`; else by SIGTERM.
    """

    def __init__(
        self, plan: Plan, output: Output, settle: float = 0.1, stacks: bool = False
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
        self._pmi = Pmi(plan.size, plan.job)
        self._links: dict[int, socket.socket] = {}  # PMI sockets by rank
        self._endings: list[Ending] = []
        self._failed = self._timed_out = False
        self._signal: int | None = None
        self._stopped_at: float | None = None
        self._aborted_at: float | None = None
        self._folder = Path()

    def run(self) -> Outcome:
        """Start all ranks, and return when nothing of them is left."""
        self._folder = Path(tempfile.mkdtemp(prefix=f"{self._plan.job}-"))
        try:
            for command in self._plan.commands:
                self._start(command)
            if self._plan.timeout is not None:
                self._after(self._plan.timeout, self._on_timeout)
            while self._running:
                self._turn()
        finally:
            self._clean_up()
        return Outcome(
            self._plan.size,
            tuple(self._endings),
            self._signal,
            self._plan.timeout if self._timed_out else None,
        )

    def watch(self, fd: int, callback: Callable[[], None]) -> None:
        """Have the loop call back whenever there is something to read."""
        self._selector.register(fd, selectors.EVENT_READ, callback)

    def interrupt(self, signum: int) -> None:
        """The launcher was told to end: pass it on to the ranks.  The second time, kill them."""
        if self._signal is None:
            self._signal = signum
            self._stop(signum, _GRACE_AFTER_SIGNAL)
        else:
            self._kill()

    # the loop

    def _turn(self) -> None:
        wait = max(0.0, self._alarms[0][0] - time.monotonic()) if self._alarms else None
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
            for rank in range(self._plan.size):
                for stream in (1, 2):
                    fifo = self._folder / f"{rank}.{stream}"
                    os.mkfifo(fifo)
                    self._follow(os.open(fifo, os.O_RDONLY | os.O_NONBLOCK), rank, stream)
        if self._plan.starter == "pmi" and command.rank is not None:
            rank = command.rank
            ours, theirs = socket.socketpair()
            with theirs:
                process = Process(command, str(self._folder), theirs.fileno())
            self._links[rank] = ours
            self.watch(ours.fileno(), lambda: self._on_pmi(rank))
        else:
            process = Process(command, str(self._folder))
        self._running.add(process)
        self._follow(process.stdout, command.rank, 1)
        self._follow(process.stderr, command.rank, 2)
        self.watch(process.pidfd, lambda: self._on_exit(process))

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

    def _on_pmi(self, rank: int) -> None:
        try:
            data = self._links[rank].recv(1 << 16)
        except ConnectionError:
            data = b""
        if not data:
            self._unlink(rank)
            return
        for reply in self._pmi.feed(rank, data):
            link = self._links.get(reply.rank)
            if link is not None:
                try:
                    link.sendall(reply.data, socket.MSG_NOSIGNAL)
                except ConnectionError:  # it is dead; its exit will tell
                    self._unlink(reply.rank)
        if self._pmi.abort is not None and self._aborted_at is None:
            self._aborted_at = time.monotonic()
            # In the library MPI_Abort returns: it counts on us to end the process.
            for process in self._running:
                if process.rank == rank:
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
        code = process.reap()
        if process.rank is not None:
            self._endings.append(self._ending(process.rank, code, now))
        else:
            ends = [self._ending(rank, code, now) for rank in range(self._plan.size)]
            told = [end for end in ends if end.summary or end.traceback]  # the others left no word
            self._endings += told or [self._ending(None, code, now)]
        if code != 0:
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

    def _abort_ranks(self) -> None:
        for path in self._folder.glob("*.pid"):
            with contextlib.suppress(ProcessLookupError, ValueError):  # gone, or not yet written
                os.kill(int(path.read_text()), signal.SIGABRT)

    def _kill(self) -> None:
        for process in self._running:
            process.sweep()

    def _ending(self, rank: int | None, code: int, now: float) -> Ending:
        """How a rank ended: what the kernel says, and the word it left (see `worker`)."""
        word = _read(self._folder / f"{rank}.json")
        abort = self._pmi.abort
        when, summary = now, ""
        trace = _without_us(_read(self._folder / f"{rank}.crash"))
        if word:
            left = json.loads(word)
            code, when = left["code"], left["time"]
            summary, trace = left["summary"], left["traceback"]
        elif abort is not None and self._aborted_at is not None and abort.rank == rank:
            # We ended it for that, so how it exited says nothing.
            code, when = abort.code, self._aborted_at
            summary = "MPI_Abort"
        stopped = self._stopped_at is not None and when >= self._stopped_at
        return Ending(rank, code, when, stopped, summary, trace)

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

    def _clean_up(self) -> None:
        self._kill()
        for process in self._running:
            process.reap()
        for fd in self._streams:  # none, unless the output itself has failed
            os.close(fd)
        for link in self._links.values():
            link.close()
        self._selector.close()
        for segment in self._pmi.segments():  # a killed rank leaves its shared memory behind
            for path in Path("/dev/shm").glob(f"{segment}*"):
                path.unlink()
        shutil.rmtree(self._folder)


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


def _without_us(stack: str) -> str:
    """faulthandler's stacks without what says nothing to the user, such as the worker's frames."""
    worker = f'  File "{Path(__file__).with_name("worker.py")}"'
    noise = (worker, '  File "<frozen runpy>"', "Extension modules: ")
    lines = stack.splitlines(keepends=True)
    kept = "".join(line for line in lines if not line.startswith(noise)).rstrip("\n")
    return f"{kept}\n" if kept else ""


def _read(path: Path) -> str:
    return path.read_text("utf-8", "replace") if path.exists() else ""
