"""What happens when something goes wrong: `python -m tests.integration.faults [--torchrun] [FAULT...]`.

Each fault strikes a training job of two ranks.  For each a line: after how many seconds the user was
told the cause, and the launcher had ended; its exit code; whom it blamed; how many processes of the
job still ran one second later; how many files it left in TMPDIR; and what the user reads last.  With
--torchrun the same with torchrun, torch and gloo.  Exit code 1 if dtorch-run broke a promise.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

REPO = Path(__file__).resolve().parents[2]
SCRIPT = str(Path(__file__).with_name("faulty.py"))
DEADLINE = 60.0
WITHIN = 1.0  # seconds in which every death is to be told
_FIRST = r"dtorch-run: rank {} of 2 "
_CGROUP = Path("/sys/fs/cgroup/memory")


_LAST = ("step 5",)  # the whole script was run


class Fault(NamedTuple):
    """One row: what the report must say (of which rank), and how long that may take.

    strike: what the driver itself does to the launcher, when both ranks stand at the script's end
    """

    says: str
    code: int
    rank: str = "1"
    within: float = WITHIN
    strike: signal.Signals | None = None
    timeout: float = 30.0  # of collectives
    checkpoint: tuple[str, ...] = ("step 1", "step 2")  # of which step the newest may be


FAULTS = {
    "kill in backward": Fault(_FIRST.format(1) + "failed first: killed by SIGKILL", 137),
    "kill in all-reduce": Fault(_FIRST.format(1) + "failed first: killed by SIGKILL", 137),
    "kill in data loading": Fault(_FIRST.format(1) + "failed first: killed by SIGKILL", 137),
    "kill of a loader's worker": Fault(  # it is ahead of the steps
        _FIRST.format(1) + "failed first: .*SIGKILL", 1, checkpoint=("step 0", "step 1")
    ),
    "kill in a checkpoint": Fault(
        _FIRST.format(0) + "failed first: killed by SIGKILL", 137, "0", checkpoint=("step 1",)
    ),
    "SIGSTOP": Fault(r"rank 1 \(process \d+\) stands still", 147, timeout=3.0),
    "exception": Fault(_FIRST.format(1) + "failed first: ValueError: a bad sample", 1),
    "exit(0) too early": Fault(_FIRST.format(1) + "came to its end first", 1),
    "segmentation fault": Fault(_FIRST.format(1) + "failed first: killed by SIGSEGV", 139),
    "out of memory (rlimit)": Fault(_FIRST.format(1) + "failed first: .*Memory", 1),
    "out of memory (cgroup)": Fault(
        _FIRST.format(1) + "failed first: .*the kernel has killed 1 for want of memory",
        137,
        within=5,
    ),
    "disk full": Fault(_FIRST.format(0) + "failed first: OSError: .*No space left", 1, "0"),
    "launcher kill -9": Fault("", -9, "", strike=signal.SIGKILL, checkpoint=_LAST),
    "Ctrl-C": Fault("stopped by SIGINT", 130, "", strike=signal.SIGINT, checkpoint=_LAST),
    "SIGTERM": Fault("stopped by SIGTERM", 143, "", strike=signal.SIGTERM, checkpoint=_LAST),
    "port in use": Fault(r"--master-port \d+: Address already in use \(process \d+", 2, "", 10.0),
    "two jobs at once": Fault("", 0, "", checkpoint=_LAST),
}


class Seen(NamedTuple):
    told: float | None  # seconds from the fault until the cause could be read
    ended: float | None  # until the launcher had ended; None: not before the deadline
    code: int | None
    blamed: str  # the ranks that the report calls the cause
    orphans: int
    left: list[str]  # files in TMPDIR; other jobs beside us have theirs in /dev/shm
    checkpoint: str  # what the newest one holds: the last step, or why it can't be read
    lines: list[str]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("faults", nargs="*", help=f"of: {', '.join(FAULTS)}; default: all")
    parser.add_argument("--torchrun", action="store_true", help="torchrun, torch and gloo as well")
    arguments = parser.parse_args()
    unknown = set(arguments.faults) - FAULTS.keys()
    if unknown:
        parser.error(f"no such fault: {', '.join(sorted(unknown))}")
    starters = ["dtorch-run", "torchrun"] if arguments.torchrun else ["dtorch-run"]
    head = "told s  ended s  code  blamed  orphans  left  "
    print(f"{'fault':<26}{'by':<12}{head}last lines")
    broken = 0
    for fault in arguments.faults or FAULTS:
        reason = impossible(fault)
        if reason:
            print(f"{fault:<26}not possible here: {reason}", flush=True)
            continue
        for starter in starters:
            seen = run(fault, starter)
            wrong = broken_promises(FAULTS[fault], seen) if starter == "dtorch-run" else []
            broken += len(wrong)
            print(_row(fault, starter, seen), flush=True)
            for promise in wrong:
                print(f"    BROKEN: {promise}")
    return 1 if broken else 0


def impossible(fault: str) -> str:
    """Why a fault can't be made on this machine, empty if it can."""
    if fault == "disk full" and (os.geteuid() != 0 or not shutil.which("unshare")):
        return "needs root, to mount a small disk"
    if fault == "out of memory (cgroup)" and not os.access(_CGROUP / "cgroup.procs", os.W_OK):
        return "needs a memory control group that we may write to"
    return ""


