"""dtorch.distributed as a user calls it: arguments, errors and names as torch's.

What the collectives do is in tests/parallel/conformance.py.
"""

from __future__ import annotations

import re

import pytest
import torch
import torch.distributed

import dtorch
import dtorch.distributed as dist
from dtorch import nn
from dtorch.nn.parallel import DistributedDataParallel


@pytest.fixture(scope="module")
def torchs_world():
    store = torch.distributed.HashStore()
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


# Calls in a world of one: t is torch or dtorch, d its distributed.
SAME = {
    "all_reduce": lambda t, d: [x := t.ones(2), d.all_reduce(x), x.tolist()][1:],
    "all_gather": lambda t, d: [o := [t.zeros(2)], d.all_gather(o, t.ones(2)), o[0].tolist()][1:],
    "gather": lambda t, d: [o := [t.zeros(2)], d.gather(t.ones(2), o), o[0].tolist()][1:],
    "scatter": lambda t, d: [o := t.zeros(2), d.scatter(o, [t.ones(2)]), o.tolist()][1:],
    "objects": lambda t, d: [o := [None], d.all_gather_object(o, {"a": 1}), o],
    "ranks": lambda t, d: (d.get_rank(), d.get_world_size(), d.get_process_group_ranks(None)),
    "world": lambda t, d: (d.group.WORLD.rank(), d.group.WORLD.size(), d.get_rank(d.group.WORLD)),
    "outside": lambda t, d: d.get_rank(d.GroupMember.NON_GROUP_MEMBER),
    "size outside": lambda t, d: d.get_world_size(d.GroupMember.NON_GROUP_MEMBER),
    "global rank": lambda t, d: d.get_global_rank(d.new_group([0]), 0),
    "backend": lambda t, d: (d.Backend("MPI"), d.Backend.GLOO),
    "work": lambda t, d: (w := d.all_reduce(t.ones(2), async_op=True), w.wait(), w.is_completed())[1:],
    "future": lambda t, d: d.all_reduce(t.ones(2), async_op=True).get_future().wait()[0].tolist(),
    "subgroups": lambda t, d: len(d.new_subgroups(1)[1]),
    "is": lambda t, d: (d.is_available(), d.is_initialized()),
    "complex": lambda t, d: d.supports_complex(d.ReduceOp.MAX),
    "not a tensor": lambda t, d: d.all_reduce([1.0]),
    "not a list": lambda t, d: d.all_gather(t.zeros(1), t.zeros(1)),
    "not a list of tensors": lambda t, d: d.all_gather([1], t.zeros(1)),
    "dtypes": lambda t, d: d.all_gather([t.zeros(1).int()], t.zeros(1)),
    "coalesced": lambda t, d: d.all_gather_coalesced(3, [t.zeros(1)]),
    "complex max": lambda t, d: d.all_reduce(t.ones(1, dtype=t.complex64), d.ReduceOp.MAX),
    "no root": lambda t, d: d.broadcast(t.zeros(1)),
    "both roots": lambda t, d: d.broadcast(t.zeros(1), 0, group_src=0),
    "no such rank": lambda t, d: d.get_global_rank(d.new_group([0]), 3),
    "no gather_list": lambda t, d: d.gather(t.zeros(1)),
    "no scatter_list": lambda t, d: d.scatter(t.zeros(1)),
    "no output list": lambda t, d: d.scatter_object_list([], [1]),
    "no input list": lambda t, d: d.scatter_object_list([None], None),
    "send to itself": lambda t, d: d.send(t.zeros(1), 0),
    "bad P2POp": lambda t, d: d.P2POp(d.send, t.zeros(1), 0),
    "bad batch": lambda t, d: d.batch_isend_irecv([1]),
    "too large subgroups": lambda t, d: d.new_subgroups(2),
    "no subgroups": lambda t, d: d.new_subgroups(0),
    "none enumerated": lambda t, d: d.new_subgroups_by_enumeration([]),
    "overlap": lambda t, d: d.new_subgroups_by_enumeration([[0], [0]]),
    "no split": lambda t, d: d.split_group(split_ranks=[]),
    "backend's name": lambda t, d: d.Backend(3),
    "local rank": lambda t, d: d.get_node_local_rank(fallback_rank=2),
    "no local rank": lambda t, d: d.get_node_local_rank(),
}  # fmt: skip


def outcome(call, t, d):
    """The value, or the error's type and first words."""
    try:
        return call(t, d)
    except Exception as error:  # noqa: BLE001 (compared)
        words = re.findall(r"[\w`]+", str(error).replace("dtorch", "torch"))
        return type(error), words[:4]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", SAME)
def test_as_torch(name, torchs_world, monkeypatch):
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    expected = outcome(SAME[name], torch, torch.distributed)
    (got,) = dist.run_local(lambda: outcome(SAME[name], dtorch, dist), 1)
    assert got == expected


