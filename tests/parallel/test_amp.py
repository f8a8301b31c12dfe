"""Mixed precision in data-parallel training."""

from __future__ import annotations

import dtorch
import dtorch.distributed as dist
from dtorch import nn, optim
from dtorch.nn.parallel import DistributedDataParallel


def train(model: nn.Module, x: dtorch.Tensor, y: dtorch.Tensor) -> list[list[float]]:
    """Two steps under autocast with a scaler: the weights after each."""
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    scaler = dtorch.GradScaler("cpu", init_scale=1024.0)
    seen = []
    for _ in range(2):
        optimizer.zero_grad()
        with dtorch.autocast("cpu"):
            loss = nn.functional.mse_loss(model(x), y)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        seen.append(dtorch.cat([p.detach().flatten() for p in model.parameters()]).tolist())
    return seen


def train_beside_one_process() -> None:
    dtorch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    alone = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    alone.load_state_dict(model.state_dict())
    x = dtorch.arange(24 * 4).reshape(24, 4).float().sin()
    y = dtorch.arange(24 * 2).reshape(24, 2).float().cos()
    rank, world = dist.get_rank(), dist.get_world_size()
    got = train(DistributedDataParallel(model), x.chunk(world)[rank], y.chunk(world)[rank])
    expected = train(alone, x, y)
    for a, b in zip(got, expected):
        assert all(abs(u - v) < 1e-2 for u, v in zip(a, b))
    weights = dtorch.tensor(got[-1])
    least = weights.clone()
    dist.all_reduce(least, op=dist.ReduceOp.MIN)
    assert least.tolist() == weights.tolist()  # the same bits on every rank
    assert not dtorch.is_autocast_enabled("cpu")


def test_ranks_train_as_one_process_does(on_ranks):
    on_ranks(train_beside_one_process)