def broken_promises(row: Fault, seen: Seen) -> list[str]:
    """What dtorch-run has promised of a fault, and not kept."""
    wrong = []
    if row.says and seen.told is None:
        wrong.append(f"nothing like {row.says!r} was said")
    if seen.told is not None and seen.told > row.within:
        wrong.append(f"told after {seen.told:.2f} s, not within {row.within} s")
    if seen.code != row.code:
        wrong.append(f"exit code {seen.code}, not {row.code}")
    if seen.blamed != row.rank:
        wrong.append(f"rank {seen.blamed or 'none'} was blamed, not {row.rank or 'none'}")
    if seen.orphans:
        wrong.append(f"{seen.orphans} processes still ran")
    if seen.left:
        wrong.append(f"left behind: {', '.join(seen.left)}")
    if seen.checkpoint not in ("none", *row.checkpoint):
        wrong.append(f"the checkpoint is of {seen.checkpoint}, not {' or '.join(row.checkpoint)}")
    return wrong


def run(fault: str, starter: str = "dtorch-run") -> Seen:
    """Start a job, have the fault strike it, and see what comes of it."""
    with tempfile.TemporaryDirectory(prefix="faults-") as name, _cgroup(fault) as group:
        folder = Path(name)
        for part in ("disk", "tmp", "cwd"):
            (folder / part).mkdir()
        mark = f"DTORCH_FAULT_RUN={uuid.uuid4()}"
        with contextlib.ExitStack() as stack:
            options: list[str] = []
            if fault == "port in use":
                server = stack.enter_context(socket.create_server(("", 0)))
                options = ["--master-port", str(server.getsockname()[1])]
                (folder / "fault").write_text(str(time.time()))
            jobs = [
                _Job(fault, starter, folder, options, mark, group)
                for _ in range(2 if fault == "two jobs at once" else 1)
            ]
            for job in jobs:
                job.follow(FAULTS[fault])
        end = time.monotonic() + 1.0
        while (orphans := _processes(mark)) and time.monotonic() < end:
            time.sleep(0.02)
        for pid in orphans:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for job in jobs:
            job.close()
        left = [f"TMPDIR/{path.name}" for path in (folder / "tmp").iterdir()]
        worst = max(jobs, key=lambda job: job.code != 0)
        checkpoint = _checkpoint(folder / "disk" / "checkpoint.pt", starter)
        return Seen(worst.told, worst.ended, worst.code, worst.blamed(), len(orphans), left,
                    checkpoint, worst.lines)  # fmt: skip


