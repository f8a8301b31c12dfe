"""What every transport must do, stated once: each case is a function that every rank runs.

`CASES` has them by name, also those of mismatches.py.  A transport's test forms a group of ranks
that use it, and runs them all on each (see test_transports.py); they leave the group as they found
it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

import dtorch
import dtorch.distributed as dist
from dtorch.distributed import ReduceOp

FLOATS = [dtorch.float16, dtorch.bfloat16, dtorch.float32, dtorch.float64]
INTS = [dtorch.uint8, dtorch.int8, dtorch.int16, dtorch.int32, dtorch.int64]
NUMBERS = [*FLOATS, *INTS, dtorch.complex64, dtorch.complex128]
SIZES = [0, 1, 7, 9001]  # nothing; fewer than ranks; a message in one step; one in two

CASES: dict[str, Callable[[], None]] = {}


def case(**values: list[Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register a function, once for each combination of its parameters' values."""

    def register(function: Callable[..., None]) -> Callable[..., None]:
        for chosen in itertools.product(*values.values()):
            label = "-".join([function.__name__, *(str(getattr(c, "__name__", c)) for c in chosen)])
            CASES[label] = partial(function, **dict(zip(values, chosen)))
        return function

    return register


def run_all() -> None:
    """Every case, one after the other, on this rank of the default group."""
    for label, body in CASES.items():
        try:
            body()
        except Exception as error:
            error.add_note(f"in the case {label}")
            raise


# ---- helpers -------------------------------------------------------------------------------------


def ranks() -> tuple[int, int]:
    return dist.get_rank(), dist.get_world_size()


def numbers(rank: int, size: int, dtype: dtorch.dtype = dtorch.float32) -> dtorch.Tensor:
    """Small whole numbers, different on each rank, that every dtype adds up exactly."""
    return (dtorch.arange(size) % 5 + rank).to(dtype)


def same(a: dtorch.Tensor, b: dtorch.Tensor) -> bool:
    return a.dtype == b.dtype and a.tolist() == b.tolist()


@case(dtype=NUMBERS, size=SIZES)
def all_reduce_sum(dtype: dtorch.dtype, size: int) -> None:
    rank, n = ranks()
    x = numbers(rank, size, dtype)
    dist.all_reduce(x)
    assert same(x, sum(numbers(r, size, dtype) for r in range(n)))


REDUCTIONS = {
    ReduceOp.PRODUCT: np.multiply,
    ReduceOp.MIN: np.minimum,
    ReduceOp.MAX: np.maximum,
    ReduceOp.BAND: np.bitwise_and,
    ReduceOp.BOR: np.bitwise_or,
    ReduceOp.BXOR: np.bitwise_xor,
}


@case(op=list(REDUCTIONS))
def all_reduce_with_another_op(op: str) -> None:
    rank, n = ranks()
    x = numbers(rank, 9001, dtorch.int64)
    dist.all_reduce(x, op)
    everyones = [numbers(r, 9001, dtorch.int64).numpy() for r in range(n)]
    assert x.tolist() == REDUCTIONS[op].reduce(everyones).tolist()


@case(dtype=FLOATS)
def average(dtype: dtorch.dtype) -> None:
    rank, n = ranks()
    x = numbers(rank, 9001, dtype)
    dist.all_reduce(x, ReduceOp.AVG)
    mean = np.add.reduce([numbers(r, 9001).numpy() for r in range(n)]) / np.float32(n)
    assert x.tolist() == dtorch.from_numpy(mean).to(dtype).tolist()


@case()
def halves_are_summed_in_float32() -> None:
    rank, n = ranks()
    # 2048 + 1 is 2048 in float16: summed there, the ones would all be lost.
    x = dtorch.full((3,), 2048.0 if rank == 0 else 1.0).half()
    dist.all_reduce(x)
    assert x.tolist() == [float(np.float16(2048 + n - 1))] * 3


