"""Gradients of several batches averaged once, and exact means over uneven batches."""

from __future__ import annotations

import pytest

import dtorch
import dtorch.distributed as dist
from dtorch import nn
from dtorch.nn import functional as F
from dtorch.nn.parallel import DistributedDataParallel

SMALL_BUCKETS = 1e-4  # MiB: several buckets even for a tiny model


def model() -> nn.Module:
    dtorch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3)).double()


def wrapped(**options) -> DistributedDataParallel:
    return DistributedDataParallel(model(), bucket_cap_mb=SMALL_BUCKETS, **options)


def rows(n: int, seed: int) -> tuple[dtorch.Tensor, dtorch.Tensor]:
    """n rows for a classifier of 3; the last label of many is to be ignored."""
    x = (dtorch.arange(n * 4).double() + seed).sin().reshape(n, 4)
    labels = (dtorch.arange(n) + seed) % 3
    if n > 2:
        labels[-1] = -100
    return x, labels


def count(labels: dtorch.Tensor) -> dtorch.Tensor:
    return (labels != -100).sum()


def size(rank: int, k: int) -> int:
    """Of batch k of a rank: none, one, a few or many."""
    return (3 * rank + 5 * k) % 7


def whole(batches: list[tuple[dtorch.Tensor, dtorch.Tensor]]) -> list[dtorch.Tensor]:
    """The gradients of one process on all of these as one batch."""
    m = model()
    x, labels = (dtorch.cat(parts) for parts in zip(*batches))
    F.cross_entropy(m(x), labels).backward()
    return [p.grad for p in m.parameters()]


def assert_gradients(ddp: nn.Module, expected: list[dtorch.Tensor]) -> None:
    for p, e in zip(ddp.parameters(), expected):
        assert (p.grad - e).abs().max() <= 1e-12 * e.abs().max()


def test_the_mean_is_over_all_tokens_of_all_ranks(on_ranks):
    def body():
        rank, n = dist.get_rank(), dist.get_world_size()
        ddp = wrapped()
        for k in range(1, 4):
            batches = [rows(size(r, k), r + k) for r in range(n)]
            x, labels = batches[rank]  # of no rows at all on some ranks: a loss that is nan
            ddp.zero_grad(set_to_none=k > 2)
            ddp.backward(F.cross_entropy(ddp(x), labels), weight=count(labels))
            assert_gradients(ddp, whole(batches))

    on_ranks(body)


def test_weights_of_accumulated_batches_add_up(on_ranks):
    """Ranks have 1, 2, ... batches for a step, of different sizes: the mean is of all rows."""

    def body():
        rank, n = dist.get_rank(), dist.get_world_size()
        ddp = wrapped()
        for step in range(3):
            batches = {
                r: [rows(size(r, k) + 1, r + k + step) for k in range(r + 1)] for r in range(n)
            }
            ddp.zero_grad()
            with ddp.accumulate(n):
                for x, labels in batches[rank]:
                    ddp.backward(F.cross_entropy(ddp(x), labels), weight=count(labels))
            assert_gradients(ddp, whole(sum(batches.values(), [])))

    on_ranks(body)


@pytest.mark.parametrize("dtype", [dtorch.bfloat16, dtorch.float16])
def test_weights_are_exact_beside_gradients_of_half_precision(on_ranks, dtype):
    def body():
        rank, n = dist.get_rank(), dist.get_world_size()
        ddp = DistributedDataParallel(nn.Linear(1, 1, bias=False).to(dtype))
        # Of 1001, 1002, ... weights with gradients of 1: neither dtype can hold their mean exactly.
        ddp.backward(ddp(dtorch.ones(1, 1, dtype=dtype)).sum(), weight=1001 + rank)
        (bucket,) = ddp.reducer.buckets
        assert bucket.numbers.tolist() == [1, 1001 + (n - 1) / 2, 0]
        assert ddp.module.weight.grad.item() == pytest.approx(1, abs=4e-3)

    on_ranks(body)


def test_a_rank_that_has_run_out_weighs_nothing(on_ranks):
    def body():
        rank, n = dist.get_rank(), dist.get_world_size()
        ddp = wrapped()
        with ddp.join():
            for k in range(rank + 1):
                x, labels = rows(2 + rank, k)
                ddp.zero_grad()
                ddp.backward(F.cross_entropy(ddp(x), labels), weight=count(labels))
                assert_gradients(ddp, whole([rows(2 + r, k) for r in range(k, n)]))

    on_ranks(body)


def test_bad_weights_are_refused(on_ranks):
    def body():
        rank, n = dist.get_rank(), dist.get_world_size()
        ddp = wrapped()
        x, labels = rows(2, 0)
        for weight in (-1, float("nan"), float("inf")):
            with pytest.raises(ValueError, match="not negative"):
                ddp.backward(F.cross_entropy(ddp(x), labels), weight=weight)
        with pytest.raises(RuntimeError, match="one element"):
            ddp.backward(ddp(x), weight=2)
        assert all(p.grad is None for p in ddp.parameters())
        ddp.backward(F.cross_entropy(ddp(x), labels), weight=2)
        with pytest.raises(RuntimeError, match="call zero_grad"):
            ddp.backward(F.cross_entropy(ddp(x), labels), weight=2)
        ddp.zero_grad()
        with ddp.no_sync():
            ddp.backward(F.cross_entropy(ddp(x), labels), weight=2)
        with pytest.raises(RuntimeError, match="this backward has no weight"):
            F.cross_entropy(ddp(x), labels).backward()
        ddp.zero_grad()
        loss = F.cross_entropy(ddp(x), labels)
        if n > 1:
            with pytest.raises(RuntimeError, match="all must do the same"):
                loss.backward() if rank else ddp.backward(loss, weight=2)
        else:
            loss.backward()
        ddp.zero_grad()
        F.cross_entropy(ddp(x), labels).backward()
        assert_gradients(ddp, whole([rows(2, 0)]))

    on_ranks(body)


