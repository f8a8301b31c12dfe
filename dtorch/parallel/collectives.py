"""The collectives on tensors, under torch.distributed's names: arguments checked, Group called.

Where a function says async_op, it returns a Work if that is true, whose wait() must be called
before the tensors are used, else None.  `group` is the default group if None; on a rank that is not
in it, a function only warns.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dtorch.core.backend import cpu
from dtorch.core.tensor import Tensor

from .arguments import (
    AnyGroup,
    checked_list,
    for_members,
    list_of_root,
    root_rank,
    same_shapes,
    shape_of_own,
    size_of,
    split_counts,
    tensor_arg,
    the_group,
)
from .buckets import flatten, unflatten
from .reductions import PremulSum, ReduceOp, prepare
from .work import DistError, Seconds, Work, seconds

Op = ReduceOp | PremulSum | str


# ---- everybody's into one ------------------------------------------------------------------------


@for_members
def all_reduce(tensor: Tensor, op: Op = ReduceOp.SUM, group: AnyGroup = None,
               async_op: bool = False) -> Work | None:  # fmt: skip
    """Reduce `tensor` over the ranks, in place on each."""
    g = the_group(group)
    name, a = prepare(op, tensor_arg(tensor, "tensor"))
    work = g.all_reduce(a, name)
    if a is tensor._a:
        return _finish(work, async_op, [tensor])
    return _finish(work, async_op, [tensor], lambda: unflatten(a.reshape(-1), [tensor._a]))


@for_members
def all_reduce_coalesced(tensors: Sequence[Tensor], op: Op = ReduceOp.SUM, group: AnyGroup = None,
                         async_op: bool = False) -> Work | None:  # fmt: skip
    """all_reduce of each of some tensors of one dtype, in one exchange."""
    g = the_group(group)
    given = checked_list(tensors, "tensors")
    if not given:
        raise ValueError("expected at least one tensor in tensors, got none")
    parts = [prepare(op, t) for t in given]
    flat = flatten([a for _, a in parts])
    work = g.all_reduce(flat, parts[0][0])
    return _finish(work, async_op, given, lambda: unflatten(flat, [t._a for t in given]))


@for_members
def reduce(tensor: Tensor, dst: int | None = None, op: Op = ReduceOp.SUM, group: AnyGroup = None,
           async_op: bool = False, group_dst: int | None = None) -> Work | None:  # fmt: skip
    """Reduce `tensor` over the ranks, in place on rank `dst`; the others' stay as they are."""
    g = the_group(group)
    name, a = prepare(op, tensor_arg(tensor, "tensor"))
    root = root_rank(g, dst, group_dst)
    work = g.reduce(a, root, name)
    if a is tensor._a or g.rank() != root:
        return _finish(work, async_op, [tensor])
    return _finish(work, async_op, [tensor], lambda: unflatten(a.reshape(-1), [tensor._a]))


@for_members
def reduce_scatter(output: Tensor, input_list: Sequence[Tensor], op: Op = ReduceOp.SUM,
                   group: AnyGroup = None, async_op: bool = False) -> Work | None:  # fmt: skip
    """output: the reduction over the ranks of their input_list[this rank].

    The tensors of the list may differ in shape from rank to rank.
    """
    g = the_group(group)
    given = checked_list(input_list, "input_list", tensor_arg(output, "output"), g.size())
    shape_of_own(given, "input_list", output, g.rank())
    parts = [prepare(op, t) for t in given]
    flat = flatten([a for _, a in parts])
    work = g.reduce_scatter(flat, output._a, parts[0][0], _uneven(given))
    return _finish(work, async_op, [output])


@for_members
def reduce_scatter_tensor(output: Tensor, input: Tensor, op: Op = ReduceOp.SUM,
                          group: AnyGroup = None,
                          async_op: bool = False) -> Work | None:  # fmt: skip
    """output: the reduction over the ranks of this rank's part of their inputs, cut along dim 0."""
    g = the_group(group)
    name, a = prepare(op, tensor_arg(input, "input"))
    size_of(input, "input", g.size() * tensor_arg(output, "output").numel(), output)
    return _finish(g.reduce_scatter(a, output._a, name), async_op, [output])


# ---- one's or everybody's to everybody -----------------------------------------------------------


