"""Collectives that gradients flow through; public as dtorch.distributed.nn.functional.

Each is a linear map of what all ranks have together, and its gradient is the adjoint map, which is a
collective again: all_gather of a tensor goes back as a reduce_scatter, broadcast as a reduce.  So
every rank calls them, and their backward, in one order; derivatives of any order come by themselves.
The loss whose gradients these are is the sum of those of the ranks.

`group` is the default group if None.  Unlike dtorch.distributed's they return new tensors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from dtorch.core.function import Function
from dtorch.core.ops.create import empty, zeros_like
from dtorch.core.ops.join import cat
from dtorch.core.tensor import Tensor

from . import collectives
from .arguments import AnyGroup, root_rank, split_counts, the_group
from .group import Group
from .reductions import ReduceOp

Map = Callable[[list[Tensor]], list[Tensor]]


class _Linear(Function):
    """there(tensors), whose gradient is back(gradients)."""

    @staticmethod
    def forward(ctx: Any, there: Map, back: Map, *tensors: Tensor) -> Any:
        ctx.maps = there, back
        return tuple(there([t.detach().contiguous() for t in tensors]))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        there, back = ctx.maps
        return (None, None, *_Linear.apply(back, there, *gradients))


def _apply(there: Map, back: Map, *tensors: Tensor) -> tuple[Tensor, ...]:
    return _Linear.apply(there, back, *tensors)


# ---- maps, in pairs that are each other's adjoint ------------------------------------------------


def _reduced(group: Group, op: ReduceOp) -> Map:
    def everywhere(tensors: list[Tensor]) -> list[Tensor]:
        total = tensors[0].clone()
        collectives.all_reduce(total, op, group)
        return [total]

    return everywhere


def _broadcast(group: Group, root: int) -> Map:
    def from_root(tensors: list[Tensor]) -> list[Tensor]:
        copy = tensors[0].clone()
        collectives.broadcast(copy, group=group, group_src=root)
        return [copy]

    return from_root


def _summed(group: Group, root: int, elsewhere: bool) -> Map:
    """The sum on the root; on the others zeros, or (elsewhere) what they gave, as torch has it."""

    def on_root(tensors: list[Tensor]) -> list[Tensor]:
        total = tensors[0].clone()
        collectives.reduce(total, group=group, group_dst=root)
        return [total if elsewhere or group.rank() == root else zeros_like(total)]

    return on_root


def _gathered(group: Group, root: int) -> Map:
    """Everybody's on the root, zeros on the others."""

    def on_root(tensors: list[Tensor]) -> list[Tensor]:
        rows = [zeros_like(tensors[0]) for _ in range(group.size())]
        into = rows if group.rank() == root else None
        collectives.gather(tensors[0], into, group=group, group_dst=root)
        return rows

    return on_root


def _scattered(group: Group, root: int) -> Map:
    def from_root(tensors: list[Tensor]) -> list[Tensor]:
        own = zeros_like(tensors[0])
        given = tensors if group.rank() == root else None
        collectives.scatter(own, given, group=group, group_src=root)
        return [own]

    return from_root


def _all_gathered(group: Group) -> Map:
    def everywhere(tensors: list[Tensor]) -> list[Tensor]:
        rows = [zeros_like(tensors[0]) for _ in range(group.size())]
        collectives.all_gather(rows, tensors[0], group)
        return rows

    return everywhere


def _reduce_scattered(group: Group) -> Map:
    def own_part(tensors: list[Tensor]) -> list[Tensor]:
        own = zeros_like(tensors[group.rank()])
        collectives.reduce_scatter(own, tensors, group=group)
        return [own]

    return own_part


def _exchanged(group: Group, shapes: Sequence[Sequence[int]]) -> Map:
    """tensors[i] to rank i; `shapes`: of what comes from each."""

    def parts(tensors: list[Tensor]) -> list[Tensor]:
        like = tensors[0]
        into = [empty(*shape, dtype=like.dtype, device=like.device) for shape in shapes]
        collectives.all_to_all(into, tensors, group)
        return into

    return parts


# ---- under torch's names -------------------------------------------------------------------------


