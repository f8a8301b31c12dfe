"""``dtorch-run status | top | logs | diff [JOB]``: how a job is doing, running or ended.

A running job is asked over its control plane; its keys are in a file that only its user can read.  Of
one that has ended its folder tells.
"""

from __future__ import annotations

import argparse
import glob
import json
import os
import re
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dtorch_run.cores import text as spans
from dtorch_run.options import UsageError
from dtorch_run.plan import LOG_DIR
from dtorch_run.report import ranks_named, size
from dtorch_run.watchers import CONTROL_FILE

COMMANDS = ("status", "top", "logs", "diff")
_PATIENCE = 2000  # ms for a job to answer
_REDRAW = 1.0  # seconds
_POLL = 0.2  # seconds between looks at whether logs have grown
_CLEAR = "\x1b[H\x1b[2J"


def main(argv: Sequence[str]) -> int:
    """UsageError where there is no such job."""
    parser = argparse.ArgumentParser(prog="dtorch-run", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    helps = {
        "status": "how far each rank is",
        "top": "the same, each second, until the job ends",
        "logs": "the lines that ranks have printed",
        "diff": "the first tensor in which the ranks' copies of the model differ",
    }
    for name in COMMANDS:
        command = commands.add_parser(name, help=helps[name])
        command.add_argument(
            "job",
            nargs="?",
            help="a job's name, the begin of it, or its folder; default: the latest",
        )
        if name == "status":
            command.add_argument("--json", action="store_true", help="for programs")
        if name == "logs":
            command.add_argument("-f", "--follow", action="store_true", help="until the job ends")
            command.add_argument("--rank", type=int, help="of this rank only")
            command.add_argument(
                "-n", type=int, default=20, metavar="N", help="the last N lines of each"
            )
    arguments = parser.parse_args(argv)
    try:
        return _show(arguments)
    except KeyboardInterrupt:  # how one leaves top
        return 128 + signal.SIGINT


def _show(arguments: argparse.Namespace) -> int:
    if arguments.command == "status":
        return _status(arguments.job, arguments.json)
    if arguments.command == "top":
        return _top(find(arguments.job))
    if arguments.command == "logs":
        return _logs(find(arguments.job), arguments.rank, arguments.n, arguments.follow)
    return _diff(find(arguments.job))


# ---- which job -----------------------------------------------------------------------------------


class JobView:
    """A job as others see it.

    runs: whether it answered when it was last asked; True before
    """

    def __init__(self, folder: str, contact: dict[str, str] | None) -> None:
        self.folder, self._contact = folder, contact
        self.runs = contact is not None

    @property
    def name(self) -> str:
        return os.path.basename(self.folder)

    def ask(self, what: str = "status") -> dict[str, Any] | None:
        """What is known of all ranks (`control.Control.status`); of a job that has ended, what was.

        what: "past" for the course of loss and throughput, too
        None: it ended before a rank had said anything, or left no report.
        """
        if self.runs and self._contact is not None:
            answer = ask(self._contact, what)
            if answer is not None:
                return answer
            self.runs = False
        return self.report().get("status")

    def state(self) -> str:
        """In words, as of when it was last asked."""
        ended = self.report()
        if ended:
            return f"ended with exit code {ended['exit_code']}"
        return "running" if self.runs else "gone without a report"

    def report(self) -> dict[str, Any]:
        """How it ended; empty while it runs, and where it left nothing."""
        path = Path(self.folder, "report.json")
        return json.loads(path.read_text()) if path.exists() else {}


def running() -> list[JobView]:
    """The jobs of this user on this machine, the latest first."""
    found = []
    pattern = os.path.join(tempfile.gettempdir(), "dtorch-*", CONTROL_FILE)
    for path in glob.glob(pattern):
        try:
            facts = os.stat(path)
            if facts.st_uid != os.geteuid():
                continue  # not ours to trust, nor to read
            contact = json.loads(Path(path).read_text())
        except (OSError, ValueError):
            continue  # another user's, or it has ended
        found.append((facts.st_mtime, JobView(contact["folder"], contact)))
    return [job for _, job in sorted(found, key=lambda pair: pair[0], reverse=True)]


def find(which: str | None) -> JobView:
    """The job that is meant.  UsageError where there is none."""
    if which is not None and Path(which, "plan.json").exists():
        folder = os.path.abspath(which)
        return next((job for job in running() if job.folder == folder), JobView(folder, None))
    jobs = running()
    folders = sorted(Path(LOG_DIR).glob("*/plan.json"), key=os.path.getmtime, reverse=True)
    jobs += [JobView(os.path.abspath(path.parent), None) for path in folders]
    fit = [job for job in jobs if which is None or job.name.startswith(which)]
    if not fit:
        what = f"no job {which!r}" if which else "no job"
        raise UsageError(
            f"{what} of yours runs on this machine, and none is in ./{LOG_DIR}; "
            "name the folder of one that has ended, such as DIR/JOB after --log-dir DIR"
        )
    return fit[0]


def ask(contact: dict[str, str], what: str) -> dict[str, Any] | None:
    """The answer of a job's control plane; None if there is none."""
    import zmq

    with zmq.Context() as context, context.socket(zmq.DEALER) as line:
        line.curve_serverkey = contact["server"].encode()
        line.curve_publickey = contact["public"].encode()
        line.curve_secretkey = contact["secret"].encode()
        line.linger = 0
        line.connect(contact["address"])
        line.send(json.dumps({"ask": what}).encode())
        return json.loads(line.recv()) if line.poll(_PATIENCE) else None


# ---- status, top ---------------------------------------------------------------------------------


def _status(which: str | None, as_json: bool) -> int:
    jobs = [find(which)] if which is not None else running() or [find(None)]
    told = [job.ask() for job in jobs]
    if as_json:
        print(json.dumps(told))
    else:
        print("\n\n".join(_text(job, status) for job, status in zip(jobs, told)))
    return 0


def _top(job: JobView) -> int:
    screen = sys.stdout.isatty()
    while True:
        print((_CLEAR if screen else "") + _text(job, job.ask()), flush=True)
        if not job.runs:
            return 0
        time.sleep(_REDRAW)


def _text(job: JobView, status: dict[str, Any] | None) -> str:
    state = job.state()
    if status is None:
        return f"{job.name}: {state}; its ranks have said nothing"
    lines = [f"{status['job']}: {state}, {status['size']} ranks, {_duration(status['seconds'])}"]
    lines += table(status)
    return "\n".join(lines)


def table(status: dict[str, Any]) -> list[str]:
    """The ranks, a line each, and what is remarkable."""
    head = (
        "rank",
        "host",
        "device",
        "step",
        "steps/s",
        "samples/s",
        "loss",
        "memory",
        "wait",
        "latest",
    )
    rows = [head, *(_cells(row) for row in status["ranks"])] if status["ranks"] else []
    widths = [max(map(len, column)) for column in zip(*rows)]
    lines = ["  ".join(map(str.rjust, cells[:-1], widths)) + f"  {cells[-1]}" for cells in rows]
    if status["silent"]:
        silent = status["silent"]
        lines.append(f"nothing yet from rank{'s' if len(silent) > 1 else ''} {spans(silent)}")
    if status["lost"]:
        lines.append(f"{ranks_named(status['lost'])} lost; the others go on without")
    if status["straggler"] is not None:
        lines.append(f"the others wait for rank {status['straggler']}")
    lines += [f"{count} dropped: {why}" for why, count in status["dropped"].items()]
    return lines


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    loss = row["loss"]
    latest = f"waits for {row['last']}" if row["waits"] else row["last"]
    if row["age"] > 5:
        latest += f" (silent for {row['age']:.0f} s)"
    return (
        str(row["rank"]), row["host"], row["device"] or "-", str(row["steps"]),
        f"{row['steps_per_s']:.3g}", f"{row['samples_per_s']:.4g}" if row["samples_per_s"] else "-",
        "-" if loss is None else loss if isinstance(loss, str) else f"{loss:.4g}",
        size(row["memory"]), f"{row['wait_share']:.0%}", _printable(latest),
    )  # fmt: skip


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


def _printable(text: str) -> str:
    """Without what could move a terminal's cursor."""
    return re.sub(r"[^ -~\u00a0-\uffff]", "?", text)


# ---- logs, diff ----------------------------------------------------------------------------------


def _logs(job: JobView, rank: int | None, count: int, follow: bool) -> int:
    which = "*" if rank is None else str(rank)
    read: dict[Path, int] = {}
    while True:
        if follow:
            job.ask()  # before the last look, so that no line is missed
        for path in sorted(Path(job.folder).glob(f"rank{which}.*"), key=_by_rank):
            if path not in read:
                lines = path.read_bytes().splitlines(keepends=True)
                _print(path, lines[-count:] if count else [])
                read[path] = sum(map(len, lines))
            else:
                with path.open("rb") as file:
                    file.seek(read[path])
                    lines = file.read().splitlines(keepends=True)
                _print(path, lines)
                read[path] += sum(map(len, lines))
        if not (follow and job.runs):
            break
        time.sleep(_POLL)
    if not read:
        raise UsageError(f"{job.folder} has no lines{'' if rank is None else f' of rank {rank}'}")
    return 0


def _by_rank(path: Path) -> tuple[int, str]:
    return int(path.stem[4:]), path.suffix


def _print(path: Path, lines: list[bytes]) -> None:
    for line in lines:
        sys.stdout.buffer.write(f"[{path.stem[4:]}] ".encode() + line)
    sys.stdout.flush()


def _diff(job: JobView) -> int:
    """1 if the ledger has seen a difference, as diff(1)."""
    path = Path(job.folder, "ledger.json")
    if not path.exists():
        print(f"{job.name}: no replica ledger has found a difference between the ranks")
        return 0
    ledger = json.loads(path.read_text())
    tables: list[dict[str, str]] = ledger["ranks"]
    names = list(dict.fromkeys(name for one in tables for name in one))
    different = [name for name in names if len({one.get(name) for one in tables}) > 1]
    print(
        f"{job.name}: {len(different)} of {len(names)} tensors differ after step {ledger['step']}; "
        f"none did {ledger['every']} steps before, or it was never compared"
    )
    for name in different:
        sides: dict[str, list[int]] = {}
        for rank, one in enumerate(tables):
            sides.setdefault(one.get(name, "nothing"), []).append(rank)
        told = "; ".join(f"rank {spans(ranks)}: {value}" for value, ranks in sides.items())
        print(f"  {name}  {told}")
    return 1
