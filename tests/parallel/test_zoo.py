"""DDP on awkward models (zoo.py) against one process that sees the whole batch."""

from __future__ import annotations

import os

import pytest

import dtorch
import dtorch.distributed as dist
from dtorch import nn
from dtorch.nn.parallel import DistributedDataParallel
from dtorch.nn.utils import clip_grad_norm_
from dtorch.parallel.identity import detect
from tests.parallel.zoo import ZOO, Awkward

BATCH = 12  # rows
STEPS = 20
SMALL_BUCKETS = 3e-4  # MiB: several even for tiny models


def model(a: Awkward, alone: bool = False) -> nn.Module:
    dtorch.manual_seed(0)
    m = a.alone() if alone and a.alone is not None else a.build()
    return m.double() if a.dtype == dtorch.float64 else m.to(a.dtype)  # leaves complex numbers


def batch(a: Awkward, step: int) -> tuple[dtorch.Tensor, dtorch.Tensor]:
    x = (dtorch.arange(BATCH * 8).double() * (step + 1)).sin().reshape(BATCH, 8)
    y = (dtorch.arange(BATCH * 4).double() * (step + 2)).cos().reshape(BATCH, 4)
    return x.to(a.dtype), y.to(a.dtype)


def optimizer(m: nn.Module) -> dtorch.optim.Optimizer:
    return dtorch.optim.SGD(m.parameters(), lr=0.05, momentum=0.9)


Grads = list[dtorch.Tensor | None]


def grads(m: nn.Module) -> Grads:
    return [None if p.grad is None else p.grad.clone() for p in m.parameters()]


def alone(a: Awkward, n: int) -> list[Grads]:
    """The gradients of each step, of one process with the batches of n ranks."""
    m = model(a, alone=True)
    opt = optimizer(m)
    seen = []
    for step in range(STEPS):
        opt.zero_grad()
        for k in range(a.micro + 1):
            x, y = batch(a, step + k)
            if a.whole:
                a.loss(m, x, y, step, 0).backward()
            else:
                shares = enumerate(zip(x.chunk(n), y.chunk(n)))
                (sum(a.loss(m, xs, ys, step, r) for r, (xs, ys) in shares) / n).backward()
        seen.append(grads(m))
        if a.clip:
            clip_grad_norm_(m.parameters(), 0.1)
        opt.step()
    return seen


def together(a: Awkward, expected: list[Grads]) -> None:
    """One rank of a DDP."""
    rank, n = dist.get_rank(), dist.get_world_size()
    ddp = DistributedDataParallel(model(a), bucket_cap_mb=SMALL_BUCKETS)
    opt = optimizer(ddp)
    for step in range(STEPS):
        opt.zero_grad()
        for k in range(a.micro + 1):
            x, y = (t.chunk(n)[rank] for t in batch(a, step + k))
            ddp.require_backward_grad_sync = k == a.micro
            a.loss(ddp, x, y, step, rank).backward()
        check(a, grads(ddp), expected[step], f"step {step}")
        if a.clip:
            clip_grad_norm_(ddp.parameters(), 0.1)
        opt.step()
    everyones = [None] * n
    dist.all_gather_object(everyones, [p.detach().tolist() for p in ddp.parameters()])
    assert all(theirs == everyones[0] for theirs in everyones)


def check(a: Awkward, got: Grads, expected: Grads, where: str) -> None:
    for i, (g, e) in enumerate(zip(got, expected)):
        assert (g is None) == (e is None), f"{where}, parameter {i}"
        if g is not None and g.numel():
            # Below 1e-6 is the rounding of what is zero, as of a bias before a batch norm.
            error = (g - e).abs().max() / e.abs().max().clamp(min=1e-6)
            assert error <= a.tolerance, f"{where}, parameter {i}: {error.item()}"


def as_one_process(name: str) -> None:
    a, n = ZOO[name], dist.get_world_size()
    expected = [alone(a, n) if dist.get_rank() == 0 else None]
    dist.broadcast_object_list(expected)
    together(a, expected[0])


PROCESSES = detect(os.environ).size
# Where they are processes, a few say that it is the same.
FEW = ["plain", "a_branch_for_each_rank", "lstm", "bfloat16", "double_backward_penalty"]


@pytest.mark.parametrize("on_ranks", [PROCESSES] if PROCESSES > 1 else [2, 4], indirect=True)
@pytest.mark.parametrize("name", FEW if PROCESSES > 1 else ZOO)
def test_as_one_process(on_ranks, name):
    on_ranks(lambda: as_one_process(name))


def of_few() -> None:
    dist.init_process_group("mpi", timeout=100)
    for name in FEW:
        as_one_process(name)
    dist.destroy_process_group()


@pytest.mark.dist(2, timeout=110)
def test_on_two_processes():
    of_few()


@pytest.mark.dist(4, timeout=110)
def test_on_four_processes():
    of_few()
