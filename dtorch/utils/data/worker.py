"""The worker processes of a DataLoader.

A worker has two pipes of its own: requests come in on one, batches go out on the other. Nothing
is shared between workers, so none can hold a lock that another needs when it dies; and since each
pipe has one reader and one writer, its end of file is the life line: a worker whose parent is
gone stops, a parent whose worker is gone says so.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import queue
import random
import signal
import threading
import time
import traceback
import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import BaseContext
from typing import Any

import numpy as np

from dtorch.core.random import manual_seed

from .fetch import Exhausted, Recipe

STOP_SECONDS = 5.0  # what a worker gets to finish the sample it is at, before it is terminated


@dataclass(frozen=True)
class WorkerInfo:
    """What ``get_worker_info()`` tells: ``seed`` is this worker's own, ``dataset`` its copy."""

    id: int
    num_workers: int
    seed: int
    dataset: Any


_worker_info: WorkerInfo | None = None


def get_worker_info() -> WorkerInfo | None:
    """Who this process is among a DataLoader's workers; None outside of a worker."""
    return _worker_info


# --- in the worker -------------------------------------------------------------------------------


class _Begin:
    """The request that starts a new pass over the dataset."""


def _worker_main(
    info: WorkerInfo,
    recipe: Recipe,
    init_fn: Callable[[int], None] | None,
    requests: Connection,
    replies: Connection,
) -> None:
    for end in list(_parent_ends):  # inherited by fork; held open, they'd hide the parent's death
        end.close()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # and its handlers aren't meant for this process
    global _worker_info
    _worker_info = info
    _seed_everything(info.seed)

    # A thread sends, so that the next batch is made while the last one waits in the pipe.
    outgoing: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    sender = threading.Thread(target=_send_all, args=(outgoing, replies), daemon=True)
    sender.start()

    fetch: Callable[[Any], Any] | None = None
    while sender.is_alive():
        try:
            request = requests.recv()
        except (EOFError, OSError):  # the parent closed its end, or is gone
            return
        if request is _Begin:
            fetch = None
            continue
        try:
            if init_fn is not None:
                init_fn(info.id)
                init_fn = None
            fetch = fetch or recipe.begin()
            reply = pickle.dumps(("batch", fetch(request)), protocol=5)
        except Exhausted:
            reply = pickle.dumps(("exhausted", None))
        except Exception as error:  # noqa: BLE001 - whatever it is, the parent raises it
            reply = _pickled_error(error, info.id)
        outgoing.put(reply)


def _seed_everything(seed: int) -> None:
    random.seed(seed)
    manual_seed(seed)
    np.random.seed([seed & 0xFFFFFFFF, seed >> 32])


def _send_all(outgoing: queue.SimpleQueue[bytes], replies: Connection) -> None:
    with contextlib.suppress(OSError):  # the parent closed its end: nobody wants the rest
        while True:
            replies.send_bytes(outgoing.get())


def _pickled_error(error: Exception, worker_id: int) -> bytes:
    text = (
        f"Caught {type(error).__name__} in DataLoader worker process {worker_id}.\n"
        f"Original {traceback.format_exc()}"
    )
    try:
        return pickle.dumps(("error", (type(error), text)))
    except (pickle.PicklingError, AttributeError):  # a class that only the worker can name
        return pickle.dumps(("error", (RuntimeError, text)))


# --- in the parent -------------------------------------------------------------------------------

# The ends of all workers' pipes that belong to this process.
_parent_ends: weakref.WeakSet[Connection] = weakref.WeakSet()
# Two threads that start workers at once would each leak half-made pipes into the other's worker.
_starting = threading.Lock()


class _Text(str):
    """A message that reads as it is, also in a KeyError, which shows its argument's repr."""

    __repr__ = str.__str__


class Worker:
    """The parent's handle on one worker process.

    Args:
        info, recipe, init_fn: what the worker is, does, and calls first with its id.
        context: how the process is started (fork, forkserver or spawn).
    """

    def __init__(
        self,
        info: WorkerInfo,
        recipe: Recipe,
        init_fn: Callable[[int], None] | None,
        context: BaseContext,
    ) -> None:
        self.id = info.id
        with _starting:
            requests_out, self._requests = context.Pipe(duplex=False)
            self._replies, replies_in = context.Pipe(duplex=False)
            _parent_ends.update((self._requests, self._replies))
            self._process = context.Process(  # type: ignore[attr-defined]
                target=_worker_main,
                args=(info, recipe, init_fn, requests_out, replies_in),
                name=f"dtorch-dataloader-{info.id}",
                daemon=True,
            )
            self._process.start()
            requests_out.close()
            replies_in.close()

    def begin(self) -> None:
        """Starts a new pass over the dataset."""
        self.request(_Begin)

    def request(self, what: Any) -> None:
        """Asks for one more batch. Replies come in the order of the requests."""
        with contextlib.suppress(BrokenPipeError):  # `receive` tells, after what it did send
            self._requests.send(what)

    def receive(self, timeout: float | None) -> tuple[str, Any]:
        """The next reply: ("batch", batch), ("exhausted", None) or ("error", exception).

        Raises:
            RuntimeError: the worker died, or sent nothing for ``timeout`` seconds.
        """
        try:
            if not self._replies.poll(timeout):
                raise RuntimeError(
                    f"DataLoader timed out after {timeout} seconds waiting for worker {self.id} "
                    f"(pid {self._process.pid})"
                )
            reply = self._replies.recv_bytes()
        except (EOFError, OSError):
            raise self._lost() from None
        kind, content = pickle.loads(reply)
        return kind, _rebuilt(*content) if kind == "error" else content

    def _lost(self) -> RuntimeError:
        self._process.join(STOP_SECONDS)
        code, pid = self._process.exitcode, self._process.pid
        if code is None or code >= 0:
            how = f"exited unexpectedly with exit code {code}"
        else:
            how = f"is killed by signal: {signal.Signals(-code).name}"
            how += ", often a sign that memory ran out" if -code == signal.SIGKILL else ""
        return RuntimeError(
            f"DataLoader worker {self.id} (pid {pid}) {how}. With num_workers=0 the dataset's code "
            "runs in this process, where a debugger can follow it"
        )


def _rebuilt(kind: type[Exception], text: str) -> Exception:
    if issubclass(kind, StopIteration):  # raised by an iterator it would pass for the data's end
        return RuntimeError(text)
    try:
        return kind(_Text(text))
    except Exception:  # noqa: BLE001 - a constructor that wants something else than a message
        return RuntimeError(text)


def stop_workers(workers: Iterable[Worker], owner: int) -> None:
    """Ends the workers: closes their pipes, and terminates those that don't stop by that.

    Args:
        owner: the process id of their parent; in a forked copy of it this does nothing.
    """
    if os.getpid() != owner:
        return
    for worker in workers:
        worker._requests.close()
        worker._replies.close()
    deadline = time.monotonic() + STOP_SECONDS
    for worker in workers:
        worker._process.join(max(0.0, deadline - time.monotonic()))
        if worker._process.exitcode is None:
            worker._process.kill()
            worker._process.join()
