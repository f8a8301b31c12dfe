"""DistributedDataParallel against one process that sees the whole batch."""

from __future__ import annotations

import copy
import pickle
import weakref

import pytest

import dtorch
import dtorch.distributed as dist
from dtorch import nn
from dtorch.core.walk import queue_callback
from dtorch.nn.parallel import DistributedDataParallel
from dtorch.nn.parallel.distributed import _MixedPrecision
from dtorch.parallel.transport_shm import ShmTransport

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


def reduces_in_place(monkeypatch) -> None:
    """Over common memory: buckets beyond the smallest must not take the way of ordinary tensors."""

    def copies(transport, x, tree):
        raise AssertionError(f"a bucket of {x.nbytes} bytes is not in memory that all have mapped")

    ddp = DistributedDataParallel(nn.Linear(80, 80), bucket_cap_mb=1e-2)
    if not ddp.process_group.transport.common_memory:
        return
    ddp(dtorch.ones(3, 80)).sum().backward()  # the buckets are laid out anew
    with monkeypatch.context() as patch:
        patch.setattr(ShmTransport, "_reduce_copies", copies)
        ddp(dtorch.ones(3, 80)).sum().backward()
    assert ddp.module.weight.grad.unique().tolist() == [6]


def test_buckets_lie_where_they_are_reduced_in_place(on_ranks, monkeypatch):
    on_ranks(lambda: reduces_in_place(monkeypatch))


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
    assert len(ddp.reducer.buckets) > 1
    assert_equal_weights(ddp)


def test_gradients_are_those_of_the_whole_batch(on_ranks):
    on_ranks(train_beside_one_process)


@pytest.mark.dist(2)
def test_gradients_on_two_processes():
    dist.init_process_group("mpi")
    train_beside_one_process()
    dist.destroy_process_group()


@pytest.mark.dist(2)
def test_a_sparse_gradient_is_refused():
    dist.init_process_group("mpi")
    ddp = DistributedDataParallel(nn.Embedding(4, 3, sparse=True))
    with pytest.raises(NotImplementedError, match="use sparse=False"):
        ddp(dtorch.tensor([1, 2])).sum().backward()
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
            (bucket,) = ddp.reducer.buckets
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


class Named(nn.Module):
    """Parameters and buffers by name, in their order."""

    def __init__(self, **tensors: dtorch.Tensor) -> None:
        super().__init__()
        for name, t in tensors.items():
            if name.startswith("b"):
                self.register_buffer(name, t)
            else:
                self.register_parameter(name, nn.Parameter(t, requires_grad=name != "frozen"))


TWO, THREE = dtorch.zeros(2), dtorch.zeros(3)


@pytest.mark.parametrize(
    ("here", "there", "told"),
    [
        ({"a": TWO}, {"x": TWO}, ("'a': dtorch.float32[2]", "'x': dtorch.float32[2]")),
        ({"a": TWO}, {"a": THREE}, ("'a': dtorch.float32[2]", "'a': dtorch.float32[3]")),
        ({"a": TWO}, {"a": TWO.double()}, ("dtorch.float32[2]", "dtorch.float64[2]")),
        ({"a": TWO, "x": THREE}, {"x": THREE, "a": TWO}, ("parameter 'a'", "parameter 'x'")),
        ({"a": TWO, "b": TWO}, {"a": TWO, "b": THREE}, ("buffer 'b': dtorch.float32[2]", "[3]")),
        ({"a": TWO}, {"a": TWO, "b": THREE}, ("nothing more", "buffer 'b'")),
    ],
    ids=["name", "shape", "dtype", "order", "buffer", "count"],
)
def test_the_first_difference_of_models_is_named(on_ranks, here, there, told):
    def body():
        rank, n = dist.get_rank(), dist.get_world_size()
        if n == 1:
            return
        with pytest.raises(RuntimeError, match="the same model on all ranks") as error:
            DistributedDataParallel(Named(**(there if rank == n - 1 else here)))
        lines = str(error.value).splitlines()
        assert lines[1].startswith("  on rank 0:")
        assert told[0] in lines[1]
        assert lines[2].startswith(f"  on rank {n - 1}:")
        assert told[1] in lines[2]

    on_ranks(body)


