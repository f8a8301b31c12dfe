"""What the processes of test_rendezvous.py run: spawned ones import it."""

from __future__ import annotations

import gc
import os
import signal
import sys
from pathlib import Path

import dtorch
import dtorch.distributed as dist


def sum_of_ranks(rank: int, n: int, init_method: str) -> None:
    dist.init_process_group(None, init_method, world_size=n, rank=rank, timeout=60)
    assert dist.get_backend() == "shm"
    x = dtorch.full((9001,), float(rank + 1))
    dist.all_reduce(x)
    assert x.unique().tolist() == [n * (n + 1) / 2]
    dist.destroy_process_group()


def fail(rank: int, n: int, folder: Path, how: str) -> None:
    """The last rank fails while the others wait for it, and write down what they are told."""
    dist.init_process_group("shm", f"file://{folder}/store", world_size=n, rank=rank, timeout=60)
    dist.barrier()
    if rank == n - 1:
        if how == "raise":
            raise KeyError("astray")
        if how == "exit":
            sys.exit(3)
        os.kill(os.getpid(), signal.SIGKILL)
    try:
        dist.all_reduce(dtorch.ones(100_000))
    except dist.DistError as error:
        (folder / f"told {rank}").write_text(str(error))


def leave_nothing(rank: int, n: int, init_method: str) -> None:
    """Groups, their parts and buckets come and go; descriptors and mapped memory don't add up."""
    held = []
    for _ in range(4):
        dist.init_process_group("shm", init_method, world_size=n, rank=rank, timeout=60)
        ddp = dtorch.nn.parallel.DistributedDataParallel(dtorch.nn.Linear(3, 3))
        ddp(dtorch.ones(2, 3)).sum().backward()
        part = dist.new_group([0, 1])
        dist.barrier(part)
        dist.destroy_process_group()
        del ddp, part
        gc.collect()
        maps = Path("/proc/self/maps").read_text().count("memfd:dtorch")
        held.append((maps, len(os.listdir("/proc/self/fd"))))
    assert held[1:] == held[:1] * 3, held
    assert held[0][0] == 0


def share(rank: int, tensor: dtorch.Tensor, queue) -> None:
    tensor[rank] = rank + 1.0
    queue.put(dtorch.full((2,), float(rank)))
