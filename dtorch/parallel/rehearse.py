"""A script, rehearsed: N ranks of it as threads of this process (what ``dtorch-run --sim`` runs).

    python -m dtorch.parallel.rehearse --sim 4 [--seed S] [--fault SPEC] [-m] script.py args...

Each rank runs the script as if it had a process to itself.  What belongs to a process, but is one
for all threads, is exchanged whenever another rank goes on (see `Belongings`).
"""

from __future__ import annotations

import argparse
import importlib._bootstrap
import importlib.util
import io
import os
import random
import shlex
import sys
import traceback
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from types import CodeType, ModuleType, TracebackType
from typing import Any, NoReturn, TextIO

from dtorch.core import env
from dtorch.core.backend import cpu
from dtorch.core.random import own_generator

from .checks import name_ranks
from .faults import parse
from .group import Group
from .rehearsal import Rehearsal, Stage
from .work import DistError
from .world import as_rank, leave_at_end

_FOR_EVER = 1e9  # seconds
_TIMED_OUT = 124  # as timeout(1)
_LOCKS: dict[str, Any] = vars(importlib._bootstrap)["_module_locks"]  # of imports, by module


def main(argv: Sequence[str] | None = None) -> int:
    """Rehearse a script; 0, or the exit code of the first rank that has failed."""
    parser = argparse.ArgumentParser(prog="dtorch-run --sim N", allow_abbrev=False)
    parser.add_argument("--sim", type=int, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--fault", default="")
    parser.add_argument("--timeout", type=float, default=_FOR_EVER)
    parser.add_argument("-m", "--module", action="store_true")
    parser.add_argument("script")
    parser.add_argument("args", nargs=argparse.REMAINDER)
    given = parser.parse_args(argv)
    try:
        parse(given.fault, given.sim)
    except ValueError as error:
        print(f"dtorch-run: error: --fault: {error}", file=sys.stderr)
        return 2
    make = Program.of_module if given.module else Program.of_script
    try:
        program = make(given.script)
    except (ImportError, OSError) as error:
        print(f"dtorch-run: error: {error}", file=sys.stderr)
        return 2
    return Show(given, program).run()


class Program:
    """What each rank runs.

    folder: where its own modules are
    """

    def __init__(self, code: CodeType, folder: str, argv0: str, **names: Any) -> None:
        self.code, self.folder, self.argv0, self._names = code, folder, argv0, names

    @classmethod
    def of_script(cls, path: str) -> Program:
        code = compile(Path(path).read_bytes(), path, "exec")
        return cls(code, os.path.dirname(os.path.abspath(path)), path, __file__=path)

    @classmethod
    def of_module(cls, name: str) -> Program:
        """As python -m.  ImportError where there is no such module."""
        sys.path.insert(0, os.getcwd())
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.submodule_search_locations is not None:
            spec = importlib.util.find_spec(f"{name}.__main__")
        if spec is None or spec.origin is None:
            raise ImportError(f"No module named {name}")
        code = spec.loader.get_code(spec.name)  # type: ignore[union-attr]
        names = {"__file__": spec.origin, "__spec__": spec, "__package__": spec.parent}
        return cls(code, os.getcwd(), spec.origin, **names)

    def module(self) -> ModuleType:
        """A __main__ of its own for a rank."""
        module = ModuleType("__main__")
        vars(module).update(self._names)
        return module


class Belongings:
    """What a rank has for itself in a process of its own: given to it with its turn.

    __main__ and the modules of the script's folder, sys.argv, the variables that say who it is, and
    the states of Python's and NumPy's generators.  (dtorch's modes, generator and group are kept by
    context.)  The rest is one for all: other modules, the current folder, warning filters.
    """

    def __init__(self, rank: int, program: Program, args: Sequence[str], seed: int,
                 variables: dict[str, str], shared: set[str]) -> None:  # fmt: skip
        self._folder, self._variables, self._shared = program.folder + os.sep, variables, shared
        self.main = program.module()
        self._argv = [program.argv0, *args]
        self._modules = {"__main__": self.main}
        self._locks: dict[str, Any] = {}
        self._random = random.Random(f"{seed}/{rank}").getstate()
        self._numpy = cpu.random.RandomState(seed * 1000 + rank & 0xFFFFFFFF).get_state()

    def take(self) -> None:
        os.environ.update(self._variables)
        sys.argv = self._argv
        sys.modules.update(self._modules)
        _LOCKS.update(self._locks)
        random.setstate(self._random)
        cpu.random.set_state(self._numpy)

    def put_down(self) -> None:
        self._argv = sys.argv
        self._random, self._numpy = random.getstate(), cpu.random.get_state()
        new = [name for name in sys.modules if name not in self._shared]
        self._shared.update(name for name in new if not self._own(name))
        self._modules = {n: sys.modules.pop(n) for n in new if n not in self._shared}
        # One that is being imported right now: another rank must not wait until it is.
        self._locks = {name: _LOCKS.pop(name) for name in self._modules if name in _LOCKS}

    def _own(self, name: str) -> bool:
        """Whether a module is the script's own."""
        file = getattr(sys.modules[name], "__file__", None) or ""
        installed = "site-packages" in file or "dist-packages" in file
        return name == "__main__" or (file.startswith(self._folder) and not installed)


class Show:
    """The ranks of one script, on their stage, and what becomes of them."""

    def __init__(self, given: argparse.Namespace, program: Program) -> None:
        self._given, self._program = given, program
        self._stage = Rehearsal(given.seed, given.fault).stage(given.sim)
        shared = {*sys.modules} - {"__main__"}
        self._ranks = [
            Belongings(rank, program, given.args, given.seed, _variables(rank, given.sim), shared)
            for rank in range(given.sim)
        ]
        self._failures: dict[int, BaseException] = {}  # the first one first
        self._late: DistError | None = None

    def run(self) -> int:
        schedule = self._stage.schedule
        schedule.resume = lambda rank: self._ranks[rank].take()
        schedule.leave = lambda rank: self._ranks[rank].put_down()
        schedule.over = self._over
        sys.path.insert(0, self._program.folder)
        self._streams = sys.stdout, sys.stderr
        self._prefixed = [Prefixed(stream, self._stage) for stream in self._streams]
        sys.stdout, sys.stderr = self._prefixed
        parts = [partial(self._part, rank) for rank in range(self._given.sim)]
        try:
            self._stage.perform(parts, self._given.timeout)
        except DistError as error:
            if not self._failures:
                self._late = error
        except (Exception, SystemExit):  # noqa: BLE001 (told by rank)
            pass
        finally:
            self._close_streams()
        return self._report()

    def _close_streams(self) -> None:
        for stream in self._prefixed:
            stream.end()
        sys.stdout, sys.stderr = self._streams

    def _part(self, rank: int) -> None:
        own_generator()
        try:
            with as_rank(partial(self._group, rank)):
                exec(self._program.code, vars(self._ranks[rank].main))
                leave_at_end()
        except SystemExit as error:
            if error.code not in (None, 0):
                self._fails(rank, error)
        except BaseException as error:  # noqa: BLE001 (raised on)
            self._fails(rank, error)

    def _fails(self, rank: int, error: BaseException) -> NoReturn:
        if rank not in self._stage.schedule.dead:
            self._failures[rank] = error
        raise error

    def _group(
        self, rank: int, backend: str | None, timeout: float, told_rank: int, told_size: int
    ) -> Group:
        """What init_process_group makes of its arguments on a rank."""
        for name, told, found in (
            ("rank", told_rank, rank),
            ("world_size", told_size, self._given.sim),
        ):
            if told not in (-1, found):
                raise ValueError(
                    f"{name}={told} was given, but in this rehearsal it is {found}; leave it out"
                )
        if backend is None or backend == "gloo" or ":" in backend:
            return self._stage.group(rank, timeout)
        return self._stage.group(rank, timeout, backend.lower())

    def _over(self) -> None:
        """All have ended.  Threads of the dead are left as they are: a process that is gone runs no
        `finally`."""
        if self._stage.schedule.dead:
            self._close_streams()
            code = self._report()
            for stream in self._streams:
                stream.flush()
            os._exit(code)

    def _report(self) -> int:
        """Say how the ranks have ended, the first failure last.  Returns the exit code."""
        code = 0
        for fault in self._stage.happened:
            _say(f"fault {fault} happened")
        if self._late is not None:
            running = self._stage.schedule.running
            _say(f"rank {running} was running, the others waited for their turn: {self._late}")
            code = _TIMED_OUT
        elif self._failures:
            code = self._tell_failures()
        else:
            try:
                self._stage.check_faults()
            except RuntimeError as error:
                _say(str(error))
                code = 1
        if code:
            _say(f"replay it with: {self._command()}")
        return code

    def _command(self) -> str:
        """What rehearses the same again."""
        given = self._given
        words = ["dtorch-run", "--sim", given.sim, "--seed", given.seed]
        words += ["--fault", given.fault] if given.fault else []
        for variable in (env.CHECK_COLLECTIVES, env.CHECK_MESSAGES):
            if variable.get() != variable.default:
                words += ["--env", f"{variable.name}={variable.get()}"]
        words += ["-m"] if given.module else []
        return shlex.join(map(str, [*words, given.script, *given.args]))

    def _tell_failures(self) -> int:
        (first, error), *others = self._failures.items()
        told = [r for r, other in others if str(other).startswith(f"rank {first} failed with")]
        for rank, other in others:
            if rank not in told:
                _say(f"rank {rank} failed after it: {_summary(other)}")
        if told:
            _say(f"{name_ranks(sorted(told))} stopped because rank {first} failed")
        _say(f"rank {first} of {self._given.sim} failed first: {_summary(error)}")
        if isinstance(error, SystemExit):
            return error.code & 255 if isinstance(error.code, int) else 1
        error.__traceback__ = _of_user(error.__traceback__)
        traceback.print_exception(error)
        return 1


class Prefixed(io.TextIOBase):
    """A stream that begins each line with the rank that writes it, and lets no two mix."""

    def __init__(self, stream: TextIO, stage: Stage) -> None:
        self.stream, self._stage = stream, stage
        self._rest = [""] * stage.size

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self.stream.encoding

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        rank = self._stage.schedule.running
        if rank in self._stage.schedule.dead:
            return len(text)
        *lines, rest = (self._rest[rank] + text).split("\n")
        for line in lines:
            self.stream.write(f"[{rank}] {_last_drawn(line)}\n")
        self._rest[rank] = _last_drawn(rest)
        return len(text)

    def flush(self) -> None:
        self.stream.flush()

    def end(self) -> None:
        """Write the lines that were left without an end, and write no more."""
        for rank, rest in enumerate(self._rest):
            if rest:
                self.stream.write(f"[{rank}] {rest}\n")
        self.flush()


def _last_drawn(line: str) -> str:
    """Of a progress bar, which redraws itself after a carriage return, what stands there."""
    return line.rstrip("\r").rpartition("\r")[2]


def _variables(rank: int, size: int) -> dict[str, str]:
    """torchrun's variables, as dtorch-run sets them."""
    return {
        "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(size),
        "LOCAL_WORLD_SIZE": str(size), "GROUP_RANK": "0", "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": "29400", "DTORCH_LAUNCHER": "dtorch-run",
    }  # fmt: skip


def _summary(error: BaseException) -> str:
    return ": ".join([type(error).__name__, *str(error).strip().splitlines()[:1]])


def _of_user(trace: TracebackType | None) -> TracebackType | None:
    """The traceback from the script on: what has called it says nothing to the user."""
    script, here = trace, trace
    while here is not None:
        if here.tb_frame.f_code.co_filename == __file__ and here.tb_next is not None:
            script = here.tb_next
        here = here.tb_next
    return script


def _say(text: str) -> None:
    print(f"dtorch-run: {text}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