def test_a_parameter_that_is_frozen_on_one_rank_is_named(on_ranks):
    def body():
        rank, n = dist.get_rank(), dist.get_world_size()
        m = model()
        m[2].weight.requires_grad_(rank == 0)
        if n > 1:
            with pytest.raises(RuntimeError, match=r"rank 1: parameter '2.weight': .*, frozen"):
                DistributedDataParallel(m)

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


def test_states_of_the_bare_module_are_taken_too(on_ranks):
    def body():
        ddp, other = DistributedDataParallel(model(seed=1)), model(seed=2)
        for state in (
            other.state_dict(),
            {f"module.{k}": v for k, v in other.state_dict().items()},
        ):
            for p in ddp.parameters():
                p.data.zero_()
            assert not ddp.load_state_dict(state).missing_keys
            for got, expected in zip(ddp.parameters(), other.parameters()):
                assert got.tolist() == expected.tolist()
        with pytest.raises(RuntimeError, match="Missing key"):
            ddp.load_state_dict({})

    on_ranks(body)


def test_what_would_not_be_averaged_is_refused(on_ranks):
    def body():
        ddp = DistributedDataParallel(model())
        with pytest.raises(RuntimeError, match="holds a DistributedDataParallel already"):
            DistributedDataParallel(nn.Sequential(ddp, nn.Linear(4, 4)))
        with pytest.raises(RuntimeError, match="Run a dummy forward pass"):
            DistributedDataParallel(nn.LazyLinear(3))
        x = share(batch()[0])
        ddp.module.append(nn.Linear(4, 4).double())
        with pytest.raises(RuntimeError, match=r"parameter '5\.weight' requires a gradient"):
            ddp(x)
        with dtorch.no_grad():
            ddp(x)
        frozen = model()
        frozen[0].requires_grad_(False)
        ddp = DistributedDataParallel(frozen)
        frozen[0].requires_grad_(True)
        with pytest.raises(RuntimeError, match=r"parameter '0\.weight' requires a gradient"):
            ddp(x)

    on_ranks(body)


def test_parameters_to_ignore(on_ranks):
    def body():
        rank = dist.get_rank()
        m = model(seed=rank)
        m._ddp_params_and_buffers_to_ignore = ["0.weight"]
        before = m[0].weight.tolist()
        ddp = DistributedDataParallel(m)
        x, y = (share(t) for t in batch())
        loss(ddp, x, y).backward()
        assert m[0].weight.tolist() == before
        alone = copy.deepcopy(m)
        alone.zero_grad()
        loss(alone, x, y).backward()
        assert m[0].weight.grad.tolist() == alone[0].weight.grad.tolist()
        everyones = [None] * dist.get_world_size()
        dist.all_gather_object(everyones, m[0].bias.grad.tolist())
        assert all(theirs == everyones[0] for theirs in everyones)

    on_ranks(body)


def test_copies_are_averaged_too(on_ranks):
    def body():
        x, y = batch()
        ddp = DistributedDataParallel(model(), bucket_cap_mb=SMALL_BUCKETS)
        loss(ddp, share(x), share(y)).backward()
        before = [p.grad.tolist() for p in ddp.parameters()]
        for other in (copy.deepcopy(ddp), pickle.loads(pickle.dumps(ddp))):
            other.zero_grad()
            loss(other, share(x), share(y)).backward()
            assert [p.grad.tolist() for p in other.parameters()] == before
            assert all(p is not q for p, q in zip(ddp.parameters(), other.parameters()))
        assert [p.grad.tolist() for p in ddp.parameters()] == before
        if dist.get_rank() == 0:  # one that is not trained needs nobody else
            with dtorch.no_grad():
                copy.deepcopy(ddp)(x)

    on_ranks(body)


@pytest.mark.parametrize("keep", [True, False])
def test_wrapped_anew(on_ranks, keep):
    def body():
        x, y = (share(t) for t in batch())
        m = model()
        m[0].requires_grad_(False)
        first = DistributedDataParallel(m, bucket_cap_mb=SMALL_BUCKETS)
        loss(first, x, y).backward()
        gone = weakref.ref(first.reducer)
        if not keep:
            del first
            assert gone() is None  # and its buckets
        m[0].requires_grad_(True)
        m.zero_grad()
        again = DistributedDataParallel(m)
        other = DistributedDataParallel(model())
        for ddp in (again, other):
            loss(ddp, x, y).backward()
        for p, q in zip(again.parameters(), other.parameters()):
            assert p.grad.tolist() == q.grad.tolist()

    on_ranks(body)