def test_a_rank_outside_of_a_group_only_warns():
    def body():
        group = dist.new_group([0])
        x = dtorch.ones(1) * 5
        if dist.get_rank() == 0:
            dist.all_reduce(x, group=group)
            dist.destroy_process_group(group)
            return dist.get_rank(group)
        assert group is dist.GroupMember.NON_GROUP_MEMBER
        with pytest.warns(UserWarning, match="Running all_reduce on global rank 1 which does not"):
            assert dist.all_reduce(x, group=group) is None
        with pytest.raises(ValueError, match="not in it"):
            dist.get_process_group_ranks(group)
        with pytest.raises(ValueError, match="Expecting a ProcessGroup"):
            dist.all_reduce(x, group="world")
        dist.destroy_process_group(group)
        return dist.get_rank(group)

    assert dist.run_local(body, 2) == [0, -1]


def test_a_barrier_says_who_is_missing():
    def body():
        if dist.get_rank() in (1, 3):
            return ""
        with pytest.raises(RuntimeError) as error:
            dist.monitored_barrier(timeout=0.2)
        return str(error.value)

    told = dist.run_local(body, 4)
    assert told[0] == "[Rank 0]: Ranks 1, 3 failed to pass monitoredBarrier in 200 ms"
    assert "Rank 2 successfully reached monitoredBarrier" in told[2]


def test_a_grid_of_ranks():
    def body():
        rank = dist.get_rank()
        mesh = dist.init_device_mesh("cpu", (2, 3), mesh_dim_names=("outer", "inner"))
        assert (mesh.shape, mesh.ndim, mesh.size(), mesh.size(1)) == ((2, 3), 2, 6, 3)
        assert mesh.get_coordinate() == [rank // 3, rank % 3]
        assert mesh.get_local_rank("inner") == mesh["inner"].get_local_rank() == rank % 3
        inner, outer = mesh["inner"].get_group(), mesh.get_group("outer")
        assert dist.get_process_group_ranks(inner) == [3 * (rank // 3) + i for i in range(3)]
        assert dist.get_process_group_ranks(outer) == [rank % 3, rank % 3 + 3]
        assert mesh["outer"].mesh.tolist() == [rank % 3, rank % 3 + 3]
        turned = mesh["inner", "outer"]
        assert turned.mesh.tolist() == [[0, 3], [1, 4], [2, 5]]
        assert turned.get_all_groups() == [inner, outer]

        ddp = DistributedDataParallel(nn.Linear(1, 1), device_mesh=mesh["inner"])
        ddp(dtorch.tensor([[float(rank)]])).sum().backward()
        assert ddp.module.weight.grad.item() == 3 * (rank // 3) + 1
        for call in (
            lambda: mesh.get_group(),
            lambda: DistributedDataParallel(nn.Linear(1, 1), device_mesh=mesh),
            lambda: dist.init_device_mesh("cpu", (7,)),
            lambda: dist.init_device_mesh("cpu", (6,), mesh_dim_names=("a", "b")),
            lambda: dist.init_device_mesh("cpu", (2, 3), mesh_dim_names=("a", "a")),
        ):
            with pytest.raises(RuntimeError, match="(?i)mesh"):
                call()
        with pytest.raises(KeyError, match="diagonal"):
            mesh["diagonal"]

    dist.run_local(body, 6)


def test_collectives_have_a_name_in_reports():
    def body():
        with (
            pytest.raises(RuntimeError, match="'my exchange'"),
            dist.record_comm("my exchange"),
        ):
            dist.all_reduce(dtorch.zeros(2 + dist.get_rank()))

    dist.run_local(body, 2)


def test_results_of_works():
    def body():
        rank = dist.get_rank()
        x = dtorch.ones(2)
        work = dist.all_reduce(x, async_op=True)
        assert work.result()[0] is x
        assert work.exception() is None
        with pytest.raises(RuntimeError, match="receive"):
            work.source_rank()
        bad = dist.all_reduce(dtorch.ones(1 + rank), async_op=True)
        future = bad.get_future()
        with pytest.raises(RuntimeError, match="disagree"):
            future.wait()
        with pytest.raises(RuntimeError, match="disagree"):
            future.then(lambda f: f.value()).wait()
        assert not bad.is_success()
        assert isinstance(bad.exception(), RuntimeError)

    dist.run_local(body, 2)


def test_futures():
    from dtorch.futures import Future, collect_all, wait_all

    first, second = Future(), Future()
    both = collect_all([first, second])
    doubled = first.then(lambda f: f.value() * 2)
    seen = []
    first.add_done_callback(lambda f: seen.append(f.value()))
    assert not first.done()
    with pytest.raises(RuntimeError, match="not done"):
        first.value()
    first.set_result(3)
    second.set_exception(KeyError("no"))
    assert (doubled.wait(), seen, first.wait()) == (6, [3], 3)
    assert both.wait() == [first, second]
    with pytest.raises(KeyError):
        wait_all([first, second])
    with pytest.raises(KeyError):
        second.then(lambda f: f.value()).wait()
    with pytest.raises(RuntimeError, match="once"):
        first.set_result(4)
    assert collect_all([]).wait() == []
