"""Ranks that ask for different things: every rank is told both sides and both lines, on each transport.

These are cases of conformance.py.  The last rank makes the odd call, all others the usual one; then
all go on, for nothing may be left half done.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

import dtorch
import dtorch.distributed as dist
from dtorch.distributed import ReduceOp
from tests.parallel.conformance import case, ranks

x, y = dtorch.zeros(3), dtorch.zeros(4)
many = [dtorch.zeros(3) for _ in range(8)]


class Kind(NamedTuple):
    """Two calls that don't fit each other, and what the error says of each."""

    usual: Callable[[], Any]
    odd: Callable[[], Any]
    says_usual: str
    says_odd: str


KINDS = {
    "op": Kind(
        lambda: dist.all_reduce(x),
        lambda: dist.barrier(),
        "all_reduce float32[3] sum",
        "barrier",
    ),
    "shape": Kind(
        lambda: dist.all_reduce(x),
        lambda: dist.all_reduce(y),
        "float32[3]",
        "float32[4]",
    ),
    "dtype": Kind(
        lambda: dist.all_reduce(x.int()),
        lambda: dist.all_reduce(x.long()),
        "int32[3]",
        "int64[3]",
    ),
    "reduction": Kind(
        lambda: dist.all_reduce(x),
        lambda: dist.all_reduce(x, ReduceOp.MAX),
        "[3] sum",
        "[3] max",
    ),
    "source": Kind(
        lambda: dist.broadcast(x, src=0),
        lambda: dist.broadcast(x, src=1),
        "broadcast float32[3] root 0",
        "broadcast float32[3] root 1",
    ),
    "destination": Kind(
        lambda: dist.reduce(x, dst=0),
        lambda: dist.reduce(x, dst=1),
        "reduce float32[3] sum root 0",
        "reduce float32[3] sum root 1",
    ),
    "order": Kind(
        lambda: (dist.all_reduce(x), dist.broadcast(x, src=0)),
        lambda: (dist.broadcast(x, src=0), dist.all_reduce(x)),
        "all_reduce",
        "broadcast",
    ),
    "count": Kind(
        lambda: (dist.all_reduce(x), dist.barrier()),
        lambda: (dist.all_reduce(x), dist.all_reduce(x), dist.barrier()),
        "barrier",
        "all_reduce",
    ),
    "name": Kind(
        lambda: named("a"),
        lambda: named("b"),
        "all_reduce 'a'",
        "all_reduce 'b'",
    ),
    "members of a new group": Kind(
        lambda: dist.new_group([0]),
        lambda: dist.new_group([1]),
        "new_group '[0]'",
        "new_group '[1]'",
    ),
    "objects": Kind(
        lambda: dist.broadcast_object_list([1], src=0),
        lambda: dist.all_gather_object(many[: ranks()[1]], 1),
        "broadcast_object_list",
        "all_gather_object",
    ),
    "sizes by rank": Kind(
        lambda: dist.all_gather([x] * ranks()[1], x),
        lambda: dist.all_gather([x] * (ranks()[1] - 1) + [y], y),
        "all_gather float32[3]",
        "4] elements by rank",
    ),
    "the end": Kind(
        lambda: dist.all_reduce(x),
        lambda: dist.destroy_process_group(),
        "all_reduce",
        "destroy_process_group",
    ),
}


def named(name: str) -> None:
    with dist.record_comm(name):
        dist.all_reduce(x)


def line_of(function: Callable[[], Any]) -> str:
    """file:line of a function that is one line."""
    lines = [line for *_, line in function.__code__.co_lines() if line]
    return f"{function.__code__.co_filename}:{max(lines)}"


def error_of(call: Callable[[], Any]) -> str:
    """What it raises; then all ranks do something together, which must go well."""
    with pytest.raises(RuntimeError) as error:
        call()
    everyone = dtorch.ones(2)
    dist.all_reduce(everyone)
    assert everyone.tolist() == [ranks()[1]] * 2
    return str(error.value)


