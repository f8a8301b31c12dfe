"""All-reduce machine by machine: the tree's branches, and the bits that all other ways give."""

from __future__ import annotations

import numpy as np
import pytest

import dtorch.distributed as dist
from dtorch.parallel.by_nodes import Branch, branches, whole_tree


def test_branches_are_the_largest_that_are_whole():
    # The tree over 6 ranks: ((0 1) (2 3)) (4 5)
    def of(*ranks):
        return [list(b.ranks(6)) for b in branches(whole_tree(6), 6, ranks)]

    assert whole_tree(6) == Branch(0, 8)
    assert of(0, 1, 2, 3) == [[0, 1, 2, 3]]
    assert of(4, 5) == [[4, 5]]
    assert of(0, 1, 2) == [[0, 1], [2]]
    assert of(1, 2, 5) == [[1], [2], [5]]
    assert of(*range(6)) == [list(range(6))]


def values(rank: int, size: int, dtype) -> np.ndarray:
    return np.random.default_rng(rank).standard_normal(size).astype(dtype)


def tree(rows: list[np.ndarray]) -> np.ndarray:
    if len(rows) == 1:
        return rows[0]
    sums = [a + b for a, b in zip(rows[::2], rows[1::2])]
    return tree(sums + rows[len(rows) // 2 * 2 :])


def on_machines(nodes: list[list[int]], size: int, dtype, op: str) -> None:
    group = dist.GroupMember.WORLD
    t, n = group.transport, group.size()
    inside = [t.split(ranks, [None] * n) for ranks in nodes]  # all ranks call it for all
    t.several_nodes, t.nodes = True, nodes
    t.node = next(part for part in inside if part is not None)
    x = values(t.rank, size, dtype)
    group.all_reduce(x, op).wait()
    expected = tree([values(r, size, dtype).astype(np.float32) for r in range(n)])
    if op == "avg":
        expected = expected / np.float32(n)
    assert x.tobytes() == expected.astype(dtype).tobytes()


@pytest.mark.parametrize("nodes", [[[0, 1], [2, 3]], [[0, 3, 4], [1, 2]], [[0, 1, 2], [3], [4, 5]]])
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("op", ["sum", "avg"])
def test_the_bits_are_those_of_one_tree(nodes, dtype, op):
    n = sum(map(len, nodes))
    for size in (9001, 20_000):
        dist.run_local(on_machines, n, nodes, size, dtype, op)
