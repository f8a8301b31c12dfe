"""The profiler: what it records, how it adds up, and that it leaves nothing behind."""

import gzip
import json
import threading

import pytest
import torch

import dtorch
from dtorch import nn
from dtorch.core.ops.pointwise import tanh
from dtorch.profiler import (
    ProfilerAction,
    ProfilerActivity,
    profile,
    record_function,
    schedule,
    supported_activities,
    tensorboard_trace_handler,
)
from dtorch.utils.data import DataLoader, TensorDataset


def train(model=None, x=None):
    """A step of a small network, forward named."""
    model = model or nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2))
    x = dtorch.ones(5, 4) if x is None else x
    with record_function("forward"):
        loss = nn.functional.mse_loss(model(x), dtorch.zeros(5, 2))
    loss.backward()


def test_counts_nesting_and_sums():
    with profile(record_shapes=True) as prof:
        train()
    by_name = {e.key: e for e in prof.key_averages()}
    assert by_name["aten::linear"].count >= 2
    assert by_name["LinearBackward0"].count == 2
    assert by_name["TanhBackward0"].count == 1
    events = prof.events()
    for e in events:
        assert e.cpu_time_total > 0
        assert e.self_cpu_time_total >= 0
        for child in e.cpu_children:
            assert child.cpu_parent is e
            assert e.time_range.start <= child.time_range.start
            assert child.time_range.end <= e.time_range.end
    forward = next(e for e in events if e.name == "forward")
    assert forward.is_user_annotation
    linears = [e for e in forward.cpu_children if e.name == "aten::linear"]
    assert [e.input_shapes for e in linears] == [[[5, 4], [3, 4], [3]], [[5, 3], [2, 3], [2]]]
    rules = {e.sequence_nr for e in events if e.name == "LinearBackward0"}
    assert {e.sequence_nr for e in linears} == rules
    top = sum(e.cpu_time_total for e in events if e.cpu_parent is None)
    assert events.self_cpu_time_total == pytest.approx(top)
    assert events.total_average().count == len(events)


def test_ops_in_place_and_composites_are_named_as_in_torch():
    def script(T):
        x = T.ones(3, 3)
        x.add_(1).mul_(2)
        return T.nn.functional.softmax(x @ x, -1).sum()

    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as theirs:
        script(torch)
    with profile() as ours:
        script(dtorch)
    expected = {e.key for e in theirs.key_averages()}
    got = {e.key for e in ours.key_averages()}
    names = {"aten::ones", "aten::add_", "aten::mul_", "aten::matmul", "aten::softmax", "aten::sum"}
    assert names <= expected
    assert names <= got


