"""DataParallel: one process, a replica of the module on each device, a thread for each."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Sequence
from typing import Any

from dtorch.core.device import namespace
from dtorch.core.tensor import Tensor
from dtorch.nn.modules.module import Module

from .scatter_gather import as_device, gather, scatter_kwargs


class DataParallel(Module):
    """Splits each batch over devices, runs a replica of the module on each, gathers the outputs.

    The gradients of all replicas reach the module's own parameters; buffers that forward changes
    are kept as the first device's replica leaves them.

    module: the model, with its parameters on the first device
    device_ids: GPUs (numbers or names), or "cpu" as often as replicas are wanted; all GPUs if None
    output_device: where the gathered output is; the first device if None
    dim: the dimension of inputs and outputs that is split

    Without a GPU and without device_ids, the module simply runs.  Raises RuntimeError where the
    module isn't on the first device.
    """

    def __init__(
        self,
        module: Module,
        device_ids: Sequence[Any] | None = None,
        output_device: Any = None,
        dim: int = 0,
    ) -> None:
        super().__init__()
        self.module = module
        self.dim = dim
        self.device_ids = _all_gpus() if device_ids is None else list(device_ids)
        first = self.device_ids[0] if self.device_ids else None
        self.output_device = first if output_device is None else output_device

    def forward(self, *inputs: Any, **kwargs: Any) -> Any:
        return data_parallel(
            self.module, inputs, self.device_ids, self.output_device, self.dim, kwargs
        )


def data_parallel(
    module: Module,
    inputs: Any,
    device_ids: Sequence[Any] | None = None,
    output_device: Any = None,
    dim: int = 0,
    module_kwargs: dict[str, Any] | None = None,
) -> Any:
    """What DataParallel does, as a function: module(*inputs, **module_kwargs) over devices."""
    inputs = inputs if isinstance(inputs, tuple) else (inputs,)
    device_ids = _all_gpus() if device_ids is None else device_ids
    if not device_ids:
        return module(*inputs, **(module_kwargs or {}))
    devices = [as_device(d) for d in device_ids]
    for t in (*module.parameters(), *module.buffers()):
        if t.device != devices[0]:
            raise RuntimeError(
                f"module must have its parameters and buffers on device {devices[0]} "
                f"(device_ids[0]) but found one of them on device: {t.device}"
            )
    if not inputs and not module_kwargs:
        return module()
    args, kwargs = scatter_kwargs(inputs, module_kwargs, devices, dim)
    if len(args) == 1:
        return module(*args[0], **kwargs[0])
    replicas = replicate(module, devices[: len(args)])
    outputs = parallel_apply(replicas, args, kwargs, devices[: len(args)])
    return gather(outputs, devices[0] if output_device is None else output_device, dim)


def replicate(network: Module, devices: Sequence[Any], detach: bool = False) -> list[Module]:
    """A replica of the network for each device, to which its parameters are copied.

    The parameters of replicas are no leaves: gradients go on to the network's own, unless `detach`.
    The first replica has the network's own buffers, the others have copies.
    """
    return [_replica(network, as_device(d), detach, i == 0) for i, d in enumerate(devices)]


def _replica(network: Module, device: Any, detach: bool, first: bool) -> Module:
    tensors: dict[Tensor, Tensor] = {}  # shared ones stay shared
    for p in network.parameters():
        tensors[p] = (p.detach() if detach else p).to(device)
    for b in network.buffers():
        tensors[b] = b if first else b.detach().clone().to(device)
    copies = {m: m.__class__.__new__(m.__class__) for m in network.modules()}

    def replaced(table: dict[str, Any], by: dict[Any, Any]) -> dict[str, Any]:
        return {name: None if x is None else by[x] for name, x in table.items()}

    for module, copy in copies.items():
        copy.__dict__.update(module.__dict__)
        copy.__dict__["_parameters"] = replaced(module._parameters, tensors)
        copy.__dict__["_buffers"] = replaced(module._buffers, tensors)
        copy.__dict__["_modules"] = replaced(module._modules, copies)
    return copies[network]


def parallel_apply(
    modules: Sequence[Module],
    inputs: Sequence[Any],
    kwargs_tup: Sequence[dict[str, Any]] | None = None,
    devices: Sequence[Any] | None = None,
) -> list[Any]:
    """modules[i](*inputs[i], **kwargs_tup[i]), each in a thread of its own with the caller's modes.

    Returns the outputs in order.  Raises what the first failing replica raised, with a note that
    says which one it was, when all have ended.
    """
    n = len(modules)
    all_kwargs = kwargs_tup or [{}] * n
    where = devices or [None] * n
    if not n == len(inputs) == len(all_kwargs) == len(where):
        raise ValueError(
            f"parallel_apply: {n} modules, {len(inputs)} inputs, {len(all_kwargs)} kwargs and "
            f"{len(where)} devices; expected equally many"
        )
    outputs: list[Any] = [None] * n
    errors: dict[int, Exception] = {}

    def body(i: int) -> None:
        given = inputs[i] if isinstance(inputs[i], (list, tuple)) else (inputs[i],)
        try:
            outputs[i] = _on(where[i], modules[i], given, all_kwargs[i])
        except Exception as error:  # noqa: BLE001 (raised in the caller's thread)
            errors[i] = error

    threads = [
        threading.Thread(target=contextvars.copy_context().run, args=(body, i)) for i in range(n)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        i, error = min(errors.items())
        if hasattr(error, "add_note"):
            error.add_note(f"Caught in replica {i} on device {where[i]}.")
        raise error
    return outputs


def _on(device: Any, module: Module, inputs: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """module(*inputs, **kwargs) with `device` as the current one."""
    if device is None or as_device(device).type == "cpu":
        return module(*inputs, **kwargs)
    d = as_device(device)
    with namespace(d).cuda.Device(d.index):
        return module(*inputs, **kwargs)


def _all_gpus() -> list[int]:
    from dtorch import cuda

    return list(range(cuda.device_count()))
