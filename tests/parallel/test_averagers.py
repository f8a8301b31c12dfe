"""Averages of models that are trained apart, against NumPy on all ranks' numbers."""

from __future__ import annotations

import copy
import warnings

import numpy as np
import pytest

import dtorch
import dtorch.distributed as dist
from dtorch import nn
from dtorch.distributed.algorithms.model_averaging import utils
from dtorch.distributed.algorithms.model_averaging.averagers import (
    DiLoCo,
    EMAModelAverager,
    PeriodicModelAverager,
)
from dtorch.distributed.algorithms.model_averaging.hierarchical_model_averager import (
    HierarchicalModelAverager,
)
from dtorch.distributed.optim import PostLocalSGDOptimizer


def parameter() -> nn.Parameter:
    return nn.Parameter(dtorch.arange(3).double())


def gradient(step: int, rank: int) -> np.ndarray:
    return np.sin(np.arange(3.0) * (rank + 1) + step)


def set_gradient(p: dtorch.Tensor, step: int) -> None:
    p.grad = dtorch.from_numpy(gradient(step, dist.get_rank()))


def close(p: dtorch.Tensor, expected: np.ndarray) -> None:
    np.testing.assert_allclose(p.numpy(force=True), expected, rtol=1e-12, atol=1e-12)


def test_every_few_steps_the_mean(on_ranks):
    def body():
        rank, n = dist.get_rank(), dist.get_world_size()
        p = parameter()
        averager = PeriodicModelAverager(period=3, warmup_steps=1)
        optimizer = PostLocalSGDOptimizer(dtorch.optim.SGD([p], lr=0.1), averager)
        everyones = np.tile(np.arange(3.0), (n, 1))
        for step in range(8):
            set_gradient(p, step)
            optimizer.step()
            everyones -= 0.1 * np.array([gradient(step, r) for r in range(n)])
            if step in (1, 4, 7):
                everyones[:] = everyones.mean(0)
            close(p, everyones[rank])

    on_ranks(body)


def test_small_groups_average_often_large_ones_seldom(on_ranks):
    def body():
        rank, n = dist.get_rank(), dist.get_world_size()
        sizes = {2: 2, 4: 4} if n == 4 else {2: n}
        averager = HierarchicalModelAverager(sizes, warmup_steps=2)
        values = np.arange(n) + 1.0
        p = nn.Parameter(dtorch.tensor([values[rank]]))
        p.grad = dtorch.zeros_like(p)
        for step in range(7):
            with dtorch.no_grad():
                p += rank
            averager.average_parameters([{"params": [p]}])
            values += np.arange(n)
            if step >= 2 and step % 2 == 0:
                whole = n != 4 or step % 4 == 0
                groups = values.reshape(1 if whole else 2, -1)
                groups[:] = groups.mean(1, keepdims=True)
            assert p.item() == pytest.approx(values[rank])

    on_ranks(body)


def test_a_moving_average_of_the_mean(on_ranks):
    def body():
        rank, n = dist.get_rank(), dist.get_world_size()
        m = nn.Linear(2, 1, bias=False)
        ema = EMAModelAverager(decay=0.75, period=2)
        with pytest.raises(RuntimeError, match="nothing has been averaged"):
            ema.copy_to(m.parameters())
        average = None
        for step in range(6):
            m.weight.data.fill_(step * (rank + 1.0))
            ema.average_parameters(m.parameters())
            assert m.weight.unique().tolist() == [step * (rank + 1.0)]
            if step % 2:
                mean = step * (n + 1) / 2
                average = mean if average is None else 0.75 * average + 0.25 * mean
        smooth = copy.deepcopy(m)
        ema.copy_to(smooth.parameters())
        assert smooth.weight.unique().tolist() == pytest.approx([average])

    on_ranks(body)


def diloco(n: int, steps: int) -> tuple[list[np.ndarray], np.ndarray]:
    """Algorithm 1 with 3 inner steps of SGD and an outer one with Nesterov momentum."""
    start, momentum = np.arange(3.0), np.zeros(3)
    ranks = [start.copy() for _ in range(n)]
    for step in range(steps):
        for r in range(n):
            ranks[r] -= 0.1 * gradient(step, r)
        if step % 3 == 2:
            back = start - np.mean(ranks, axis=0)
            momentum = 0.9 * momentum + back
            start = start - 0.7 * (back + 0.9 * momentum)
            ranks = [start.copy() for _ in range(n)]
    return ranks, start


