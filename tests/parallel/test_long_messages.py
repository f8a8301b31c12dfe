"""Messages of several pieces, and memory that a group provides: the same values and bits."""

from __future__ import annotations

import numpy as np
import pytest

import dtorch
import dtorch.distributed as dist
from dtorch.core.tensor import wrap

LONG = 700_001  # elements: several pieces, the last one short, and no multiple of any rank count


def values(rank: int, size: int, dtype: dtorch.dtype = dtorch.float32) -> dtorch.Tensor:
    x = np.random.default_rng(rank).standard_normal(size).astype(np.float32)
    return dtorch.from_numpy(x).to(dtype)


def bits(x: dtorch.Tensor) -> bytes:
    return x.view(dtorch.uint8).numpy().tobytes()


@pytest.mark.parametrize("size", [5, 9001, LONG])
@pytest.mark.parametrize("dtype", [dtorch.float32, dtorch.bfloat16], ids=str)
def test_memory_that_the_group_provides_is_reduced_to_the_same_bits(on_ranks, dtype, size):
    def body():
        group, rank = dist.GroupMember.WORLD, dist.get_rank()
        mine = values(rank, size, dtype)
        expected = mine.clone()
        dist.all_reduce(expected, dist.ReduceOp.AVG)
        inside = wrap(group.zeros(size, mine._a))
        outside = dtorch.zeros(size, dtype=dtype)
        for x in (
            inside,
            outside,
            inside if rank == 0 else outside,
        ):  # the last: some here, some there
            x.copy_(mine)
            dist.all_reduce(x, dist.ReduceOp.AVG)
            assert bits(x) == bits(expected)
        inside.copy_(mine)
        part = inside[1 : size - 1]  # a view of it lies in the same place on all ranks
        dist.all_reduce(part, dist.ReduceOp.AVG)
        assert bits(part) == bits(expected[1 : size - 1])
        assert bits(inside[:1]) == bits(mine[:1])

    on_ranks(body)


def test_every_movement_of_several_pieces(on_ranks):
    def body():
        rank, n = dist.get_rank(), dist.get_world_size()
        everyones = [values(r, LONG) for r in range(n)]
        x = values(rank, LONG)
        dist.broadcast(x, src=n - 1)
        assert bits(x) == bits(everyones[n - 1])

        got = dtorch.zeros(n * LONG)
        dist.all_gather_into_tensor(got, everyones[rank])
        assert bits(got) == bits(dtorch.cat(everyones))

        out = dtorch.zeros(LONG)
        dist.scatter(out, everyones if rank == 0 else None, src=0)
        assert bits(out) == bits(everyones[rank])

        # Rank r sends (r + 1) * 100,000 elements to everybody: as many pieces as it takes.
        counts = [100_000 * (r + 1) for r in range(n)]
        sent = dtorch.cat([values(rank, counts[rank])] * n)
        out = dtorch.zeros(sum(counts))
        dist.all_to_all_single(out, sent, counts, [counts[rank]] * n)
        assert bits(out) == bits(dtorch.cat([values(r, counts[r]) for r in range(n)]))

    on_ranks(body)


def test_long_messages_cross(on_ranks):
    def body():
        rank, n = dist.get_rank(), dist.get_world_size()
        after, before = (rank + 1) % n, (rank - 1) % n
        if n == 1:
            return
        got = dtorch.zeros(LONG)
        # Everybody sends before anybody receives, and an empty one comes between.
        works = [dist.isend(values(rank, LONG), after), dist.isend(dtorch.zeros(0), after)]
        works.append(dist.irecv(got, before))
        works.append(dist.irecv(dtorch.zeros(0), before))
        for work in reversed(works):
            work.wait()
        assert bits(got) == bits(values(before, LONG))

    on_ranks(body)
