"""Communication between the ranks of a job, under torch.distributed's names.

Tensors may be of any dtype, on any device (those on a GPU travel through the host's memory), and
need not be contiguous.  Reductions have the same bits whatever the transport: they are summed over
a fixed binary tree of the ranks, float16 and bfloat16 in float32.

Every collective is first compared between the ranks: one that differs in op, shape, dtype,
reduction or root raises on all of them, naming each side and its line, before any data has moved.
That costs an exchange of 16 bytes (40 us with two ranks under MPI); DTORCH_CHECK_COLLECTIVES=off
saves it.

Where a function says async_op, it returns a Work if that is true, whose wait() must be called
before the tensors are used, else None.  All raise ValueError for a group that this rank is not in
or before init_process_group, RuntimeError where the ranks disagree, DistError after the group's
timeout.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from math import prod
from typing import Any

from .core.tensor import Tensor
from .parallel.buckets import flatten, unflatten
from .parallel.group import Group
from .parallel.work import DistError, Work
from .parallel.world import (
    default_group,
    destroy_process_group,
    init_process_group,
    is_initialized,
    new_group,
    run_local,
)  # fmt: skip
from .parallel.world import (
    get_rank as _world_rank,
)

ProcessGroup = Group


class ReduceOp:
    """How values of several ranks become one."""

    SUM = "sum"
    AVG = "avg"
    PRODUCT = "product"
    MIN = "min"
    MAX = "max"
    BAND = "band"
    BOR = "bor"
    BXOR = "bxor"


class GroupMember:
    """What new_group returns on ranks outside of the group, and what stands for the default."""

    WORLD = None
    NON_GROUP_MEMBER = None


class group(GroupMember):
    """torch's other name for it."""


# ---- who is there --------------------------------------------------------------------------------


def is_available() -> bool:
    """True: ranks can always be threads of one process."""
    return True


def is_mpi_available() -> bool:
    """Whether mpi4py is installed."""
    return importlib.util.find_spec("mpi4py") is not None


def is_gloo_available() -> bool:
    return False


def is_nccl_available() -> bool:
    return False


def get_backend(group: Group | None = None) -> str:
    """The transport's name: "mpi" or "local"."""
    return _group(group).transport.name


def get_rank(group: Group | None = None) -> int:
    """This rank's number in the group (the world if None); 0 before init_process_group."""
    return _world_rank() if group is None else group.rank


def get_world_size(group: Group | None = None) -> int:
    """How many ranks the group has (the world if None); 1 before init_process_group."""
    if group is not None:
        return group.size
    return default_group().size if is_initialized() else 1


def get_process_group_ranks(group: Group | None = None) -> list[int]:
    """The numbers in the world of the group's ranks."""
    return list(_group(group).ranks)


def get_group_rank(group: Group, global_rank: int) -> int:
    """The number in the group of a rank of the world; ValueError if it is not in the group."""
    if global_rank not in group.ranks:
        raise ValueError(f"Global rank {global_rank} is not part of group {group}")
    return group.ranks.index(global_rank)


def get_global_rank(group: Group, group_rank: int) -> int:
    """The number in the world of a rank of the group."""
    if not 0 <= group_rank < group.size:
        raise ValueError(f"Group rank {group_rank} is not part of group {group}")
    return group.ranks[group_rank]


# ---- collectives ---------------------------------------------------------------------------------


def all_reduce(tensor: Tensor, op: str = ReduceOp.SUM, group: Group | None = None,
               async_op: bool = False) -> Work | None:  # fmt: skip
    """Reduce `tensor` over the ranks, in place on each."""
    a = _array(tensor)
    return _finish(_group(group).all_reduce(a, _reduction(op, tensor)), async_op)


def reduce(tensor: Tensor, dst: int | None = None, op: str = ReduceOp.SUM,
           group: Group | None = None, async_op: bool = False,
           group_dst: int | None = None) -> Work | None:  # fmt: skip
    """Reduce `tensor` over the ranks, in place on rank `dst`; the others' stay as they are."""
    g, a = _group(group), _array(tensor)
    return _finish(g.reduce(a, _root(g, dst, group_dst), _reduction(op, tensor)), async_op)


def broadcast(tensor: Tensor, src: int | None = None, group: Group | None = None,
              async_op: bool = False, group_src: int | None = None) -> Work | None:  # fmt: skip
    """Copy rank src's `tensor` into everybody's."""
    g = _group(group)
    return _finish(g.broadcast(_array(tensor), _root(g, src, group_src)), async_op)


