"""Communication hooks of DistributedDataParallel."""

from __future__ import annotations

import warnings
from functools import partial

import numpy as np
import pytest
import torch

import dtorch
import dtorch.distributed as dist
from dtorch import nn
from dtorch.distributed.algorithms.ddp_comm_hooks import (
    DDPCommHookType,
    debugging_hooks,
    default_hooks,
    post_localSGD_hook,
    powerSGD_hook,
    quantization_hooks,
    register_ddp_comm_hook,
)
from dtorch.nn.parallel import DistributedDataParallel


def model() -> nn.Module:
    dtorch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 4)).double()


def data() -> dtorch.Tensor:
    rank = dist.get_rank()
    return (dtorch.arange(48).double() * (rank + 1)).sin().reshape(6, 8)


def gradients(hook=None, state=None, steps: int = 1) -> list[dtorch.Tensor]:
    """Of the last of some backwards, in small buckets."""
    ddp = DistributedDataParallel(model(), bucket_cap_mb=1e-4)
    if hook is not None:
        ddp.register_comm_hook(state, hook)
    for _ in range(steps):
        ddp.zero_grad()
        ddp(data()).square().sum().backward()
    return [p.grad for p in ddp.parameters()]


@pytest.mark.parametrize(
    ("hook", "error"),
    [
        (default_hooks.allreduce_hook, 0),
        (default_hooks.fp16_compress_hook, 1e-3),
        (default_hooks.bf16_compress_hook, 1e-2),
        (default_hooks.fp16_compress_wrapper(default_hooks.allreduce_hook), 1e-3),
        (default_hooks.bf16_compress_wrapper(default_hooks.allreduce_hook), 1e-2),
    ],
)
def test_averages_as_exact_as_their_dtype(on_ranks, hook, error):
    def body():
        for _ in range(2):
            for got, expected in zip(gradients(hook, steps=2), gradients(steps=2)):
                assert got.dtype == dtorch.float64
                assert (got - expected).abs().max() <= error * expected.abs().max()

    on_ranks(body)


def test_no_communication(on_ranks):
    def body():
        alone = model()
        alone(data()).square().sum().backward()
        for got, p in zip(gradients(debugging_hooks.noop_hook), alone.parameters()):
            dtorch.testing.assert_close(got, p.grad)

    on_ranks(body)


def test_a_hook_of_ones_own_sees_the_buckets(on_ranks):
    def body():
        n = dist.get_world_size()
        seen = []

        def hook(state, bucket: dist.GradBucket):
            seen.append((bucket.index(), bucket.is_last(), len(bucket.parameters())))
            for g, p in zip(bucket.gradients(), bucket.parameters()):
                assert g.shape == p.shape
            state["calls"] += 1
            # Two exchanges, the second one only when the first is done.
            first = dist.all_reduce(bucket.buffer(), async_op=True).get_future()
            return first.then(lambda f: f.value()[0] / n).then(again)

        def again(f):
            x = f.value()
            return dist.all_reduce(x, dist.ReduceOp.AVG, async_op=True).get_future().wait()[0]

        state = {"calls": 0}
        for got, expected in zip(gradients(hook, state), gradients()):
            dtorch.testing.assert_close(got, expected)
        assert state["calls"] == len(seen) > 1
        assert [index for index, _, _ in seen] == list(range(len(seen)))
        assert [last for _, last, _ in seen] == [False] * (len(seen) - 1) + [True]
        assert sum(count for _, _, count in seen) == 4

    on_ranks(body)


def test_power_sgd(on_ranks):
    def body():
        exact = gradients(steps=4)
        # Rank 4 is all that gradients of 4 outputs have: nothing is lost.
        state = powerSGD_hook.PowerSGDState(
            None, matrix_approximation_rank=4, start_powerSGD_iter=2, min_compression_rate=0.1
        )
        for got, expected in zip(gradients(powerSGD_hook.powerSGD_hook, state, 4)[2:], exact[2:]):
            dtorch.testing.assert_close(got, expected)
        assert state.factors

        # With rank 1 something is; what is left out comes later, so that sums keep up.
        ddp = DistributedDataParallel(model())
        state = powerSGD_hook.PowerSGDState(None, start_powerSGD_iter=2, min_compression_rate=1)
        ddp.register_comm_hook(state, powerSGD_hook.powerSGD_hook)
        total = dtorch.zeros(16, 8).double()
        for step in range(42):
            ddp.zero_grad()
            ddp(data()).square().sum().backward()
            if step >= 2:
                total += ddp.module[0].weight.grad
        assert (total / 40 - exact[0]).norm() < 0.1 * exact[0].norm()

    on_ranks(body)


def test_batched_power_sgd(on_ranks):
    def body():
        exact = gradients(steps=4)
        # Buckets are squares of at most 12 rows: rank 12 loses nothing of any.
        state = powerSGD_hook.PowerSGDState(
            None, matrix_approximation_rank=12, start_powerSGD_iter=2, use_error_feedback=False
        )
        for got, expected in zip(gradients(powerSGD_hook.batched_powerSGD_hook, state, 4), exact):
            dtorch.testing.assert_close(got, expected)
        assert state.factors

    on_ranks(body)


