"""Python's multiprocessing, whose queues and pipes pass tensors on without copying their memory.

Everything of multiprocessing is here under its name.  Shared tensors (`Tensor.share_memory_()`, or
whatever goes through a queue) are seen by all processes.  `spawn` starts ranks that call
`dtorch.distributed.init_process_group`.
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import pickle
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback
import warnings
import weakref
from collections.abc import Callable, Iterable
from multiprocessing import *  # noqa: F403
from typing import Any

from .core import sharing as _sharing

ENV_VAR_PARALLEL_START = "TORCH_MP_PARALLEL_START"  # torch's; here processes start one by one
_GRACE = 30.0  # seconds from SIGTERM to SIGKILL

__all__ = [
    *multiprocessing.__all__, "ProcessContext", "ProcessException", "ProcessExitedException",
    "ProcessRaisedException", "SpawnContext", "get_all_sharing_strategies", "get_sharing_strategy",
    "init_reductions", "set_sharing_strategy", "spawn", "start_processes",
]  # fmt: skip


# ---- how memory is shared ------------------------------------------------------------------------


def get_all_sharing_strategies() -> set[str]:
    """What set_sharing_strategy accepts."""
    return {"file_descriptor", "file_system"}


def get_sharing_strategy() -> str:
    """ "file_descriptor": memory without a name, of which nothing is left when a process dies."""
    return "file_descriptor"


def set_sharing_strategy(new_strategy: str) -> None:
    """Accepted as torch's, and does nothing: memory is always shared by its file descriptor."""
    if new_strategy not in get_all_sharing_strategies():
        raise ValueError(
            f"expected one of {sorted(get_all_sharing_strategies())}, got {new_strategy!r}"
        )


def init_reductions() -> None:
    """Let multiprocessing pass tensors on; it does so from their first sharing anyway."""
    _sharing.let_multiprocessing_pass_it_on()


# ---- several processes for one function ----------------------------------------------------------


class ProcessException(Exception):
    """A process of `spawn` failed.

    error_index, error_pid: which one
    """

    def __init__(self, msg: str, error_index: int, error_pid: int) -> None:
        super().__init__(msg)
        self.msg, self.error_index, self.error_pid = msg, error_index, error_pid

    def __reduce__(self) -> Any:
        return type(self), (self.msg, self.error_index, self.error_pid)


class ProcessRaisedException(ProcessException):
    """It raised an exception, whose traceback is in the message."""


class ProcessExitedException(ProcessException):
    """It exited, or was killed by a signal.

    exit_code: minus the signal in that case
    """

    def __init__(self, msg: str, error_index: int, error_pid: int, exit_code: int,
                 signal_name: str | None = None) -> None:  # fmt: skip
        super().__init__(msg, error_index, error_pid)
        self.exit_code, self.signal_name = exit_code, signal_name

    def __reduce__(self) -> Any:
        args = self.msg, self.error_index, self.error_pid, self.exit_code, self.signal_name
        return type(self), args