@for_members
def broadcast(tensor: Tensor, src: int | None = None, group: AnyGroup = None,
              async_op: bool = False, group_src: int | None = None) -> Work | None:  # fmt: skip
    """Copy rank src's `tensor` into everybody's."""
    g = the_group(group)
    root = root_rank(g, src, group_src)
    return _finish(g.broadcast(tensor_arg(tensor, "tensor")._a, root), async_op, [tensor])


@for_members
def all_gather(tensor_list: Sequence[Tensor], tensor: Tensor, group: AnyGroup = None,
               async_op: bool = False) -> Work | None:  # fmt: skip
    """Copy every rank's `tensor` into tensor_list, by rank; their shapes may differ."""
    g = the_group(group)
    into = checked_list(tensor_list, "tensor_list", tensor_arg(tensor, "tensor"), g.size())
    shape_of_own(into, "tensor_list", tensor, g.rank())
    flat = flatten([t._a for t in into])
    work = g.all_gather(tensor._a, flat, _uneven(into))
    return _finish(work, async_op, into, lambda: unflatten(flat, [t._a for t in into]))


@for_members
def all_gather_coalesced(output_tensor_lists: Sequence[Sequence[Tensor]],
                         input_tensor_list: Sequence[Tensor], group: AnyGroup = None,
                         async_op: bool = False) -> Work | None:  # fmt: skip
    """output_tensor_lists[i]: rank i's input_tensor_list, tensors of one dtype, in one exchange."""
    g = the_group(group)
    mine = checked_list(input_tensor_list, "input_tensor_list")
    if not isinstance(output_tensor_lists, (list, tuple)):
        raise TypeError("Invalid function argument: output_tensor_lists should be a list")
    if len(output_tensor_lists) != g.size() or not mine:
        raise ValueError(
            f"expected {g.size()} lists in output_tensor_lists, one for each rank, and at least one "
            f"tensor in input_tensor_list; got {len(output_tensor_lists)} and {len(mine)}"
        )
    into: list[Tensor] = []
    for given in output_tensor_lists:
        row = checked_list(given, "output_tensor_lists", mine[0], len(mine))
        for a, b in zip(row, mine):
            same_shapes([a], "output_tensor_lists", b)
        into += row
    flat = flatten([t._a for t in into])
    work = g.all_gather(flatten([t._a for t in mine]), flat)
    return _finish(work, async_op, into, lambda: unflatten(flat, [t._a for t in into]))


@for_members
def all_gather_into_tensor(output_tensor: Tensor, input_tensor: Tensor, group: AnyGroup = None,
                           async_op: bool = False) -> Work | None:  # fmt: skip
    """output_tensor: every rank's input_tensor by rank, stacked or concatenated."""
    g = the_group(group)
    count = g.size() * tensor_arg(input_tensor, "input_tensor").numel()
    size_of(tensor_arg(output_tensor, "output_tensor"), "output_tensor", count, input_tensor)
    return _finish(g.all_gather(input_tensor._a, output_tensor._a), async_op, [output_tensor])


# ---- one to many, many to one, all to all --------------------------------------------------------


@for_members
def gather(tensor: Tensor, gather_list: Sequence[Tensor] | None = None, dst: int | None = None,
           group: AnyGroup = None, async_op: bool = False,
           group_dst: int | None = None) -> Work | None:  # fmt: skip
    """Copy every rank's `tensor` into rank dst's (0's) gather_list, by rank; None on the others."""
    g = the_group(group)
    root = root_rank(g, dst, group_dst, 0)
    tensor_arg(tensor, "tensor")
    into = list_of_root(gather_list, "gather_list", g, root, tensor, "destination")
    if into is None:
        return _finish(g.gather(tensor._a, None, root), async_op, [])
    flat = flatten([t._a for t in into])
    work = g.gather(tensor._a, flat, root)
    return _finish(work, async_op, into, lambda: unflatten(flat, [t._a for t in into]))


@for_members
def scatter(tensor: Tensor, scatter_list: Sequence[Tensor] | None = None, src: int | None = None,
            group: AnyGroup = None, async_op: bool = False,
            group_src: int | None = None) -> Work | None:  # fmt: skip
    """Copy into `tensor` this rank's of rank src's (0's) scatter_list, None on the others."""
    g = the_group(group)
    root = root_rank(g, src, group_src, 0)
    tensor_arg(tensor, "tensor")
    parts = list_of_root(scatter_list, "scatter_list", g, root, tensor, "source")
    flat = None if parts is None else flatten([t._a for t in parts])
    return _finish(g.scatter(flat, tensor._a, root), async_op, [tensor])