@case(size=[33, 9001])
def sums_have_the_bits_of_a_fixed_tree(size: int) -> None:
    def values(rank):
        return np.random.default_rng(rank).standard_normal(size).astype(np.float32)

    def tree(rows):
        if len(rows) == 1:
            return rows[0]
        return tree([a + b for a, b in zip(rows[::2], rows[1::2])] + rows[len(rows) // 2 * 2 :])

    rank, n = ranks()
    x = dtorch.from_numpy(values(rank))
    dist.all_reduce(x)
    assert x.numpy().tobytes() == tree([values(r) for r in range(n)]).tobytes()


@case()
def a_tensor_that_is_not_contiguous() -> None:
    rank, n = ranks()
    whole = dtorch.zeros(4, 6)
    part = whole.t()[1:3]
    part.fill_(rank + 1.0)
    dist.all_reduce(part)
    assert part.tolist() == [[n * (n + 1) / 2] * 4] * 2
    assert whole.sum().item() == n * (n + 1) / 2 * 8


@case(dtype=[*NUMBERS, dtorch.bool])
def moves_in_every_dtype(dtype: dtorch.dtype) -> None:
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


@case()
def reduce_changes_only_the_root() -> None:
    rank, n = ranks()
    x = numbers(rank, 7)
    dist.reduce(x, dst=n - 1)
    total = sum(numbers(r, 7) for r in range(n))
    assert same(x, total if rank == n - 1 else numbers(rank, 7))


@case()
def reduce_scatter() -> None:
    rank, n = ranks()
    whole = numbers(rank, 3 * n)
    total = sum(numbers(r, 3 * n) for r in range(n))
    out = dtorch.zeros(3)
    dist.reduce_scatter(out, list(whole.chunk(n)))
    assert same(out, total[3 * rank : 3 * rank + 3])
    out = dtorch.zeros(3)
    dist.reduce_scatter_tensor(out, whole)
    assert same(out, total[3 * rank : 3 * rank + 3])


@case()
def all_to_all() -> None:
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


@case()
def objects() -> None:
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


@case()
def a_ring_of_messages() -> None:
    rank, n = ranks()
    if n == 1:
        with pytest.raises(ValueError, match="should not be the same"):
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


@case()
def asynchronous_works_may_be_waited_for_in_any_order() -> None:
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


@case()
def a_receive_doesnt_hold_up_a_collective() -> None:
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


@case()
def groups() -> None:
    rank, n = ranks()
    even, last = dist.new_group(list(range(0, n, 2))), dist.new_group([n - 1])
    backwards = dist.new_group(list(range(n))[::-1], sort_ranks=False)
    assert (even is dist.GroupMember.NON_GROUP_MEMBER) == (rank % 2 == 1)
    assert dist.get_rank(backwards) == n - 1 - rank
    assert dist.get_process_group_ranks(backwards) == list(range(n))[::-1]
    if isinstance(even, dist.ProcessGroup):
        x = dtorch.ones(3)
        dist.all_reduce(x, group=even)
        assert x.tolist() == [(n + 1) // 2] * 3 == [dist.get_world_size(even)] * 3
        assert dist.get_global_rank(even, dist.get_rank(even)) == rank
    if isinstance(last, dist.ProcessGroup):
        dist.barrier(last)
    x = dtorch.tensor([float(rank)])
    dist.broadcast(x, src=n - 1, group=backwards)
    assert x.item() == n - 1
    for group in (backwards, even, last):
        if group is not dist.GroupMember.NON_GROUP_MEMBER:
            dist.destroy_process_group(group)


@case()
def shapes_may_differ_between_ranks() -> None:
    rank, n = ranks()
    got = [dtorch.zeros(r, 2) for r in range(n)]
    dist.all_gather(got, dtorch.full((rank, 2), float(rank)))
    assert [g.tolist() for g in got] == [[[float(r)] * 2] * r for r in range(n)]

    parts = [dtorch.full((r + 1,), float(rank)) for r in range(n)]
    out = dtorch.zeros(rank + 1)
    dist.reduce_scatter(out, parts)
    assert out.tolist() == [sum(range(n))] * (rank + 1)


@case()
def many_tensors_in_one_exchange() -> None:
    rank, n = ranks()
    tensors = [numbers(rank, 5), dtorch.zeros(()) + rank, numbers(rank, 4).reshape(2, 2).t()]
    dist.all_reduce_coalesced(tensors)
    assert same(tensors[0], sum(numbers(r, 5) for r in range(n)))
    assert tensors[1].item() == sum(range(n))
    assert same(tensors[2], sum(numbers(r, 4) for r in range(n)).reshape(2, 2).t())

    mine = [numbers(rank, 2), numbers(rank, 3)]
    got = [[dtorch.zeros(2), dtorch.zeros(3)] for _ in range(n)]
    dist.all_gather_coalesced(got, mine)
    assert all(same(a, numbers(r, 2)) and same(b, numbers(r, 3)) for r, (a, b) in enumerate(got))


@case(dtype=[dtorch.float64, dtorch.bfloat16, dtorch.int32])
def each_rank_has_a_factor(dtype: dtorch.dtype) -> None:
    rank, n = ranks()
    op = dist._make_nccl_premul_sum(rank + 1)
    total = sum(numbers(r, 6, dtype) * (r + 1) for r in range(n))
    x = numbers(rank, 6, dtype)
    dist.all_reduce(x, op)
    assert same(x, total)
    x = numbers(rank, 6, dtype)
    dist.reduce(x, n - 1, op)
    assert same(x, total if rank == n - 1 else numbers(rank, 6, dtype))
    out = dtorch.zeros(2, dtype=dtype)
    dist.reduce_scatter_tensor(out, numbers(rank, 2 * n, dtype), op)
    everything = sum(numbers(r, 2 * n, dtype) * (r + 1) for r in range(n))
    assert same(out, everything[2 * rank : 2 * rank + 2])


@case()
def bools_are_reduced_as_bits() -> None:
    rank, n = ranks()
    for op, expected in [
        (ReduceOp.BAND, [n == 1, True]),
        (ReduceOp.BOR, [True, True]),
        (ReduceOp.MAX, [True, True]),
        (ReduceOp.MIN, [n == 1, True]),
    ]:
        x = dtorch.tensor([rank == 0, True])
        dist.all_reduce(x, op)
        assert x.tolist() == expected


@case()
def a_batch_of_messages() -> None:
    rank, n = ranks()
    others = [r for r in range(n) if r != rank]
    got = {r: dtorch.zeros(3) for r in others}
    sent = {r: dtorch.full((3,), 10.0 * rank + r) for r in others}
    batch = [dist.P2POp(dist.irecv, got[r], r) for r in others]
    batch += [dist.P2POp(dist.isend, sent[r], group_peer=r) for r in others]
    for work in dist.batch_isend_irecv(batch):
        work.wait()
    assert {r: t.tolist() for r, t in got.items()} == {r: [10.0 * r + rank] * 3 for r in others}


@case()
def objects_from_one_to_another() -> None:
    rank, n = ranks()
    if rank == 0:
        for r in range(1, n):
            dist.send_object_list([r, "x" * 10_000 * r], r)
    else:
        objects = [None, None]
        assert dist.recv_object_list(objects, 0) == 0
        assert objects == [rank, "x" * 10_000 * rank]


@case()
def a_monitored_barrier() -> None:
    dist.monitored_barrier()


@case()
def futures_of_works() -> None:
    rank, n = ranks()
    x = dtorch.full((3,), float(rank))
    doubled = dist.all_reduce(x, async_op=True).get_future().then(lambda f: f.value()[0] * 2)
    # A callback may go on to communicate.
    again = doubled.then(lambda f: dist.all_reduce(f.value(), async_op=True))
    again.wait().wait()
    assert doubled.wait().tolist() == [n * sum(range(n)) * 2.0] * 3


@case()
def groups_that_split_another() -> None:
    rank, n = ranks()
    halves = [list(range(n))[: n // 2 or 1], list(range(n))[n // 2 or 1 :]]
    mine = dist.split_group(split_ranks=[half for half in halves if half])
    assert dist.get_process_group_ranks(mine) == next(half for half in halves if rank in half)
    x = dtorch.ones(1)
    dist.all_reduce(x, group=mine)
    assert x.item() == dist.get_world_size(mine)
    dist.destroy_process_group(mine)
    alone, everyones = dist.new_subgroups(1)
    assert dist.get_process_group_ranks(alone) == [rank]
    assert [g is alone for g in everyones] == [r == rank for r in range(n)]
    dist.destroy_process_group(alone)


@case()
def bad_arguments_change_nothing() -> None:
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
        (lambda: dist.init_process_group(), ValueError),
    ]:
        with pytest.raises(error):
            call()
    dist.all_reduce(x)
    assert x.tolist() == [n] * 3