def test_torchs_flags_change_nothing(on_ranks):
    def body():
        x, y = (share(t) for t in batch())
        seen = []
        for flags in (
            {},
            {"find_unused_parameters": True, "static_graph": True, "check_reduction": True},
            {"gradient_as_bucket_view": False, "skip_all_reduce_unused_params": True},
            {"batched_grad_copy": True, "forward_sync_buffers": False, "init_sync": False},
        ):
            ddp = DistributedDataParallel(model(), **flags)
            loss(ddp, x, y).backward()
            seen.append([p.grad.tolist() for p in ddp.parameters()])
        assert all(grads == seen[0] for grads in seen)
        with pytest.raises(ValueError, match="use bucket_cap_mb"):
            DistributedDataParallel(model(), bucket_cap_mb_list=[1, 2])
        with pytest.raises(TypeError, match="expected a _MixedPrecision"):
            DistributedDataParallel(model(), mixed_precision=object())

    on_ranks(body)


class Output:
    """What a forward may return: an object that DDP knows nothing of."""

    def __init__(self, y: dtorch.Tensor) -> None:
        self.y = y


def test_outputs_may_be_anything(on_ranks):
    def body():
        x, y = (share(t) for t in batch())
        expected = DistributedDataParallel(model())
        loss(expected, x, y).backward()

        class Wraps(nn.Module):
            def __init__(self, kind) -> None:
                super().__init__()
                self.net, self.kind = model(), kind

            def forward(self, x, *, name):
                out = Output(self.net(x))
                return {"dict": {name: [out, None]}, "object": out, "none": None}[self.kind]

        for kind in ("dict", "object", "none"):
            ddp = DistributedDataParallel(Wraps(kind))
            out = ddp(x, name="y")
            if kind == "none":
                assert out is None
                continue
            ((out["y"][0] if kind == "dict" else out).y - y).square().mean().backward()
            for p, q in zip(ddp.parameters(), expected.parameters()):
                assert p.grad.tolist() == q.grad.tolist()

    on_ranks(body)


@pytest.mark.parametrize("reduce", [None, dtorch.float32])
def test_mixed_precision(on_ranks, reduce):
    """Against the same casts by hand: torch rounds parameters and inputs, and then gradients."""

    def body():
        n = dist.get_world_size()
        half = _MixedPrecision(dtorch.bfloat16, reduce, dtorch.bfloat16)
        x, y = (t.float() for t in batch())
        m = nn.Sequential(model().float(), nn.BatchNorm1d(4, affine=False))
        alone = copy.deepcopy(m).to(dtorch.bfloat16)
        ddp = DistributedDataParallel(m, mixed_precision=half, broadcast_buffers=False)
        out = ddp(share(x))
        assert out.dtype == m[1].running_mean.dtype == dtorch.bfloat16
        assert all(p.dtype == dtorch.float32 for p in m.parameters())
        (out.float() - share(y)).square().mean().backward()
        assert out.tolist() == alone(share(x).bfloat16()).tolist()
        total = [dtorch.zeros_like(p) for p in m.parameters()]
        for xs, ys in zip(x.chunk(n), y.chunk(n)):
            alone.zero_grad()
            (alone(xs.bfloat16()).float() - ys).square().mean().backward()
            for t, p in zip(total, alone.parameters()):
                t += p.grad.float() / n
        for p, t in zip(m.parameters(), total):
            assert p.grad.dtype == dtorch.float32
            rounded = t.bfloat16().float() if reduce is None else t
            assert relative_difference(p.grad, rounded) < (1e-2 if reduce is None else 1e-6)
            # To a dtype that holds no more, or as they are.
            assert reduce is not None or p.grad.bfloat16().float().tolist() == p.grad.tolist()
        assert all(t.dtype == dtorch.float32 for t in copy.deepcopy(ddp).parameters())

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
