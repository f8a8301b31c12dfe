"""DistributedDataParallel: a copy of a model on each rank, trained on its share of a batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from dtorch.core.device import device
from dtorch.core.graph import writes
from dtorch.core.modes import grad_on
from dtorch.nn.modules.module import Module

from .buckets import assign, flatten, unflatten
from .group import Group
from .reducer import Reducer
from .scatter_gather import to_device
from .world import default_group

_MB = 1 << 20
_BROADCAST = 25 * _MB  # bytes at a time


class DistributedDataParallel(Module):
    """Wraps a module so that backward leaves the same gradients on every rank: their average.

    Training a copy on each rank, with equal shares of each batch and a loss that is a mean, then is
    training one model on whole batches.  All ranks make it, with modules of the same parameters;
    they start with rank 0's values.

    module: the model; its parameters are laid out for good, so move and cast it before
    device_ids, output_device: None, or the one GPU that the module is on; inputs are moved to it
    broadcast_buffers: each forward starts with rank 0's buffers (batch norm's running statistics)
    init_sync: start with rank 0's parameters and buffers
    process_group: the ranks; the default group if None
    bucket_cap_mb: gradients are communicated in buckets of about so many MiB (25 if None)

    `dim`, find_unused_parameters, gradient_as_bucket_view and static_graph are torch's and change
    nothing: unused parameters need no flag, and gradients are always views of buckets.

    Raises RuntimeError where the ranks' models differ (it names the first difference) or nothing
    requires a gradient, ValueError for device_ids that don't fit the module.
    """

    def __init__(
        self,
        module: Module,
        device_ids: Sequence[Any] | None = None,
        output_device: Any = None,
        dim: int = 0,
        broadcast_buffers: bool = True,
        init_sync: bool = True,
        process_group: Group | None = None,
        bucket_cap_mb: float | None = None,
        find_unused_parameters: bool = False,
        check_reduction: bool = False,
        gradient_as_bucket_view: bool = True,
        static_graph: bool = False,
    ) -> None:
        super().__init__()
        group = default_group() if process_group is None else process_group
        trained = [(name, p) for name, p in module.named_parameters() if p.requires_grad]
        if not trained:
            raise RuntimeError(
                "DistributedDataParallel is not needed when a module doesn't have any parameters "
                "that require a gradient."
            )
        self.device = _the_device(device_ids, output_device, [p for _, p in trained])
        cap = int((25 if bucket_cap_mb is None else bucket_cap_mb) * _MB)
        if cap <= 0:
            raise ValueError(f"expected a positive bucket_cap_mb, got {bucket_cap_mb}")
        _check_same_model(module, group)
        self.module = module
        self.process_group = group
        self.dim = dim
        self.device_ids, self.output_device = device_ids, output_device
        self.broadcast_buffers = broadcast_buffers
        self.find_unused_parameters = find_unused_parameters
        self.gradient_as_bucket_view = gradient_as_bucket_view
        self.static_graph = static_graph
        self.require_backward_grad_sync = True
        self._buffers_differ = (
            True  # whether a forward may have changed them since the last broadcast
        )
        if init_sync:
            arrays = [t._a for t in (*module.parameters(), *module.buffers())]
            _broadcast(arrays, group, "parameters")
        names, params = zip(*trained)
        self.reducer = Reducer(names, params, group, cap, min(cap, _MB))

    def forward(self, *inputs: Any, **kwargs: Any) -> Any:
        """The module's output for this rank's share of the batch."""
        if self.broadcast_buffers and self._buffers_differ:
            _broadcast([b._a for b in self.module.buffers()], self.process_group, "buffers")
        if grad_on():
            # As in torch, it is the forward that decides; backward may come outside of no_sync().
            self._buffers_differ = self.require_backward_grad_sync
            self.reducer.begin(self.require_backward_grad_sync)
        if self.device is not None:
            inputs, kwargs = to_device(inputs, self.device), to_device(kwargs, self.device)
        return self.module(*inputs, **kwargs)

    @contextmanager
    def no_sync(self) -> Iterator[None]:
        """Gradients of forwards in here accumulate on their rank, until the first one outside."""
        before, self.require_backward_grad_sync = self.require_backward_grad_sync, False
        try:
            yield
        finally:
            self.require_backward_grad_sync = before


def _the_device(device_ids: Any, output_device: Any, params: Sequence[Any]) -> device | None:
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


def _check_same_model(module: Module, group: Group) -> None:
    """RuntimeError unless all ranks have the same parameters and buffers, in the same order."""
    told = [
        f"parameter {name!r}: {p.dtype}{list(p.shape)}{'' if p.requires_grad else ', frozen'}"
        for name, p in module.named_parameters()
    ]
    told += [f"buffer {name!r}: {b.dtype}{list(b.shape)}" for name, b in module.named_buffers()]
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


def _broadcast(arrays: Sequence[Any], group: Group, what: str) -> None:
    """Rank 0's values into everybody's arrays."""
    if group.size == 1:
        return
    for indices in assign(range(len(arrays)), arrays, _BROADCAST, _BROADCAST):
        some = [arrays[i] for i in indices]
        flat = flatten(some)
        group.broadcast(flat, 0, what).wait()
        if group.rank != 0:
            unflatten(flat, some)
            for a in some:
                writes.stamp(a)
