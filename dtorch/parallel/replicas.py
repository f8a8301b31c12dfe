"""What DistributedDataParallel asks of a module and its ranks before it begins: one model on all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dtorch.core.device import device
from dtorch.core.tensor import Tensor
from dtorch.nn.modules.module import Module
from dtorch.nn.uninitialized import UninitializedParameter

from .buckets import assign, flatten, unflatten
from .device_mesh import DeviceMesh
from .group import Group
from .world import default_group

_BROADCAST = 25 << 20  # bytes at a time


def check_module(module: Module, wrapper: type[Module]) -> None:
    """RuntimeError if the module has been wrapped already, or has parameters without a shape yet."""
    for name, part in module.named_modules():
        if isinstance(part, wrapper):
            raise RuntimeError(
                f"the module holds a {wrapper.__name__} already ({name or 'it is one'}): its "
                "gradients would be averaged twice.  Wrap the bare module, once."
            )
    for name, p in module.named_parameters():
        if isinstance(p, UninitializedParameter):
            raise RuntimeError(
                "Modules with uninitialized parameters can't be used with "
                f"`DistributedDataParallel`: {name!r}. Run a dummy forward pass to correctly "
                "initialize the modules"
            )


def the_group(group: Group | None, mesh: DeviceMesh | None) -> Group:
    """The ranks that process_group or device_mesh, at most one of them, stands for."""
    if mesh is None:
        return default_group() if group is None else group
    if group is not None:
        raise RuntimeError("Cannot specify both process_group and device_mesh arguments.")
    if mesh.ndim != 1:
        raise RuntimeError(f"Only 1D device mesh is supported, but got {mesh}.")
    return mesh.get_group(0)


def the_device(device_ids: Any, output_device: Any, params: Sequence[Any]) -> device | None:
    """The GPU that inputs are to be moved to, if one was named and the parameters are there."""
    if not device_ids:
        return None
    if len(device_ids) != 1:
        raise ValueError(
            f"device_ids can only be None or contain a single element, got {device_ids}"
        )
    where = device(device_ids[0])
    wrong = {str(p.device) for p in params if p.device.type != "cuda" or p.device != where}
    if wrong or (output_device is not None and device(output_device) != where):
        raise ValueError(
            f"device_ids {list(device_ids)} and output_device {output_device} are for a module on "
            f"that one GPU, but its parameters are on {sorted(wrong) or where}; move it there, or "
            "leave device_ids out"
        )
    return where


def check_same_model(
    params: Sequence[tuple[str, Tensor]], buffers: Sequence[tuple[str, Tensor]], group: Group
) -> None:
    """RuntimeError unless all ranks have the same parameters and buffers, in the same order."""
    told = [
        f"parameter {name!r}: {p.dtype}{list(p.shape)}{'' if p.requires_grad else ', frozen'}"
        for name, p in params
    ]
    told += [f"buffer {name!r}: {b.dtype}{list(b.shape)}" for name, b in buffers]
    models = group.all_gather_objects(told)
    for rank, model in enumerate(models):
        for i in range(max(len(model), len(models[0]))):
            here, there = (m[i] if i < len(m) else "nothing more" for m in (models[0], model))
            if here != there:
                raise RuntimeError(
                    f"DistributedDataParallel needs the same model on all ranks, but number {i} "
                    "of its parameters and buffers is\n"
                    f"  on rank 0: {here}\n  on rank {rank}: {there}"
                )


def broadcast_arrays(arrays: Sequence[Any], group: Group, what: str, source: int) -> None:
    """The source's values into everybody's arrays."""
    if group.size() == 1:
        return
    for indices in assign(range(len(arrays)), arrays, _BROADCAST, _BROADCAST):
        some = [arrays[i] for i in indices]
        flat = flatten(some)
        group.broadcast(flat, source, what).wait()
        if group.rank() != source:
            unflatten(flat, some)
