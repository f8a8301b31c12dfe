"""The command line: ``dtorch-run [options] script.py args...``, or ``-m module args...``."""

from __future__ import annotations

import argparse
import contextlib
import os
import shlex
import signal
import socket
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import count
from typing import Any, NoReturn

from dtorch_run import config, plan, sim, viewer
from dtorch_run.explain import explain, show
from dtorch_run.job import Job
from dtorch_run.logs import Console
from dtorch_run.machine import check_free, look, reserve_port
from dtorch_run.options import ALL, FLAG, LIST, NUMBER, SECONDS, TABLE, Options, UsageError, merge
from dtorch_run.peers import Peers, meet
from dtorch_run.plan import Command, Machine, Plan
from dtorch_run.record import Record
from dtorch_run.report import Outcome, describe

_USAGE_ERROR = 2
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_PASSED_ON = (*_STOP_SIGNALS, signal.SIGUSR1)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a job; the exit code of its first failing rank, or 128 + n if signal n ended it."""
    argv = sys.argv[1:] if argv is None else argv
    command = argv[0] if argv and not os.path.isfile(argv[0]) else ""  # else it is a script
    try:
        if command == "doctor":
            from dtorch_run import doctor  # nothing of it is needed to start a job

            return doctor.main(argv[1:])
        if command == "dashboard":
            from dtorch_run import dashboard  # nor of this

            return dashboard.main(argv[1:])
        if command in viewer.COMMANDS:
            return viewer.main(argv)
        if sys.platform != "linux":
            raise UsageError(
                f"dtorch-run needs Linux, this is {sys.platform}: "
                "start the ranks with `mpirun -n N python script.py` instead"
            )
        arguments = _parse(argv)
        options = _options(arguments)
        if options.sim is not None:
            return _rehearse(options, arguments.dry_run)
        with reserve_port() as holder:
            machine = look(
                holder.getsockname()[1],
                ask_mpi=options.backend in ("auto", "mpi"),
                ask_gpus=options.device != "cpu",
                hostfile=options.hostfile,
            )
            job = plan.make(options, os.environ, machine)
            if arguments.explain:
                print(explain(job), file=sys.stderr)
            if arguments.dry_run:
                print(show(job, os.environ))
                return 0
            for note in job.notes:
                print(f"dtorch-run: {note}", file=sys.stderr)
            if job.starter == "adopted":
                _become(job.commands[0])
            return _run(options, machine, job)
    except UsageError as error:
        print(f"dtorch-run: error: {error}", file=sys.stderr)
        return _USAGE_ERROR
    except BrokenPipeError:
        _leave_pipe()
        return 128 + signal.SIGPIPE


def _leave_pipe() -> None:
    """Whoever read our output has left: end as a pipe's writer does, without a word."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _rehearse(options: Options, dry_run: bool) -> int:
    command = sim.command(options, os.environ)
    if dry_run:
        print(shlex.join(command.argv))
        return 0
    _become(command)


def _become(command: Command) -> NoReturn:
    """Go on as another program: the rank that a starter has made of this process, a rehearsal."""
    sys.stdout.flush()
    try:
        os.execvpe(command.argv[0], command.argv, command.env)
    except OSError as error:
        raise UsageError(f"cannot run {command.argv[0]}: {error.strerror}") from None


def _run(options: Options, machine: Machine, job: Plan) -> int:
    """Run a job, and after a failure again, --max-restarts times."""
    if options.master_port and job.hosts.size == 1:
        check_free(options.master_port)
    for attempt in count(1):
        peers = None
        if job.hosts.size > 1:
            peers, agreed = meet(job, machine, str(options.rdzv_id or ""))
            job = plan.make(options, os.environ, agreed)
        outcome = _attempt(job, peers, options.dashboard)
        failed = outcome.first_failure() is not None and outcome.signal is None
        failed = failed and not outcome.requeued
        if not failed or attempt > options.max_restarts:
            return outcome.exit_code()
        print(
            f"dtorch-run: starting all ranks again, {attempt} of {options.max_restarts} times",
            file=sys.stderr,
        )
        machine = replace(machine, attempt=attempt)
        job = plan.make(options, os.environ, machine)
    raise AssertionError


