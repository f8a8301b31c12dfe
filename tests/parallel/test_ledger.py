"""Copies that have come apart, and gradients that are not finite, are found, and named by rank."""

from __future__ import annotations

import re

import pytest

import dtorch
import dtorch.distributed as dist
from dtorch import nn
from dtorch.distributed import ReplicaLedger
from dtorch.nn.parallel import DistributedDataParallel


def trained(**options) -> tuple[DistributedDataParallel, dtorch.optim.Optimizer]:
    dtorch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 2))
    ddp = DistributedDataParallel(model, **options)
    return ddp, dtorch.optim.Adam(ddp.parameters(), lr=0.1)


def step(ddp: nn.Module, optimizer: dtorch.optim.Optimizer, scale: float = 1.0) -> None:
    optimizer.zero_grad()
    x = dtorch.arange(12).reshape(3, 4).sin() + dist.get_rank()
    (ddp(x).square().mean() * scale).backward()
    optimizer.step()


def flip_a_bit(tensor: dtorch.Tensor) -> None:
    """One of the last element that an update cannot round away."""
    tensor.detach().numpy().view("int32").reshape(-1)[-1] ^= 1 << 20


def test_equal_copies_stay_silent_and_have_one_digest(on_ranks):
    def body():
        ddp, optimizer = trained()
        ledger = ReplicaLedger(ddp, optimizer, every=2)
        digests = []
        for _ in range(5):
            step(ddp, optimizer)
            digests.append(ledger.digest)
        everyones = [None] * dist.get_world_size()
        dist.all_gather_object(everyones, digests)
        assert everyones == [digests] * dist.get_world_size()
        assert digests[0] == ""
        assert digests[1] == digests[2] != digests[3] == digests[4]
        ledger.remove()
        step(ddp, optimizer)
        assert ledger.steps == 5

    on_ranks(body)


PLACES = {
    "parameter 'module.2.weight'": lambda ddp, _: ddp.module[2].weight,
    "'exp_avg' of the optimizer for 'module.0.bias'": lambda ddp, optimizer: optimizer.state[
        ddp.module[0].bias
    ]["exp_avg"],
}


@pytest.mark.parametrize("name", PLACES)
def test_one_bit_on_one_rank_is_found_within_k_steps(on_ranks, name):
    def body():
        ddp, optimizer = trained()
        ReplicaLedger(ddp, optimizer, every=3)
        for _ in range(4):
            step(ddp, optimizer)
        last = dist.get_world_size() - 1
        if dist.get_rank() == last:
            flip_a_bit(PLACES[name](ddp, optimizer))
        step(ddp, optimizer)
        if last == 0:
            step(ddp, optimizer)
            return
        others = list(range(last))
        with pytest.raises(RuntimeError, match="copies differ after step 6: ") as error:
            step(ddp, optimizer)
        text = str(error.value)
        assert f"rank {last} has" in text
        assert (f"rank {others[0]} has" if last == 1 else "ranks 0") in text

    on_ranks(body)


def test_the_first_difference_is_named_and_the_ranks_on_each_side(on_ranks):
    def body():
        rank, n = dist.get_rank(), dist.get_world_size()
        model = nn.BatchNorm1d(3)
        model.running_mean.fill_(1.0)
        ledger = ReplicaLedger(model, every=10)
        ledger.compare()
        if rank == 0:
            flip_a_bit(model.running_mean)
            model.num_batches_tracked += 1
        if n == 1:
            ledger.compare()
            return
        others = {2: "rank 1 has", 3: "ranks 1, 2 have"}.get(n, f"ranks 1-{n - 1} have")
        with pytest.raises(
            RuntimeError,
            match=rf"buffer 'running_mean', and 1 more \(hashes: rank 0 has \w+; {others} \w+\)",
        ):
            ledger.compare()
        assert len(ledger.digest) == 16
        ledger = ReplicaLedger(model, buffers=False)
        ledger.compare()

    on_ranks(body)


def test_buffers_that_rank_0_overwrites_may_differ(on_ranks):
    def body():
        ddp, optimizer = trained()
        ReplicaLedger(ddp, optimizer, every=1)
        step(ddp, optimizer)  # running statistics are each rank's own until the next forward
        assert ddp.broadcast_buffers
        with pytest.raises(ValueError, match="every >= 1, got 0"):
            ReplicaLedger(ddp, every=0)

    on_ranks(body)


def test_gradients_that_are_not_finite_are_named_on_every_rank(on_ranks):
    def body():
        last = dist.get_world_size() - 1
        ddp, optimizer = trained(error_if_nonfinite=True, bucket_cap_mb=1e-5)
        step(ddp, optimizer)
        before = [p.detach().clone() for p in ddp.parameters()]
        spoils = dist.get_rank() == last
        with pytest.raises(RuntimeError, match="gradients are not finite") as error:
            step(ddp, optimizer, float("inf") if spoils else 1.0)
        text = str(error.value)
        told = [line for line in text.splitlines() if line.startswith("  rank")]
        assert len(told) >= 4
        assert all(line.startswith(f"  rank {last}: the gradient of '") for line in told)
        counts = re.search(r"'2.bias' holds (\d) NaN and (\d) infinite values among 2$", text, re.M)
        assert sum(map(int, counts.groups())) == 2
        assert all(map(dtorch.equal, before, ddp.parameters()))
        optimizer.zero_grad()
        step(ddp, optimizer)  # nothing was left half done

    on_ranks(body)
