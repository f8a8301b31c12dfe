"""Ends what is left of a job, also where the launcher can't: it may be killed by ``kill -9``.

`python janitor.py PART PATTERN...` runs beside each job, asleep in a read from the launcher, whose end
closes the pipe.  Then it ends every process of the job and removes the files that the patterns name.
All of a job's processes on this host have one DTORCH_PART, wherever they have moved to: children of
ranks (data-loader workers) in sessions of their own, too.  Standard library only: it must cost little.
"""

from __future__ import annotations

import contextlib
import glob
import os
import shutil
import signal
import sys
import time

_GRACE = 0.5  # seconds from the polite signal to SIGKILL


def main() -> None:
    part, *patterns = sys.argv[1:]
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, signal.SIG_IGN)
    if sys.stdin.buffer.read():  # the launcher says that it has done all this itself
        return
    deadline = time.monotonic() + _GRACE
    signal_all(part, signal.SIGTERM)
    while processes(part) and time.monotonic() < deadline:
        time.sleep(0.02)
    end(part)
    remove(patterns)


def processes(part: str) -> list[int]:
    """The ids of a job's processes that run, zombies apart (their environment is gone)."""
    mark = f"DTORCH_PART={part}".encode()
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != os.getpid():
            # It may have ended since, or be another user's.
            with contextlib.suppress(OSError), open(f"/proc/{name}/environ", "rb") as file:
                if mark in file.read().split(b"\0"):
                    found.append(int(name))
    return found


def signal_all(part: str, signum: signal.Signals) -> bool:
    """Send a signal to a job's processes; whether there was one."""
    found = processes(part)
    for pid in found:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signum)
            os.kill(pid, signal.SIGCONT)  # a stopped process would never see it
    return bool(found)


def end(part: str) -> None:
    """Kill a job's processes, and those that they start meanwhile."""
    while signal_all(part, signal.SIGKILL):
        time.sleep(0.005)


def remove(patterns: list[str]) -> None:
    """Remove the files and folders that match."""
    for pattern in patterns:
        for path in glob.glob(pattern):
            if os.path.isdir(path):
                shutil.rmtree(path, ignore_errors=True)
            else:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(path)


if __name__ == "__main__":
    main()
