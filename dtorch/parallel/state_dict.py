"""State of models and optimizers by the names of parameters; public as
dtorch.distributed.checkpoint.state_dict, under torch's names.

Names are the bare module's, whatever wraps it.  Of an optimizer that is spread over the ranks, each
has its part: made for checkpoint.save and load, which put together what all have, so that the parts
may be cut for another number of ranks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from dtorch.core.tensor import Tensor
from dtorch.nn.modules.module import Module
from dtorch.optim.optimizer import Optimizer

from .data_parallel import DataParallel
from .ddp import DistributedDataParallel
from .local_sgd import PostLocalSGDOptimizer
from .zero import ZeroRedundancyOptimizer

Optimizers = Optimizer | Iterable[Optimizer]


@dataclass
class StateDictOptions:
    """What the functions here return and take.

    full_state_dict: all ranks get the whole state of an optimizer that is spread over them
    cpu_offload: tensors on the CPU; of a full state, on rank 0 only, the others get nothing
    ignore_frozen_params: leave out parameters that require no gradient
    strict: of set_model_state_dict, as of Module.load_state_dict
    """

    full_state_dict: bool = False
    cpu_offload: bool = False
    ignore_frozen_params: bool = False
    strict: bool = True


def get_state_dict(
    model: Module, optimizers: Optimizers, *, options: StateDictOptions | None = None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """get_model_state_dict and get_optimizer_state_dict."""
    return (
        get_model_state_dict(model, options=options),
        get_optimizer_state_dict(model, optimizers, options=options),
    )


def get_model_state_dict(
    model: Module, *, options: StateDictOptions | None = None
) -> dict[str, Any]:
    """The state_dict of the module in a DistributedDataParallel or DataParallel, or of any other."""
    options = options or StateDictOptions()
    module = _bare(model)
    frozen = {n for n, p in module.named_parameters(remove_duplicate=False) if not p.requires_grad}
    state = module.state_dict()
    if options.ignore_frozen_params:
        state = {n: v for n, v in state.items() if n not in frozen}
    return _moved(dict(state), options)


def get_optimizer_state_dict(
    model: Module, optimizers: Optimizers, *, options: StateDictOptions | None = None
) -> dict[str, Any]:
    """{"state": {name: {...}}, "param_groups": [{"params": [name, ...], ...}]}.

    A parameter without a state yet has the one before a first step: what it is to be loaded into.
    """
    options = options or StateDictOptions()
    names = _names(model)
    result: dict[str, Any] = {"state": {}, "param_groups": []}
    for optimizer in _each(optimizers):
        local = _local(optimizer)
        state = {
            names[p]: dict(local.state.get(p) or local.init_state(p, group))
            for group in local.param_groups
            for p in group["params"]
            if p.requires_grad
        }
        if options.full_state_dict and isinstance(optimizer, ZeroRedundancyOptimizer):
            parts = optimizer.process_group.all_gather_objects(state)
            state = {name: s for part in parts for name, s in part.items()}
        result["state"].update({name: s for name, s in state.items() if s})
        for group in optimizer.param_groups:
            params = [
                p for p in group["params"] if p.requires_grad or not options.ignore_frozen_params
            ]
            named = {k: v for k, v in group.items() if k != "param_names"}
            result["param_groups"].append({**named, "params": [names[p] for p in params]})
    return _moved(result, options)


def set_state_dict(
    model: Module,
    optimizers: Optimizers,
    *,
    model_state_dict: Mapping[str, Any],
    optim_state_dict: Mapping[str, Any],
    options: StateDictOptions | None = None,
) -> Any:
    """set_model_state_dict and set_optimizer_state_dict; returns what the former does."""
    set_optimizer_state_dict(model, optimizers, optim_state_dict, options=options)
    return set_model_state_dict(model, model_state_dict, options=options)


def set_model_state_dict(
    model: Module, model_state_dict: Mapping[str, Any], *, options: StateDictOptions | None = None
) -> Any:
    """Load a state of get_model_state_dict; returns the missing and the unexpected keys."""
    strict = (options or StateDictOptions()).strict
    return _bare(model).load_state_dict(model_state_dict, strict=strict)


def set_optimizer_state_dict(
    model: Module,
    optimizers: Optimizers,
    optim_state_dict: Mapping[str, Any],
    *,
    options: StateDictOptions | None = None,
) -> None:
    """Load a state of get_optimizer_state_dict, of which a rank needs its part only.

    ValueError where no group of the state has the parameters of one of the optimizers'.
    """
    names = _names(model)
    for optimizer in _each(optimizers):
        groups, state, number = [], {}, 0
        for group in optimizer.param_groups:
            params = [names[p] for p in group["params"]]
            numbers = {name: number + i for i, name in enumerate(params)}
            number += len(params)
            groups.append(
                {**_saved_group(optim_state_dict, params), "params": list(numbers.values())}
            )
            for name in params:
                entry = optim_state_dict["state"].get(name)
                if entry and not _is_fresh(entry):
                    state[numbers[name]] = entry
        _inner(optimizer).load_state_dict({"state": state, "param_groups": groups})


def _saved_group(state: Mapping[str, Any], params: list[str]) -> dict[str, Any]:
    for group in state["param_groups"]:
        if set(group["params"]) & set(params) and set(group["params"]) <= set(params):
            return dict(group)
    raise ValueError(f"the state has no parameter group of {params}")


def _is_fresh(entry: Mapping[str, Any]) -> bool:
    """Whether it is the state before a first step, which an optimizer makes then."""
    if "step" in entry:
        return float(entry["step"]) == 0
    return not any(v.any().item() for v in entry.values() if isinstance(v, Tensor))


def _bare(model: Module) -> Module:
    return model.module if isinstance(model, (DistributedDataParallel, DataParallel)) else model


def _names(model: Module) -> dict[Tensor, str]:
    return {p: name for name, p in _bare(model).named_parameters()}


def _each(optimizers: Optimizers) -> list[Optimizer]:
    return [optimizers] if isinstance(optimizers, Optimizer) else list(optimizers)


def _inner(optimizer: Optimizer) -> Optimizer:
    return optimizer.optim if isinstance(optimizer, PostLocalSGDOptimizer) else optimizer


def _local(optimizer: Optimizer) -> Optimizer:
    """The one that has the states that are on this rank."""
    inner = _inner(optimizer)
    return inner._local if isinstance(inner, ZeroRedundancyOptimizer) else inner


def _moved(value: Any, options: StateDictOptions) -> Any:
    if not options.cpu_offload:
        return value
    from .world import get_rank

    return {} if options.full_state_dict and get_rank() else _on_cpu(value)


def _on_cpu(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach().cpu()
    if isinstance(value, dict):
        return {k: _on_cpu(v) for k, v in value.items()}
    return [_on_cpu(v) for v in value] if isinstance(value, list) else value
