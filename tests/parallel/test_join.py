"""Ranks with different numbers of batches."""

from __future__ import annotations

from contextlib import nullcontext

import pytest

import dtorch
import dtorch.distributed as dist
from dtorch import nn
from dtorch.distributed.algorithms.join import Join, Joinable, JoinHook
from dtorch.nn.parallel import DistributedDataParallel


def model() -> nn.Module:
    dtorch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Linear(6, 2)).double()


def batch(rank: int, k: int) -> dtorch.Tensor:
    return (dtorch.arange(12).double() * (rank + 1) + 5 * k).sin().reshape(3, 4)


def equal_on_all_ranks(m: nn.Module) -> bool:
    everyones = [None] * dist.get_world_size()
    dist.all_gather_object(everyones, [t.tolist() for t in m.state_dict().values()])
    return all(theirs == everyones[0] for theirs in everyones)


def step(m: nn.Module) -> None:
    with dtorch.no_grad():
        for p in m.parameters():
            p -= 0.1 * p.grad


@pytest.mark.parametrize("longest_first", [True, False])
def test_all_end_with_the_model_of_those_that_ran_longest(on_ranks, longest_first):
    def body():
        rank, n = dist.get_rank(), dist.get_world_size()
        batches = (n - rank) * 2 if longest_first else rank * 2
        ddp = DistributedDataParallel(model(), bucket_cap_mb=1e-4)
        with ddp.join():
            for k in range(batches):
                ddp.zero_grad()
                ddp(batch(rank, k)).square().sum().backward()
                step(ddp)
        assert equal_on_all_ranks(ddp)
        longest = 2 * n if longest_first else 2 * n - 2
        assert ddp.module[1].num_batches_tracked.item() == longest
        # Afterwards it is an ordinary one again.
        ddp(batch(rank, 0)).sum().backward()

    on_ranks(body)


def test_a_loop_that_zeroes_gradients_at_its_end_goes_on_as_one_that_does_so_first(on_ranks):
    def weights(zero_first: bool) -> list[float]:
        rank = dist.get_rank()
        ddp = DistributedDataParallel(nn.Linear(4, 1, bias=False).double())
        with dtorch.no_grad():
            ddp.module.weight.fill_(0.5)
        for epoch in range(2):
            with ddp.join():
                for k in range(rank + 1):
                    if zero_first:
                        ddp.zero_grad()
                    ddp(batch(rank, k + epoch)).square().mean().backward()
                    step(ddp)
                    if not zero_first:
                        ddp.zero_grad()
        assert equal_on_all_ranks(ddp)
        return ddp.module.weight.tolist()

    def body():
        assert weights(zero_first=False) == weights(zero_first=True)

    on_ranks(body)


@pytest.mark.parametrize("by_initial_size", [True, False])
def test_what_a_mean_is_over(on_ranks, by_initial_size):
    def body():
        rank, n = dist.get_rank(), dist.get_world_size()
        ddp = DistributedDataParallel(nn.Linear(1, 1, bias=False).double())
        grads = []
        with ddp.join(divide_by_initial_world_size=by_initial_size):
            for _ in range(rank + 1):
                ddp.zero_grad()
                ddp(dtorch.full((1, 1), rank + 1.0).double()).sum().backward()
                grads.append(ddp.module.weight.grad.item())
        for k, grad in enumerate(grads):  # ranks k, k + 1, ... have a batch k
            total = sum(r + 1 for r in range(k, n))
            assert grad == pytest.approx(total / (n if by_initial_size else n - k))

    on_ranks(body)


def test_accumulation_and_several_forwards(on_ranks):
    def body():
        rank = dist.get_rank()
        ddp = DistributedDataParallel(model(), bucket_cap_mb=1e-4)
        with ddp.join():
            for k in range(rank + 1):
                ddp.zero_grad()
                with ddp.no_sync():
                    ddp(batch(rank, k)).square().sum().backward()
                (ddp(batch(rank, k)) * ddp(batch(rank, k + 1))).sum().backward()
                step(ddp)
        assert equal_on_all_ranks(ddp)

    on_ranks(body)


def test_ending_at_once(on_ranks):
    def body():
        rank, n = dist.get_rank(), dist.get_world_size()
        ddp = DistributedDataParallel(model())
        told = pytest.raises(RuntimeError, match=r"exhausted (all )?inputs")
        with told if n > 1 else nullcontext(), ddp.join(throw_on_early_termination=True):
            for k in range(2 + (rank == 0)):
                ddp(batch(rank, k)).sum().backward()
        with ddp.join(enable=False):
            ddp(batch(rank, 0)).sum().backward()
        with pytest.raises(KeyError), ddp.join():
            raise KeyError("a user's own error is not waited with")

    on_ranks(body)


class Counter(Joinable):
    """Counts the iterations of all ranks."""

    def __init__(self) -> None:
        self.total = 0
        self.ended: list[bool] = []

    def __call__(self) -> None:
        Join.notify_join_context(self)
        self.count(1)

    def count(self, n: int) -> None:
        x = dtorch.tensor([n])
        dist.all_reduce(x)
        self.total += x.item()

    def join_hook(self, **kwargs):
        counter = self

        class Hook(JoinHook):
            def main_hook(self):
                counter.count(0)

            def post_hook(self, is_last_joiner):
                counter.ended.append(is_last_joiner)

        return Hook()

    @property
    def join_device(self):
        return dtorch.device("cpu")

    @property
    def join_process_group(self):
        return dist.group.WORLD


def test_an_object_of_ones_own(on_ranks):
    def body():
        rank, n = dist.get_rank(), dist.get_world_size()
        counter = Counter()
        with Join([counter]):
            for _ in range(rank + 1):
                counter()
        assert counter.total == n * (n + 1) // 2
        assert counter.ended == [rank == n - 1]
        with pytest.raises(ValueError, match="at least one joinable"):
            Join([])

    on_ranks(body)


def test_without_join_the_error_names_it(on_ranks):
    def body():
        rank, n = dist.get_rank(), dist.get_world_size()
        if n == 1:
            return
        ddp = DistributedDataParallel(model())
        ddp(batch(rank, 0)).sum().backward()
        out = ddp(batch(rank, 1)).sum()
        with pytest.raises(RuntimeError, match=r"`with ddp.join\(\):` around the loop"):
            out.backward() if rank else dist.barrier()

    on_ranks(body)
