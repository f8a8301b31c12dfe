"""Checkpoints of many ranks, read by any number of them."""

from __future__ import annotations

import pytest

import dtorch
import dtorch.distributed as dist
import dtorch.distributed.checkpoint as dcp
from dtorch import nn
from dtorch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    get_state_dict,
    set_state_dict,
)
from dtorch.distributed.checkpoint.stateful import Stateful
from dtorch.distributed.optim import ZeroRedundancyOptimizer
from dtorch.nn.parallel import DistributedDataParallel
from dtorch.utils.safetensors import load_file

BATCH = 12


def model() -> nn.Module:
    dtorch.manual_seed(0)
    layers = [nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 2), nn.Linear(2, 2)]
    return nn.Sequential(*layers).double()


def step(m: nn.Module, optimizer: dtorch.optim.Optimizer, k: int) -> None:
    """The same for any number of ranks, but for rounding; the last layer is never used."""
    x = (dtorch.arange(4 * BATCH).double() + 7 * k).sin().reshape(BATCH, 4)
    optimizer.zero_grad()
    y = m[3](m[2](m[1](m[0](x))))
    y.square().mean().backward()
    optimizer.step()


def saves(path, kind, steps: int, **options) -> list[list]:
    m = model()
    optimizer = ZeroRedundancyOptimizer(m.parameters(), kind, **options)
    for k in range(steps):
        step(m, optimizer, k)
    state, optim_state = get_state_dict(m, optimizer)
    dcp.save({"model": state, "optim": optim_state, "epoch": steps}, checkpoint_id=path)
    return [p.tolist() for p in m.parameters()]


def resumes(path, kind, steps: range, zero: bool, **options) -> list[list]:
    options["lr"] = 100.0  # that of the checkpoint counts
    m = model()
    for p in m.parameters():
        p.data.zero_()
    spread = (ZeroRedundancyOptimizer, kind) if zero else (kind,)
    optimizer = spread[0](m.parameters(), *spread[1:], **options)
    state, optim_state = get_state_dict(m, optimizer)
    whole = {"model": state, "optim": optim_state, "epoch": -1}
    dcp.load(whole, checkpoint_id=path)
    set_state_dict(m, optimizer, model_state_dict=state, optim_state_dict=whole["optim"])
    assert whole["epoch"] == steps.start
    for k in steps:
        step(m, optimizer, k)
    return [p.tolist() for p in m.parameters()]


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (dtorch.optim.AdamW, {"lr": 0.05, "betas": (0.8, 0.95), "amsgrad": True}),
        (dtorch.optim.SGD, {"lr": 0.05, "momentum": 0.9, "dampening": 0.3}),
    ],
    ids=["AdamW", "SGD"],
)
def test_a_sharded_state_goes_on_at_any_world_size(tmp_path, kind, options):
    """Saved by 3 ranks after 3 steps: 2 more on 1, 2 and 4 ranks are 5 steps of the plain one."""
    (expected,) = dist.run_local(lambda: _plain(kind, options, 5), 1)
    dist.run_local(saves, 3, tmp_path, kind, 3, **options)
    for n, zero in ((1, True), (1, False), (2, True), (4, True)):
        for weights in dist.run_local(resumes, n, tmp_path, kind, range(3, 5), zero, **options):
            assert weights == expected


def _plain(kind, options, steps: int) -> list[list]:
    m = model()
    optimizer = kind(m.parameters(), **options)
    for k in range(steps):
        step(m, optimizer, k)
    return [p.tolist() for p in m.parameters()]


def test_who_writes_what(tmp_path):
    """Replicas share the work; what one rank has is its own file; all of it is there once."""

    def body():
        rank = dist.get_rank()
        same = {f"w{i}": dtorch.full((100,), float(i)) for i in range(6)}
        own = {f"own{rank}": dtorch.tensor([rank])}
        dcp.save({"model": {**same, **own}, "lr": 0.1}, checkpoint_id=tmp_path / "new folder")

    dist.run_local(body, 3)
    files = sorted((tmp_path / "new folder").glob("__*.safetensors"))
    contents = [load_file(f) for f in files]
    assert [len(c) for c in contents] == [3, 3, 3]
    assert all(f"model.own{i}" in c for i, c in enumerate(contents))
    metadata = dcp.FileSystemReader(tmp_path / "new folder").read_metadata()
    assert metadata.state_dict_metadata.keys() == {k for c in contents for k in c}
    assert metadata.objects == {"lr": 0.1}
    assert metadata.state_dict_metadata["model.w0"][1:] == ((100,), "dtorch.float32")


