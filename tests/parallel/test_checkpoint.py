"""Checkpoints that ranks, of whatever kind, write and read together."""

from __future__ import annotations

import tempfile
from pathlib import Path

import dtorch
import dtorch.distributed as dist
import dtorch.distributed.checkpoint as dcp


def test_what_ranks_write_together_they_read_together(on_ranks):
    def body():
        rank, n = dist.get_rank(), dist.get_world_size()
        folders = [tempfile.TemporaryDirectory() if rank == 0 else None]
        path = [Path(folders[0].name) if rank == 0 else None]
        dist.broadcast_object_list(path)
        dcp.save(
            {f"own{rank}": dtorch.full((rank + 1,), rank), "all": dtorch.arange(5), "step": 7},
            checkpoint_id=path[0],
        )
        left = (rank + 1) % n  # what the neighbour has written
        into = {f"own{left}": dtorch.zeros(left + 1), "all": dtorch.zeros(5), "step": 0}
        dcp.load(into, checkpoint_id=path[0])
        assert into[f"own{left}"].tolist() == [left] * (left + 1)
        assert into["all"].tolist() == [0, 1, 2, 3, 4]
        assert into["step"] == 7
        dist.barrier()
        if rank == 0:
            folders[0].cleanup()

    on_ranks(body)
