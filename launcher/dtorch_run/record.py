"""A job's folder, ``run/<job>/``: its plan, every rank's lines, and how it ended.

    plan.json               what was started, and every decision with its source
    rank0.out, rank0.err    each rank's lines, whatever the terminal shows
    flight-rank0.json       the latest collectives of a rank that failed (written by the rank)
    ledger.json             where the ranks' copies of a model differ (written by ReplicaLedger)
    report.json, report.txt how each rank ended, for programs and for people

It stays after a failure, or if --log-dir is given.  A disk that is full ends the record, not the job.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

from dtorch_run import explain
from dtorch_run.logs import Console, Line
from dtorch_run.options import UsageError
from dtorch_run.plan import Plan
from dtorch_run.report import Outcome, describe


class Record:
    """An Output that keeps all lines in files, and passes on to the console those to be shown."""

    def __init__(self, plan: Plan, env: Mapping[str, str], console: Console) -> None:
        """Make the folder; UsageError where that can't be."""
        self._plan, self._console = plan, console
        self.folder = Path(plan.folder)
        self._files: dict[tuple[int | None, bool], BinaryIO] = {}
        self._broken: OSError | None = None
        # Hosts may have the folder in common.
        self._suffix = f"-host{plan.hosts.node}" if plan.hosts.node else ""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            (self.folder / f"plan{self._suffix}.json").write_text(explain.record(plan, env))
        except OSError as error:
            raise UsageError(
                f"cannot write the job's folder {self.folder}: {error.strerror}; name another by "
                "--log-dir"
            ) from None

    def line(self, rank: int | None, error: bool, line: Line) -> None:
        self._keep(rank, error, line.text)
        if rank is None or self._plan.shown[rank - self._plan.ranks[0]][error]:
            self._console.line(rank, error, line)

    def bar(self, rank: int | None, text: bytes) -> None:
        self._console.bar(rank, text)

    def settle(self, everything: bool = False) -> float | None:
        return self._console.settle(everything)

    def close(self, outcome: Outcome) -> bool:
        """Write how the job ended; whether the folder stays."""
        for file in self._files.values():
            file.close()
        failed = bool(describe(outcome))
        if not failed and not self._plan.keep:
            shutil.rmtree(self.folder, ignore_errors=True)
            if self.folder.parent.exists() and not any(self.folder.parent.iterdir()):
                self.folder.parent.rmdir()
            return False
        try:
            report = json.dumps(outcome.as_dict(), indent=1)
            (self.folder / f"report{self._suffix}.json").write_text(report)
            (self.folder / f"report{self._suffix}.txt").write_text(describe(outcome))
        except OSError as error:
            self._give_up(error)
        return True

    def _keep(self, rank: int | None, error: bool, text: bytes) -> None:
        if self._broken is not None:
            return
        try:
            file = self._files.get((rank, error))
            if file is None:
                name = "mpirun" if rank is None else f"rank{rank}"
                path = self.folder / f"{name}.{'err' if error else 'out'}"
                file = self._files[rank, error] = path.open("ab", buffering=0)
            file.write(text + b"\n")
        except OSError as failure:
            self._give_up(failure)

    def _give_up(self, error: OSError) -> None:
        if self._broken is not None:
            return  # it has been said
        self._broken = error
        print(
            f"dtorch-run: no more logs are kept in {self.folder}: {error.strerror}",
            file=sys.stderr,
        )
