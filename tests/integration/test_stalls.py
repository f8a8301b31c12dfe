"""A rank that stands still is named, with its place, by those that wait for it; then all go on.

The report sets it free, so that nothing here waits for a time that somebody has guessed.
"""

from __future__ import annotations

import io
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

import dtorch
import dtorch.distributed as dist
from dtorch.utils.data import DataLoader, Dataset

HERE = Path(__file__)
FOLDER = Path(os.environ.get("DTORCH_TEST_FOLDER", ""))  # which the ranks of a test share
HOW = ["wait", "loop", "stop"]


def at(mark: str) -> str:
    """file:line of the line that ends in a comment."""
    lines = HERE.read_text("utf-8").splitlines()
    return f"{HERE}:{next(i for i, line in enumerate(lines, 1) if line.endswith(f'# {mark}'))}"


class Stuck(Dataset):
    """Its samples do not come before it is set free."""

    def __init__(self, how: str, free: threading.Event) -> None:
        self.how, self.free = how, free

    def __len__(self) -> int:
        return 1

    def __getitem__(self, i: int) -> int:
        if self.how == "stop":
            os.kill(os.getpid(), signal.SIGSTOP)
        if self.how == "wait":
            self.free.wait(60)  # it waits here
        while not self.free.is_set():
            pass  # it loops here
        return i


class Reports(io.StringIO):
    """Stands for stderr, and does something when a report has been printed."""

    def __init__(self, then: Callable[[], None]) -> None:
        super().__init__()
        self.then = then

    def flush(self) -> None:
        self.then()


def train(how: str, free: threading.Event) -> int:
    """One step on each rank; rank 1's data do not come.  Returns the number of that collective."""
    dist.barrier()
    if dist.get_rank() == 1:
        list(DataLoader(Stuck(how, free)))
    with dist.record_comm("loss"):
        dist.all_reduce(dtorch.ones(3))  # the others wait here
    return dist.GroupMember.WORLD.flight.latest["world"].collective.seq


def check(report: str, how: str, pid: int, seq: int) -> None:
    host = socket.gethostname()
    if how == "stop":
        assert f"rank 1 is silent: process {pid} on {host} is stopped (by SIGSTOP" in report
        assert f"the last that it has taken part in is #{seq - 1} barrier at {HERE}:" in report
    else:
        line = at("it waits here") if how == "wait" else f"{HERE}:"
        assert f"it is at {line}" in report
        assert " in __getitem__; rank" in report
        assert (
            f"rank 1 ({host}, process {pid}) has not reached #{seq} all_reduce 'loss' float32[3] "
            "sum of group 'world'; it is at" in report
        )
        assert "The calls of rank 1:\n" in report
        assert "list(DataLoader(Stuck(how, free)))" in report
    assert f" at {at('the others wait here')}" in report


@pytest.mark.parametrize("how", HOW[:2])
def test_threads(how, monkeypatch):
    monkeypatch.setenv("DTORCH_STALL_TIMEOUT", "0.5")
    free = threading.Event()
    reports = Reports(free.set)
    monkeypatch.setattr(sys, "stderr", reports)
    seqs = dist.run_local(partial(train, how, free), 3)
    check(reports.getvalue(), how, os.getpid(), seqs[0])


def on_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    pids = [0] * dist.get_world_size()
    dist.all_gather_object(pids, os.getpid())
    for how in HOW:
        free = threading.Event()
        wakes = signal.SIGCONT if how == "stop" else signal.SIGUSR1
        signal.signal(wakes, partial(set_free, free))
        reports = Reports(partial(os.kill, pids[1], wakes))
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stderr", reports)
            seq = train(how, free)
        told = [""] * len(pids)
        dist.all_gather_object(told, reports.getvalue())
        assert any(told)
        assert not told[1]
        for report in filter(None, told):
            check(report, how, pids[1], seq)


def set_free(free: threading.Event, signum: int, frame: object) -> None:
    free.set()


# ---- ranks that wait for each other: each raises at its deadline, and names both lines -----------


def in_two_groups() -> None:
    """The same ranks, in two groups: no comparison can see that they don't meet."""
    groups = [dist.new_group([0, 1]) for _ in range(2)]
    reduce = partial(dist.all_reduce, dtorch.ones(3), async_op=True)
    if dist.get_rank() == 0:
        work = reduce(group=groups[0])  # in group 1
    else:
        work = reduce(group=groups[1])  # in group 2
    with pytest.raises(dist.DistError, match="no end after 0.5 s") as error:
        work.wait(timeout=0.5)
    mine, other = dist.get_rank() + 1, 2 - dist.get_rank()
    text = str(error.value)
    assert f"waits for #1 all_reduce float32[3] sum at {at(f'in group {other}')}" in text
    assert f"of group 'world/{other}'; rank {mine - 1} waits at {at(f'in group {mine}')}" in text


def with_two_tags() -> None:
    """Each waits for a message that the other has sent under another tag, or not at all."""
    other = 1 - dist.get_rank()
    if dist.get_rank() == 0:
        work = dist.irecv(dtorch.ones(3), 1, tag=5)  # the fifth
    else:
        work = dist.irecv(dtorch.ones(3), 0, tag=6)  # the sixth
    with pytest.raises(dist.DistError, match="no end after 0.5 s") as error:
        work.wait(timeout=0.5)
    mark, tag = ("the sixth", 6) if other else ("the fifth", 5)
    assert (
        f"waits for recv float32[3] from rank {1 - other}, tag {tag} at {at(mark)} of group "
        "'world'; rank" in str(error.value)
    )


DEADLOCKS = [in_two_groups, with_two_tags]


@pytest.mark.parametrize("body", DEADLOCKS)
def test_a_deadlock_of_threads(body):
    dist.run_local(body, 2)


# ---- both, on processes: starting them takes longer than what they do ----------------------------


@pytest.mark.dist(2, timeout=90)
@pytest.mark.parametrize("backend", ["shm", "mpi"])
def test_processes(backend, monkeypatch):
    monkeypatch.setenv("DTORCH_STALL_TIMEOUT", "0.5")
    join(backend, "stalls")
    on_processes(monkeypatch)
    dist.destroy_process_group()
    for body in DEADLOCKS:
        join(backend, body.__name__)
        body()
        leave_together(body.__name__)


def join(backend: str, name: str) -> None:
    if backend == "mpi":
        dist.init_process_group("mpi", timeout=60)
    else:
        place = {"rank": int(os.environ["RANK"]), "world_size": int(os.environ["WORLD_SIZE"])}
        dist.init_process_group(backend, f"file://{FOLDER}/{name}", 60, **place)


def leave_together(name: str) -> None:
    """No sooner than the other rank, which may still ask where this one is, has been told."""
    rank = dist.get_rank()
    (FOLDER / f"{rank} was told of {name}").touch()
    while not (FOLDER / f"{1 - rank} was told of {name}").exists():
        time.sleep(0.01)
    dist.destroy_process_group()