def test_diloco(on_ranks):
    def body():
        rank, n = dist.get_rank(), dist.get_world_size()
        p = parameter()
        if rank:
            p.data.fill_(100.0)  # all begin with rank 0's
        averager = DiLoCo([p], period=3)
        optimizer = PostLocalSGDOptimizer(dtorch.optim.SGD([p], lr=0.1), averager)
        for step in range(7):
            if step == 4:  # in the middle of inner steps, by way of its state
                state = copy.deepcopy(averager.state_dict())
                inner, value = copy.deepcopy(optimizer.state_dict()), p.detach().clone()
                p = parameter()
                averager = DiLoCo([p], period=3)
                optimizer = PostLocalSGDOptimizer(dtorch.optim.SGD([p], lr=0.1), averager)
                averager.load_state_dict(state)
                optimizer.load_state_dict(inner)
                p.data.copy_(value)
            set_gradient(p, step)
            optimizer.step()
            close(p, diloco(n, step + 1)[0][rank])
        close(averager.start[0], diloco(n, 7)[1])

    on_ranks(body)


def test_an_outer_step_of_the_whole_way_is_the_mean(on_ranks):
    def body():
        n = dist.get_world_size()
        p = parameter()
        averager = DiLoCo([p], 1, lambda params: dtorch.optim.SGD(params, lr=1.0))
        set_gradient(p, 0)
        with dtorch.no_grad():
            p -= p.grad
        averager.average_parameters()
        close(p, np.arange(3.0) - np.mean([gradient(0, r) for r in range(n)], axis=0))

    on_ranks(body)


def test_the_optimizers_state_has_the_averagers_step(on_ranks):
    def body():
        p = parameter()
        inner = dtorch.optim.SGD([p], lr=0.1, momentum=0.9)
        optimizer = PostLocalSGDOptimizer(inner, PeriodicModelAverager(4))
        schedule = dtorch.optim.lr_scheduler.StepLR(optimizer, 1)
        for step in range(3):
            set_gradient(p, step)
            optimizer.step()
            schedule.step()
        state = optimizer.state_dict()
        assert state["step"] == 3
        assert inner.param_groups[0]["lr"] == pytest.approx(1e-4)
        other = PostLocalSGDOptimizer(dtorch.optim.SGD([p], lr=1.0), PeriodicModelAverager(4))
        other.load_state_dict(state)
        assert other.averager.step == 3
        assert (
            other.state[p]["momentum_buffer"].tolist() == inner.state[p]["momentum_buffer"].tolist()
        )
        other.zero_grad()
        assert p.grad is None
        del state["step"]
        if dist.get_rank() == 0:  # what is warned of is seen by one thread at a time
            with pytest.warns(UserWarning, match="does not contain a step counter"):
                other.load_state_dict(state)
            assert other.averager.step == 0

    on_ranks(body)


def test_what_is_averaged_and_bad_arguments(on_ranks):
    def body():
        n = dist.get_world_size()
        p, q = parameter(), parameter()
        p.grad = dtorch.zeros(3).double()
        assert utils.get_params_to_average([p, q]) == [p]
        assert utils.get_params_to_average([{"params": [q]}, {"params": [p]}]) == [p]
        with pytest.raises(NotImplementedError, match="str"):
            utils.get_params_to_average("p")
        mixed = [
            dtorch.full((2,), dist.get_rank(), dtype=d) for d in (dtorch.float16, dtorch.float64)
        ]
        utils.average_parameters(mixed, None)
        assert [t.tolist() for t in mixed] == [[(n - 1) / 2] * 2] * 2
        with pytest.raises(ValueError, match="positive"):
            PeriodicModelAverager(0)
        with pytest.raises(ValueError, match="non-negative"):
            PeriodicModelAverager(2, -1)
        with pytest.raises(ValueError, match="must not be empty"):
            HierarchicalModelAverager({})
        with pytest.raises(ValueError, match="must be equal to the size"):
            HierarchicalModelAverager({2: n + 1})
        with pytest.raises(ValueError, match="decay of 0 to 1"):
            EMAModelAverager(1.5)
        with pytest.raises(ValueError, match="positive period"):
            DiLoCo([p], 0)

    on_ranks(body)


def test_a_period_of_one_is_warned_of():
    def body():
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            PeriodicModelAverager(1)
        assert "no need to use model averaging" in str(caught[0].message)

    dist.run_local(body, 1)
