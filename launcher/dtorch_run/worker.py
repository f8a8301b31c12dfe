"""What each rank runs first: ``python worker.py script|module|exec TARGET ARGS...``

It runs the user's program as ``__main__``, and leaves word of an exception, so that the launcher can
show the first failing rank's traceback last.  (exec: a program that isn't Python.)
Standard library only, run by path: it must start fast, and must not put dtorch_run's own modules
on the user's sys.path.
"""

from __future__ import annotations

import sys

sys.path[:] = [folder for folder in sys.path if folder != __file__.rpartition("/")[0]]

import contextlib  # noqa: E402
import faulthandler  # noqa: E402
import json  # noqa: E402
import os  # noqa: E402
import runpy  # noqa: E402
import signal  # noqa: E402
import time  # noqa: E402
import traceback  # noqa: E402
from types import TracebackType  # noqa: E402
from typing import NoReturn  # noqa: E402


def main() -> None:
    how, target, *args = sys.argv[1:]
    _know_rank()
    folder = os.environ.pop("DTORCH_WORD_DIR")
    rank = os.environ["RANK"]
    _meet_launcher(folder, rank)
    if how == "exec":
        _become(target, args)
    # Held open for good: faulthandler writes to the descriptor when the process crashes.
    crash = open(os.path.join(folder, f"{rank}.crash"), "w")  # noqa: SIM115
    faulthandler.enable(crash)
    try:
        _run(how, target, args)
        _mark_end(folder, rank)
    except SystemExit as error:
        if error.code in (None, 0):
            _mark_end(folder, rank)
            raise
        if not isinstance(error.code, int):
            print(error.code, file=sys.stderr)
        code = error.code & 255 if isinstance(error.code, int) else 1
        _leave(folder, rank, f"SystemExit: {error.code}", "", code, False)
    except BaseException as error:  # noqa: BLE001 (the launcher reports it)
        error.__traceback__ = _of_user(error.__traceback__)
        message = str(error).strip()
        summary = ": ".join([type(error).__name__, *message.splitlines()[:1]])
        code = 128 + signal.SIGINT if isinstance(error, KeyboardInterrupt) else 1
        text = "".join(traceback.format_exception(error))
        _leave(folder, rank, summary, text, code, _in_collective(error))


def _know_rank() -> None:
    """Under mpirun all ranks get one environment; Open MPI's own variables tell them apart."""
    os.environ.setdefault("RANK", os.environ.get("OMPI_COMM_WORLD_RANK", ""))
    os.environ.setdefault("LOCAL_RANK", os.environ.get("OMPI_COMM_WORLD_LOCAL_RANK", ""))
    os.environ.setdefault("ROLE_RANK", os.environ["RANK"])


def _meet_launcher(folder: str, rank: str) -> None:
    """Under mpirun we are not the launcher's child: tell it our pid, and write to its own pipes.

    mpirun would mix the ranks' lines, and passes on few signals.
    """
    if not os.path.exists(os.path.join(folder, f"{rank}.1")):
        return
    with open(os.path.join(folder, f"{rank}.pid"), "w") as file:
        file.write(str(os.getpid()))
    for stream in (1, 2):
        pipe = os.open(os.path.join(folder, f"{rank}.{stream}"), os.O_WRONLY)
        os.dup2(pipe, stream)
        os.close(pipe)


def _become(target: str, args: list[str]) -> NoReturn:
    try:
        os.execvp(target, [target, *args])
    except OSError as error:
        sys.exit(f"cannot run {target}: {error.strerror}")


def _run(how: str, target: str, args: list[str]) -> None:
    sys.argv[:] = [target, *args]
    if how == "module":
        sys.path.insert(0, os.getcwd())
        runpy.run_module(target, run_name="__main__", alter_sys=True)
    else:
        sys.path.insert(0, os.path.dirname(os.path.abspath(target)))
        runpy.run_path(target, run_name="__main__")


def _of_user(trace: TracebackType | None) -> TracebackType | None:
    """The traceback without this file's and runpy's frames, which say nothing to the user."""
    ours = (__file__, runpy.__file__, "<frozen runpy>")
    while trace is not None and trace.tb_frame.f_code.co_filename in ours:
        trace = trace.tb_next
    return trace


def _mark_end(folder: str, rank: str) -> None:
    """Note when the program has come to its end: what is left may wait for other ranks."""
    # A full disk is no failure of the program; the launcher then knows only when it exited.
    with contextlib.suppress(OSError), open(os.path.join(folder, f"{rank}.end"), "w") as file:
        file.write(str(time.monotonic()))


def _in_collective(error: BaseException) -> bool:
    """Whether it says that communication failed: another rank is likely to be the cause."""
    modules = [kind.__module__ for kind in type(error).__mro__]
    return any(module.startswith(("dtorch.parallel.", "mpi4py.")) for module in modules)


def _leave(
    folder: str, rank: str, summary: str, trace: str, code: int, in_collective: bool
) -> NoReturn:
    """Leave word and go, now: the ordinary way out would wait in MPI_Finalize for the others."""
    word = {"time": time.monotonic(), "summary": summary, "traceback": trace, "code": code,
            "in_collective": in_collective}  # fmt: skip
    path = os.path.join(folder, f"{rank}.json")
    try:
        with open(path + "~", "w", encoding="utf-8", errors="backslashreplace") as file:
            json.dump(word, file)
        os.replace(path + "~", path)  # the launcher never sees half of it
    except OSError as error:
        print(f"{trace}(dtorch-run can't be told: {error})", file=sys.stderr)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # the program may have closed it
            stream.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
