"""DistributedDataParallel against one process that sees the whole batch."""

from __future__ import annotations

import copy

import pytest

import dtorch
import dtorch.distributed as dist
from dtorch import nn
from dtorch.core.graph import queue_callback
from dtorch.nn.parallel import DistributedDataParallel

BATCH = 24  # rows: equal shares for 1 to 4 ranks
SMALL_BUCKETS = 1e-3  # MiB: several buckets even for a tiny model


def model(seed: int = 0) -> nn.Module:
    dtorch.manual_seed(seed)
    layers = [nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 4)]
    return nn.Sequential(*layers).double()


def batch() -> tuple[dtorch.Tensor, dtorch.Tensor]:
    x = dtorch.arange(BATCH * 8).reshape(BATCH, 8).double().sin()
    return x, dtorch.arange(BATCH * 4).reshape(BATCH, 4).double().cos()


def share(t: dtorch.Tensor) -> dtorch.Tensor:
    return t.chunk(dist.get_world_size())[dist.get_rank()]


def loss(m: nn.Module, x: dtorch.Tensor, y: dtorch.Tensor) -> dtorch.Tensor:
    return ((m(x) - y) ** 2).mean()


def relative_difference(a: dtorch.Tensor, b: dtorch.Tensor) -> float:
    return ((a - b).abs().max() / b.abs().max()).item()


def step(m: nn.Module, lr: float = 0.1) -> None:
    with dtorch.no_grad():
        for p in m.parameters():
            if p.grad is not None:
                p -= lr * p.grad


def assert_equal_weights(m: nn.Module) -> None:
    """Bit for bit, on all ranks."""
    mine = [t.numpy(force=True).tobytes() for t in m.state_dict().values()]
    everyones = [None] * dist.get_world_size()
    dist.all_gather_object(everyones, mine)
    assert all(theirs == mine for theirs in everyones)


def train_beside_one_process() -> None:
    x, y = batch()
    alone = model()
    ddp = DistributedDataParallel(model(seed=dist.get_rank()), bucket_cap_mb=SMALL_BUCKETS)
    for _ in range(4):
        alone.zero_grad()
        loss(alone, x, y).backward()
        ddp.zero_grad()
        loss(ddp, share(x), share(y)).backward()
        for p, q in zip(ddp.parameters(), alone.parameters()):
            assert relative_difference(p.grad, q.grad) < 1e-6
        step(ddp)
        step(alone)
    assert len(ddp.reducer._buckets) > 1
    assert_equal_weights(ddp)


def test_gradients_are_those_of_the_whole_batch(on_ranks):
    on_ranks(train_beside_one_process)


@pytest.mark.dist(2)
def test_gradients_on_two_processes():
    dist.init_process_group("mpi")
    train_beside_one_process()
    dist.destroy_process_group()


@pytest.mark.dist(4)
def test_gradients_on_four_processes():
    dist.init_process_group("mpi")
    train_beside_one_process()
    dist.destroy_process_group()