@pytest.mark.parametrize("channel", [None, 16])
def test_quantized_gradients_are_those_of_torchs_numbers(on_ranks, channel):
    """Each rank's buckets through torch's observers and quantized tensors, then the mean."""

    def quantized(x: np.ndarray) -> np.ndarray:
        t = torch.from_numpy(x)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch deprecates its observers
            if channel is None:
                observer = torch.ao.quantization.MinMaxObserver()
                observer(t)
                s, z = observer.calculate_qparams()
                return (
                    torch.quantize_per_tensor(t, s.item(), z.item(), torch.quint8)
                    .dequantize()
                    .numpy()
                )
            t = torch.nn.functional.pad(t, (0, -len(x) % channel)).view(-1, channel)
            observer = torch.ao.quantization.PerChannelMinMaxObserver()
            observer(t)
            s, z = observer.calculate_qparams()
            t = torch.quantize_per_channel(t, s, z, 0, torch.quint8).dequantize()
            return t.flatten()[: len(x)].numpy()

    def body():
        hook = quantization_hooks.quantization_pertensor_hook
        if channel is not None:
            hook = partial(quantization_hooks.quantization_perchannel_hook, bucket_size=channel)
        seen = []

        def spied(state, bucket):
            buffers = [None] * dist.get_world_size()
            dist.all_gather_object(buffers, bucket.buffer().float().numpy().copy())
            expected = np.mean([quantized(b) for b in buffers], axis=0)
            future = hook(state, bucket)
            seen.append(np.abs(future.wait().numpy() - expected).max() / np.abs(expected).max())
            return future

        gradients(spied)
        assert len(seen) > 1
        assert max(seen) < 1e-5

    on_ranks(body)


def test_local_sgd_averages_first_over_all_then_over_neighbours(on_ranks):
    def body():
        n = dist.get_world_size()
        pairs = dist.new_subgroups(2)[0] if n % 2 == 0 else None
        state = post_localSGD_hook.PostLocalSGDState(None, pairs, 2)
        hook = post_localSGD_hook.post_localSGD_hook
        alone = model()
        alone(data()).square().sum().backward()
        everybodys = gradients()
        of_two = [p.grad.clone() for p in alone.parameters()]
        for g in of_two:
            dist.all_reduce(g, dist.ReduceOp.AVG, pairs)  # None: all, on the one machine
        ddp = DistributedDataParallel(model(), bucket_cap_mb=1e-4)
        ddp.register_comm_hook(state, hook)
        for step in range(4):
            ddp.zero_grad()
            ddp(data()).square().sum().backward()
            for p, expected in zip(ddp.parameters(), everybodys if step < 2 else of_two):
                dtorch.testing.assert_close(p.grad, expected)
        state = post_localSGD_hook.PostLocalSGDState(None, None, 0, False)
        for got, p in zip(gradients(hook, state), alone.parameters()):
            dtorch.testing.assert_close(got, p.grad)

    on_ranks(body)


def test_hooks_by_name(on_ranks):
    def body():
        for kind in DDPCommHookType:
            ddp = DistributedDataParallel(model())
            register_ddp_comm_hook(kind, ddp, None)
            ddp(data()).square().sum().backward()
            with pytest.raises(RuntimeError, match="only be called once"):
                kind.value(model=ddp, state=None)
        for kind in dist.BuiltinCommHookType:
            ddp = DistributedDataParallel(model())
            ddp._register_builtin_comm_hook(kind)
            ddp(data()).square().sum().backward()
            for p, expected in zip(ddp.parameters(), gradients()):
                assert (p.grad - expected).abs().max() <= 1e-3 * expected.abs().max()

    on_ranks(body)


def test_bad_hooks_are_refused(on_ranks):
    def body():
        ddp = DistributedDataParallel(model())
        with pytest.raises(TypeError, match="must be callable"):
            ddp.register_comm_hook(None, 3)
        wrong = dtorch.futures.Future()
        wrong.set_result(dtorch.zeros(3))
        ddp.register_comm_hook(None, lambda state, bucket: wrong)
        with pytest.raises(RuntimeError, match="tensor of the bucket's"):
            ddp(data()).sum().backward()

    on_ranks(body)


def communicates_twice() -> None:
    """A second exchange begins when the first is done, at another time on each rank."""
    order: list[str] = []

    def hook(state, bucket):
        order.append(f"begin {bucket.index()}")
        work = dist.all_reduce(bucket.buffer(), dist.ReduceOp.AVG, async_op=True)
        for _ in range(100 * dist.get_rank()):
            dist.GroupMember.WORLD.poll()

        def again(future):
            order.append(f"again {bucket.index()}")
            (x,) = future.value()
            dist.all_reduce(x, dist.ReduceOp.MAX)
            return x

        return work.get_future().then(again)

    expected = gradients()
    for got, right in zip(gradients(hook), expected):
        assert dtorch.equal(got, right)
    first, *_ = (x for x in order if x.startswith("again"))
    orders = [None] * dist.get_world_size()
    dist.all_gather_object(orders, order)
    assert all(o == order for o in orders), orders
    # All buckets are under way before the first is waited for.
    assert first == "again 0"
    assert order.index(first) == max(i for i, x in enumerate(order) if x.startswith("begin")) + 1


def test_hooks_overlap_in_one_order_on_all_ranks(on_ranks):
    on_ranks(communicates_twice)


def fails_late() -> None:
    def hook(state, bucket):
        work = dist.all_reduce(bucket.buffer(), async_op=True)
        return work.get_future().then(lambda future: 1 / 0)

    ddp = DistributedDataParallel(model(), bucket_cap_mb=1e-4)
    ddp.register_comm_hook(None, hook)
    with pytest.raises(ZeroDivisionError):
        ddp(data()).sum().backward()
    x = dtorch.ones(2)
    dist.all_reduce(x)  # the ranks are still in step
    assert x.tolist() == [dist.get_world_size()] * 2


def test_what_a_hook_raises_is_raised_by_backward(on_ranks):
    on_ranks(fails_late)
