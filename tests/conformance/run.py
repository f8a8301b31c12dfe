"""Running the checks in worker processes, so that one that hangs or dies costs itself alone."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
import time
import warnings
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any

import torch

from . import convert
from .compare import Late, seed
from .databases import CORE_OPS, Item, all_items, op_goal, remember
from .modules import check_module
from .ops import check_op
from .optimizers import check_optimizer, check_scheduler

CHECKS = {
    "op": check_op, "module": check_module, "optimizer": check_optimizer,
    "scheduler": check_scheduler,
}  # fmt: skip
ITEMS = all_items()
SECONDS = 60  # the time limit of one item

Record = dict[str, Any]


def new_record(item: Item) -> Record:
    record: Record = {"kind": item[0], "name": item[1], "why": "not run"}
    if item[0] == "op":
        op = ITEMS[item]
        record |= {"core": op.name in CORE_OPS, "goal": op_goal(op), "status": "not-run"}
    return record


def check(item: Item) -> Record:
    """The record of one item, in this process."""
    record, started = new_record(item), time.monotonic()
    seed(item[1])
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        CHECKS[item[0]](ITEMS[item], record)
    except Late:
        record["why"] = "time limit"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    record["seconds"] = round(time.monotonic() - started, 3)
    return record


def _late(*_: object) -> None:
    raise Late


def prepare(device: str = "cpu") -> None:
    """Bring torch into the state that its results are wanted in, for the rest of the process."""
    torch.nn.Module.__new__ = remember
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    torch.backends.mha.set_fastpath_enabled(False)
    torch.backends.cuda.enable_flash_sdp(False)  # nor on the CPU: it has no second derivative
    convert.DEVICE = device
    signal.signal(signal.SIGALRM, _late)


def _serve(connection: Any, device: str) -> None:
    """A worker: check each item that is asked for, until the connection closes."""
    prepare(device)
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115 (for what is printed, to the process's end)
    with suppress(EOFError):
        while True:
            connection.send(check(connection.recv()))


def run_all(wanted: Iterable[Item], jobs: int = 2, device: str = "cpu") -> Iterator[Record]:
    """Yield the record of each item, as they come."""
    context = multiprocessing.get_context("fork")
    todo, idle, busy = list(wanted)[::-1], [], {}
    dead = {"status": "forward-fail"}
    while busy or todo:
        while todo and len(busy) < jobs:
            if not idle:
                ours, its = context.Pipe()
                worker = context.Process(target=_serve, args=(its, device), daemon=True)
                worker.start()
                its.close()
                idle.append((ours, worker))
            connection, worker = idle.pop()
            item = todo.pop()
            connection.send(item)
            busy[connection] = worker, item, time.monotonic()
        for connection in multiprocessing.connection.wait(list(busy), timeout=1):
            worker, item, _ = busy.pop(connection)
            try:
                record = connection.recv()
                idle.append((connection, worker))
            except EOFError:
                record = new_record(item) | dead | {"why": "the process died"}
            yield record
        for connection, (worker, item, started) in list(busy.items()):
            if time.monotonic() - started > SECONDS + 10:  # where no signal reaches
                worker.kill()
                del busy[connection]
                yield new_record(item) | dead | {"why": "hangs"}
    for connection, worker in idle:
        worker.terminate()
        worker.join()
        connection.close()
