"""Every collective against its closed form, in every dtype."""

from __future__ import annotations

import numpy as np
import pytest

import dtorch
import dtorch.distributed as dist
from dtorch.distributed import ReduceOp

FLOATS = [dtorch.float16, dtorch.bfloat16, dtorch.float32, dtorch.float64]
INTS = [dtorch.uint8, dtorch.int8, dtorch.int16, dtorch.int32, dtorch.int64]
NUMBERS = [*FLOATS, *INTS, dtorch.complex64, dtorch.complex128]
SIZES = [0, 1, 7, 9001]  # nothing; fewer than ranks; a message in one step; one in two


def ranks() -> tuple[int, int]:
    return dist.get_rank(), dist.get_world_size()


def numbers(rank: int, size: int, dtype=dtorch.float32) -> dtorch.Tensor:
    """Small whole numbers, different on each rank, that every dtype adds up exactly."""
    return (dtorch.arange(size) % 5 + rank).to(dtype)


def same(a: dtorch.Tensor, b: dtorch.Tensor) -> bool:
    return a.dtype == b.dtype and a.tolist() == b.tolist()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("dtype", NUMBERS, ids=str)
def test_all_reduce_sum(on_ranks, dtype, size):
    def body():
        rank, n = ranks()
        x = numbers(rank, size, dtype)
        dist.all_reduce(x)
        assert same(x, sum(numbers(r, size, dtype) for r in range(n)))

    on_ranks(body)


@pytest.mark.parametrize(
    ("op", "reduce"),
    [
        (ReduceOp.PRODUCT, np.multiply.reduce),
        (ReduceOp.MIN, np.minimum.reduce),
        (ReduceOp.MAX, np.maximum.reduce),
        (ReduceOp.BAND, np.bitwise_and.reduce),
        (ReduceOp.BOR, np.bitwise_or.reduce),
        (ReduceOp.BXOR, np.bitwise_xor.reduce),
    ],
)
def test_all_reduce_with_another_op(on_ranks, op, reduce):
    def body():
        rank, n = ranks()
        x = numbers(rank, 9001, dtorch.int64)
        dist.all_reduce(x, op)
        assert (
            x.tolist()
            == reduce([numbers(r, 9001, dtorch.int64).numpy() for r in range(n)]).tolist()
        )

    on_ranks(body)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_average(on_ranks, dtype):
    def body():
        rank, n = ranks()
        x = numbers(rank, 9001, dtype)
        dist.all_reduce(x, ReduceOp.AVG)
        mean = np.add.reduce([numbers(r, 9001).numpy() for r in range(n)]) / np.float32(n)
        assert x.tolist() == dtorch.from_numpy(mean).to(dtype).tolist()

    on_ranks(body)


def test_halves_are_summed_in_float32(on_ranks):
    def body():
        rank, n = ranks()
        # 2048 + 1 is 2048 in float16: summed there, the ones would all be lost.
        x = dtorch.full((3,), 2048.0 if rank == 0 else 1.0).half()
        dist.all_reduce(x)
        assert x.tolist() == [float(np.float16(2048 + n - 1))] * 3

    on_ranks(body)


