"""What users give to collectives, checked before anything moves; errors are worded as torch's."""

from __future__ import annotations

import functools
import inspect
import warnings
from collections.abc import Callable, Sequence
from math import prod
from typing import Any, TypeVar

from dtorch.core.tensor import Tensor

from .group import Group
from .world import default_group, get_rank

Function = TypeVar("Function", bound=Callable[..., Any])


class _NonMember:
    """What new_group returns on ranks that are not in the group."""

    def __repr__(self) -> str:
        return "GroupMember.NON_GROUP_MEMBER"


NON_MEMBER = _NonMember()
AnyGroup = Group | _NonMember | None  # None: the default group


def for_members(function: Function) -> Function:
    """On ranks outside of the `group` argument, do nothing but warn, as in torch."""
    place = list(inspect.signature(function).parameters).index("group")

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        group = args[place] if place < len(args) else kwargs.get("group")
        if group is not NON_MEMBER:
            return function(*args, **kwargs)
        warnings.warn(
            f"Running {function.__name__} on global rank {get_rank()} which does not belong to "
            "the given group.",
            stacklevel=2,
        )
        return None

    return call  # type: ignore[return-value]


def the_group(group: AnyGroup) -> Group:
    """The group, which this rank must be in; the default one if None."""
    if group is None:
        return default_group()
    if isinstance(group, _NonMember):
        raise ValueError("Invalid process group specified: this rank is not in it")
    if not isinstance(group, Group):
        raise ValueError(f"Expecting a ProcessGroup, but got a {type(group)}.")
    return group


# ---- ranks ---------------------------------------------------------------------------------------


def get_group_rank(group: AnyGroup, global_rank: int) -> int:
    """The number in the group of a rank of the world; ValueError if it is not in the group."""
    group = the_group(group)
    if global_rank not in group.ranks:
        raise ValueError(f"Global rank {global_rank} is not part of group {group}")
    return group.ranks.index(global_rank)


def get_global_rank(group: AnyGroup, group_rank: int) -> int:
    """The number in the world of a rank of the group; ValueError if there is no such rank."""
    group = the_group(group)
    if not 0 <= group_rank < group.size():
        raise ValueError(f"Group rank {group_rank} is not part of group {group}")
    return group.ranks[group_rank]


def root_rank(
    g: Group, rank: int | None, group_rank: int | None, default: int | None = None
) -> int:
    """The rank within the group that is meant by its number in the world or in the group."""
    if group_rank is not None:
        if rank is not None:
            raise ValueError("Can't specify both group_rank and global_rank")
        get_global_rank(g, group_rank)
        return group_rank
    rank = default if rank is None else rank
    if rank is None:
        raise ValueError("Must specify global_rank or group_rank")
    return get_group_rank(g, rank)


def peer_rank(g: Group, rank: int | None, group_rank: int | None, what: str) -> int:
    """root_rank of another rank than this one; `what`: "source" or "destination"."""
    peer = root_rank(g, rank, group_rank)
    if peer == g.rank():
        raise ValueError(
            f"Invalid {what} rank: {what} rank should not be the same as the rank of the current "
            "process."
        )
    return peer


# ---- tensors -------------------------------------------------------------------------------------


def tensor_arg(tensor: Any, name: str) -> Tensor:
    if not isinstance(tensor, Tensor):
        raise TypeError(
            f"Invalid function argument. Expected parameter `{name}` of type dtorch.Tensor\n"
            f"             but got {type(tensor)} instead."
        )
    return tensor


def checked_list(
    tensors: Any, name: str, like: Tensor | None = None, n: int | None = None
) -> list[Tensor]:
    """The tensors, all of one dtype: that of `like`; n of them."""
    expected = f"Invalid function argument. Expected parameter `{name}` of type List[dtorch.Tensor]"
    if not isinstance(tensors, (list, tuple)):
        raise TypeError(f"{expected}\n             but got {type(tensors)} instead.")
    if not all(isinstance(t, Tensor) for t in tensors):
        kinds = [type(t) for t in tensors]
        raise TypeError(
            f"{expected}\n             but got {type(tensors)} with elements of type {kinds}."
        )
    if n is not None and len(tensors) != n:
        raise ValueError(f"expected {n} tensors in {name}, one for each rank, got {len(tensors)}")
    dtypes = [t.dtype for t in ((like, *tensors) if like is not None else tensors)]
    for dtype in dtypes:
        if dtype != dtypes[0]:
            raise ValueError(
                f"Invalid usage of tensors with different dtypes: {name} has {dtype}, expected "
                f"{dtypes[0]}"
            )
    return list(tensors)


def shapes(tensors: Sequence[Tensor]) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(t.shape) for t in tensors)


def same_shapes(tensors: Sequence[Tensor], name: str, like: Tensor) -> None:
    for i, t in enumerate(tensors):
        if t.shape != like.shape:
            raise ValueError(
                f"expected tensors of shape {list(like.shape)} in {name}, as of the tensor; got "
                f"{list(t.shape)} at {i}"
            )


def shape_of_own(tensors: Sequence[Tensor], name: str, own: Tensor, rank: int) -> None:
    """The list's tensors are by rank, and may differ; this rank's is of its own tensor's shape."""
    if tensors[rank].shape != own.shape:
        raise ValueError(
            f"expected a tensor of shape {list(own.shape)}, as of this rank's, in {name} at {rank}; "
            f"got {list(tensors[rank].shape)}"
        )


def size_of(tensor: Tensor, name: str, size: int, like: Tensor) -> None:
    if tensor.numel() != size or tensor.dtype != like.dtype:
        raise ValueError(
            f"expected {size} elements of {like.dtype} in {name}, got {tensor.numel()} of "
            f"{tensor.dtype}"
        )


def list_of_root(
    tensors: Any, name: str, g: Group, root: int, like: Tensor, where: str
) -> list[Tensor] | None:
    """The list, checked, on the root; None on the others, where giving one is an error."""
    if g.rank() != root:
        if tensors:
            raise ValueError(f"Argument ``{name}`` must NOT be specified on non-{where} ranks.")
        return None
    if not tensors:
        raise ValueError(f"Argument ``{name}`` must be specified on {where} rank.")
    checked = checked_list(tensors, name, like, g.size())
    same_shapes(checked, name, like)
    return checked


def split_counts(tensor: Tensor, sizes: Sequence[int] | None, n: int) -> list[int]:
    """Elements for each rank, from lengths along dim 0; equal ones if None."""
    rows = tensor.shape[0] if tensor.ndim else 0
    if not sizes:
        if rows % n:
            raise ValueError(
                f"Tensor's dim 0 does not divide equally across group size: {rows} rows, {n} ranks"
            )
        sizes = [rows // n] * n
    if len(sizes) != n:
        raise ValueError(
            f"Number of tensor splits not equal to group size: {len(sizes)} splits, {n} ranks"
        )
    if sum(sizes) != rows:
        raise ValueError(
            f"Split sizes doesn't match total dim 0 size: {list(sizes)} add up to {sum(sizes)}, "
            f"expected {rows}"
        )
    row = prod(tensor.shape[1:])
    return [size * row for size in sizes]
