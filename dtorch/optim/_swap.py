"""Other parameters and state in place of an optimizer's own, for a while."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from typing import Any

from ..core.tensor import Tensor
from .optimizer import Optimizer

_NAME = "swap_in_optimizer_params_and_state"


@contextmanager
def swap_in_optimizer_params_and_state(
    optimizer: Optimizer,
    swapin_parameters: Mapping[str, Tensor],
    swapin_optim_state: dict[str, Any],
) -> Iterator[None]:
    """In here the optimizer has these parameters and this state; afterwards its own again.

    swapin_parameters: Tensors, in the order of the optimizer's parameters
    swapin_optim_state: in the format of optimizer.state_dict(); its tensors are changed in place

    RuntimeError if the optimizer has no state yet, or what is given does not match its groups.
    """
    state, groups = _matched(optimizer, swapin_optim_state)
    tensors = iter(swapin_parameters.values())
    params = [list(islice(tensors, len(g["params"]))) for g in groups]
    if any(len(ps) != len(g["params"]) for ps, g in zip(params, groups)):
        raise RuntimeError(
            f"{_NAME} requires the explicit parameter state to match optimizer.param_groups "
            f"ordering, but got {len(swapin_parameters)} parameters"
        )
    swapped: dict[Any, Any] = defaultdict(dict)
    for ps, g in zip(params, groups):
        for p, number in zip(ps, g["params"]):
            swapped[p] = dict(state.get(number, {}))
    own_state = optimizer.state
    own_groups = [dict(g) for g in optimizer.param_groups]
    try:
        for live, g, ps in zip(optimizer.param_groups, groups, params):
            live.update({**g, "params": ps})
        optimizer.state = swapped
        yield
    finally:
        for live, own in zip(optimizer.param_groups, own_groups):
            live.clear()
            live.update(own)
        optimizer.state = own_state


def _matched(optimizer: Optimizer, given: Any) -> tuple[dict[Any, Any], list[dict[str, Any]]]:
    """The state and the groups of a state_dict; RuntimeError unless they match the optimizer's."""
    if not optimizer.state:
        raise RuntimeError(f"{_NAME} requires initialized optimizer state.")
    if not isinstance(given, dict):
        raise RuntimeError(f"{_NAME} requires a state_dict, got {type(given).__name__}")
    state, groups = given.get("state"), given.get("param_groups")
    if not isinstance(state, dict) or not all(isinstance(v, dict) for v in state.values()):
        raise RuntimeError(
            f"{_NAME} requires swapin_optim_state['state'] to be a dict of dicts by number of the "
            f"parameter, got {type(state).__name__}"
        )
    if not isinstance(groups, list) or not all(isinstance(g, dict) for g in groups):
        raise RuntimeError(
            f"{_NAME} requires swapin_optim_state['param_groups'] to be a list of dicts, got "
            f"{type(groups).__name__}"
        )
    if len(groups) != len(optimizer.param_groups):
        raise RuntimeError(
            "swapin_optim_state has a different number of parameter groups than the live "
            f"optimizer: {len(groups)}, not {len(optimizer.param_groups)}"
        )
    for i, (ours, theirs) in enumerate(zip(optimizer.param_groups, groups)):
        if ours.keys() != theirs.keys():
            raise RuntimeError(
                f"{_NAME} requires the keys of group {i} to match the live group's; only in one of "
                f"them: {sorted(ours.keys() ^ theirs.keys())}"
            )
        if len(ours["params"]) != len(theirs["params"]):
            raise RuntimeError(
                f"swapin_optim_state param group {i} has a different number of params than the live "
                f"optimizer param group: {len(theirs['params'])}, not {len(ours['params'])}"
            )
    extra = state.keys() - {number for g in groups for number in g["params"]}
    if extra:
        raise RuntimeError(
            f"{_NAME} requires swapin_optim_state['state'] to be keyed by numbers in "
            f"param_groups, got also {sorted(map(str, extra))}"
        )
    return state, groups