@for_members
def all_to_all_single(output: Tensor, input: Tensor, output_split_sizes: list[int] | None = None,
                      input_split_sizes: list[int] | None = None, group: AnyGroup = None,
                      async_op: bool = False) -> Work | None:  # fmt: skip
    """Send part i of `input` to rank i, and concatenate what they send, along dim 0.

    The split sizes are lengths along dim 0 by rank; equal parts if None.
    """
    g = the_group(group)
    checked_list([tensor_arg(input, "input"), tensor_arg(output, "output")], "input and output")
    counts = split_counts(input, input_split_sizes, g.size())
    out_counts = split_counts(output, output_split_sizes, g.size())
    work = g.all_to_all(input._a, counts, output._a, out_counts)
    return _finish(work, async_op, [output])


@for_members
def all_to_all(output_tensor_list: Sequence[Tensor], input_tensor_list: Sequence[Tensor],
               group: AnyGroup = None, async_op: bool = False) -> Work | None:  # fmt: skip
    """Send input_tensor_list[i] to rank i, and receive output_tensor_list[i] from it."""
    g = the_group(group)
    mine = checked_list(input_tensor_list, "input_tensor_list", n=g.size())
    into = checked_list(output_tensor_list, "output_tensor_list", mine[0], g.size())
    flat = flatten([t._a for t in into])
    counts, out_counts = [t.numel() for t in mine], [t.numel() for t in into]
    work = g.all_to_all(flatten([t._a for t in mine]), counts, flat, out_counts)
    return _finish(work, async_op, into, lambda: unflatten(flat, [t._a for t in into]))


# ---- meeting -------------------------------------------------------------------------------------


@for_members
def barrier(group: AnyGroup = None, async_op: bool = False,
            device_ids: list[int] | None = None) -> Work | None:  # fmt: skip
    """Return when every rank has called it.  (`device_ids`, torch's, changes nothing.)"""
    return _finish(the_group(group).barrier(), async_op, [])


_MONITOR = 1 << 14  # the tag of monitored_barrier's messages


@for_members
def monitored_barrier(
    group: AnyGroup = None, timeout: Seconds = None, wait_all_ranks: bool = False
) -> None:
    """A barrier whose error says which ranks have not come.

    Rank 0 of the group raises RuntimeError after `timeout` (the group's if None) with the numbers
    of all ranks that are missing, whatever wait_all_ranks says; the others say that rank 0 knows.
    The group can't be used any more then.
    """
    g = the_group(group)
    limit = g.timeout if timeout is None else seconds(timeout)
    deadline = g.clock() + limit
    ping = cpu.zeros(1, cpu.int64)
    if g.rank() != 0:
        try:
            g.send(ping, 0, _MONITOR).wait(limit)
            g.recv(ping, 0, _MONITOR).wait(limit)
        except DistError as error:
            raise RuntimeError(
                f"[Rank {g.rank()}]: Rank {g.rank()} successfully reached monitoredBarrier, but "
                "received errors while waiting for send/recv from rank 0. Please check rank 0 logs "
                "for faulty rank."
            ) from error
        return
    works = {r: g.recv(ping.copy(), r, _MONITOR) for r in range(1, g.size())}
    late = []
    for r, work in works.items():
        try:
            work.wait(max(deadline - g.clock(), 1e-3))
        except DistError:
            late.append(str(r))
    if late:
        raise RuntimeError(
            f"[Rank 0]: Rank{'s' if len(late) > 1 else ''} {', '.join(late)} failed to pass "
            f"monitoredBarrier in {limit * 1000:g} ms"
        )
    for work in [g.send(ping, r, _MONITOR) for r in range(1, g.size())]:
        work.wait()


# ---- helpers -------------------------------------------------------------------------------------


def _uneven(tensors: Sequence[Tensor]) -> list[int] | None:
    """How many elements each has; None if their shapes are all the same."""
    if all(t.shape == tensors[0].shape for t in tensors):
        return None
    return [t.numel() for t in tensors]


def _finish(work: Work, async_op: bool, changed: list[Tensor],
            then: Callable[[], None] | None = None) -> Work | None:  # fmt: skip
    """The Work, or None when it has been waited for; `then` runs once it is done."""
    work.gives(changed)
    if then is not None:
        work.then(then)
    if async_op:
        return work
    work.wait()
    return None


# torch's other names.
all_gather_single = all_gather_into_tensor
reduce_scatter_single = reduce_scatter_tensor