def test_nothing_is_left_behind():
    x = dtorch.ones(2).tanh()
    code = tanh.fn.__code__
    assert code.co_name == "fn"
    with profile() as prof:
        x.tanh()
        assert tanh.fn.__code__ is not code
    x.tanh()
    assert tanh.fn.__code__ is code
    assert [e.name for e in prof.events()] == ["aten::tanh"]
    with pytest.raises(ZeroDivisionError), profile() as prof:
        x.tanh() / (1 // 0)
    assert [e.name for e in prof.events()] == ["aten::tanh"]
    with profile() as prof, pytest.raises(RuntimeError, match="already enabled"):
        profile().start()


def test_memory():
    with profile(profile_memory=True) as prof:
        with record_function("block"):
            y = dtorch.ones(256).exp()
        y.view(16, 16)
    events = {e.name: e for e in prof.events()}
    assert events["aten::exp"].cpu_memory_usage == 1024
    assert events["aten::view"].cpu_memory_usage == 0
    assert events["block"].cpu_memory_usage == 2048
    assert events["block"].self_cpu_memory_usage == 0
    assert "1.00 KB" in prof.key_averages().table()


def test_tables():
    with profile(record_shapes=True, with_stack=True) as prof:
        for n in (2, 2, 3):
            dtorch.ones(n).exp()
    assert {e.key: e.count for e in prof.key_averages()} == {"aten::ones": 3, "aten::exp": 3}
    shapes = prof.key_averages(group_by_input_shape=True)
    assert {str(e.input_shapes): e.count for e in shapes if e.key == "aten::exp"} == {
        "[[2]]": 2, "[[3]]": 1,
    }  # fmt: skip
    lines = prof.key_averages().table(sort_by="count", row_limit=1, header="mine").splitlines()
    assert lines[1] == "mine"
    assert lines[3].split()[:4] == ["Name", "Self", "CPU", "%"]
    assert sum("aten::" in line for line in lines) == 1
    assert lines[-1].startswith("Self CPU time total: ")
    assert "Input Shapes" in shapes.table()
    assert f"{__name__.split('.')[-1]}.py(" in prof.key_averages(group_by_stack_n=1).table()
    with profile() as prof, record_function("outer"):
        dtorch.ones(1)
    assert "aten::ones" not in prof.events().table(top_level_events_only=True)
    with pytest.raises(AttributeError):
        prof.key_averages().table(sort_by="nothing")


def test_the_chrome_trace_is_sound(tmp_path):
    """What the trace event format asks for, and that the calls of a thread nest."""
    with profile(record_shapes=True, with_stack=True) as prof:
        prof.add_metadata("run", "mine")
        prof.add_metadata_json("sizes", "[1, 2]")
        thread = threading.Thread(target=train)
        thread.start()
        train()
        thread.join()
    path = str(tmp_path / "trace.json.gz")
    prof.export_chrome_trace(path)
    with gzip.open(path, "rt") as file:
        document = json.load(file)
    assert document["run"] == "mine"
    assert document["sizes"] == [1, 2]
    trace = document["traceEvents"]
    calls = [e for e in trace if e["ph"] == "X"]
    assert len(calls) == len(prof.events())
    assert {e["cat"] for e in calls} == {"cpu_op", "user_annotation"}
    assert len({e["tid"] for e in calls}) == 2
    for tid in {e["tid"] for e in calls}:
        ends = []
        for e in sorted((e for e in calls if e["tid"] == tid), key=lambda e: (e["ts"], -e["dur"])):
            while ends and ends[-1] <= e["ts"]:
                ends.pop()
            end = e["ts"] + e["dur"]
            assert not ends or end <= ends[-1] + 1e-3
            ends.append(end)
    arrows = [e for e in trace if e.get("cat") == "fwdbwd"]
    starts, finishes = ({e["id"]: e for e in arrows if e["ph"] == ph} for ph in "sf")
    assert starts.keys() == finishes.keys()
    assert len(starts) >= 6  # linear, tanh, linear of each thread
    assert all(starts[i]["ts"] < finishes[i]["ts"] for i in starts)


def test_stacks(tmp_path):
    with profile(with_stack=True) as prof:
        train()
    path = tmp_path / "stacks"
    prof.export_stacks(str(path))
    lines = path.read_text().splitlines()
    assert any("train" in line.rsplit(" ", 1)[0].split(";")[-1] for line in lines)
    assert all(line.rsplit(" ", 1)[1].isdigit() for line in lines)
    with pytest.raises(ValueError, match="metric should be one of"):
        prof.export_stacks(str(path), "beauty")


@pytest.mark.parametrize(
    "options",
    [
        {"wait": 1, "warmup": 1, "active": 2},
        {"wait": 1, "warmup": 1, "active": 1, "repeat": 2},
        {"wait": 0, "warmup": 1, "active": 2, "repeat": 1, "skip_first": 3},
        {"wait": 2, "warmup": 1, "active": 1, "skip_first": 1, "skip_first_wait": 1},
    ],
)
def test_schedules_are_torchs(options):
    ours, theirs = schedule(**options), torch.profiler.schedule(**options)
    assert [ours(i).name for i in range(20)] == [theirs(i).name for i in range(20)]


def test_bad_schedules():
    with pytest.raises(AssertionError, match="Invalid profiler schedule arguments"):
        schedule(wait=1, warmup=1, active=0)
    with pytest.raises(AssertionError, match="non-negative"):
        schedule(wait=1, warmup=1, active=1)(-1)
    with pytest.warns(UserWarning, match="won't be using warmup"):
        schedule(wait=1, warmup=0, active=1)


def test_cycles_of_steps():
    seen = []

    def ready(prof):
        seen.append((prof.step_num, [e.name for e in prof.events()]))

    plan = schedule(wait=1, warmup=1, active=2, repeat=2)
    with profile(schedule=plan, on_trace_ready=ready) as prof:
        for _ in range(10):
            dtorch.ones(1)
            prof.step()
    steps = [[f"ProfilerStep#{i}", "aten::ones", f"ProfilerStep#{i + 1}", "aten::ones"]
             for i in (2, 6)]  # fmt: skip
    assert seen == [(4, steps[0]), (8, steps[1])]
    assert prof.current_action is ProfilerAction.NONE
    with profile(schedule=plan, acc_events=True) as prof:
        for _ in range(8):
            prof.step()
    assert len(prof.events()) == 4


def test_the_handler_for_tensorboard(tmp_path):
    folder = tmp_path / "logs" / "run"
    with profile(on_trace_ready=tensorboard_trace_handler(str(folder), "me", use_gzip=True)):
        dtorch.ones(1)
    (file,) = folder.iterdir()
    assert file.name.startswith("me.")
    assert file.name.endswith(".pt.trace.json.gz")


def test_named_functions_optimizers_and_loaders():
    @record_function("named")
    def function(x):
        return x + 1

    p = nn.Parameter(dtorch.ones(1))
    p.grad = dtorch.ones(1)
    with profile() as prof:
        function(dtorch.ones(1))
        optimizer = dtorch.optim.Adam([p])
        optimizer.step()
        optimizer.zero_grad()
        batches = list(DataLoader(TensorDataset(dtorch.ones(4, 1)), batch_size=2))
    names = [e.name for e in prof.events()]
    assert "Optimizer.zero_grad#Adam.zero_grad" in names
    assert (
        names.count("enumerate(DataLoader)#__next__") == len(batches) + 1
    )  # the last finds no more
    assert "named" in names
    assert "Optimizer.step#Adam.step" in names
    assert function(1) == 2


def test_custom_functions_and_half_precision():
    class Double(dtorch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        def backward(ctx, g):
            return g * 2

    x = dtorch.ones(2, 2, requires_grad=True)
    with profile() as prof:
        with dtorch.autocast("cpu"):
            y = x @ x
        Double.apply(y.float()).sum().backward()
    names = [e.name for e in prof.events()]
    assert {"aten::matmul", "DoubleBackward", "CastBackward0"} <= {*names}


def test_activities():
    assert ProfilerActivity.CPU in supported_activities()
    with pytest.raises(TypeError, match="Expected ProfilerActivity"):
        profile(activities=["cpu"])
    with pytest.raises(AssertionError, match="No valid profiler activities"):
        profile(activities=[])
    with pytest.raises(AssertionError, match="must be initialized before"):
        profile().events()


def test_the_older_profiler(tmp_path):
    old = dtorch.autograd.profiler
    with old.profile(record_shapes=True) as prof:
        dtorch.ones(3).exp()
    assert str(prof) == prof.table()
    assert {e.key for e in prof.key_averages()} == {"aten::ones", "aten::exp"}
    assert prof.self_cpu_time_total > 0
    prof.export_chrome_trace(str(tmp_path / "t.json"))
    with pytest.raises(RuntimeError, match="not reentrant"):
        prof.__enter__()
    with old.profile(enabled=False) as prof:
        dtorch.ones(1)
    with pytest.raises(RuntimeError, match="didn't finish"):
        prof.key_averages()
    with pytest.warns(UserWarning, match="marks no ops"), old.emit_nvtx():
        pass
