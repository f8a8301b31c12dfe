"""The command line: ``dtorch-run [options] script.py args...``, or ``-m module args...``."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from dtorch_run import config, plan
from dtorch_run.config import UsageError
from dtorch_run.job import Job
from dtorch_run.logs import Console
from dtorch_run.machine import look, reserve_port
from dtorch_run.plan import Options, Plan
from dtorch_run.report import describe

_USAGE_ERROR = 2
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a job; the exit code of its first failing rank, or 128 + n if signal n ended it."""
    arguments = _parser().parse_args(argv)
    try:
        if sys.platform != "linux":
            raise UsageError(
                f"dtorch-run needs Linux, this is {sys.platform}: "
                "start the ranks with `mpirun -n N python script.py` instead"
            )
        options = _options(arguments)
        with reserve_port() as holder:
            machine = look(holder.getsockname()[1], ask_mpi=options.backend != "local")
            job = plan.make(options, os.environ, machine)
            if arguments.dry_run:
                print(plan.show(job, os.environ))
                return 0
            return _run(job)
    except UsageError as error:
        print(f"dtorch-run: error: {error}", file=sys.stderr)
        return _USAGE_ERROR


def _run(what: Plan) -> int:
    job = Job(what, Console(what.size, sys.stdout.buffer, sys.stderr.buffer))
    try:
        with _signals_to(job):
            outcome = job.run()
    except BrokenPipeError:  # whoever read our output has left: end as a pipe's writer does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    sys.stderr.write(describe(outcome))
    return outcome.exit_code()


@contextlib.contextmanager
def _signals_to(job: Job) -> Iterator[None]:
    """Hand the signals that end the launcher to the job, inside its loop.

    A signal that was ignored when we were started stays so, as nohup asks.
    """
    reader, writer = os.pipe()
    for fd in (reader, writer):
        os.set_blocking(fd, False)

    def pass_on() -> None:
        for signum in os.read(reader, 64):
            job.interrupt(signum)

    job.watch(reader, pass_on)
    signal.set_wakeup_fd(writer)  # a byte with the signal's number for each
    caught = [signum for signum in _STOP_SIGNALS if signal.getsignal(signum) != signal.SIG_IGN]
    before = {signum: signal.signal(signum, lambda *_: None) for signum in caught}
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
        signal.set_wakeup_fd(-1)
        os.close(reader)
        os.close(writer)


def _options(arguments: argparse.Namespace) -> Options:
    """The command line over the preset over the defaults."""
    if not arguments.module and not os.path.exists(arguments.script):
        raise UsageError(
            f"no such script: {arguments.script} (for a module: dtorch-run -m {arguments.script})"
        )
    given: dict[str, Any] = {}
    if arguments.config is not None:
        given = config.load(config.find(arguments.config))
        given["env"] = tuple(given.get("env", ()))
    for key in config.KEYS:
        value = getattr(arguments, key)
        if key == "env":
            given["env"] = (*given.get("env", ()), *value)
        elif value is not None:
            given[key] = value
    return Options(
        script=arguments.script, args=tuple(arguments.args), module=arguments.module, **given
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dtorch-run",
        description="Start a script on several ranks of this machine.",
        allow_abbrev=False,
    )
    parser.add_argument(
        *_spelt("nproc-per-node"),
        metavar="N",
        help="ranks: a number, cpu (one a core), gpu (one a device), auto (gpu, else cpu); "
        "default 1",
    )
    parser.add_argument("--config", metavar="FILE", help="a TOML preset, such as configs/cpu2.toml")
    parser.add_argument(
        "--backend",
        help="mpi: the ranks share an MPI world; local: they are plain processes; "
        "auto (default): mpi if mpi4py finds a library",
    )
    parser.add_argument(
        "--threads", type=int, metavar="N", help="BLAS threads a rank; default: cores / ranks"
    )
    parser.add_argument(
        "--timeout",
        type=float,
        metavar="S",
        help="after S seconds print where each rank stands and end the job with exit code 124",
    )
    parser.add_argument(
        "--env", action="append", default=[], metavar="K=V", help="set a variable for all ranks"
    )
    parser.add_argument(
        *_spelt("dry-run"), action="store_true", help="print what would be started, and stop"
    )
    parser.add_argument(
        "-m", "--module", action="store_true", help="the script is a module, as in python -m"
    )
    parser.add_argument("script", help="the script, or with -m the module, that each rank runs")
    parser.add_argument("args", nargs=argparse.REMAINDER, help="its arguments")
    return parser


def _spelt(name: str) -> list[str]:
    """An option's spellings: torchrun takes dashes and underscores."""
    return [f"--{name}", f"--{name.replace('-', '_')}"]