def all_gather(tensor_list: Sequence[Tensor], tensor: Tensor, group: Group | None = None,
               async_op: bool = False) -> Work | None:  # fmt: skip
    """Copy every rank's `tensor` into tensor_list, by rank; all of one shape and dtype."""
    g, a = _group(group), _array(tensor)
    _check_list("tensor_list", tensor_list, g.size, tensor)
    flat = flatten(_arrays(tensor_list))
    return _finish(g.all_gather(a, flat), async_op, lambda: unflatten(flat, _arrays(tensor_list)))


def all_gather_into_tensor(
    output_tensor: Tensor, input_tensor: Tensor, group: Group | None = None, async_op: bool = False
) -> Work | None:
    """output_tensor: every rank's input_tensor by rank, stacked or concatenated."""
    g = _group(group)
    _check_size("output_tensor", output_tensor, g.size * input_tensor.numel(), input_tensor)
    return _finish(g.all_gather(_array(input_tensor), _array(output_tensor)), async_op)


def gather(tensor: Tensor, gather_list: Sequence[Tensor] | None = None, dst: int | None = None,
           group: Group | None = None, async_op: bool = False,
           group_dst: int | None = None) -> Work | None:  # fmt: skip
    """Copy every rank's `tensor` into rank dst's gather_list, by rank; None on the others."""
    g, a = _group(group), _array(tensor)
    root = _root(g, dst, group_dst)
    tensors = _list_of_root("gather_list", gather_list, g, root, tensor)
    if tensors is None:
        return _finish(g.gather(a, None, root), async_op)
    flat = flatten(_arrays(tensors))
    return _finish(g.gather(a, flat, root), async_op, lambda: unflatten(flat, _arrays(tensors)))


def scatter(tensor: Tensor, scatter_list: Sequence[Tensor] | None = None, src: int | None = None,
            group: Group | None = None, async_op: bool = False,
            group_src: int | None = None) -> Work | None:  # fmt: skip
    """Copy into `tensor` this rank's of rank src's scatter_list, which is None on the others."""
    g, a = _group(group), _array(tensor)
    root = _root(g, src, group_src)
    tensors = _list_of_root("scatter_list", scatter_list, g, root, tensor)
    flat = None if tensors is None else flatten(_arrays(tensors))
    return _finish(g.scatter(flat, a, root), async_op)


def reduce_scatter(output: Tensor, input_list: Sequence[Tensor], op: str = ReduceOp.SUM,
                   group: Group | None = None, async_op: bool = False) -> Work | None:  # fmt: skip
    """output: the reduction over the ranks of their input_list[this rank]."""
    g, a = _group(group), _array(output)
    _check_list("input_list", input_list, g.size, output)
    flat = flatten(_arrays(input_list))
    return _finish(g.reduce_scatter(flat, a, _reduction(op, output)), async_op)


def reduce_scatter_tensor(output: Tensor, input: Tensor, op: str = ReduceOp.SUM,
                          group: Group | None = None,
                          async_op: bool = False) -> Work | None:  # fmt: skip
    """output: the reduction over the ranks of this rank's part of their inputs, cut along dim 0."""
    g = _group(group)
    _check_size("input", input, g.size * output.numel(), output)
    return _finish(
        g.reduce_scatter(_array(input), _array(output), _reduction(op, output)), async_op
    )


def all_to_all_single(output: Tensor, input: Tensor, output_split_sizes: list[int] | None = None,
                      input_split_sizes: list[int] | None = None, group: Group | None = None,
                      async_op: bool = False) -> Work | None:  # fmt: skip
    """Send part i of `input` to rank i, and concatenate what they send, along dim 0.

    The split sizes are lengths along dim 0 by rank; equal parts if None.
    """
    g = _group(group)
    counts = _splits(input, input_split_sizes, g.size)
    out_counts = _splits(output, output_split_sizes, g.size)
    return _finish(g.all_to_all(_array(input), counts, _array(output), out_counts), async_op)


def all_to_all(output_tensor_list: Sequence[Tensor], input_tensor_list: Sequence[Tensor],
               group: Group | None = None, async_op: bool = False) -> Work | None:  # fmt: skip
    """Send input_tensor_list[i] to rank i, and receive output_tensor_list[i] from it."""
    g = _group(group)
    for name, given in (("input", input_tensor_list), ("output", output_tensor_list)):
        if len(given) != g.size:
            raise ValueError(f"expected {g.size} tensors in the {name} list, got {len(given)}")
    flat = flatten(_arrays(output_tensor_list))
    sizes = [[t.numel() for t in given] for given in (input_tensor_list, output_tensor_list)]
    work = g.all_to_all(flatten(_arrays(input_tensor_list)), sizes[0], flat, sizes[1])
    return _finish(work, async_op, lambda: unflatten(flat, _arrays(output_tensor_list)))


