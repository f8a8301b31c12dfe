"""CheckpointManager on ranks of every kind: one checkpoint of all, and one decision of all."""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest

import dtorch
import dtorch.distributed as dist
from dtorch import nn
from dtorch.distributed.checkpoint import CheckpointException
from dtorch.distributed.optim import ZeroRedundancyOptimizer
from dtorch.utils.checkpoint_manager import CheckpointManager


@contextmanager
def shared_folder():
    """A folder of all ranks."""
    made = tempfile.TemporaryDirectory() if dist.get_rank() == 0 else None
    told = [made.name if made else None]
    dist.broadcast_object_list(told)
    yield Path(told[0])
    dist.barrier()
    if made:
        made.cleanup()


def make(folder, **options):
    dtorch.manual_seed(3)
    model = nn.Sequential(nn.Linear(5, 7), nn.Linear(7, 3), nn.Linear(3, 2))
    optimizer = ZeroRedundancyOptimizer(model.parameters(), dtorch.optim.Adam, lr=0.1)
    parts = {"model": model, "optimizer": optimizer}
    return model, optimizer, CheckpointManager(folder, parts, signals=(), **options)


def step(model, optimizer):
    for p in model.parameters():
        p.grad = p.detach().cos()
    optimizer.step()


@pytest.mark.parametrize("sharded", [False, True])
def test_state_that_is_spread_and_generators_of_each_rank(on_ranks, sharded):
    def body():
        with shared_folder() as folder:
            rank = dist.get_rank()
            model, optimizer, manager = make(folder, sharded=sharded)
            step(model, optimizer)
            dtorch.manual_seed(100 + rank)
            manager.save()
            drawn = dtorch.rand(3)
            step(model, optimizer)
            written = {p.name.partition("-")[0]: p.stat().st_size for p in folder.glob("*/rank*")}
            assert len(written) == dist.get_world_size()
            other, its_optimizer, manager = make(folder)
            manager.load()
            assert (dtorch.rand(3) == drawn).all()
            step(other, its_optimizer)
            for p, q in zip(model.parameters(), other.parameters()):
                assert (p == q).all()

    on_ranks(body)


def test_a_rank_that_cannot_write_is_named_on_all(on_ranks):
    def body():
        with shared_folder() as folder:
            last = dist.get_world_size() - 1
            where = folder if dist.get_rank() != last else folder / "file" / "below"
            if dist.get_rank() == last:
                (folder / "file").touch()
            _, _, manager = make(where)
            with pytest.raises(CheckpointException, match=f"rank {last}: NotADirectoryError"):
                manager.save()
            dist.barrier()  # rank 0 has tidied up
            assert not list(folder.glob("step-*"))

    on_ranks(body)
