"""Gradients through collectives, against one process that has all ranks' tensors."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import dtorch
import dtorch.distributed as dist
import dtorch.distributed.nn.functional as DF

Tensors = list[dtorch.Tensor]


def inputs(n: int, parts: int) -> list[Tensors]:
    """By rank: `parts` tensors (2, 3) each."""
    return [
        [((dtorch.arange(6) + 7 * r + 5 * k).double().sin()).reshape(2, 3) for k in range(parts)]
        for r in range(n)
    ]


def weights(n: int, parts: int) -> list[Tensors]:
    return [[t.cos() for t in row] for row in inputs(n, parts)]


def total(outs: Tensors, weight: Tensors) -> dtorch.Tensor:
    """A loss whose second derivative is not zero."""
    return sum((w * out + out**3).sum() for out, w in zip(outs, weight))


def zeros(n: int) -> Tensors:
    return [dtorch.zeros(2, 3).double() for _ in range(n)]


# What each does, of all ranks' inputs: the outputs by rank.
Reference = Callable[[list[Tensors]], list[Tensors]]
CASES: dict[str, tuple[Callable[..., object], Reference, bool]] = {
    "all_reduce": (
        lambda x, n: DF.all_reduce(x[0]),
        lambda all_: [[sum(x[0] for x in all_)] for _ in all_],
        False,
    ),
    "all_reduce_avg": (
        lambda x, n: DF.all_reduce(x[0], dist.ReduceOp.AVG),
        lambda all_: [[sum(x[0] for x in all_) / len(all_)] for _ in all_],
        False,
    ),
    "broadcast": (
        lambda x, n: DF.broadcast(x[0], n - 1),
        lambda all_: [[all_[-1][0]] for _ in all_],
        False,
    ),
    "gather": (
        lambda x, n: DF.gather(x[0], n - 1),
        lambda all_: [zeros(len(all_)) for _ in all_[1:]] + [[x[0] for x in all_]],
        False,
    ),
    "scatter": (
        lambda x, n: DF.scatter(x, n - 1),
        lambda all_: [[x] for x in all_[-1]],
        True,
    ),
    "all_gather": (
        lambda x, n: DF.all_gather(x[0]),
        lambda all_: [[x[0] for x in all_] for _ in all_],
        False,
    ),
    "all_gather_base": (
        lambda x, n: DF._all_gather_base(dtorch.zeros(2 * n, 3).double(), x[0]),
        lambda all_: [[dtorch.cat([x[0] for x in all_])] for _ in all_],
        False,
    ),
    "reduce_scatter": (
        lambda x, n: DF.reduce_scatter(dtorch.zeros(2, 3).double(), x),
        lambda all_: [[sum(x[r] for x in all_)] for r in range(len(all_))],
        True,
    ),
    "all_to_all": (
        lambda x, n: DF.all_to_all(zeros(n), x),
        lambda all_: [[x[r] for x in all_] for r in range(len(all_))],
        True,
    ),
    "all_to_all_single": (
        lambda x, n: DF.all_to_all_single(dtorch.zeros(2 * n, 3).double(), dtorch.cat(x)),
        lambda all_: [[dtorch.cat([x[r] for x in all_])] for r in range(len(all_))],
        True,
    ),
}


def derivatives(loss: dtorch.Tensor, leaves: Tensors) -> list[list]:
    """The gradients, and those of the sum of their squares."""
    first = dtorch.autograd.grad(loss, leaves, create_graph=True, allow_unused=True)
    first = [dtorch.zeros_like(x) if g is None else g for g, x in zip(first, leaves)]
    second = dtorch.autograd.grad(
        sum((g**2).sum() for g in first), leaves, allow_unused=True, materialize_grads=True
    )
    return [*first, *second]


@pytest.mark.parametrize("name", CASES)
def test_gradients_of_first_and_second_order(on_ranks, name):
    call, reference, many = CASES[name]

    def body():
        rank, n = dist.get_rank(), dist.get_world_size()
        parts = n if many else 1
        everyones = inputs(n, parts)
        for x in sum(everyones, []):
            x.requires_grad_()
        mine = [x.detach().requires_grad_() for x in everyones[rank]]
        outs = call(mine, n)
        outs = list(outs) if isinstance(outs, (tuple, list)) else [outs]
        expected = reference(everyones)
        for out, e in zip(outs, expected[rank], strict=True):
            dtorch.testing.assert_close(out, e, rtol=1e-12, atol=1e-12)
        ws = [[e.detach().cos() for e in es] for es in expected]
        loss = sum(total(es, w) for es, w in zip(expected, ws))
        whole = derivatives(loss, sum(everyones, []))
        size = len(whole) // 2
        start = parts * rank
        theirs = whole[start : start + parts] + whole[size + start : size + start + parts]
        for got, e in zip(derivatives(total(outs, ws[rank]), mine), theirs, strict=True):
            dtorch.testing.assert_close(got, e, rtol=1e-9, atol=1e-9)

    on_ranks(body)


def test_reduce_gives_the_others_their_own_and_the_gradient_of_the_root(on_ranks):
    def body():
        rank, n = dist.get_rank(), dist.get_world_size()
        x = dtorch.full((2,), rank + 1.0).requires_grad_()
        out = DF.reduce(x, n - 1)
        expected = n * (n + 1) / 2 if rank == n - 1 else rank + 1
        assert out.tolist() == [expected] * 2
        (out * (rank + 1)).sum().backward()
        assert x.grad.tolist() == [n, n]

    on_ranks(body)


def test_uneven_parts(on_ranks):
    """Rank r sends i + 1 rows to rank i."""

    def body():
        rank, n = dist.get_rank(), dist.get_world_size()
        sizes = [i + 1 for i in range(n)]
        x = (dtorch.arange(sum(sizes)).double() + 100 * rank).reshape(-1, 1).requires_grad_()
        output = dtorch.zeros(n * (rank + 1), 1).double()
        out = DF.all_to_all_single(output, x, [rank + 1] * n, sizes)
        start = sum(sizes[:rank])
        assert out.flatten().tolist() == [
            100 * r + start + i for r in range(n) for i in range(rank + 1)
        ]
        (out * (rank + 1)).sum().backward()
        assert x.grad.flatten().tolist() == [i + 1 for i in range(n) for _ in range(i + 1)]

    on_ranks(body)


def test_reductions_without_a_gradient_are_refused(on_ranks):
    def body():
        x = dtorch.ones(2)
        with pytest.raises(ValueError, match="SUM and AVG only"):
            DF.all_reduce(x, dist.ReduceOp.MAX)
        with pytest.raises(ValueError, match="SUM only"):
            DF.reduce(x, 0, dist.ReduceOp.AVG)
        with pytest.raises(ValueError, match="SUM only"):
            DF.reduce_scatter(x, [x], dist.ReduceOp.MIN)

    on_ranks(body)
