"""Who is there: ranks and sizes, groups of some of the ranks."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from typing import Any

from . import world
from .arguments import NON_MEMBER, AnyGroup, _NonMember, the_group
from .backends import Backend
from .collective import LABEL
from .group import Group
from .work import Seconds, seconds


class _World(type):
    @property
    def WORLD(cls) -> Group | None:
        """The default group, None before init_process_group."""
        return world.default_group() if world.is_initialized() else None


class GroupMember(metaclass=_World):
    """WORLD is the default group; NON_GROUP_MEMBER what new_group returns outside of the group."""

    NON_GROUP_MEMBER = NON_MEMBER


class group(metaclass=_World):
    """torch's other name for GroupMember."""


def get_default_backend_for_device(device: Any) -> str:
    """ "gloo", the best way there is, for every device: tensors on a GPU travel through the host."""
    return Backend.GLOO


def get_backend(group: AnyGroup = None) -> Backend:
    """The name of the transport that the group uses."""
    return Backend(the_group(group).transport.name)


def get_backend_config(group: AnyGroup = None) -> str:
    """The backend for each kind of device, as "cpu:mpi,cuda:mpi"."""
    name = get_backend(group)
    return f"cpu:{name},cuda:{name}"


# ---- ranks ---------------------------------------------------------------------------------------


def get_rank(group: AnyGroup = None) -> int:
    """This rank's number in the group (the world if None), -1 outside of it.

    In the world it is 0 before init_process_group: alone is a world of one.
    """
    if group is None:
        return world.get_rank()
    return -1 if isinstance(group, _NonMember) else the_group(group).rank()


def get_world_size(group: AnyGroup = None) -> int:
    """How many ranks the group (the world if None) has, -1 outside of it; 1 without a world."""
    if group is None:
        return world.get_world_size()
    return -1 if isinstance(group, _NonMember) else the_group(group).size()


def get_process_group_ranks(group: AnyGroup = None) -> list[int]:
    """The numbers in the world of the group's ranks."""
    return list(the_group(group).ranks)


def get_node_local_rank(fallback_rank: int | None = None) -> int:
    """This rank's number on its machine, as the starter says in LOCAL_RANK."""
    if "LOCAL_RANK" in os.environ:
        return int(os.environ["LOCAL_RANK"])
    if fallback_rank is not None:
        return int(fallback_rank)
    raise RuntimeError(
        "LOCAL_RANK is not in the environment. Consider passing fallback_rank to allow "
        "`get_node_local_rank` to work, assuming you are not running in a multi-device context and "
        "want the code to run locally instead."
    )


# ---- groups of some ranks ------------------------------------------------------------------------


def new_group(
    ranks: Sequence[int] | None = None,
    timeout: Seconds = None,
    backend: str | None = None,
    pg_options: Any = None,
    use_local_synchronization: bool = False,
    group_desc: str | None = None,
    device_id: Any = None,
    sort_ranks: bool = True,
) -> Group | _NonMember:
    """The group of some ranks of the world (all if None); GroupMember.NON_GROUP_MEMBER outside.

    Every rank of the world calls it, also those that are not in it.  Its ranks are numbered in
    ascending order, or in that of `ranks` if not sort_ranks.  A group's backend is the world's;
    pg_options, group_desc and device_id are torch's and change nothing.  ValueError for ranks that
    don't exist or come twice, another backend, and use_local_synchronization.
    """
    parent = world.default_group()
    limit = None if timeout is None else seconds(timeout)
    if use_local_synchronization:
        raise ValueError(
            "use_local_synchronization=True is not supported: every rank must call new_group"
        )
    _check_backend(backend, parent)
    chosen = list(range(parent.size()) if ranks is None else ranks)
    part = parent.split(sorted(chosen) if sort_ranks else chosen, limit)
    return NON_MEMBER if part is None else part


def new_subgroups(
    group_size: int | None = None,
    group: AnyGroup = None,
    timeout: Seconds = None,
    backend: str | None = None,
    pg_options: Any = None,
    group_desc: str | None = None,
) -> tuple[Group | None, list[Group | _NonMember]]:
    """Cut a group into groups of group_size neighbours each; returns this rank's, and all.

    Every rank of the world calls it.  Of the list, those that this rank is not in are
    NON_GROUP_MEMBER.
    """
    g = the_group(group)
    if group_size is None:
        raise ValueError("which size? group_size must be given")
    if group_size <= 0:
        raise ValueError(f"The arg 'group_size' ({group_size}) must be positive")
    if group_size > g.size():
        raise ValueError(
            f"The arg 'group_size' ({group_size}) must not exceed the world size ({g.size()})"
        )
    if g.size() % group_size:
        raise ValueError(f"The world size ({g.size()}) must be divisible by '{group_size=}'")
    parts = [list(g.ranks[i : i + group_size]) for i in range(0, g.size(), group_size)]
    return new_subgroups_by_enumeration(parts, timeout, backend, pg_options, group_desc)


def new_subgroups_by_enumeration(
    ranks_per_subgroup_list: Sequence[Sequence[int]],
    timeout: Seconds = None,
    backend: str | None = None,
    pg_options: Any = None,
    group_desc: str | None = None,
) -> tuple[Group | None, list[Group | _NonMember]]:
    """A new_group for each list of ranks, which must not overlap; returns this rank's, and all."""
    if not ranks_per_subgroup_list:
        raise ValueError("The arg 'ranks_per_subgroup_list' cannot be empty")
    home: dict[int, Sequence[int]] = {}
    for ranks in ranks_per_subgroup_list:
        for rank in ranks:
            if rank in home:
                raise ValueError(
                    f"Rank {rank} has appeared in both subgroup {home[rank]} and {ranks}"
                )
            home[rank] = ranks
    groups = [
        new_group(ranks, timeout, backend, pg_options, group_desc=group_desc)
        for ranks in ranks_per_subgroup_list
    ]
    mine = [g for g in groups if isinstance(g, Group)]
    return (mine[0] if mine else None), groups


def split_group(
    parent_pg: Group | None = None,
    split_ranks: Sequence[Sequence[int]] | None = None,
    timeout: Seconds = None,
    pg_options: Any = None,
    group_desc: str | None = None,
    backend: str | None = None,
) -> Group | None:
    """The group, of some that a group is split into, that this rank is in; None if in none.

    split_ranks: lists of ranks within the parent, the same on all of its ranks, which all call this
    """
    parent = the_group(parent_pg)
    _check_backend(backend, parent)
    if not split_ranks:
        raise ValueError("split_ranks cannot be None or empty")
    everyone = [rank for ranks in split_ranks for rank in ranks]
    if len(set(everyone)) != len(everyone):
        raise ValueError("the split group cannot have duplicate ranks")
    if not all(split_ranks):
        raise ValueError("the split group cannot be empty")
    limit = None if timeout is None else seconds(timeout)
    parts = [parent.split(sorted(ranks), limit) for ranks in split_ranks]
    return next((part for part in parts if part is not None), None)


def _check_backend(backend: str | None, parent: Group) -> None:
    name = parent.transport.name
    if backend is not None and backend.lower() not in (name, Backend.GLOO):
        raise ValueError(f"a group has its world's backend, {name!r}; got backend={backend!r}")


# ---- the rest ------------------------------------------------------------------------------------


@contextlib.contextmanager
def record_comm(name: str) -> Iterator[None]:
    """In here, collectives are called `name` in errors and reports; the same on every rank."""
    token = LABEL.set(name)
    try:
        yield
    finally:
        LABEL.reset(token)
