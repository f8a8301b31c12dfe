"""One started process, and the means that nothing of it is left.

It leads a session of its own, so that one sweep reaches the children it made (data-loader
workers).  It holds the reading end of a lifeline pipe: when the launcher is gone, be it by
``kill -9``, the kernel kills the whole group (see `worker`).  Linux 5.3 or later.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator

from dtorch_run.plan import Command


class Process:
    """A running `Command`; `pidfd` turns readable when it ends."""

    def __init__(self, command: Command, folder: str, pmi: int | None = None) -> None:
        """Start it.  `folder` is where its ranks leave word, `pmi` the socket for PMI_FD."""
        self.rank = command.rank
        lifeline, self._lifeline = os.pipe()
        self.stdout, stdout = os.pipe()
        self.stderr, stderr = os.pipe()
        env = {**command.env, "DTORCH_RUN_DIR": folder, "DTORCH_LIFELINE": str(lifeline)}
        passed = [lifeline]
        if pmi is not None:
            env["PMI_FD"] = str(pmi)
            passed.append(pmi)
        # As under mpirun, rank 0 reads what is piped in.  No rank can read our terminal, which
        # belongs to another session: it gets an end of file instead of an error.
        reads = command.rank == 0 and not os.isatty(0)
        try:
            self._popen = subprocess.Popen(
                command.argv,
                env=env,
                pass_fds=passed,
                start_new_session=True,
                stdin=None if reads else subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
            )
        finally:
            for fd in (lifeline, stdout, stderr):
                os.close(fd)
        self.pidfd = os.pidfd_open(self._popen.pid)

    def send(self, signum: int) -> None:
        """Signal the process, not its children: it knows how to end them, or catches the signal."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._popen.pid, signum)

    def sweep(self) -> None:
        """Kill all that is left of its session.  To be called before `reap`, which frees its id."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._popen.pid, signal.SIGKILL)
        for pid in _session(self._popen.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def reap(self) -> int:
        """Wait for its end; its exit code, or minus the signal that killed it."""
        code = self._popen.wait()
        os.close(self.pidfd)
        os.close(self._lifeline)
        return code


def _session(leader: int) -> Iterator[int]:
    """The processes of a session that have left their leader's process group."""
    for name in os.listdir("/proc"):
        if name.isdigit():
            # It may have ended since; proc(5): pid (comm) state ppid pgrp session
            with contextlib.suppress(OSError), open(f"/proc/{name}/stat", "rb") as file:
                _, group, session = file.read().rpartition(b")")[2].split()[1:4]
                if int(session) == leader != int(group):
                    yield int(name)