class ProcessContext:
    """Processes that were started together."""

    def __init__(self, processes: list[Any], error_files: list[str]) -> None:
        self.processes, self.error_files = processes, error_files
        self.sentinels = {process.sentinel: i for i, process in enumerate(processes)}

    def pids(self) -> list[int]:
        return [process.pid for process in self.processes]

    def join(self, timeout: float | None = None, grace_period: float | None = None) -> bool:
        """Wait until one or more have ended; True when all have.

        When one has failed, the others get `grace_period` seconds to end by themselves, then
        SIGTERM, then SIGKILL; and ProcessRaisedException or ProcessExitedException says what the
        first one to fail did.
        """
        ready = multiprocessing.connection.wait(list(self.sentinels), timeout)
        ended = [self.sentinels.pop(sentinel) for sentinel in ready]
        for i in ended:
            self.processes[i].join()
        failed = [i for i in ended if self.processes[i].exitcode != 0]
        if not failed:
            return not self.sentinels
        first = min(failed, key=self._time_of_error)
        self._end(grace_period)
        raise self._error(first)

    def _time_of_error(self, i: int) -> float:
        """When a process left word; those that could not come first: others fail because of them."""
        path = self.error_files[i]
        return os.stat(path).st_mtime if os.path.exists(path) else 0.0

    def _end(self, grace: float | None) -> None:
        if grace is not None:
            self._wait(grace)
        for process in self.processes:
            if process.is_alive():
                process.terminate()
        self._wait(_GRACE if grace is None else grace)
        for process in self.processes:
            if process.is_alive():
                process.kill()
            process.join()

    def _wait(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        for process in self.processes:
            process.join(max(0.0, deadline - time.monotonic()))

    def _error(self, i: int) -> ProcessException:
        process, path = self.processes[i], self.error_files[i]
        if os.path.exists(path):
            with open(path, "rb") as file:
                trace = pickle.load(file)
            text = f"\n\n-- Process {i} terminated with the following error:\n{trace}"
            return ProcessRaisedException(text, i, process.pid)
        code = process.exitcode
        if code >= 0:
            text = f"process {i} terminated with exit code {code}"
            return ProcessExitedException(text, i, process.pid, code)
        known = {s.value for s in signal.Signals}
        name = signal.Signals(-code).name if -code in known else f"<Unknown signal {-code}>"
        text = f"process {i} terminated with signal {name}"
        return ProcessExitedException(text, i, process.pid, code, name)


class SpawnContext(ProcessContext):
    """What `spawn` returns where it doesn't join."""


def start_processes(fn: Callable[..., Any], args: Iterable[Any] = (), nprocs: int = 1,
                    join: bool = True, daemon: bool = False,
                    start_method: str = "spawn") -> ProcessContext | None:  # fmt: skip
    """Run fn(i, *args) in `nprocs` processes, i being their number.

    join: wait for all of them, and return None; raises what ProcessContext.join does
    daemon: whether they may start no processes, and end with this one; the others get SIGINT then
    start_method: "spawn", "fork" or "forkserver"; fn must be importable but for "fork"
    """
    context: Any = multiprocessing.get_context(start_method)
    folder = tempfile.mkdtemp(prefix="dtorch-")
    files = [os.path.join(folder, str(i)) for i in range(nprocs)]
    processes = [
        context.Process(target=_run, args=(fn, i, tuple(args), files[i]), daemon=daemon)
        for i in range(nprocs)
    ]
    for process in processes:
        process.start()
    started = SpawnContext(processes, files)
    weakref.finalize(started, shutil.rmtree, folder, ignore_errors=True)
    if not join:
        return started
    while not started.join():
        pass
    return None


def spawn(fn: Callable[..., Any], args: Iterable[Any] = (), nprocs: int = 1, join: bool = True,
          daemon: bool = False, start_method: str = "spawn") -> ProcessContext | None:  # fmt: skip
    """start_processes() by "spawn".  As torch, it warns of another method, and uses "spawn"."""
    if start_method != "spawn":
        warnings.warn(
            f"spawn() starts processes by 'spawn', not by {start_method!r}: use start_processes()",
            FutureWarning,
            stacklevel=2,
        )
    return start_processes(fn, args, nprocs, join, daemon)


def _run(fn: Callable[..., Any], i: int, args: tuple[Any, ...], error_file: str) -> None:
    """In the new process: the function, and word of what it raises."""
    threading.Thread(target=_end_with_parent, name="dtorch parent", daemon=True).start()
    try:
        fn(i, *args)
    except KeyboardInterrupt:
        pass  # the parent has been told, too
    except Exception:  # noqa: BLE001 (raised in the parent)
        with open(error_file + "~", "wb") as file:
            pickle.dump(traceback.format_exc(), file)
        os.replace(error_file + "~", error_file)
        sys.exit(1)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGINT)
