"""Contenders of several ranks each, kept ready and asked in turns: what disturbs one disturbs all.

While a contender isn't asked its ranks wait for a line from a socket, which takes no time of a core.
"""

from __future__ import annotations

import datetime
import json
import os
import platform
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import Any

REPO = Path(__file__).resolve().parents[1]
RANKS = 2


class Contender:
    """Ranks that run `python -m MODULE --contender NAME --at SOCKET`, of one thread each."""

    def __init__(self, module: str, name: str, priority: bool = False) -> None:
        self.name = name
        argv = [
            sys.executable,
            "-m",
            "dtorch_run",
            "--nproc-per-node",
            str(RANKS),
            "--threads",
            "1",
        ]
        env = {**os.environ, "PYTHONPATH": f"{REPO}:{REPO / 'launcher'}"}
        with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as listener:
            at = f"{folder}/socket"
            listener.bind(at)
            listener.listen()
            listener.settimeout(60)
            argv += ["-m", module, "--contender", name, "--at", at]
            argv += ["--priority"] if priority else []
            self._job = subprocess.Popen(argv, env=env, cwd=REPO)
            self._lines = [listener.accept()[0] for _ in range(RANKS)]
        self._ranks = [line.makefile("rw") for line in self._lines]

    def ask(self, *question: Any) -> Any:
        """What rank 0 answers; all ranks are asked at once."""
        for rank in self._ranks:
            print(json.dumps(question), file=rank, flush=True)
        answers = dict(json.loads(rank.readline()) for rank in self._ranks)
        return answers[0]

    def __enter__(self) -> Contender:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:  # fmt: skip
        for end in (*self._ranks, *self._lines):
            end.close()
        self._job.wait(60)


def answer(at: str, rank: int, function: Callable[..., Any]) -> None:
    """On a rank: reply to each question with function(*question), until there are no more."""
    with socket.socket(socket.AF_UNIX) as line:
        line.connect(at)
        file = line.makefile("rw")
        for question in file:
            print(json.dumps([rank, function(*json.loads(question))]), file=file, flush=True)


def save(path: Path, times: Any, table: str, priority: bool) -> None:
    """Write PATH.json and PATH.md, and where this was measured."""
    versions = ", ".join(
        f"{name} {metadata.version(name)}" for name in ("numpy", "mpi4py", "torch")
    )
    before = "before other programs of the machine" if priority else "like other programs"
    about = (
        f"{datetime.date.today()}, {os.cpu_count()} cores ({platform.machine()}), Python "
        f"{platform.python_version()}, {versions}; {RANKS} ranks, scheduled {before}."
    )
    told = {"about": about, "seconds": times}
    path.with_suffix(".json").write_text(json.dumps(told, indent=1) + "\n")
    path.with_suffix(".md").write_text(f"{about}\n\n{table}\n")


def settle(priority: bool) -> None:
    """On a rank: keep its main thread to a core of its own, and, as root, before other programs.

    After its group has been made: threads that help it (as gloo's do) are free to use any core.
    """
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[int(os.environ["LOCAL_RANK"]) % len(cores)]})
    if priority:
        Path("/proc/self/autogroup").write_text("-18")  # of all threads