class _Job:
    """A launcher, what it says and when."""

    def __init__(
        self,
        fault: str,
        starter: str,
        folder: Path,
        options: list[str],
        mark: str,
        group: Path | None,
    ) -> None:
        library = "dtorch" if starter == "dtorch-run" else "torch"
        script = [*options, SCRIPT, library, fault, str(folder)]
        if starter == "dtorch-run":
            argv = [
                sys.executable,
                "-m",
                "dtorch_run",
                "--nproc-per-node=2",
                "--device=cpu",
                *script,
            ]
        else:
            run = "torch.distributed.run"
            argv = [sys.executable, "-m", run, "--nproc-per-node=2", *script]
        if FAULTS[fault].strike is not None:
            argv[argv.index(fault)] = f"wait for {fault}"
        if fault == "disk full":
            small = f'mount -t tmpfs -o size=8m none {folder}/disk && exec "$@"'
            argv = ["unshare", "-m", "sh", "-c", small, "sh", *argv]
        name, _, value = mark.partition("=")
        env = {
            **os.environ, name: value, "TMPDIR": str(folder / "tmp"), "OMP_NUM_THREADS": "1",
            "FAULT_TIMEOUT": str(FAULTS[fault].timeout), "PYTHONUNBUFFERED": "1",
            "PYTHONPATH": os.pathsep.join([str(REPO), str(REPO / "launcher")]),
        }  # fmt: skip
        self.folder, self.starter = folder, starter
        self.lines: list[str] = []
        self.told = self.ended = self.code = None
        self._times: list[float] = []
        self._process = subprocess.Popen(
            argv, env=env, cwd=folder / "cwd", stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            preexec_fn=_as_on_a_terminal if group is None else _inside(group),
            start_new_session=True,
        )  # fmt: skip
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._times.append(time.time())
            self.lines.append(line.decode("utf-8", "replace").rstrip())

    def follow(self, row: Fault) -> None:
        """Strike, if it is the launcher that is to be struck, and wait for its end."""
        if row.strike is not None:
            ready = [self.folder / f"ready{rank}" for rank in (0, 1)]
            _wait(lambda: all(map(Path.exists, ready)))
            (self.folder / "fault").write_text(str(time.time()))
            self._process.send_signal(row.strike)
        started = time.time()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.code = self._process.wait(DEADLINE)
        now = time.time()
        if self.code is None:
            self._process.kill()
            self._process.wait()
        fault = self.folder / "fault"
        struck = float(fault.read_text()) if fault.exists() else started
        self.ended = now - struck if self.code is not None else None
        said = [
            when for when, line in list(zip(self._times, self.lines)) if re.search(row.says, line)
        ]
        if row.says and said and self.starter == "dtorch-run":
            self.told = said[0] - struck

    def close(self) -> None:
        """When nothing runs any more that could write."""
        self._reader.join()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def blamed(self) -> str:
        """The rank that the report calls the cause."""
        text = "\n".join(self.lines)
        ours = re.findall(
            r"^dtorch-run: rank (\d+) of \d+ (?:failed|came to its end) first", text, re.M
        )
        torchs = re.findall(r"Root Cause.*?rank\s*:\s*(\d+)", text, re.S)
        return (ours or torchs or [""])[-1]


def _as_on_a_terminal() -> None:
    """A background job starts with Ctrl-C ignored, which its children inherit."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _inside(group: Path) -> Callable[[], None]:
    def enter() -> None:
        _as_on_a_terminal()
        (group / "cgroup.procs").write_text(str(os.getpid()))

    return enter


@contextlib.contextmanager
def _cgroup(fault: str) -> Iterator[Path | None]:
    """A control group of 1 GiB of memory for the fault that needs one (version 1, as root)."""
    if fault != "out of memory (cgroup)":
        yield None
        return
    group = _CGROUP / f"faults-{os.getpid()}"
    group.mkdir()
    (group / "memory.limit_in_bytes").write_text(str(1 << 30))
    try:
        yield group
    finally:
        _wait(lambda: not (group / "cgroup.procs").read_text())
        group.rmdir()


def _processes(mark: str) -> list[int]:
    """Those with the mark in their environment: what is left of a job, wherever it has gone."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if mark.encode() in path.read_bytes().split(b"\0"):
                found.append(int(path.parts[2]))
    return found


def _checkpoint(path: Path, starter: str) -> str:
    if not path.exists():
        return "none"
    library = importlib.import_module("dtorch" if starter == "dtorch-run" else "torch")
    try:
        return f"step {library.load(path)['step']}"
    except Exception as error:  # noqa: BLE001 (that is the finding)
        return f"unreadable ({error})"


def _wait(what: Callable[[], Any]) -> None:
    end = time.monotonic() + DEADLINE
    while not what():
        if time.monotonic() > end:
            raise TimeoutError("the job did not come so far")
        time.sleep(0.005)


def _row(fault: str, starter: str, seen: Seen) -> str:
    def number(value: float | None) -> str:
        return "-" if value is None else f"{value:.2f}"

    last = [line for line in seen.lines if line.strip()][-2:] or ["(nothing)"]
    facts = (
        f"{number(seen.told):>6}  {number(seen.ended):>7}  {seen.code!s:>4}  {seen.blamed or '-':>6}  "
        f"{seen.orphans:>7}  {len(seen.left):>4}  "
    )
    text = " | ".join(line.strip()[:110] for line in last)
    if fault == "kill in a checkpoint":
        text += f" | checkpoint: {seen.checkpoint[:60]}"
    return f"{fault:<26}{starter:<12}{facts}{len(seen.lines)} lines, last: {text}"


if __name__ == "__main__":
    sys.exit(main())