@case(kind=list(KINDS))
def both_sides_are_told(kind: str) -> None:
    rank, n = ranks()
    if n == 1:
        return
    usual, odd, says_usual, says_odd = KINDS[kind]
    text = error_of(odd if rank == n - 1 else usual)
    assert "disagree on their next collective" in text
    sides = {line.partition(": ")[0].strip(): line for line in text.splitlines() if ": #" in line}
    everybody_else = {2: "rank 0", 3: "ranks 0, 1"}.get(n, f"ranks 0-{n - 2}")
    assert set(sides) == {everybody_else, f"rank {n - 1}"}
    assert says_usual in sides[everybody_else]
    assert says_odd in sides[f"rank {n - 1}"]
    if kind != "name":  # whose line is that of a helper, the same for both
        assert sides[everybody_else].endswith(line_of(usual))
        assert sides[f"rank {n - 1}"].endswith(line_of(odd))


@case()
def what_is_sent_and_expected_is_told() -> None:
    rank, n = ranks()
    if n == 1:
        return
    odd = int(rank == 0)
    out, counts = dtorch.zeros(n), [1] * (n - 1) + [1 + odd]
    text = error_of(lambda: dist.all_to_all_single(out, dtorch.zeros(n + odd), [1] * n, counts))
    assert f"rank 0 sends 2 to rank {n - 1}, which expects 1" in text
    assert text.count("mismatches.py:") == 1  # they all are at the same line


# ---- two of a kind, exchanged --------------------------------------------------------------------


def exchanged() -> None:
    if ranks()[0] == 0:
        dist.all_reduce(x)
        dist.all_reduce(x.abs_())
    else:
        dist.all_reduce(x.abs_())
        dist.all_reduce(x)


def exchanged_inside_of_helpers() -> None:
    def reduce(tensor: dtorch.Tensor) -> None:
        dist.all_reduce(tensor)

    first, second = dtorch.ones(3), dtorch.ones(3)
    if ranks()[0] == 0:
        reduce(first)
        reduce(second)
    else:
        reduce(second)
        reduce(first)


@case(function=[exchanged, exchanged_inside_of_helpers])
def an_exchange_of_two_that_look_alike_is_told(function: Callable[[], None]) -> None:
    if ranks()[1] == 1:
        return
    text = error_of(function)
    assert "the same two calls in opposite order" in text
    sides = [line for line in text.splitlines() if line.startswith("  rank")]
    assert len(sides) == 2
    first = function.__code__.co_firstlineno + (2 if function is exchanged else 6)
    for side, line in zip(sides, (first, first + 3)):
        assert f"mismatches.py:{line} `" in side
        assert f"mismatches.py:{line + 1} `" in side


def in_turns() -> None:
    for turn in range(6):
        if turn % 2 == ranks()[0] % 2:
            dist.all_reduce(x)
        else:
            dist.all_reduce(x.abs_())


def in_turns_by_continue() -> None:
    for turn in range(6):
        if turn % 2 == ranks()[0] % 2:
            dist.all_reduce(x)
            continue
        dist.all_reduce(x.abs_())


def in_turns_by_expression() -> None:
    for turn in range(6):
        dist.all_reduce(x) if turn % 2 == ranks()[0] % 2 else dist.all_reduce(x.abs_())


def by_table() -> None:
    calls = [lambda: dist.all_reduce(x), lambda: dist.all_reduce(x.abs_())]
    for turn in range(6):
        calls[(turn + ranks()[0]) % 2]()


def each_in_its_own_branch() -> None:
    for _ in range(3):
        if ranks()[0] == 0:
            dist.all_reduce(x)
        else:
            dist.all_reduce(x.abs_())


def with_one_name() -> None:
    with dist.record_comm("a name"):
        exchanged()


@case(
    function=[
        in_turns,
        in_turns_by_continue,
        in_turns_by_expression,
        by_table,
        each_in_its_own_branch,
        with_one_name,
    ]
)
def ranks_may_call_from_different_lines(function: Callable[[], None]) -> None:
    function()
