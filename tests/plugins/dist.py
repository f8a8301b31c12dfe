"""``@pytest.mark.dist(n, timeout=30)``: a test whose body runs on n ranks.

- Plain pytest starts n processes through dtorch-run's spawner, each a pytest that runs this one
  test in place, so fixtures, parameters and assertion messages work as always.
- Under ``mpirun -n n python -m pytest`` the ranks at hand run it in place; with another number of
  ranks it is skipped.  All tests, marked or not, then end with an exchange of outcomes, so that
  the ranks stay in step, and one that fails shows in rank 0's report, the only one printed.

Nothing hangs: after the timeout each rank prints its stack, and every process is ended.
"""

from __future__ import annotations

import faulthandler
import json
import os
import signal
import sys
import tempfile
import threading
import time
import zlib
from array import array
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import pytest

from dtorch.parallel.identity import check_mpi, detect
from dtorch_run import machine, plan
from dtorch_run.job import Job
from dtorch_run.logs import Line
from dtorch_run.options import Options
from dtorch_run.report import Ending, Outcome, how

WORLD = detect(os.environ)
FOLDER = os.environ.get("DTORCH_TEST_FOLDER")  # where a rank that we started leaves its result
IN_PLACE = FOLDER is not None or WORLD.size > 1

_SETTLE = 1.0  # seconds that the other ranks get to finish after a failure
_LATE = 5.0  # seconds that ranks in one mpirun may end a test apart


class Result(NamedTuple):
    """What one rank says of a test: "passed", "failed", "skipped" or "xfailed", and why."""

    outcome: str
    text: str


# -- the hooks -----------------------------------------------------------------------------------


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "dist(n, timeout=30): run the test's body on n ranks")
    # Ranks must not share a folder: pytest's own is swept by whichever rank is done first.
    if FOLDER is not None:
        config.option.basetemp = Path(FOLDER) / f"rank{WORLD.rank}"
    elif WORLD.size > 1:
        config.pluginmanager.register(Peers(config), "dist_peers")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        marker = item.get_closest_marker("dist")
        if marker is None:
            continue
        size, _ = _arguments(marker)
        if not IN_PLACE:
            item.fixturenames = []  # type: ignore[attr-defined]  # the ranks make their own
        elif size != WORLD.size:
            reason = f"needs {size} ranks, started with {WORLD.size}"
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    marker = pyfuncitem.get_closest_marker("dist")
    if marker is None or IN_PLACE:
        return None  # pytest calls it as usual
    _run_on_ranks(pyfuncitem, *_arguments(marker))
    return True


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    report = yield
    if FOLDER is not None and _is_verdict(report):
        _leave(Path(FOLDER), _result(report))
    return report


# -- ranks started for one test ------------------------------------------------------------------


class Recorder:
    """A job's output, kept by rank."""

    def __init__(self, size: int) -> None:
        self.lines: list[list[str]] = [[] for _ in range(size)]

    def line(self, rank: int | None, error: bool, line: Line) -> None:
        for lines in self.lines if rank is None else [self.lines[rank]]:
            lines.append(line.text.decode("utf-8", "replace"))

    def bar(self, rank: int | None, text: bytes) -> None:
        pass

    def settle(self, everything: bool = False) -> float | None:
        return None