def test_without_ranks_nested_values_and_objects(tmp_path):
    class Counter:
        def __init__(self, n: int) -> None:
            self.n = n

        def state_dict(self):
            return {"n": self.n}

        def load_state_dict(self, state):
            self.n = state["n"]

    tied = dtorch.arange(6.0)
    state = {
        "list": [dtorch.ones(2), {"x": dtorch.tensor(3, dtype=dtorch.bfloat16)}],
        "tied": [tied, tied],
        "strided": dtorch.arange(6).reshape(2, 3).t(),
        "empty": dtorch.zeros(0, 3),
        "plain": [1, "two", None],
        "counter": Counter(5),
    }
    dcp.save(state, checkpoint_id=tmp_path)
    into = {
        "list": [dtorch.zeros(2), {"x": dtorch.tensor(0.0)}],  # of another dtype
        "tied": [dtorch.zeros(6), dtorch.zeros(6)],
        "strided": dtorch.zeros(3, 2, dtype=dtorch.int64),
        "empty": dtorch.zeros(0, 3),
        "plain": None,
        "counter": Counter(0),
    }
    dcp.load(into, storage_reader=dcp.FileSystemReader(tmp_path))
    assert into["list"][0].tolist() == [1, 1]
    assert into["list"][1]["x"].item() == 3
    assert into["tied"][1].tolist() == tied.tolist()
    assert into["strided"].tolist() == [[0, 3], [1, 4], [2, 5]]
    assert into["plain"] == [1, "two", None]
    assert into["counter"].n == 5


class App(Stateful):
    """As in PyTorch's tutorial: a model and its optimizer as one object with a state."""

    def __init__(self, model: nn.Module, optimizer: dtorch.optim.Optimizer) -> None:
        self.model, self.optimizer = model, optimizer

    def state_dict(self):
        model, optim = get_state_dict(self.model, self.optimizer)
        return {"model": model, "optim": optim}

    def load_state_dict(self, state):
        set_state_dict(
            self.model,
            self.optimizer,
            model_state_dict=state["model"],
            optim_state_dict=state["optim"],
        )


def test_an_object_with_a_state_of_ones_own(tmp_path):
    """Saved from a DistributedDataParallel on two ranks, loaded into the bare module on one."""

    def app(m: nn.Module) -> App:
        return App(m, dtorch.optim.Adam(m.parameters(), lr=0.1))

    def body():
        a = app(DistributedDataParallel(model()))
        step(a.model.module, a.optimizer, 0)
        dcp.save({"app": a}, checkpoint_id=tmp_path)
        step(a.model.module, a.optimizer, 1)
        return [p.tolist() for p in a.model.parameters()]

    trained, _ = dist.run_local(body, 2)
    a = app(model())
    dcp.load({"app": a}, checkpoint_id=tmp_path)
    step(a.model, a.optimizer, 1)
    assert [p.tolist() for p in a.model.parameters()] == trained


def test_a_save_that_fails_leaves_the_checkpoint_before_it(tmp_path):
    def good(value):
        dcp.save({"x": dtorch.full((3,), value), f"r{dist.get_rank()}": dtorch.ones(1)},
                 checkpoint_id=tmp_path)  # fmt: skip

    def bad():
        own = dtorch.zeros(2, dtype=dtorch.complex128 if dist.get_rank() == 1 else dtorch.float32)
        with pytest.raises(dcp.CheckpointException, match="rank 1: TypeError.*complex128") as error:
            dcp.save({f"r{dist.get_rank()}": own}, checkpoint_id=tmp_path)
        assert list(error.value.failures) == [1]

    dist.run_local(good, 2, 1.0)
    before = sorted(f.name for f in tmp_path.iterdir())
    dist.run_local(bad, 2)
    into = {"x": dtorch.zeros(3)}
    dcp.load(into, checkpoint_id=tmp_path)
    assert into["x"].tolist() == [1, 1, 1]
    dist.run_local(good, 2, 2.0)
    dcp.load(into, checkpoint_id=tmp_path)
    assert into["x"].tolist() == [2, 2, 2]
    after = sorted(f.name for f in tmp_path.iterdir())
    assert len(after) == len(before) == 3
    writer = dcp.FileSystemWriter(tmp_path, overwrite=False)
    with pytest.raises(dcp.CheckpointException, match="FileExistsError"):
        dcp.save({"x": dtorch.zeros(3)}, storage_writer=writer)
    assert sorted(f.name for f in tmp_path.iterdir()) == after


