"""Random schedules with random faults: a small DDP training on 2 to 4 ranks, each in its own order.

DTORCH_SCHEDULES=1000 says how many, DTORCH_SCHEDULE=7 replays number 7 alone.  Each must end: with
the bits of a run that nothing has disturbed, or with errors that name the rank at fault.
"""

from __future__ import annotations

import functools
import os
import random
from collections.abc import Iterator
from typing import NamedTuple

import pytest

import dtorch
import dtorch.distributed as dist
from dtorch import nn
from dtorch.nn.parallel import DistributedDataParallel

COUNT = int(os.environ.get("DTORCH_SCHEDULES", "500"))
ONE = os.environ.get("DTORCH_SCHEDULE")
STEPS = 2
TIMEOUT = 60.0  # on the rehearsal's clock


class Case(NamedTuple):
    size: int
    rehearsal: dist.Rehearsal
    kind: str  # of its fault; "" without one, "late" for a delay that is longer than the deadline
    rank: int


def draw(number: int) -> Case:
    """The case of a number."""
    rng = random.Random(number)
    size = rng.randint(2, 4)
    rank = rng.randrange(size)
    kind = rng.choice(["", "delay", "late", "kill", "drop", "corrupt", "mismatch"])
    places = [f"step{rng.randint(1, STEPS)}", f"all_reduce#{rng.randint(1, 2 * STEPS)}"]
    if kind != "corrupt":  # an object's bits go through pickle, of which some carry nothing
        places += ["all_gather_object#1", f"collective#{rng.randint(1, 2 * STEPS + 3)}"]
    how = {"delay": "=30", "late": "=90", "mismatch": rng.choice(["", "=change"])}.get(kind, "")
    name = "delay" if kind == "late" else kind
    fault = f"{name}:{rank}@{rng.choice(places)}{how}" if kind else ""
    return Case(size, dist.Rehearsal(number, fault), kind, rank)


def train(errors: dict[int, Exception] | None = None) -> list[float]:
    """Two buckets, two steps; the weights, bit for bit.  errors: what each rank has raised."""
    rank = dist.get_rank()
    try:
        dtorch.manual_seed(0)
        model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
        ddp = DistributedDataParallel(model, bucket_cap_mb=50 / 2**20)
        optimizer = dtorch.optim.SGD(ddp.parameters(), lr=0.1, momentum=0.9)
        generator = dtorch.Generator(seed=rank + 1)
        for _ in range(STEPS):
            optimizer.zero_grad()
            ddp(dtorch.randn(5, 3, generator=generator)).square().mean().backward()
            optimizer.step()
        dist.destroy_process_group()
        return [x for p in model.parameters() for x in p.detach().flatten().tolist()]
    except Exception as error:
        if errors is not None:
            errors[rank] = error
        raise


@functools.cache
def undisturbed(size: int) -> list[list[float]]:
    return dist.run_local(train, size)


def check(case: Case) -> None:
    """Run a case; AssertionError unless it ends as it must."""
    errors: dict[int, Exception] = {}

    def run() -> list[list[float]]:
        return dist.run_local(train, case.size, errors, timeout=TIMEOUT, rehearsal=case.rehearsal)

    if case.kind in ("", "delay"):
        assert run() == undisturbed(case.size)
        return
    with pytest.raises(RuntimeError):  # DistError is one
        run()
    others = set(range(case.size)) - {case.rank}
    knowing = others if case.kind == "kill" else {*others, case.rank}
    assert set(errors) == knowing
    words = {
        "kill": f"rank {case.rank} ended while",
        "late": f"waiting for rank {case.rank}",
        "drop": f"waiting for rank {case.rank}",
        "corrupt": f"a message of rank {case.rank} has arrived damaged",
        "mismatch": f"rank {case.rank}: #",
    }
    for error in errors.values():
        assert words[case.kind] in str(error), error


def numbers() -> Iterator[int]:
    yield from [int(ONE)] if ONE is not None else range(COUNT)


def test_random_schedules(monkeypatch, tmp_path):
    monkeypatch.setenv("DTORCH_CHECK_MESSAGES", "on")
    monkeypatch.setenv("DTORCH_RUN_DIR", str(tmp_path))
    for number in numbers():
        case = draw(number)
        passed = False
        try:
            check(case)
            passed = True
        finally:
            if not passed:
                print(f"{case}\nreplay it:  DTORCH_SCHEDULE={number} python -m pytest {__file__}")
