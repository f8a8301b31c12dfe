"""Virtual shards, bit for bit, against all shards computed one by one on this rank alone."""

from __future__ import annotations

from itertools import pairwise

import pytest

import dtorch
import dtorch.distributed as dist
from dtorch import nn
from dtorch.core.random import Generator, seed_at, use_generator
from dtorch.nn.parallel import DistributedDataParallel
from dtorch.utils.data import DataLoader, ShardSampler, TensorDataset
from dtorch.utils.data.distributed import shards_of

V, SIZE, STEPS = 8, 4, 3


class Awkward(nn.Module):
    """Dropout, batch norm, a layer that only shard 5 uses, one that none does, a frozen one."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(6, 16)
        self.norm = nn.BatchNorm1d(16)
        self.rare = nn.Sequential(nn.Linear(16, 16), nn.BatchNorm1d(16))
        self.never = nn.Linear(3, 3)
        self.frozen = nn.Linear(16, 16).requires_grad_(False)
        self.last = nn.Linear(16, 3)
        self.register_buffer("mask", dtorch.full((4,), dtorch.finfo(dtorch.float32).min))

    def forward(self, x: dtorch.Tensor, rare: bool) -> dtorch.Tensor:
        x = nn.functional.dropout(self.norm(self.first(x)).tanh(), 0.3)
        return self.last(self.frozen(self.rare(x) if rare else x))


def model(dtype: dtorch.dtype = dtorch.float32) -> nn.Module:
    dtorch.manual_seed(11)
    return Awkward().to(dtype)


def shard(step: int, number: int, dtype: dtorch.dtype) -> tuple[dtorch.Tensor, dtorch.Tensor]:
    """Inputs and targets of one shard."""
    x = dtorch.arange(SIZE * 6).reshape(SIZE, 6) + 100 * number + 1000 * step
    return (0.37 * x).sin().to(dtype), (dtorch.arange(SIZE) + number) % 3


def loss_of(m: nn.Module, number: int, x: dtorch.Tensor, y: dtorch.Tensor) -> dtorch.Tensor:
    return nn.functional.cross_entropy(m(x, number == 5), y)


def tree(values: list[dtorch.Tensor]) -> dtorch.Tensor:
    if len(values) == 1:
        return values[0]
    half = len(values) // 2
    return tree(values[:half]) + tree(values[half:])


def tree_mean(values: list[dtorch.Tensor]) -> dtorch.Tensor:
    wide = dtorch.float32 if values[0].dtype.itemsize == 2 else values[0].dtype
    return (tree([value.to(wide) for value in values]) / V).to(values[0].dtype)


def by_hand(m: nn.Module, step: int, dtype: dtorch.dtype, lr: float) -> dtorch.Tensor:
    """One step of SGD over all shards, in this process alone; the mean loss."""
    buffers = {name: b.clone() for name, b in m.named_buffers()}
    losses, grads, left = [], [], []
    for number in range(V):
        for name, b in m.named_buffers():
            b.copy_(buffers[name])
        m.zero_grad()
        with use_generator(Generator(seed=seed_at(11, step, number, 1))):
            loss = loss_of(m, number, *shard(step, number, dtype))
        loss.backward()
        losses.append(loss.detach())
        grads.append({n: p.grad for n, p in m.named_parameters() if p.grad is not None})
        left.append({name: b.clone() for name, b in m.named_buffers()})
    for name, b in m.named_buffers():
        if name == "mask":
            continue
        if b.is_floating_point():
            b.copy_(tree_mean([values[name].double() for values in left]).to(b.dtype))
        else:
            b.copy_(left[0][name])
    with dtorch.no_grad():
        for name, p in m.named_parameters():
            if any(name in shards for shards in grads):
                zeros = dtorch.zeros_like(p)
                p -= lr * tree_mean([shards.get(name, zeros) for shards in grads])
    return tree_mean(losses)


def bits(m: nn.Module) -> dict[str, bytes]:
    return {n: t.float().numpy(force=True).tobytes() for n, t in m.state_dict().items()}


@pytest.mark.parametrize("dtype", [dtorch.float32, dtorch.float64, dtorch.bfloat16], ids=str)
def test_every_bit_is_that_of_one_process(on_ranks, dtype):
    def body():
        ddp, alone = DistributedDataParallel(model(dtype), virtual_shards=V), model(dtype)
        optimizer = dtorch.optim.SGD(ddp.parameters(), lr=0.5)
        mine = shards_of(dist.get_rank(), dist.get_world_size(), V)
        for step in range(STEPS):
            optimizer.zero_grad()
            losses = []
            for number in ddp.shards():
                assert number in mine
                loss = loss_of(ddp, number, *shard(step, number, dtype))
                loss.backward()
                losses.append(loss)
            optimizer.step()
            expected = by_hand(alone, step, dtype, 0.5)
            assert ddp.mean(losses).tolist() == expected.tolist()
            assert bits(ddp.module) == bits(alone)
        assert ddp.module.never.weight.grad is None
        assert ddp.module.norm.num_batches_tracked.item() == STEPS

    on_ranks(body)


def test_gradients_of_two_global_batches_add_up(on_ranks):
    def body():
        ddp, other = (DistributedDataParallel(model(), virtual_shards=V) for _ in range(2))

        def gradients(ddp, steps):
            for step in steps:
                for number in ddp.shards():
                    loss_of(ddp, number, *shard(step, number, dtorch.float32)).backward()
            return [p.grad.clone() for p in ddp.parameters() if p.grad is not None]

        first = gradients(other, [0])
        other.zero_grad()
        second = gradients(other, [1])
        both = gradients(ddp, [0, 1])
        assert all((a + b).tolist() == c.tolist() for a, b, c in zip(first, second, both))

    on_ranks(body)


def test_a_loop_that_raises_or_is_left_changes_nothing(on_ranks):
    def body():
        ddp = DistributedDataParallel(model(), virtual_shards=V)

        def compute(fail):
            for number in ddp.shards():
                loss_of(ddp, number, *shard(0, number, dtorch.float32)).backward()
                fail()

        compute(lambda: None)
        before = bits(ddp.module), [p.grad.tolist() for p in ddp.parameters() if p.grad is not None]

        def fail():
            raise KeyError("from the loop")

        state = dtorch.get_rng_state().tolist()
        with pytest.raises(KeyError, match="from the loop"):
            compute(fail)
        for number in ddp.shards():
            loss_of(ddp, number, *shard(0, number, dtorch.float32)).backward()
            break
        assert dtorch.get_rng_state().tolist() == state
        assert ddp.virtual_shards.step == 1
        after = bits(ddp.module), [p.grad.tolist() for p in ddp.parameters() if p.grad is not None]
        assert after == before

    on_ranks(body)


def test_misuse_is_refused(on_ranks):
    def body():
        n = dist.get_world_size()
        for wrong in (0, 3, 2.0):
            with pytest.raises(ValueError, match="power of two"):
                DistributedDataParallel(model(), virtual_shards=wrong)
        if n > 2:
            with pytest.raises(ValueError, match=f"2 shards and {n} ranks"):
                DistributedDataParallel(model(), virtual_shards=2)
            with pytest.raises(ValueError, match=r"different virtual_shards: \[4, 8"):
                DistributedDataParallel(model(), virtual_shards=8 if dist.get_rank() else 4)
        synchronized = nn.SyncBatchNorm.convert_sync_batchnorm(model())
        with pytest.raises(ValueError, match="'norm' is a SyncBatchNorm"):
            DistributedDataParallel(synchronized, virtual_shards=V)
        plain = DistributedDataParallel(model())
        with pytest.raises(RuntimeError, match=r"make the .* with virtual_shards"):
            next(plain.shards())

        ddp = DistributedDataParallel(model(), virtual_shards=V)
        x, y = shard(0, 0, dtorch.float32)
        with pytest.raises(RuntimeError, match=r"train in `for batch in ddp.shards"):
            ddp(x, False)
        with dtorch.no_grad():
            ddp(x, False)
        mine = len(shards_of(dist.get_rank(), n, V))
        with pytest.raises(ValueError, match=f"{mine} shards .* got {mine + 1}"):
            next(ddp.shards([x] * (mine + 1)))
        with pytest.raises(ValueError, match=f"expected {mine} floating tensors"):
            ddp.mean([x] * (mine + 1))
        with pytest.raises(RuntimeError, match=r"call its backward"):
            list(ddp.shards())
        with pytest.raises(RuntimeError, match="without a weight"):
            ddp.backward(x.sum(), weight=4)
        with pytest.raises(RuntimeError, match="without a hook"):
            ddp.register_comm_hook(None, lambda state, bucket: None)

    on_ranks(body)


def test_blas_has_one_thread_in_the_loop():
    """Some products have other bits with more threads, and ranks get as many as there are cores."""

    def body():
        ddp = DistributedDataParallel(model(), virtual_shards=2)
        dtorch.set_num_threads(2)
        next(ddp.shards())
        assert dtorch.get_num_threads() == 1

    before = dtorch.get_num_threads()
    try:
        dist.run_local(body, 1)
    finally:
        dtorch.set_num_threads(before)


def test_autocast_scaled_losses_and_clipped_gradients_have_the_same_bits_too():
    def body():
        dtorch.manual_seed(11)
        layers = [nn.Linear(6, 16), nn.BatchNorm1d(16), nn.Dropout(0.2), nn.Linear(16, 3)]
        ddp = DistributedDataParallel(nn.Sequential(*layers), virtual_shards=V)
        optimizer = dtorch.optim.AdamW(ddp.parameters(), lr=0.01)
        scaler = dtorch.amp.GradScaler("cpu")
        for _ in range(STEPS):
            optimizer.zero_grad()
            for _ in ddp.shards():
                x, y = dtorch.randn(SIZE, 6), dtorch.randint(0, 3, (SIZE,))
                with dtorch.autocast("cpu", dtorch.bfloat16):
                    loss = nn.functional.cross_entropy(ddp(x), y)
                scaler.scale(loss).backward()
            scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(ddp.parameters(), 0.1)
            scaler.step(optimizer)
            scaler.update()
        return bits(ddp.module)

    alone = dist.run_local(body, 1)[0]
    assert dist.run_local(body, 3) == [alone] * 3


# ---- stopped, and gone on with by others ---------------------------------------------------------

DATA = TensorDataset((0.1 * dtorch.arange(240 * 6).reshape(240, 6)).sin(), dtorch.arange(240) % 3)


def train(until: int, saved: dict | None = None) -> tuple[list[str], dict[str, bytes], dict]:
    """To a number of steps, from the start or a state: losses, weights, the state."""
    dtorch.manual_seed(dist.get_world_size() if saved else 11)  # the state brings its own
    ddp = DistributedDataParallel(Awkward(), virtual_shards=V)
    optimizer = dtorch.optim.AdamW(ddp.parameters(), lr=0.01)
    loader = DataLoader(DATA, batch_sampler=ShardSampler(DATA, 32, V))
    parts = {"model": ddp, "optimizer": optimizer, "data": loader}
    for name, part in parts.items() if saved else ():
        part.load_state_dict(saved[name])
    told: list[str] = []
    while True:
        for shards in loader:
            optimizer.zero_grad()
            losses = []
            for x, y in ddp.shards(shards):
                loss = nn.functional.cross_entropy(ddp(x, False), y)
                loss.backward()
                losses.append(loss)
            optimizer.step()
            told.append(ddp.mean(losses).item().hex())
            if ddp.virtual_shards.step == until:
                state = {name: part.state_dict() for name, part in parts.items()}
                return told, bits(ddp.module), state


def test_a_run_is_gone_on_with_at_another_number_of_ranks():
    """12 steps, over the end of an epoch of 8; threads, so that the number can change."""
    losses, weights, state = dist.run_local(train, 1, 12)[0]
    for before, after in pairwise([4, 2, 8, 3, 1]):
        head, _, saved = dist.run_local(train, before, 5)[0]
        tail, ends, last = dist.run_local(train, after, 12, saved)[0]
        assert head + tail == losses
        assert ends == weights
        assert (
            last["data"]
            == state["data"]
            == {**last["data"], "sampler": {"epoch": 1, "position": 128}}
        )


def test_a_state_of_another_number_of_shards_is_refused():
    def body():
        ddp, other = (DistributedDataParallel(nn.Linear(2, 2), virtual_shards=v) for v in (4, 8))
        with pytest.raises(RuntimeError, match="virtual_shards=8, this one has 4"):
            ddp.load_state_dict(other.state_dict())
        with pytest.raises(RuntimeError, match=r"virtual_shards\._extra_state"):
            ddp.load_state_dict(other.module.state_dict())

    dist.run_local(body, 1)