def _attempt(job: Plan, peers: Peers | None, dashboard: bool) -> Outcome:
    host = socket.gethostname().partition(".")[0] if job.hosts.size > 1 else ""
    console = Console(job.ranks, sys.stdout.buffer, sys.stderr.buffer, host)
    record = Record(job, os.environ, console)
    try:
        what = Job(job, record, peers=peers, watched=True, dashboard=dashboard)
        with _signals_to(what):
            outcome = what.run()
    except BrokenPipeError:
        _leave_pipe()
        outcome = Outcome(job.size, (), signal.SIGPIPE)
        record.close(outcome)
        return outcome
    if record.close(outcome) and describe(outcome):
        folder = os.path.relpath(record.folder)
        print(f"dtorch-run: logs and report of this job: {folder}", file=sys.stderr)
    sys.stderr.write(describe(outcome))
    return outcome


@contextlib.contextmanager
def _signals_to(job: Job) -> Iterator[None]:
    """Hand the signals that are the ranks' too to the job, inside its loop.

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
    caught = [signum for signum in _PASSED_ON if signal.getsignal(signum) != signal.SIG_IGN]
    before = {signum: signal.signal(signum, lambda *_: None) for signum in caught}
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
        signal.set_wakeup_fd(-1)
        os.close(reader)
        os.close(writer)


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = _parser()
    _refuse_unknown(argv, parser)
    return parser.parse_args(argv)


def _options(arguments: argparse.Namespace) -> Options:
    """The command line over the preset over the defaults."""
    script = arguments.script
    if not (arguments.module or arguments.no_python or os.path.exists(script)):
        raise UsageError(f"no such script: {script} (for a module: dtorch-run -m {script})")
    layers = []
    if arguments.config is not None:
        path = config.find(arguments.config)
        layers.append((f"preset {arguments.config}", config.load(path)))
    given = {key: value for key in ALL if (value := getattr(arguments, key)) not in (None, [])}
    return merge(
        [*layers, ("", given)],
        script=script,
        args=tuple(arguments.args),
        module=arguments.module,
        no_python=arguments.no_python,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dtorch-run",
        description="Start a script on several ranks, watch them, and say why they ended.",
        epilog="dtorch-run doctor: what a job would meet on this machine, with a cure for each ill.  "
        "dtorch-run status, top, logs, diff, dashboard [JOB]: how a job is doing, running or ended.",
        allow_abbrev=False,
    )
    parser.add_argument("--config", metavar="FILE", help="a TOML preset, such as configs/cpu2.toml")
    for title, options in TABLE.items():
        group = parser.add_argument_group(title)
        for option in options:
            how: dict[str, Any] = {"dest": option.key, "help": option.help, "default": None}
            if option.kind == FLAG:
                how["action"] = "store_true"
            else:
                how["metavar"] = option.metavar or None
                how["type"] = {NUMBER: int, SECONDS: float}.get(option.kind, str)
            if option.kind == LIST:
                how["action"] = "append"
            group.add_argument(*option.spellings, **how)
    parser.add_argument(
        "--numa", dest="bind", action="store_const", const="numa", help="--bind numa"
    )
    parser.add_argument(
        *_both("dry-run"), action="store_true", help="print what would be started, and stop"
    )
    parser.add_argument(
        "--explain", action="store_true", help="print every decision and where it comes from"
    )
    parser.add_argument(
        "-m", "--module", action="store_true", help="the script is a module, as in python -m"
    )
    parser.add_argument(
        *_both("no-python"), action="store_true", help="the script is a program of its own"
    )
    parser.add_argument("script", help="the script, module or program that each rank runs")
    parser.add_argument("args", nargs=argparse.REMAINDER, help="its arguments")
    return parser


def _refuse_unknown(argv: Sequence[str], parser: argparse.ArgumentParser) -> None:
    """UsageError, with the nearest, for an option before the script that there isn't.

    argparse would take what follows it for the script.
    """
    known = {name: action for action in parser._actions for name in action.option_strings}
    words = iter(argv)
    for word in words:
        name, equals, _ = word.partition("=")
        if not name.startswith("-") or name == "--":
            return
        if name in known:
            if known[name].nargs is None and not equals:
                next(words, None)  # its value
        elif name[:2] not in known:  # else a short one with its value, as in -r3
            raise UsageError(f"unknown option {name}{config.nearest(name, known)}; see --help")


def _both(name: str) -> list[str]:
    """An option's spellings: torchrun takes dashes and underscores."""
    return [f"--{name}", f"--{name.replace('-', '_')}"]