class Awkward(nn.Module):
    """A shared, a frozen, a conditional and two unused parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(8, 8)
        self.shared = self.first
        self.frozen = nn.Linear(8, 8).requires_grad_(False)
        self.sometimes = nn.Linear(8, 8)
        self.never = nn.Linear(8, 8)
        self.last = nn.Linear(8, 4)

    def forward(self, x: dtorch.Tensor, extra: bool) -> dtorch.Tensor:
        x = self.frozen(self.shared(self.first(x)))
        return self.last(x + self.sometimes(x) if extra else x)


@pytest.mark.parametrize("cap", [SMALL_BUCKETS, 25])
def test_awkward_parameters_need_no_flag(on_ranks, cap):
    def body():
        rank, n = dist.get_rank(), dist.get_world_size()
        x, y = batch()
        dtorch.manual_seed(0)
        alone = Awkward().double()
        ddp = DistributedDataParallel(copy.deepcopy(alone), bucket_cap_mb=cap)
        for extra_ranks in ({n - 1}, set(), set(range(n)), {0}):
            for p in (*alone.parameters(), *ddp.parameters()):
                p.grad = None
            sum(
                ((alone(xs, r in extra_ranks) - ys) ** 2).mean() / n
                for r, (xs, ys) in enumerate(zip(x.chunk(n), y.chunk(n)))
            ).backward()
            ((ddp(share(x), rank in extra_ranks) - share(y)) ** 2).mean().backward()
            for (name, p), q in zip(ddp.module.named_parameters(), alone.parameters()):
                assert (p.grad is None) == (q.grad is None), name
                assert q.grad is None or relative_difference(p.grad, q.grad) < 1e-6, name

    on_ranks(body)


def test_no_sync_accumulates(on_ranks):
    def body():
        x, y = batch()
        ddp = DistributedDataParallel(model(), bucket_cap_mb=SMALL_BUCKETS)
        mine = model()
        for micro in range(3):
            xs, ys = share(x) * (micro + 1), share(y)
            loss(mine, xs, ys).backward()
            if micro < 2:
                with ddp.no_sync():
                    out = ddp(xs)
                ((out - ys) ** 2).mean().backward()  # the forward decides
                for p, q in zip(ddp.parameters(), mine.parameters()):
                    assert p.grad.tolist() == q.grad.tolist()
            else:
                loss(ddp, xs, ys).backward()
        for p, q in zip(ddp.parameters(), mine.parameters()):
            dist.all_reduce(q.grad, dist.ReduceOp.AVG)
            assert relative_difference(p.grad, q.grad) < 1e-6

    on_ranks(body)


def test_two_backwards_accumulate(on_ranks):
    def body():
        x, y = batch()
        ddp, alone = DistributedDataParallel(model(), bucket_cap_mb=SMALL_BUCKETS), model()
        for _ in range(2):
            loss(ddp, share(x), share(y)).backward()
            loss(alone, x, y).backward()
        for p, q in zip(ddp.parameters(), alone.parameters()):
            assert relative_difference(p.grad, q.grad) < 1e-6

    on_ranks(body)


def test_gradients_are_views_of_the_buckets_and_stay_so(on_ranks):
    def body():
        x, y = batch()
        ddp = DistributedDataParallel(model())
        for _ in range(2):
            loss(ddp, share(x), share(y)).backward()
            (bucket,) = ddp.reducer._buckets
            start, size = bucket.flat.__array_interface__["data"][0], bucket.flat.nbytes
            assert all(start <= p.grad.data_ptr() < start + size for p in ddp.parameters())
            grads = [p.grad for p in ddp.parameters()]
            ddp.zero_grad(set_to_none=False)
            assert all(p.grad.abs().max().item() == 0 for p in ddp.parameters())
            assert all(g.data_ptr() == p.grad.data_ptr() for g, p in zip(grads, ddp.parameters()))
        for p in ddp.parameters():  # a gradient of the user's own is averaged all the same
            p.grad = dtorch.ones_like(p) * (dist.get_rank() + 1)
        before = [p.grad.mean().item() for p in ddp.parameters()]
        (ddp(share(x)) * 0).sum().backward()
        mean = (dist.get_world_size() + 1) / 2
        assert before == [dist.get_rank() + 1] * len(before)
        assert all(p.grad.unique().tolist() == [mean] for p in ddp.parameters())

    on_ranks(body)


def test_buffers_are_rank_zeros(on_ranks):
    def body():
        rank = dist.get_rank()
        ddp = DistributedDataParallel(nn.BatchNorm1d(3).double())
        x = dtorch.arange(12).reshape(4, 3).double() * (rank + 1)
        first = dtorch.arange(12).reshape(4, 3).double()
        ddp(x)
        ddp.eval()
        ddp(x)
        assert ddp.module.running_mean.tolist() == pytest.approx((0.1 * first.mean(0)).tolist())
        assert ddp.module.num_batches_tracked.item() == 1

        apart = DistributedDataParallel(nn.BatchNorm1d(3).double(), broadcast_buffers=False)
        for _ in range(2):
            apart(x)
        assert apart.module.running_mean.tolist() == pytest.approx((0.19 * x.mean(0)).tolist())

    on_ranks(body)


def test_state_has_torchs_names_and_everyone_starts_like_rank_zero(on_ranks):
    def body():
        ddp = DistributedDataParallel(model(seed=dist.get_rank()))
        alone = model(seed=0)
        assert list(ddp.state_dict()) == [f"module.{name}" for name in alone.state_dict()]
        for got, expected in zip(ddp.state_dict().values(), alone.state_dict().values()):
            assert got.tolist() == expected.tolist()
        assert isinstance(ddp.module, nn.Sequential)

    on_ranks(body)


def test_models_that_differ_are_refused(on_ranks):
    def body():
        rank, n = dist.get_rank(), dist.get_world_size()
        if n == 1:
            return
        m = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 4 if rank else 5))
        with pytest.raises(RuntimeError) as error:
            DistributedDataParallel(m)
        text = str(error.value)
        assert "number 2" in text
        assert "on rank 0: parameter '1.weight': dtorch.float32[5, 3]" in text
        assert "on rank 1: parameter '1.weight': dtorch.float32[4, 3]" in text
        m = nn.Sequential(nn.Linear(2, 3), *[nn.Linear(3, 4)] * (rank == 0))
        with pytest.raises(RuntimeError, match="on rank 1: nothing more"):
            DistributedDataParallel(m)

    on_ranks(body)


def test_bad_arguments(on_ranks):
    def body():
        with pytest.raises(RuntimeError, match="require a gradient"):
            DistributedDataParallel(nn.Tanh())
        with pytest.raises(ValueError, match="single element"):
            DistributedDataParallel(model(), device_ids=[0, 1])
        with pytest.raises(ValueError, match=r"cuda:0|\[0\]"):
            DistributedDataParallel(model(), device_ids=[0])
        with pytest.raises(ValueError, match="bucket_cap_mb"):
            DistributedDataParallel(model(), bucket_cap_mb=0)
        ddp = DistributedDataParallel(model())
        ddp.float()
        with pytest.raises(RuntimeError, match="before that"):
            ddp(share(batch()[0]).float()).sum().backward()

    on_ranks(body)


def test_a_backward_that_raises_leaves_no_trace(on_ranks):
    def body():
        x, y = batch()
        ddp, alone = DistributedDataParallel(model(), bucket_cap_mb=SMALL_BUCKETS), model()

        def fail(grad):
            raise KeyError("from a hook")

        handle = ddp.module[0].weight.register_hook(fail)
        with pytest.raises(KeyError, match="from a hook"):
            loss(ddp, share(x), share(y)).backward()
        handle.remove()
        ddp.zero_grad()
        loss(ddp, share(x), share(y)).backward()
        loss(alone, x, y).backward()
        for p, q in zip(ddp.parameters(), alone.parameters()):
            assert relative_difference(p.grad, q.grad) < 1e-6

    on_ranks(body)


def test_half_precision_is_averaged_in_float32(on_ranks):
    def body():
        rank, n = dist.get_rank(), dist.get_world_size()
        ddp = DistributedDataParallel(nn.Linear(4, 1, bias=False).half())
        # The sum over four ranks overflows float16, the average doesn't.
        ddp(dtorch.full((1, 4), 20000.0 + 1024 * rank).half()).sum().backward()
        assert ddp.module.weight.grad.tolist() == [[20000.0 + 512 * (n - 1)] * 4]

    on_ranks(body)


def test_queue_callback_runs_once_the_outermost_backward_is_through():
    log = []
    x = dtorch.ones(2).requires_grad_()

    def hook(leaf):
        queue_callback(lambda: log.append("end"))
        inner = dtorch.ones(1).requires_grad_()
        with dtorch.enable_grad():
            (inner * 2).sum().backward()
        log.append(inner.grad.item())

    x.register_post_accumulate_grad_hook(hook)
    x.sum().backward()
    assert log == [2.0, "end"]
    with pytest.raises(RuntimeError, match="no backward"):
        queue_callback(log.clear)