# ---- accumulate ----------------------------------------------------------------------------------


def sums(n: int, batches: int) -> list[dtorch.Tensor]:
    """The sum over `batches` of the mean over n ranks of their gradients."""
    m = model()
    for k in range(batches):
        for r in range(n):
            x, labels = rows(2, 10 * r + k)
            (F.cross_entropy(m(x), labels) / n).backward()
    return [p.grad for p in m.parameters()]


def loss(ddp: nn.Module, k: int) -> dtorch.Tensor:
    x, labels = rows(2, 10 * dist.get_rank() + k)
    return F.cross_entropy(ddp(x), labels)


def test_only_the_last_backward_averages(on_ranks):
    def body():
        ddp = wrapped()
        rounds = []
        with ddp.accumulate(3):
            for k in range(3):
                loss(ddp, k).backward()
                rounds.append(ddp.reducer.rounds)
        assert rounds == [0, 0, 1]
        assert_gradients(ddp, sums(dist.get_world_size(), 3))
        loss(ddp, 0).backward()
        assert ddp.reducer.rounds == 2

    on_ranks(body)


def test_around_a_loop_it_counts_anew_and_averages_what_is_left(on_ranks):
    def body():
        ddp = wrapped()
        optimizer = dtorch.optim.SGD(ddp.parameters(), lr=0.0)
        steps = 0
        with ddp.accumulate(2):
            for k in range(5):
                loss(ddp, k % 2).backward()
                if k % 2:
                    assert_gradients(ddp, sums(dist.get_world_size(), 2))
                    optimizer.step()
                    optimizer.zero_grad()
                    steps += 1
        assert_gradients(ddp, sums(dist.get_world_size(), 1))
        optimizer.step()
        assert (steps, ddp.reducer.rounds) == (2, 3)

    on_ranks(body)


def test_all_forwards_may_come_first(on_ranks):
    def body():
        ddp = wrapped()
        with ddp.accumulate(3):
            for each in [loss(ddp, k) for k in range(3)]:
                each.backward()
        assert ddp.reducer.rounds == 1
        assert_gradients(ddp, sums(dist.get_world_size(), 3))

    on_ranks(body)


def test_ranks_may_have_fewer_batches_or_none(on_ranks):
    def body():
        rank, n = dist.get_rank(), dist.get_world_size()
        ddp, alone = wrapped(), model()
        with ddp.accumulate(n):
            for k in range(rank):
                loss(ddp, k).backward()
        for r in range(n):
            for k in range(r):
                x, labels = rows(2, 10 * r + k)
                (F.cross_entropy(alone(x), labels) / n).backward()
        if n > 1:
            assert_gradients(ddp, [p.grad for p in alone.parameters()])

    on_ranks(body)


def test_a_step_that_comes_early_is_refused(on_ranks):
    def body():
        ddp, other = wrapped(), model()
        optimizer = dtorch.optim.SGD(ddp.parameters(), lr=1.0)
        before = [p.tolist() for p in ddp.parameters()]
        early = pytest.raises(RuntimeError, match=r"after 1 of the 3 backwards of accumulate\(3\)")
        with early, ddp.accumulate(3):
            loss(ddp, 0).backward()
            dtorch.optim.SGD(other.parameters(), lr=1.0).step()  # another model's may
            optimizer.step()
        assert [p.tolist() for p in ddp.parameters()] == before
        ddp.zero_grad()
        loss(ddp, 0).backward()
        assert_gradients(ddp, sums(dist.get_world_size(), 1))
        optimizer.step()

    on_ranks(body)


def test_blocks_that_count_do_not_nest(on_ranks):
    def body():
        ddp = wrapped()
        for k in (0, -1, 2.5):
            with pytest.raises(ValueError, match="at least 1"):
                ddp.accumulate(k)
        inside = pytest.raises(RuntimeError, match="inside of accumulate")
        with ddp.accumulate(2), inside, ddp.no_sync():
            pass
        with ddp.no_sync(), pytest.raises(RuntimeError, match="inside of"), ddp.accumulate(2):
            pass

    on_ranks(body)


def test_no_sync_around_the_backward_is_enough(on_ranks):
    def body():
        ddp, alone = wrapped(), model()
        loss(alone, 0).backward()
        out = loss(ddp, 0)
        with ddp.no_sync():
            out.backward()
        assert ddp.reducer.rounds == 0
        assert_gradients(ddp, [p.grad for p in alone.parameters()])
        loss(ddp, 1).backward()
        assert_gradients(ddp, sums(dist.get_world_size(), 2))

    on_ranks(body)


def test_accumulation_inside_of_join(on_ranks):
    def body():
        rank, n = dist.get_rank(), dist.get_world_size()
        ddp = wrapped()
        with ddp.join(divide_by_initial_world_size=False):
            for step in range(rank + 1):
                ddp.zero_grad()
                with ddp.accumulate(3):
                    for k in range(1 + step):  # the first two steps end early
                        loss(ddp, k).backward()
                alone = model()
                for r in range(step, n):
                    for k in range(1 + step):
                        x, labels = rows(2, 10 * r + k)
                        (F.cross_entropy(alone(x), labels) / (n - step)).backward()
                assert_gradients(ddp, [p.grad for p in alone.parameters()])

    on_ranks(body)
