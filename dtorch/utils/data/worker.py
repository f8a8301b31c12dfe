"""The worker processes of a DataLoader.

A worker has two connections of its own: requests come in on one, batches go out on the other, with
their big arrays in memory that the two processes share (`mailing.py`). Nothing is shared between
workers, so none can hold a lock that another needs when it dies; and since each connection has one
reader and one writer, its end of file is the life line: a worker whose parent is gone stops, a
parent whose worker is gone says so.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import pickle
import queue
import re
import signal
import threading
import time
import traceback
import weakref
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import BaseContext
from typing import Any

from .fetch import Exhausted, Recipe, seed_everything
from .mailing import Inbox, Letter, Outbox

_STACK = "dtorch-worker-stack"  # memory of a worker, for its stack when somebody asks
_STACK_SECONDS = 0.5
STOP_SECONDS = 2.0  # what a worker gets to finish the sample it is at, before it is terminated


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
    faulthandler.register(signal.SIGUSR2, os.memfd_create(_STACK), all_threads=False)
    global _worker_info
    _worker_info = info
    seed_everything(info.seed)

    # A thread sends, so that the next batch is made while the last one waits to be taken.
    outbox = Outbox()
    outgoing: queue.SimpleQueue[Letter] = queue.SimpleQueue()
    sender = threading.Thread(target=_send_all, args=(outgoing, replies), daemon=True)
    sender.start()

    fetch: Callable[[Any], Any] | None = None
    while sender.is_alive():
        try:
            request, freed = requests.recv()
        except (EOFError, OSError):  # the parent closed its end, or is gone
            return
        outbox.release(freed)
        if request is _Begin:
            fetch = None
            continue
        try:
            if init_fn is not None:
                init_fn(info.id)
                init_fn = None
            fetch = fetch or recipe.begin()
            reply = outbox.pack(("batch", fetch(request)))
        except Exhausted:
            reply = outbox.pack(("exhausted", None))
        except Exception as error:  # noqa: BLE001 - whatever it is, the parent raises it
            reply = outbox.pack(("error", _described(error, info.id)))
        outgoing.put(reply)


def _send_all(outgoing: queue.SimpleQueue[Letter], replies: Connection) -> None:
    with contextlib.suppress(OSError):  # the parent closed its end: nobody wants the rest
        while True:
            outgoing.get().send(replies)


def _described(error: Exception, worker_id: int) -> tuple[type[Exception], str]:
    """The error's type and message for the parent; RuntimeError for a class only we can name."""
    text = (
        f"Caught {type(error).__name__} in DataLoader worker process {worker_id}.\n"
        f"Original {traceback.format_exc()}"
    )
    try:
        pickle.dumps(type(error))
    except (pickle.PicklingError, AttributeError):
        return RuntimeError, text
    return type(error), text


# --- in the parent -------------------------------------------------------------------------------

# The ends of all workers' connections that belong to this process.
_parent_ends: weakref.WeakSet[Connection] = weakref.WeakSet()
# Two threads that start workers at once would each leak half-made connections into the other's worker.
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
        self._inbox = Inbox()
        with _starting:
            requests_out, self._requests = context.Pipe(duplex=False)
            self._replies, replies_in = context.Pipe(duplex=True)  # a socket: it passes descriptors
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
            self._requests.send((what, self._inbox.freed()))

    def receive(self) -> tuple[str, Any]:
        """The next reply: ("batch", batch), ("exhausted", None) or ("error", exception).

        RuntimeError: the worker died.
        """
        try:
            kind, content = self._inbox.receive(self._replies)
        except (EOFError, OSError):
            raise self.lost() from None
        return kind, _rebuilt(*content) if kind == "error" else content

    def stack(self) -> list[tuple[str, int, str]]:
        """(file, line, function) of the worker's calls, the innermost one last; [] if it is mute."""
        pid = self._process.pid
        with contextlib.suppress(OSError, StopIteration):  # it has ended
            folder = f"/proc/{pid}/fd"
            links = (f"{folder}/{fd}" for fd in os.listdir(folder))
            path = next(p for p in links if os.readlink(p).startswith(f"/memfd:{_STACK}"))
            start = os.stat(path).st_size
            os.kill(pid, signal.SIGUSR2)
            text = _written(path, start)
            ours = text.partition(" in _worker_main\n")[0]  # what follows is the parent's, by fork
            calls = re.findall(r'^  File "(.+)", line (\d+) in (.+)$', ours, re.MULTILINE)
            note = f"(DataLoader worker {self.id}, process {pid})"
            return [(file, int(line), f"{name} {note}") for file, line, name in reversed(calls)]
        return []

    def lost(self) -> RuntimeError:
        """What to raise when the worker has died."""
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


def _written(path: str, start: int) -> str:
    """What somebody writes to a file from a place on, until it grows no more."""
    deadline = time.monotonic() + _STACK_SECONDS
    before, size = start, start
    while time.monotonic() < deadline and (size == start or size != before):
        time.sleep(0.02)
        before, size = size, os.stat(path).st_size
    with open(path) as file:
        file.seek(start)
        return file.read()


def _rebuilt(kind: type[Exception], text: str) -> Exception:
    if issubclass(kind, StopIteration):  # raised by an iterator it would pass for the data's end
        return RuntimeError(text)
    try:
        return kind(_Text(text))
    except Exception:  # noqa: BLE001 - a constructor that wants something else than a message
        return RuntimeError(text)


def wait_for(
    wanted: Sequence[Worker], all_asked: Iterable[Worker], timeout: float | None
) -> Worker:
    """One of the `wanted` workers, which has sent a reply, or has ended.

    RuntimeError: none has, and another one of those that were asked is dead; or nothing came for
    ``timeout`` seconds.
    """
    replies: dict[Any, Worker] = {w._replies: w for w in wanted}
    dead: dict[Any, Worker] = {w._process.sentinel: w for w in all_asked}
    ready = wait([*replies, *dead], timeout)
    for event in ready:
        if event in replies:
            return replies[event]
    if ready:
        raise dead[ready[0]].lost()
    raise RuntimeError(
        f"DataLoader timed out after {timeout} seconds waiting for worker {wanted[0].id} "
        f"(pid {wanted[0]._process.pid})"
    )


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