def test_what_does_not_fit_is_refused_on_all_ranks_before_anything_changes(tmp_path):
    dcp.save({"a": dtorch.ones(2), "b": dtorch.ones(3), "n": 1}, checkpoint_id=tmp_path)

    def body(wrong, message):
        rank = dist.get_rank()
        into = {"a": dtorch.zeros(2), **(wrong if rank else {})}
        with pytest.raises(dcp.CheckpointException, match=message):
            dcp.load(into, checkpoint_id=tmp_path)
        assert into["a"].tolist() == [0, 0]

    for wrong, message in (
        ({"c": dtorch.zeros(1)}, "rank 1: RuntimeError: Missing key in checkpoint state_dict: c"),
        ({"b": dtorch.zeros(4)}, r"Size mismatch between saved \[3\] and current: \[4\] for b"),
        ({"n": dtorch.zeros(1)}, "'n' is a tensor in only one"),
    ):
        dist.run_local(body, 2, wrong, message)
    partial = {"b": dtorch.zeros(3), "c": dtorch.zeros(1)}
    planner = dcp.DefaultLoadPlanner(allow_partial_load=True)
    dcp.load(partial, checkpoint_id=tmp_path, planner=planner)
    assert partial["b"].tolist() == [1, 1, 1]
    assert partial["c"].tolist() == [0]
    with pytest.raises(dcp.CheckpointException, match="no checkpoint was finished"):
        dcp.load(partial, checkpoint_id=tmp_path / "elsewhere")
    with pytest.raises(ValueError, match="which folder"):
        dcp.save({})
    with pytest.raises(ValueError, match="have the name 'a.b'"):
        dcp.save({"a": {"b": 1}, "a.b": 2}, checkpoint_id=tmp_path)

    def differ():
        rank = dist.get_rank()
        with pytest.raises(ValueError, match=r"\[2\] on rank 0, but .*\[3\] on rank 1"):
            dcp.save({"x": dtorch.zeros(2 + rank)}, checkpoint_id=tmp_path)

    dist.run_local(differ, 2)
    with pytest.raises(dcp.CheckpointException, match="saving"):  # could not be loaded again
        dcp.save({"x": tmp_path}, checkpoint_id=tmp_path)


def test_states_by_the_names_of_the_bare_module():
    def body():
        m = model()
        m[4].requires_grad_(False)
        ddp = DistributedDataParallel(m)
        optimizer = ZeroRedundancyOptimizer(ddp.parameters(), dtorch.optim.Adam)
        assert get_model_state_dict(ddp).keys() == m.state_dict().keys()
        mine = get_optimizer_state_dict(ddp, optimizer)["state"]
        full = StateDictOptions(full_state_dict=True, ignore_frozen_params=True)
        whole = get_optimizer_state_dict(ddp, optimizer, options=full)
        trained = [n for n, p in m.named_parameters() if p.requires_grad]
        assert (
            sorted(whole["state"]) == sorted(trained) == sorted(whole["param_groups"][0]["params"])
        )
        assert mine.keys() < whole["state"].keys()
        assert not get_model_state_dict(ddp, options=full).keys() & {"4.weight", "4.bias"}
        one = StateDictOptions(full_state_dict=True, cpu_offload=True)
        kept = get_optimizer_state_dict(ddp, optimizer, options=one)
        assert bool(kept) == (dist.get_rank() == 0)

    dist.run_local(body, 2)