def barrier(group: Group | None = None, async_op: bool = False,
            device_ids: list[int] | None = None) -> Work | None:  # fmt: skip
    """Return when every rank has called it."""
    return _finish(_group(group).barrier(), async_op)


# ---- from one rank to another --------------------------------------------------------------------


def isend(tensor: Tensor, dst: int | None = None, group: Group | None = None, tag: int = 0,
          group_dst: int | None = None) -> Work:  # fmt: skip
    """Start sending `tensor` to rank dst, which receives it with the same tag."""
    g = _group(group)
    return g.send(_array(tensor), _peer(g, dst, group_dst), tag)


def irecv(tensor: Tensor, src: int | None = None, group: Group | None = None, tag: int = 0,
          group_src: int | None = None) -> Work:  # fmt: skip
    """Start receiving into `tensor` from rank src, or from any rank if that is None."""
    g = _group(group)
    anyone = src is None and group_src is None
    return g.recv(_array(tensor), None if anyone else _peer(g, src, group_src), tag)


def send(tensor: Tensor, dst: int | None = None, group: Group | None = None, tag: int = 0,
         group_dst: int | None = None) -> None:  # fmt: skip
    """isend, waited for."""
    isend(tensor, dst, group, tag, group_dst).wait()


def recv(tensor: Tensor, src: int | None = None, group: Group | None = None, tag: int = 0,
         group_src: int | None = None) -> int:  # fmt: skip
    """irecv, waited for; returns the rank that the tensor came from."""
    work = irecv(tensor, src, group, tag, group_src)
    work.wait()
    return _group(group).ranks[work.request.source]


# ---- objects -------------------------------------------------------------------------------------


def all_gather_object(object_list: list[Any], obj: Any, group: Group | None = None) -> None:
    """Put every rank's object into object_list, by rank.  Objects are pickled."""
    g = _group(group)
    if len(object_list) != g.size:
        raise ValueError(f"expected an object_list of length {g.size}, got {len(object_list)}")
    object_list[:] = g.all_gather_objects(obj)


def gather_object(obj: Any, object_gather_list: list[Any] | None = None, dst: int | None = None,
                  group: Group | None = None, group_dst: int | None = None) -> None:  # fmt: skip
    """Put every rank's object into rank dst's object_gather_list, by rank."""
    g = _group(group)
    root = _root(g, dst, group_dst)
    if (g.rank == root) != (object_gather_list is not None):
        raise ValueError("expected an object_gather_list on rank dst, and None on the others")
    objects = g.all_gather_objects(obj)
    if object_gather_list is not None:
        object_gather_list[:] = objects


def broadcast_object_list(object_list: list[Any], src: int | None = None,
                          group: Group | None = None, device: Any = None,
                          group_src: int | None = None) -> None:  # fmt: skip
    """Replace the objects in the list by rank src's."""
    g = _group(group)
    g.broadcast_objects(object_list, _root(g, src, group_src))


def scatter_object_list(scatter_object_output_list: list[Any],
                        scatter_object_input_list: list[Any] | None = None,
                        src: int | None = None, group: Group | None = None,
                        group_src: int | None = None) -> None:  # fmt: skip
    """Put this rank's of rank src's objects into scatter_object_output_list[0]."""
    g = _group(group)
    root = _root(g, src, group_src)
    objects = list(scatter_object_input_list or ()) if g.rank == root else []
    if g.rank == root and len(objects) != g.size:
        raise ValueError(f"expected {g.size} objects to scatter, got {len(objects)}")
    if not scatter_object_output_list:
        raise ValueError("expected a scatter_object_output_list with at least one element")
    g.broadcast_objects(objects, root)
    scatter_object_output_list[0] = objects[g.rank]


# ---- arguments -----------------------------------------------------------------------------------


def _group(group: Group | None) -> Group:
    return default_group() if group is None else group


def _array(tensor: Tensor) -> Any:
    if not isinstance(tensor, Tensor):
        raise TypeError(f"expected a Tensor, got {type(tensor).__name__}")
    return tensor._a


def _arrays(tensors: Sequence[Tensor]) -> list[Any]:
    return [_array(t) for t in tensors]