@pytest.mark.parametrize("size", [33, 9001])
def test_sums_have_the_bits_of_a_fixed_tree(on_ranks, size):
    def values(rank):
        return np.random.default_rng(rank).standard_normal(size).astype(np.float32)

    def tree(rows):
        if len(rows) == 1:
            return rows[0]
        return tree([a + b for a, b in zip(rows[::2], rows[1::2])] + rows[len(rows) // 2 * 2 :])

    def body():
        rank, n = ranks()
        x = dtorch.from_numpy(values(rank))
        dist.all_reduce(x)
        assert x.numpy().tobytes() == tree([values(r) for r in range(n)]).tobytes()

    on_ranks(body)


def test_a_tensor_that_is_not_contiguous(on_ranks):
    def body():
        rank, n = ranks()
        whole = dtorch.zeros(4, 6)
        part = whole.t()[1:3]
        part.fill_(rank + 1.0)
        dist.all_reduce(part)
        assert part.tolist() == [[n * (n + 1) / 2] * 4] * 2
        assert whole.sum().item() == n * (n + 1) / 2 * 8

    on_ranks(body)


@pytest.mark.parametrize("dtype", [*NUMBERS, dtorch.bool], ids=str)
def test_moves_in_every_dtype(on_ranks, dtype):
    def body():
        rank, n = ranks()
        mine = numbers(rank, 6, dtype).reshape(2, 3)
        everyones = [numbers(r, 6, dtype).reshape(2, 3) for r in range(n)]

        x = mine.clone()
        dist.broadcast(x, src=n - 1)
        assert same(x, everyones[n - 1])

        got = [dtorch.zeros(2, 3, dtype=dtype) for _ in range(n)]
        dist.all_gather(got, mine)
        assert all(map(same, got, everyones))

        stacked = dtorch.zeros(n, 2, 3, dtype=dtype)
        dist.all_gather_into_tensor(stacked, mine)
        assert same(stacked, dtorch.stack(everyones))

        got = [dtorch.zeros(2, 3, dtype=dtype) for _ in range(n)]
        dist.gather(mine, got if rank == n - 1 else None, dst=n - 1)
        assert rank != n - 1 or all(map(same, got, everyones))

        x = dtorch.zeros(2, 3, dtype=dtype)
        dist.scatter(x, everyones if rank == 0 else None, src=0)
        assert same(x, mine)

    on_ranks(body)


def test_reduce_changes_only_the_root(on_ranks):
    def body():
        rank, n = ranks()
        x = numbers(rank, 7)
        dist.reduce(x, dst=n - 1)
        total = sum(numbers(r, 7) for r in range(n))
        assert same(x, total if rank == n - 1 else numbers(rank, 7))

    on_ranks(body)


def test_reduce_scatter(on_ranks):
    def body():
        rank, n = ranks()
        whole = numbers(rank, 3 * n)
        total = sum(numbers(r, 3 * n) for r in range(n))
        out = dtorch.zeros(3)
        dist.reduce_scatter(out, list(whole.chunk(n)))
        assert same(out, total[3 * rank : 3 * rank + 3])
        out = dtorch.zeros(3)
        dist.reduce_scatter_tensor(out, whole)
        assert same(out, total[3 * rank : 3 * rank + 3])

    on_ranks(body)


def test_all_to_all(on_ranks):
    def body():
        rank, n = ranks()
        out = dtorch.zeros(n, dtype=dtorch.int64)
        dist.all_to_all_single(out, dtorch.arange(n) + 10 * rank)
        assert out.tolist() == [10 * r + rank for r in range(n)]

        # Rank r sends r + 1 rows to everybody.
        rows = dtorch.full((n * (rank + 1), 2), rank)
        out = dtorch.zeros(n * (n + 1) // 2, 2, dtype=dtorch.int64)
        dist.all_to_all_single(out, rows, [r + 1 for r in range(n)], [rank + 1] * n)
        assert out[:, 1].tolist() == [r for r in range(n) for _ in range(r + 1)]

        got = [dtorch.zeros(r + 1, dtype=dtorch.int64) for r in range(n)]
        dist.all_to_all(got, [dtorch.full((rank + 1,), 10 * rank + r) for r in range(n)])
        assert [g.tolist() for g in got] == [[10 * r + rank] * (r + 1) for r in range(n)]

    on_ranks(body)


def test_objects(on_ranks):
    def body():
        rank, n = ranks()
        got = [None] * n
        dist.all_gather_object(got, {"rank": rank, "long": "x" * 1000 * rank})
        assert got == [{"rank": r, "long": "x" * 1000 * r} for r in range(n)]

        objects = ["a", dtorch.float32, n] if rank == 0 else [None, None, None]
        dist.broadcast_object_list(objects, src=0)
        assert objects == ["a", dtorch.float32, n]

        got = [None] * n if rank == 0 else None
        dist.gather_object(rank, got, dst=0)
        assert got == (list(range(n)) if rank == 0 else None)

        out = [None]
        dist.scatter_object_list(out, [str(r) for r in range(n)] if rank == 0 else None, src=0)
        assert out == [str(rank)]

    on_ranks(body)


def test_a_ring_of_messages(on_ranks):
    def body():
        rank, n = ranks()
        if n == 1:
            with pytest.raises(ValueError, match="itself"):
                dist.send(dtorch.zeros(1), 0)
            return
        after, before = (rank + 1) % n, (rank - 1) % n
        got = dtorch.zeros(5)
        receiving = dist.irecv(got, before)
        dist.isend(numbers(rank, 5), after).wait()
        receiving.wait()
        assert same(got, numbers(before, 5))

        if rank == 0:  # from anyone, in any order
            sources = {dist.recv(got) for _ in range(n - 1)}
            assert sources == set(range(1, n))
        else:
            dist.send(numbers(rank, 5), 0)

        # Tags keep messages apart.
        first, second = dtorch.zeros(1), dtorch.zeros(1)
        works = [dist.isend(dtorch.ones(1) * t, after, tag=t) for t in (1, 2)]
        dist.recv(second, before, tag=2)
        dist.recv(first, before, tag=1)
        for work in works:
            work.wait()
        assert (first.item(), second.item()) == (1, 2)

    on_ranks(body)


def test_asynchronous_works_may_be_waited_for_in_any_order(on_ranks):
    def body():
        rank, n = ranks()
        tensors = [dtorch.full((size,), float(rank + 1)) for size in (1, 9001, 3, 20000)]
        works = [dist.all_reduce(t, async_op=True) for t in tensors]
        gathered = [dtorch.zeros(2) for _ in range(n)]
        works.append(dist.all_gather(gathered, dtorch.full((2,), float(rank)), async_op=True))
        for work in reversed(works) if rank % 2 else works:
            assert work.wait()
            assert work.is_completed()
            assert work.is_success()
        assert all(t.unique().tolist() == [n * (n + 1) / 2] for t in tensors)
        assert [g.tolist() for g in gathered] == [[r, r] for r in range(n)]

    on_ranks(body)


def test_a_receive_doesnt_hold_up_a_collective(on_ranks):
    def body():
        rank, n = ranks()
        x = dtorch.ones(9001)
        work = dist.all_reduce(x, async_op=True)
        if rank == 0:
            for r in range(1, n):  # they send only when the all-reduce, which needs us, is done
                dist.recv(dtorch.zeros(1), r)
            work.wait()
        else:
            work.wait()
            dist.send(dtorch.ones(1), 0)
        assert x[0].item() == n

    on_ranks(body)


def test_groups(on_ranks):
    def body():
        rank, n = ranks()
        even, last = dist.new_group(list(range(0, n, 2))), dist.new_group([n - 1])
        backwards = dist.new_group(list(range(n))[::-1])
        assert (even is None) == (rank % 2 == 1)
        assert dist.get_rank(backwards) == n - 1 - rank
        assert dist.get_process_group_ranks(backwards) == list(range(n))[::-1]
        if even is not None:
            x = dtorch.ones(3)
            dist.all_reduce(x, group=even)
            assert x.tolist() == [(n + 1) // 2] * 3 == [dist.get_world_size(even)] * 3
            assert dist.get_global_rank(even, dist.get_rank(even)) == rank
        if last is not None:
            dist.barrier(last)
        x = dtorch.tensor([float(rank)])
        dist.broadcast(x, src=n - 1, group=backwards)
        assert x.item() == n - 1
        for group in (backwards, even, last):
            if group is not None:
                dist.destroy_process_group(group)

    on_ranks(body)


def test_ranks_that_disagree_are_told_both_sides_and_go_on(on_ranks):
    def body():
        rank, n = ranks()
        if n == 1:
            return
        late = rank == n - 1
        cases = [
            (lambda: dist.all_reduce(dtorch.zeros(4 if late else 3)), ["float32[4]", "float32[3]"]),
            (
                lambda: dist.all_reduce(dtorch.zeros(3).to(dtorch.int32 if late else dtorch.int64)),
                ["int32[3]", "int64[3]"],
            ),
            (
                lambda: dist.all_reduce(dtorch.zeros(3), ReduceOp.MAX if late else ReduceOp.SUM),
                ["[3] max", "[3] sum"],
            ),
            (lambda: dist.broadcast(dtorch.zeros(3), src=int(late)), ["root 1", "root 0"]),
            (
                lambda: dist.barrier() if late else dist.all_reduce(dtorch.zeros(3)),
                ["barrier", "all_reduce"],
            ),
        ]
        for call, sides in cases:
            with pytest.raises(RuntimeError, match="disagree on their next collective") as error:
                call()
            text = str(error.value)
            assert all(side in text for side in sides)
            assert f"rank {n - 1}: " in text
            assert text.count("test_collectives.py:") == 2
            x = dtorch.ones(2)
            dist.all_reduce(x)  # nothing was left half done
            assert x.tolist() == [n, n]

    on_ranks(body)


def test_bad_arguments_change_nothing(on_ranks):
    def body():
        rank, n = ranks()
        x = dtorch.ones(3)
        for call, error in [
            (lambda: dist.all_reduce([1.0]), TypeError),
            (lambda: dist.all_reduce(x, "mean"), ValueError),
            (lambda: dist.all_reduce(x.long(), ReduceOp.AVG), ValueError),
            (lambda: dist.all_reduce(x, ReduceOp.BAND), ValueError),
            (lambda: dist.all_reduce(x.to(dtorch.complex64), ReduceOp.MAX), ValueError),
            (lambda: dist.broadcast(x, src=n), ValueError),
            (lambda: dist.all_gather([x] * (n + 1), x), ValueError),
            (lambda: dist.all_gather([dtorch.ones(4)] * n, x), ValueError),
            (lambda: dist.all_gather_into_tensor(dtorch.ones(3 * n + 1), x), ValueError),
            (lambda: dist.gather(x, None if rank == 0 else [x] * n, dst=0), ValueError),
            (lambda: dist.all_to_all_single(dtorch.ones(n), dtorch.ones(n), [2] * n), ValueError),
            (lambda: dist.new_group([n]), ValueError),
            (lambda: dist.init_process_group(), RuntimeError),
        ]:
            with pytest.raises(error):
                call()
        dist.all_reduce(x)
        assert x.tolist() == [n] * 3

    on_ranks(body)
