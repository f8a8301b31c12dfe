"""Collectives on Python objects, which are pickled: only among ranks that trust each other."""

from __future__ import annotations

from typing import Any

from .arguments import AnyGroup, for_members, root_rank, the_group


@for_members
def all_gather_object(object_list: list[Any], obj: Any, group: AnyGroup = None) -> None:
    """Put every rank's object into object_list, by rank."""
    g = the_group(group)
    if len(object_list) != g.size():
        raise ValueError(f"expected an object_list of length {g.size()}, got {len(object_list)}")
    object_list[:] = g.all_gather_objects(obj)


@for_members
def gather_object(obj: Any, object_gather_list: list[Any] | None = None, dst: int | None = None,
                  group: AnyGroup = None, group_dst: int | None = None) -> None:  # fmt: skip
    """Put every rank's object into rank dst's (0's) object_gather_list, by rank."""
    g = the_group(group)
    root = root_rank(g, dst, group_dst, 0)
    if g.rank() == root and not object_gather_list:
        raise ValueError("Argument ``gather_list`` must be specified on destination rank.")
    if g.rank() != root and object_gather_list:
        raise ValueError("Argument ``gather_list`` must NOT be specified on non-destination ranks.")
    if object_gather_list and len(object_gather_list) != g.size():
        raise ValueError(
            f"expected an object_gather_list of length {g.size()}, got {len(object_gather_list)}"
        )
    objects = g.all_gather_objects(obj)
    if object_gather_list:
        object_gather_list[:] = objects


@for_members
def broadcast_object_list(object_list: list[Any], src: int | None = None, group: AnyGroup = None,
                          device: Any = None,
                          group_src: int | None = None) -> None:  # fmt: skip
    """Replace the objects in the list by rank src's (0's).

    `device`, torch's, changes nothing: objects travel through host memory.
    """
    g = the_group(group)
    objects = list(object_list)
    g.broadcast_objects(objects, root_rank(g, src, group_src, 0))
    if len(objects) != len(object_list):
        raise ValueError(f"expected {len(object_list)} objects, but the source has {len(objects)}")
    object_list[:] = objects


@for_members
def scatter_object_list(scatter_object_output_list: list[Any],
                        scatter_object_input_list: list[Any] | None = None,
                        src: int | None = None, group: AnyGroup = None,
                        group_src: int | None = None) -> None:  # fmt: skip
    """Put this rank's of rank src's (0's) objects into scatter_object_output_list[0]."""
    g = the_group(group)
    root = root_rank(g, src, group_src, 0)
    if not isinstance(scatter_object_output_list, list) or not scatter_object_output_list:
        raise ValueError(
            "Expected argument scatter_object_output_list to be a list of size at least 1."
        )
    objects = list(scatter_object_input_list or ()) if g.rank() == root else []
    if g.rank() == root and scatter_object_input_list is None:
        raise ValueError("source rank must provide non-None scatter_object_input_list")
    if g.rank() == root and len(objects) != g.size():
        raise ValueError(f"expected {g.size()} objects to scatter, got {len(objects)}")
    g.broadcast_objects(objects, root)
    scatter_object_output_list[0] = objects[g.rank()]