def _reduction(op: str, tensor: Tensor) -> str:
    """The reduction, if the dtype allows it."""
    category = tensor.dtype.category
    if op not in vars(ReduceOp).values():
        raise ValueError(f"expected one of ReduceOp's names, got {op!r}")
    if op in ("min", "max") and category == 3:
        raise ValueError(f"all_reduce does not support {op} on complex tensors")
    if op == "avg" and category < 2:
        raise ValueError(f"ReduceOp.AVG needs a floating or complex tensor, got {tensor.dtype}")
    if op in ("band", "bor", "bxor") and category > 1:
        raise ValueError(f"ReduceOp.{op.upper()} needs integers or bools, got {tensor.dtype}")
    return op


def _root(g: Group, rank: int | None, group_rank: int | None) -> int:
    """The rank within the group of a rank of the world; rank 0 of the group if neither is given."""
    if rank is not None and group_rank is not None:
        raise ValueError("Can't specify both group rank and global rank")
    if rank is not None:
        return get_group_rank(g, rank)
    return g.ranks.index(get_global_rank(g, group_rank or 0))


def _peer(g: Group, rank: int | None, group_rank: int | None) -> int:
    if rank is None and group_rank is None:
        raise ValueError("which rank? dst (or group_dst) must be given")
    peer = _root(g, rank, group_rank)
    if peer == g.rank:
        raise ValueError(f"rank {peer} can't send to, or receive from, itself")
    return peer


def _check_list(name: str, tensors: Sequence[Tensor], n: int, like: Tensor) -> None:
    if len(tensors) != n:
        raise ValueError(f"expected {n} tensors in {name}, one for each rank, got {len(tensors)}")
    for i, t in enumerate(tensors):
        if _array(t).shape != like.shape or t.dtype != like.dtype:
            raise ValueError(
                f"expected {like.dtype} of shape {list(like.shape)} in {name}, as of the tensor; "
                f"got {t.dtype} of shape {list(t.shape)} at {i}"
            )


def _check_size(name: str, tensor: Tensor, size: int, like: Tensor) -> None:
    if _array(tensor).size != size or tensor.dtype != like.dtype:
        raise ValueError(
            f"expected {size} elements of {like.dtype} in {name}, got {tensor.numel()} of "
            f"{tensor.dtype}"
        )


def _list_of_root(
    name: str, tensors: Sequence[Tensor] | None, g: Group, root: int, like: Tensor
) -> Sequence[Tensor] | None:
    """The list, checked, on the root; None on the others, where giving one is an error."""
    if g.rank == root:
        if tensors is None:
            raise ValueError(f"expected a {name} on rank {g.ranks[root]}, got None")
        _check_list(name, tensors, g.size, like)
        return tensors
    if tensors:
        raise ValueError(f"expected a {name} on rank {g.ranks[root]} only")
    return None


def _splits(tensor: Tensor, sizes: list[int] | None, n: int) -> list[int]:
    """Elements for each rank."""
    rows = tensor.shape[0] if tensor.ndim else 0
    if sizes is None:
        if rows % n:
            raise ValueError(f"dim 0 has {rows} rows, which {n} ranks can't share equally")
        sizes = [rows // n] * n
    if len(sizes) != n or sum(sizes) != rows:
        raise ValueError(f"expected {n} split sizes that add up to {rows}, got {sizes}")
    row = prod(tensor.shape[1:])
    return [size * row for size in sizes]


def _finish(work: Work, async_op: bool, then: Any = None) -> Work | None:
    """The Work, or None when it has been waited for; `then` runs once it is done."""
    if then is not None:
        work.then(then)
    if async_op:
        return work
    work.wait()
    return None


__all__ = [
    "DistError", "Group", "GroupMember", "ProcessGroup", "ReduceOp", "Work", "all_gather",
    "all_gather_into_tensor", "all_gather_object", "all_reduce", "all_to_all", "all_to_all_single",
    "barrier", "broadcast", "broadcast_object_list", "destroy_process_group", "gather",
    "gather_object", "get_backend", "get_global_rank", "get_group_rank", "get_process_group_ranks",
    "get_rank", "get_world_size", "group", "init_process_group", "irecv", "is_available",
    "is_gloo_available", "is_initialized", "is_mpi_available", "is_nccl_available", "isend",
    "new_group", "recv", "reduce", "reduce_scatter", "reduce_scatter_tensor", "run_local",
    "scatter", "scatter_object_list", "send",
]  # fmt: skip