def _run_on_ranks(item: pytest.Function, size: int, timeout: float) -> None:
    """Run one test on `size` processes; pass, skip or fail with what they say."""
    with tempfile.TemporaryDirectory() as folder, machine.reserve_port() as port:
        options = Options(
            script="pytest",
            module=True,
            args=(
                "-q",
                *("-p", "no:cacheprovider"),
                *("-p", "no:faulthandler"),  # the worker's own tells us the stack
                *("-p", "pytest_timeout", "-o", "timeout=0"),  # the job has a deadline
                *(("-c", str(item.config.inipath)) if item.config.inipath else ()),
                f"--rootdir={item.config.rootpath}",
                f"{item.path}::{item.nodeid.partition('::')[2]}",
            ),
            nproc_per_node=size,
            share_gpu=True,
            standalone=True,
            timeout=timeout,
            log_dir=folder,
            env=(f"DTORCH_TEST_FOLDER={folder}",),
        )
        env = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
        env["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # a second a rank, with some of them
        here = machine.look(port.getsockname()[1], ask_mpi=True)
        output = Recorder(size)
        outcome = Job(plan.make(options, env, here), output, _SETTLE, stacks=True).run()
        results = [_read(Path(folder), rank) for rank in range(size)]
    _conclude(outcome, results, output)


def _leave(folder: Path, result: Result) -> None:
    (folder / f"{WORLD.rank}.json").write_text(json.dumps(result), "utf-8")
    if result.outcome == "failed":
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(1)  # the ordinary way out would wait in MPI_Finalize for the other ranks


def _read(folder: Path, rank: int) -> Result | None:
    path = folder / f"{rank}.json"
    return Result(*json.loads(path.read_text("utf-8"))) if path.exists() else None


def _conclude(outcome: Outcome, results: list[Result | None], output: Recorder) -> None:
    if outcome.exit_code() == 0 and all(results):
        kinds = {result.outcome for result in results if result is not None}
        text = next(result.text for result in results if result is not None)
        if kinds == {"passed"}:
            return
        if kinds == {"skipped"}:
            pytest.skip(text)
        if kinds == {"xfailed"}:
            pytest.xfail(text)
    first = outcome.first_failure()
    ends = {end.rank: end for end in outcome.endings}
    order = sorted(range(len(results)), key=lambda rank: _gravity(results[rank], ends.get(rank)))
    blocks = [_block(rank, ends.get(rank), results[rank], output.lines[rank]) for rank in order]
    if None in ends:
        blocks.append(f"mpirun: {how(ends[None])}")
    if first is None and outcome.timeout is not None:
        blocks.append(f"not done after {outcome.timeout:g} s")
    pytest.fail("\n".join(blocks), pytrace=False)


def _gravity(result: Result | None, end: Ending | None) -> int:
    """Failed tests first, then ranks that died, then those that were stopped, then the rest."""
    if result is not None and result.outcome == "failed":
        return 0
    if end is None or end.code == 0:
        return 3
    return 2 if end.stopped else 1


def _block(rank: int, end: Ending | None, result: Result | None, lines: list[str]) -> str:
    """What is known of one rank: its failure, or the stack where it was stopped."""
    states, text = [], ""
    if result is not None:
        states.append(result.outcome)
        text = result.text
    if end is not None and end.code != 0 and states != ["failed"]:
        states.append("stopped here" if end.stopped else how(end))
        stack = end.traceback.partition("/_pytest/")[0].rpartition("\n")[0] or end.traceback
        text = "\n".join([stack, *lines[-20:]])
    elif not states:
        states, text = ["no result"], "\n".join(lines[-20:])
    return f"---- rank {rank}: {', then '.join(states)} ----\n{text}"


# -- ranks of one mpirun -------------------------------------------------------------------------


class Peers:
    """Keeps the pytests of one mpirun in step: each test ends with an exchange of outcomes."""

    def __init__(self, config: pytest.Config) -> None:
        from mpi4py import MPI

        check_mpi(WORLD, MPI.COMM_WORLD.size, MPI.get_vendor()[0])
        self.comm = MPI.COMM_WORLD.Dup()  # so that no test's messages meet ours
        self.pids = self.comm.allgather(os.getpid())
        self.stderr = os.fdopen(os.dup(sys.__stderr__.fileno()), "w")  # pytest captures its own
        faulthandler.register(signal.SIGUSR1, self.stderr, all_threads=False)
        self.folder = tempfile.TemporaryDirectory()
        config.option.basetemp = Path(self.folder.name) / "base"
        self.started = 0.0
        self.timeout = 0.0
        self.stdout = sys.stdout
        if WORLD.rank != 0:  # the terminal reporter, made next, writes to what it finds here
            sys.stdout = open(os.devnull, "w")  # noqa: SIM115

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self) -> None:
        sys.stdout = self.stdout

    @pytest.hookimpl(trylast=True)
    def pytest_unconfigure(self) -> None:
        self.folder.cleanup()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self.started = time.monotonic()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        marker = item.get_closest_marker("dist")
        self.timeout = _arguments(marker)[1] if marker else 60.0
        # A rank that is stuck in C can't be interrupted, but it can say where, and end; not at
        # once, because mpirun ends the others with it, and they too have to say where they are.
        faulthandler.dump_traceback_later(self.timeout, file=self.stderr)
        self.ender = threading.Timer(self.timeout + 1.0, os._exit, [1])
        self.ender.daemon = True
        self.ender.start()

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
        report = yield
        if _is_verdict(report):
            faulthandler.cancel_dump_traceback_later()
            self.ender.cancel()
            self._agree(item.nodeid, report)
        return report

    def _agree(self, nodeid: str, report: pytest.TestReport) -> None:
        """Make the test's report failed on all ranks if it failed on any."""
        mine = _result(report)
        sent = array("q", [zlib.crc32(nodeid.encode()), mine.outcome == "failed"])
        received = array("q", bytes(8 * len(sent) * WORLD.size))
        self._wait(self.comm.Iallgather(sent, received), nodeid, mine)
        if len(set(received[::2])) > 1:
            self._abort(f"rank {WORLD.rank} ran {nodeid} while another ran another test", mine)
        if any(received[1::2]):  # all ranks are here, so a call that blocks will return
            results = self.comm.allgather(mine)
            failed = [rank for rank in range(WORLD.size) if results[rank].outcome == "failed"]
            report.outcome = "failed"
            report.longrepr = "\n".join(
                f"---- rank {rank}: failed ----\n{results[rank].text}" for rank in failed
            )

    def _wait(self, request: Any, nodeid: str, mine: Result) -> None:
        now = time.monotonic()
        # After a failure here, the others are likely to wait for us inside the test.
        deadline = now if mine.outcome == "failed" else self.started + self.timeout
        while not request.Test():
            if time.monotonic() > deadline + _LATE:
                text = f"out of step: rank {WORLD.rank} {mine.outcome} {nodeid}, others are in it"
                self._abort(text, mine)
            time.sleep(0.0005)

    def _abort(self, why: str, mine: Result) -> NoReturn:
        print(f"\n{mine.text}\n{why}; where they are:", file=self.stderr, flush=True)
        for rank, pid in enumerate(self.pids):
            if rank != WORLD.rank:
                os.kill(pid, signal.SIGUSR1)
        time.sleep(0.5)  # the kernel runs their handlers; they have no way to answer
        self.comm.Abort(1)
        os._exit(1)


# -- common --------------------------------------------------------------------------------------


def _arguments(marker: pytest.Mark) -> tuple[int, float]:
    def dist(n: int, timeout: float = 30.0) -> tuple[int, float]:
        return n, timeout

    return dist(*marker.args, **marker.kwargs)


def _is_verdict(report: pytest.TestReport) -> bool:
    """Each test has one: of its call, or of a set-up that did not pass."""
    return report.when == "call" or (report.when == "setup" and not report.passed)


def _result(report: pytest.TestReport) -> Result:
    if hasattr(report, "wasxfail") and report.skipped:
        return Result("xfailed", report.wasxfail)
    if report.skipped and isinstance(report.longrepr, tuple):
        return Result("skipped", report.longrepr[2].removeprefix("Skipped: "))
    sections = [f"---- {title} ----\n{text}" for title, text in report.sections]
    return Result(report.outcome, "\n".join([report.longreprtext, *sections]).rstrip())
