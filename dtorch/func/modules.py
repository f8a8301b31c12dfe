"""Modules as functions of their parameters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..core.modes import no_grad
from ..core.ops.join import stack
from ..core.tensor import Tensor
from ..nn.modules.batchnorm import _BatchNorm
from ..nn.modules.module import Module
from ..nn.utils import stateless


def functional_call(
    module: Module,
    parameter_and_buffer_dicts: dict[str, Tensor] | Sequence[dict[str, Tensor]],
    args: Any = None,
    kwargs: dict[str, Any] | None = None,
    *,
    tie_weights: bool = True,
    strict: bool = False,
) -> Any:
    """nn.utils.stateless.functional_call; the dictionary may come in several parts."""
    parts = parameter_and_buffer_dicts
    if isinstance(parts, dict):
        tensors = parts
    elif isinstance(parts, (list, tuple)):
        names = [name for part in parts for name in part]
        double = [name for name in dict.fromkeys(names) if names.count(name) > 1]
        if double:
            raise ValueError(
                f"{double} appeared in multiple dictionaries; behavior of functional call is ambiguous"
            )
        tensors = {name: t for part in parts for name, t in part.items()}
    else:
        raise ValueError(
            "Expected parameter_and_buffer_dicts to be a dict, or a list/tuple of dicts, but got "
            f"{type(parts)}"
        )
    return stateless.functional_call(
        module, tensors, args, kwargs, tie_weights=tie_weights, strict=strict
    )


def stack_module_state(models: Sequence[Module]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The parameters and the buffers of modules of one class, each stacked along a new first
    dimension: what vmap over an ensemble takes.  Parameters come as leaves."""
    models = list(models)
    if not models:
        raise RuntimeError("stack_module_state: Expected at least one model, got 0.")
    if any(m.training != models[0].training for m in models):
        raise RuntimeError(
            "stack_module_state: Expected all models to have the same training/eval mode."
        )
    if any(type(m) is not type(models[0]) for m in models):
        raise RuntimeError("stack_module_state: Expected all models to be of the same class.")
    parameters = [dict(m.named_parameters()) for m in models]
    buffers = [dict(m.named_buffers()) for m in models]
    return (
        {name: _stacked(tuple(ps[name] for ps in parameters)) for name in parameters[0]},
        {name: _stacked(tuple(bs[name] for bs in buffers)) for name in buffers[0]},
    )


def _stacked(ts: tuple[Tensor, ...]) -> Tensor:
    with no_grad():
        result = stack(ts)
    return result.requires_grad_() if any(t.requires_grad for t in ts) else result


def replace_all_batch_norm_modules_(root: Module) -> Module:
    """Let all batch norms in `root` do without running statistics, in place; returns root."""
    for module in root.modules():
        if isinstance(module, _BatchNorm):
            module.running_mean = None
            module.running_var = None
            module.num_batches_tracked = None
            module.track_running_stats = False
    return root
