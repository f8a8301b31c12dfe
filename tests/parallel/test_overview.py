"""explain(ddp), and collectives in a profile's timeline."""

from __future__ import annotations

import io
import json

import pytest

import dtorch
import dtorch.distributed as dist
from dtorch import nn
from dtorch.nn.parallel import DistributedDataParallel
from dtorch.parallel import explain
from dtorch.parallel.overview import communication
from dtorch.profiler import profile

SMALL_BUCKETS = 1e-3  # MiB


def two_buckets() -> DistributedDataParallel:
    model = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 16))
    return DistributedDataParallel(model, bucket_cap_mb=SMALL_BUCKETS)


def told(ddp: DistributedDataParallel) -> str:
    file = io.StringIO()
    explain(ddp, file)
    return file.getvalue()


def explains() -> None:
    ddp = two_buckets()
    before = told(ddp)
    assert "4 parameters, 1.7 KB of gradients in 2 buckets" in before  # 416 numbers of float32
    assert "0  float32  1.1 KB  2: 2.bias, 2.weight" in before  # 272 of them
    assert "nothing has been averaged yet" in before
    ddp(dtorch.ones(3, 8)).sum().backward()
    after = told(ddp)
    assert "last time" in after
    assert "order in which gradients were ready" in after


def test_explain_names_what_is_in_the_buckets(on_ranks):
    on_ranks(explains)


def test_time_under_way_counts_once_where_spans_overlap():
    # 0-4 and 6-8 are covered, of which 0-3 lies before 3
    assert communication([(2, 4), (0, 3), (6, 8)], there=3) == (6, pytest.approx(3 / 6))
    assert communication([], there=3) == (0, 0)


def profiled(path: str) -> None:
    ddp = two_buckets()
    ddp(dtorch.ones(3, 8)).sum().backward()
    if dist.get_rank() != 0:  # a process has one profiler, and ranks may be its threads
        ddp(dtorch.ones(3, 8)).sum().backward()
        return
    with profile(record_shapes=True) as prof:
        ddp(dtorch.ones(3, 8)).sum().backward()
    prof.export_chrome_trace(path)
    with open(path) as file:
        trace = json.load(file)["traceEvents"]
    mine = [e for e in trace if e.get("cat") == "communication" and "gradients of" in e["name"]]
    starts = {e["id"]: e for e in mine if e["ph"] == "b"}
    ends = {e["id"]: e for e in mine if e["ph"] == "e"}
    assert len(starts) >= 2
    assert all(starts[i]["ts"] < ends[i]["ts"] for i in starts)
    assert all(":all_reduce of gradients of" in e["name"] for e in mine)
    asides = [e for e in prof.events() if e.is_async]
    assert all(e.self_cpu_time_total == 0 and e.cpu_parent is None for e in asides)
    assert any(e["name"] == "LinearBackward0" for e in trace)


def test_a_profile_shows_collectives_beside_the_calls(on_ranks, tmp_path):
    on_ranks(lambda: profiled(str(tmp_path / "trace.json")))
