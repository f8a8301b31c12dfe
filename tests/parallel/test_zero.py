"""ZeroRedundancyOptimizer against the optimizer that is not spread over the ranks."""

from __future__ import annotations

import copy
import io

import pytest

import dtorch
import dtorch.distributed as dist
from dtorch import nn
from dtorch.distributed.algorithms.join import Join
from dtorch.distributed.optim import ZeroRedundancyOptimizer
from dtorch.nn.parallel import DistributedDataParallel
from dtorch.optim.lr_scheduler import StepLR


def model(width: int = 8) -> nn.Module:
    dtorch.manual_seed(0)
    layers = [nn.Linear(4, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh()]
    return nn.Sequential(*layers, nn.Linear(width, 2)).double()


def data(step: int, rank: int) -> dtorch.Tensor:
    return (dtorch.arange(12).double() * (rank + 2) + 7 * step).sin().reshape(3, 4)


def backward(m: nn.Module, step: int) -> None:
    m.zero_grad()
    m(data(step, dist.get_rank())).square().mean().backward()


def weights(m: nn.Module) -> list[bytes]:
    return [p.detach().numpy().tobytes() for p in m.parameters()]


def equal_states(a, b) -> None:
    """Optimizers' state_dicts, bit for bit."""
    assert a["param_groups"] == b["param_groups"]
    assert list(a["state"]) == list(b["state"])
    for number, entry in b["state"].items():
        assert entry.keys() == a["state"][number].keys()
        for name, value in entry.items():
            assert a["state"][number][name].tolist() == value.tolist(), (number, name)


OPTIMIZERS = [
    (dtorch.optim.SGD, {"lr": 0.1, "momentum": 0.9, "dampening": 0.1}),
    (dtorch.optim.AdamW, {"lr": 0.01, "amsgrad": True}),
    (dtorch.optim.Adafactor, {"lr": 0.01}),
]


@pytest.mark.parametrize(("kind", "options"), OPTIMIZERS, ids=["SGD", "AdamW", "Adafactor"])
@pytest.mark.parametrize("views", [False, True])
def test_steps_have_the_bits_of_the_whole_optimizer(on_ranks, kind, options, views):
    def body():
        m = model()
        whole, zero = DistributedDataParallel(copy.deepcopy(m)), DistributedDataParallel(m)
        plain = kind(whole.parameters(), **options)
        spread = ZeroRedundancyOptimizer(
            zero.parameters(), kind, parameters_as_bucket_view=views, **options
        )
        schedules = [StepLR(plain, 2, 0.5), StepLR(spread, 2, 0.5)]
        for step in range(5):
            for ddp, optimizer in ((whole, plain), (zero, spread)):
                backward(ddp, step)
                optimizer.step()
            for schedule in schedules:
                schedule.step()
        assert weights(zero) == weights(whole)
        for to in {0, dist.get_world_size() - 1}:
            spread.consolidate_state_dict(to)
            if dist.get_rank() == to:
                equal_states(spread.state_dict(), plain.state_dict())
            elif dist.get_world_size() > 1:
                with pytest.raises(RuntimeError, match="not been consolidated on this rank"):
                    spread.state_dict()

    on_ranks(body)


def test_each_rank_keeps_its_share_of_the_state(on_ranks):
    def body():
        n = dist.get_world_size()
        m = nn.Sequential(*[nn.Linear(50, 50) for _ in range(12)])
        spread = ZeroRedundancyOptimizer(m.parameters(), dtorch.optim.Adam)
        m(dtorch.ones(1, 50)).sum().backward()
        spread.step()
        held = sum(t.nbytes for s in spread.optim.state.values() for t in s.values())
        whole = dtorch.optim.Adam(m.parameters())
        whole.step()
        total = sum(t.nbytes for s in whole.state.values() for t in s.values())
        assert held == pytest.approx(total / n, rel=1e-3)

    on_ranks(body)


def test_its_state_goes_on_in_either_optimizer(on_ranks):
    """Spread to whole, and whole to spread."""

    def body():
        m = model()
        ddp = DistributedDataParallel(m)
        options = {"lr": 0.05, "betas": (0.8, 0.9)}
        spread = ZeroRedundancyOptimizer(ddp.parameters(), dtorch.optim.Adam, **options)
        for step in range(2):
            backward(ddp, step)
            spread.step()
        spread.consolidate_state_dict()
        states = [spread.state_dict() if dist.get_rank() == 0 else None]
        dist.broadcast_object_list(states)
        other = DistributedDataParallel(copy.deepcopy(m))
        plain = dtorch.optim.Adam(other.parameters())
        plain.load_state_dict(states[0])
        again = ZeroRedundancyOptimizer(ddp.parameters(), dtorch.optim.Adam)
        file = io.BytesIO()
        dtorch.save(plain.state_dict(), file)
        file.seek(0)
        again.load_state_dict(dtorch.load(file))
        assert again.param_groups[0]["betas"] == (0.8, 0.9)
        for step in range(2, 4):
            for each, optimizer in ((other, plain), (ddp, again)):
                backward(each, step)
                optimizer.step()
        assert weights(ddp) == weights(other)

    on_ranks(body)


def test_groups_that_are_added_and_unused_parameters(on_ranks):
    def body():
        rank = dist.get_rank()
        m, alone = model(), model()
        layers, theirs = list(m)[::2], list(alone)[::2]
        plain = dtorch.optim.SGD(theirs[0].parameters(), lr=0.1, momentum=0.9)
        spread = ZeroRedundancyOptimizer(
            layers[0].parameters(), dtorch.optim.SGD, lr=0.1, momentum=0.9
        )
        plain.add_param_group({"params": theirs[1].parameters(), "lr": 0.01})
        spread.add_param_group({"params": layers[1].parameters(), "lr": 0.01})
        for p, q in zip(m.parameters(), alone.parameters()):
            p.grad, q.grad = p.detach() * 0.5, q.detach() * 0.5
        m[0].bias.grad = alone[0].bias.grad = None
        for _ in range(2):
            plain.step()
            spread.step()
        assert weights(m) == weights(alone)
        assert [g["lr"] for g in spread.param_groups] == [0.1, 0.01]
        spread.consolidate_state_dict()
        if rank == 0:
            equal_states(spread.state_dict(), plain.state_dict())

    on_ranks(body)


def test_more_ranks_than_parameters(on_ranks):
    def body():
        p = nn.Parameter(dtorch.ones(3))
        spread = ZeroRedundancyOptimizer([p], dtorch.optim.SGD, lr=1.0)
        p.grad = dtorch.ones(3)
        spread.step()
        assert p.tolist() == [0, 0, 0]

    on_ranks(body)


def test_uneven_inputs(on_ranks):
    """A rank that has run out goes on stepping its share, so that all end with the whole one's."""

    def body():
        rank = dist.get_rank()
        m = model()
        whole, zero = DistributedDataParallel(copy.deepcopy(m)), DistributedDataParallel(m)
        plain = dtorch.optim.Adam(whole.parameters(), lr=0.1)
        spread = ZeroRedundancyOptimizer(zero.parameters(), dtorch.optim.Adam, lr=0.1)
        with whole.join():
            for step in range(2 + rank):
                backward(whole, step)
                plain.step()
        with Join([zero, spread]):
            for step in range(2 + rank):
                backward(zero, step)
                spread.step()
        assert weights(zero) == weights(whole)

    on_ranks(body)


def test_bad_arguments(on_ranks):
    def body():
        with pytest.raises(ValueError, match="empty parameter list"):
            ZeroRedundancyOptimizer([], dtorch.optim.SGD, lr=0.1)
        with pytest.raises(TypeError):
            ZeroRedundancyOptimizer(model().parameters(), dtorch.optim.SGD, no_such_option=1)
        spread = ZeroRedundancyOptimizer(model().parameters(), dtorch.optim.SGD, lr=0.1)
        with pytest.raises(ValueError, match="different number of parameter groups"):
            spread.load_state_dict({"state": {}, "param_groups": []})

    on_ranks(body)
