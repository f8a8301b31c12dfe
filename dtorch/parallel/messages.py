"""From one rank to another: tensors and lists of objects, matched by peer and tag."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

from dtorch.core.backend import cpu
from dtorch.core.tensor import Tensor

from .arguments import AnyGroup, for_members, peer_rank, tensor_arg, the_group
from .work import Work


@for_members
def isend(tensor: Tensor, dst: int | None = None, group: AnyGroup = None, tag: int = 0,
          group_dst: int | None = None) -> Work:  # fmt: skip
    """Start sending `tensor` to rank dst, which receives it with the same tag."""
    g = the_group(group)
    a = tensor_arg(tensor, "tensor")._a
    return g.send(a, peer_rank(g, dst, group_dst, "destination"), tag)


@for_members
def irecv(tensor: Tensor, src: int | None = None, group: AnyGroup = None, tag: int = 0,
          group_src: int | None = None) -> Work:  # fmt: skip
    """Start receiving into `tensor` from rank src, or from any rank if that is None."""
    g = the_group(group)
    a = tensor_arg(tensor, "tensor")._a
    anyone = src is None and group_src is None
    work = g.recv(a, None if anyone else peer_rank(g, src, group_src, "source"), tag)
    work.gives([tensor])
    return work


@for_members
def send(tensor: Tensor, dst: int | None = None, group: AnyGroup = None, tag: int = 0,
         group_dst: int | None = None) -> None:  # fmt: skip
    """isend, waited for."""
    isend(tensor, dst, group, tag, group_dst).wait()


@for_members
def recv(tensor: Tensor, src: int | None = None, group: AnyGroup = None, tag: int = 0,
         group_src: int | None = None) -> int:  # fmt: skip
    """irecv, waited for; returns the rank that the tensor came from."""
    work = irecv(tensor, src, group, tag, group_src)
    return the_group(group).ranks[work.source_rank()]


class P2POp:
    """An isend or irecv that batch_isend_irecv will start.

    op: isend or irecv; peer: the other's rank in the world, or group_peer: in the group
    """

    def __init__(self, op: Callable[..., Work], tensor: Tensor, peer: int | None = None,
                 group: AnyGroup = None, tag: int = 0,
                 group_peer: int | None = None) -> None:  # fmt: skip
        if op not in (isend, irecv):
            raise ValueError(
                "Invalid ``op``. Expected ``op`` to be of type ``dtorch.distributed.isend`` or "
                "``dtorch.distributed.irecv``."
            )
        self.op = op
        self.tensor = tensor_arg(tensor, "tensor")
        self.group = the_group(group)
        self.tag = tag
        what = "destination" if op is isend else "source"
        self.group_peer = peer_rank(self.group, peer, group_peer, what)
        self.peer = self.group.ranks[self.group_peer]

    def __repr__(self) -> str:
        return (
            f"P2POp({self.op.__name__} pg={self.group.name}, group_src={self.group.rank()}, "
            f"group_dst={self.group_peer}, {list(self.tensor.shape)}, {self.tensor.dtype})"
        )


def batch_isend_irecv(p2p_op_list: list[P2POp]) -> list[Work]:
    """Start all of these, in their order, and return their works; none holds up another."""
    if not isinstance(p2p_op_list, list) or not all(isinstance(o, P2POp) for o in p2p_op_list):
        raise ValueError(
            "Invalid ``p2p_op_list``. Each op is expected to to be of type "
            "``dtorch.distributed.P2POp``."
        )
    if any(o.group is not p2p_op_list[0].group for o in p2p_op_list):
        raise ValueError("All ops need to use the same group.")
    return [o.op(o.tensor, o.peer, o.group, o.tag) for o in p2p_op_list]


# ---- objects -------------------------------------------------------------------------------------

_OBJECTS = 1 << 14 | 1  # the tag of lists of objects


@for_members
def send_object_list(object_list: list[Any], dst: int | None = None, group: AnyGroup = None,
                     device: Any = None, group_dst: int | None = None,
                     use_batch: bool = False) -> None:  # fmt: skip
    """Send the objects, pickled, to rank dst, which calls recv_object_list with as many.

    `device` and use_batch are torch's and change nothing: objects travel through host memory.
    """
    g = the_group(group)
    peer = peer_rank(g, dst, group_dst, "destination")
    data = pickle.dumps(list(object_list))
    g.send(cpu.array([len(data)], cpu.int64), peer, _OBJECTS).wait()
    g.send(cpu.frombuffer(data, cpu.uint8), peer, _OBJECTS).wait()


@for_members
def recv_object_list(object_list: list[Any], src: int | None = None, group: AnyGroup = None,
                     device: Any = None, group_src: int | None = None,
                     use_batch: bool = False) -> int:  # fmt: skip
    """Replace the objects in the list by what rank src (any if None) sends; returns its number."""
    g = the_group(group)
    anyone = src is None and group_src is None
    size = cpu.empty(1, cpu.int64)
    first = g.recv(size, None if anyone else peer_rank(g, src, group_src, "source"), _OBJECTS)
    peer = first.source_rank()
    data = cpu.empty(int(size[0]), cpu.uint8)
    g.recv(data, peer, _OBJECTS).wait()
    objects = pickle.loads(data.tobytes())
    if len(objects) != len(object_list):
        raise ValueError(
            f"expected {len(object_list)} objects from rank {g.ranks[peer]}, got {len(objects)}"
        )
    object_list[:] = objects
    return g.ranks[peer]
