"""The benchmarks of communication: their ranks answer, and their tables say what was measured."""

from __future__ import annotations

import math

import pytest

from bench import allreduce, data, ddp
from bench.ranks import Contender


@pytest.mark.parametrize(
    ("module", "name", "question"),
    [
        ("bench.allreduce", "shm in place", (1 << 16, 3)),
        ("bench.ddp", "dtorch shm", ("ResNet-18's tensors, 11.7M", "ddp", 3)),
    ],
)
def test_ranks_answer_with_the_time_of_each_round(module, name, question):
    with Contender(module, name) as contender:
        times = contender.ask(*question)
    assert len(times) == 3
    assert all(0 < t < 60 for t in times)


def test_tables():
    times = {
        name: {size: [2e-6, 3e-6] for size in allreduce.SIZES} for name in allreduce.CONTENDERS
    }
    times["gloo"] = {size: [8e-6, 9e-6] for size in allreduce.SIZES}
    assert "| 4 KB | 2 us (4.0x) | 2 us (4.0x) | 2 us (4.0x) | 8 us (1.0x) |" in allreduce.table(
        times
    )

    ours = {"ddp": [0.011, 0.012], "no_sync": [0.010, 0.011], "alone": [0.004, 0.005]}
    rival = {"ddp": [0.022, 0.023], "no_sync": [0.012, 0.013], "alone": [0.010, 0.011]}
    told = ddp.table({"a model": {"dtorch shm": ours, "torch gloo": rival}})
    # Half of the time; of 4 ms alone, 1 ms is exposed; of torch's 10 ms, all.
    assert "| a model | dtorch shm | 11.0 | 0.50x | 10.0 | 1.0 | 4.0 | 75% |" in told
    assert "| a model | torch gloo | 22.0 | 1.00x | 12.0 | 10.0 | 10.0 | 0% |" in told


def test_what_workers_cost(monkeypatch):
    monkeypatch.setattr(data, "BATCHES", {"rows": ((16,), 8, 3)})
    ours = data.measure("dtorch")
    assert set(ours["rows"]) == {"0 workers", "2 workers"}
    assert all(0 <= t < 60e3 for t in ours["rows"].values())
    twice = {"rows": dict.fromkeys(ours["rows"], 2.0)}
    half = data.best([{"rows": dict.fromkeys(ours["rows"], t)} for t in (1.0, 3.0)])
    told = data.table({"torch": twice, "dtorch": half})
    assert "| rows | 2 workers | 2.00 | 1.00 | 0.50 |" in told


def test_resnet18_is_its_size():
    assert len(ddp.resnet18()) == 62
    assert sum(math.prod(shape) for shape in ddp.resnet18()) == 11_689_512  # as torchvision's
