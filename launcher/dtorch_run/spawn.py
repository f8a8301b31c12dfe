"""One started process: its pipes, its end, and what it used.

It leads a session of its own, so that one signal reaches the children it made (data-loader workers)
and the terminal's Ctrl-C reaches the launcher alone, which passes it on.  Linux 5.3 or later.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Mapping
from typing import NamedTuple

from dtorch_run import janitor
from dtorch_run.plan import Command

_PREFIX = 12  # columns that a line's prefix may take


class End(NamedTuple):
    code: int  # the exit code, or minus the signal that killed it
    peak: int  # bytes of memory, at most, of itself or a child of its


class Process:
    """A running `Command`; `pidfd` turns readable when it ends."""

    def __init__(
        self, command: Command, told: Mapping[str, str], inherited: tuple[int, ...] = ()
    ) -> None:
        """Start it.  `told` goes into its environment; it has the descriptors `inherited`."""
        self.rank = command.rank
        self.stdout, stdout = _channel(command.rank, 1)
        self.stderr, stderr = _channel(command.rank, 2)
        env = {**command.env, **told}
        # As under mpirun, rank 0 reads what is piped in.  No rank can read our terminal, which
        # belongs to another session: it gets an end of file instead of an error.
        reads = command.rank == 0 and not os.isatty(0)
        try:
            with _on_cores(command.cores):
                self._popen = subprocess.Popen(
                    command.argv,
                    env=env,
                    pass_fds=inherited,
                    start_new_session=True,
                    stdin=None if reads else subprocess.DEVNULL,
                    stdout=stdout,
                    stderr=stderr,
                )
        finally:
            for fd in (stdout, stderr):
                os.close(fd)
        self.pid = self._popen.pid
        self.pidfd = os.pidfd_open(self.pid)

    def send(self, signum: int) -> None:
        """Signal the process, not its children: it knows how to end them, or catches the signal."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signum)

    def sweep(self) -> None:
        """Kill what is left of its process group.  To be called before `reap`, which frees its id."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)

    def reap(self) -> End:
        """Wait for its end."""
        _, status, usage = os.wait4(self.pid, 0)
        os.close(self.pidfd)
        self._popen.returncode = os.waitstatus_to_exitcode(
            status
        )  # it need not be waited for again
        return End(self._popen.returncode, usage.ru_maxrss * 1024)


def stand_by(part: str, leftovers: list[str]) -> subprocess.Popen[bytes]:
    """Have a process stand by that cleans up after this part of a job when we are killed.

    leftovers: patterns of files.  Writing anything to its stdin says that we have done it ourselves.
    """
    env = {name: value for name, value in os.environ.items() if name != "DTORCH_PART"}
    return subprocess.Popen(
        (sys.executable, "-I", "-S", janitor.__file__, part, *leftovers),
        env=env,  # the janitor of a job that we are part of must not end ours
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def _channel(rank: int | None, stream: int) -> tuple[int, int]:
    """(the end that we read, the end that the process writes) of stdout, 1, or stderr, 2.

    Where ours is a terminal, rank 0 is given one as well: progress bars show themselves on nothing
    else.  It is as wide as ours without the prefix.
    """
    if rank != 0 or not os.isatty(stream):
        return os.pipe()
    ours, theirs = os.openpty()
    columns, rows = os.get_terminal_size(stream)
    size = struct.pack("4H", rows or 24, max(20, (columns or 80) - _PREFIX), 0, 0)
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, size)
    return ours, theirs


@contextlib.contextmanager
def _on_cores(cores: tuple[int, ...] | None):  # type: ignore[no-untyped-def]
    """What is started meanwhile runs on these cores: a child inherits where its parent may run."""
    if cores is None:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