def all_reduce(tensor: Tensor, op: ReduceOp = ReduceOp.SUM, group: AnyGroup = None) -> Tensor:
    """The sum or the average (ReduceOp.AVG) over the ranks; ValueError for other reductions."""
    if op not in (ReduceOp.SUM, ReduceOp.AVG):
        raise ValueError(f"all_reduce has a gradient for SUM and AVG only, got {op!r}")
    both = _reduced(the_group(group), op)
    return _apply(both, both, tensor)[0]


def broadcast(tensor: Tensor, src: int, group: AnyGroup = None) -> Tensor:
    """Rank src's tensor; its gradient is the sum of all ranks', that of the others' is zeros."""
    g = the_group(group)
    root = root_rank(g, src, None)
    return _apply(_broadcast(g, root), _summed(g, root, False), tensor)[0]


def reduce(tensor: Tensor, dst: int, op: ReduceOp = ReduceOp.SUM, group: AnyGroup = None) -> Tensor:
    """The sum on rank dst, whose gradient all ranks get; the others' own is returned to them."""
    if op is not ReduceOp.SUM:
        raise ValueError(f"reduce has a gradient for SUM only, got {op!r}")
    g = the_group(group)
    root = root_rank(g, dst, None)
    return _apply(_summed(g, root, True), _broadcast(g, root), tensor)[0]


def gather(tensor: Tensor, dst: int = 0, group: AnyGroup = None) -> tuple[Tensor, ...]:
    """Everybody's tensor by rank, on rank dst; zeros on the others."""
    g = the_group(group)
    root = root_rank(g, dst, None)
    return _apply(_gathered(g, root), _scattered(g, root), tensor)


def scatter(tensors: Sequence[Tensor], src: int = 0, group: AnyGroup = None) -> Tensor:
    """This rank's of rank src's tensors; the others give some of the same shape."""
    g = the_group(group)
    root = root_rank(g, src, None)
    return _apply(_scattered(g, root), _gathered(g, root), *tensors)[0]


def all_gather(tensor: Tensor, group: AnyGroup = None) -> tuple[Tensor, ...]:
    """Everybody's tensor by rank; its gradient is the sum of what all ranks say of it."""
    g = the_group(group)
    return _apply(_all_gathered(g), _reduce_scattered(g), tensor)


def _all_gather_base(output_tensor: Tensor, input_tensor: Tensor, group: AnyGroup = None) -> Tensor:
    """all_gather in one tensor of output_tensor's shape; that itself is left alone."""
    rows = all_gather(input_tensor, group)
    return cat([row.reshape(-1) for row in rows]).reshape(output_tensor.shape)


def reduce_scatter(output: Tensor, input_list: Sequence[Tensor], op: ReduceOp = ReduceOp.SUM,
                   group: AnyGroup = None) -> Tensor:  # fmt: skip
    """The sum over the ranks of their input_list[this rank]; `output` is left alone."""
    if op is not ReduceOp.SUM:
        raise ValueError(f"reduce_scatter has a gradient for SUM only, got {op!r}")
    g = the_group(group)
    return _apply(_reduce_scattered(g), _all_gathered(g), *input_list)[0]


def all_to_all(output_tensor_list: Sequence[Tensor], input_tensor_list: Sequence[Tensor],
               group: AnyGroup = None) -> tuple[Tensor, ...]:  # fmt: skip
    """input_tensor_list[i] goes to rank i; what comes has output_tensor_list's shapes, by rank."""
    g = the_group(group)
    there = _exchanged(g, [tuple(t.shape) for t in output_tensor_list])
    back = _exchanged(g, [tuple(t.shape) for t in input_tensor_list])
    return _apply(there, back, *input_tensor_list)


def all_to_all_single(output: Tensor, input: Tensor, output_split_sizes: list[int] | None = None,
                      input_split_sizes: list[int] | None = None,
                      group: AnyGroup = None) -> Tensor:  # fmt: skip
    """all_to_all of parts along dim 0, of these lengths or equal ones; of output's shape."""
    g = the_group(group)

    def cut(t: Tensor, sizes: list[int] | None) -> list[Tensor]:
        split_counts(t, sizes, g.size())  # raises where they don't fit
        return list(t.split(sizes or t.shape[0] // g.size()))

    return cat(all_to_all(cut(output, output_split_sizes), cut(input, input_split_sizes), g))
