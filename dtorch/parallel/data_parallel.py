"""DataParallel: one process, a replica of the module on each device, a thread for each."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Sequence
from typing import Any

from dtorch.core.device import namespace
from dtorch.core.modes import is_grad_enabled
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
    module isn't on the first device; with one device, it is moved there.

    A subclass may have its own replicate, scatter, parallel_apply and gather.
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
        if len(self.device_ids) == 1:
            self.module.to(as_device(first))

    def forward(self, *inputs: Any, **kwargs: Any) -> Any:
        if not self.device_ids:
            return self.module(*inputs, **kwargs)
        first = as_device(self.device_ids[0])
        for t in (*self.module.parameters(), *self.module.buffers()):
            if t.device != first:
                raise RuntimeError(
                    f"module must have its parameters and buffers on device {first} "
                    f"(device_ids[0]) but found one of them on device: {t.device}"
                )
        if not inputs and not kwargs:
            return self.module()
        args, all_kwargs = self.scatter(inputs, kwargs, self.device_ids)
        if len(self.device_ids) == 1:
            return self.module(*args[0], **all_kwargs[0])
        replicas = self.replicate(self.module, self.device_ids[: len(args)])
        outputs = self.parallel_apply(replicas, args, all_kwargs)
        return self.gather(outputs, self.output_device)

    def replicate(self, module: Module, device_ids: Sequence[Any]) -> list[Module]:
        return replicate(module, device_ids, not is_grad_enabled())

    def scatter(self, inputs: tuple[Any, ...], kwargs: dict[str, Any] | None,
                device_ids: Sequence[Any]) -> tuple[tuple[Any, ...], tuple[Any, ...]]:  # fmt: skip
        return scatter_kwargs(inputs, kwargs, device_ids, self.dim)

    def parallel_apply(
        self, replicas: Sequence[Module], inputs: Sequence[Any], kwargs: Any
    ) -> list[Any]:
        return parallel_apply(replicas, inputs, kwargs, self.device_ids[: len(replicas)])

    def gather(self, outputs: Sequence[Any], output_device: Any) -> Any:
        return gather(outputs, output_device, self.dim)


def data_parallel(
    module: Module,
    inputs: Any,
    device_ids: Sequence[Any] | None = None,
    output_device: Any = None,
    dim: int = 0,
    module_kwargs: dict[str, Any] | None = None,
) -> Any:
    """What DataParallel does, as a function: module(*inputs, **module_kwargs) over devices.

    inputs: a tuple, the only argument, or None for none; output_device: -1 is the CPU, as in torch
    """
    if not isinstance(inputs, tuple):
        inputs = () if inputs is None else (inputs,)
    output = "cpu" if output_device == -1 else output_device
    return DataParallel(module, device_ids, output, dim)(*inputs, **(module_kwargs or {}))


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
