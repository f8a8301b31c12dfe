"""Local SGD: ranks that step by gradients of their own, or of their neighbours, for a while.

Lin et al., "Don't use large mini-batches, use local SGD" (2018): first everybody's gradients are
averaged, as always; later only a subgroup's (post_localSGD_hook), and the models are brought together
again every few steps (PostLocalSGDOptimizer, by a ModelAverager of averagers.py).
"""

from __future__ import annotations

import socket
import warnings
from collections.abc import Callable
from typing import Any

from dtorch.core.tensor import Tensor
from dtorch.optim.optimizer import Optimizer

from .arguments import the_group
from .averagers import ModelAverager
from .buckets import GradBucket
from .comm_hooks import allreduce_hook, noop_hook
from .future import Future
from .group import Group
from .membership import new_subgroups_by_enumeration


class PostLocalSGDState:
    """What post_localSGD_hook has to know.

    process_group: who averages gradients at first; the default group if None
    subgroup: who does later; if None, the ranks of each machine
    start_localSGD_iter: after so many backwards
    post_local_gradient_allreduce: whether subgroups average at all; else ranks keep their gradients
    """

    def __init__(
        self,
        process_group: Any,
        subgroup: Any,
        start_localSGD_iter: int,
        post_local_gradient_allreduce: bool = True,
    ) -> None:
        self.process_group = process_group
        self.subgroup = subgroup
        self.start_localSGD_iter = start_localSGD_iter
        self.post_local_gradient_allreduce = post_local_gradient_allreduce
        self.iter = 0


def post_localSGD_hook(state: PostLocalSGDState, bucket: GradBucket) -> Future[Tensor]:
    """The average over the group, from backward number start_localSGD_iter on over the subgroup."""
    if state.iter < state.start_localSGD_iter:
        state.iter += bucket.is_last()
        return allreduce_hook(state.process_group, bucket)
    if not state.post_local_gradient_allreduce:
        return noop_hook(None, bucket)
    if state.subgroup is None:
        state.subgroup = _of_this_machine(the_group(state.process_group))
    return allreduce_hook(state.subgroup, bucket)


def _of_this_machine(group: Group) -> Group | None:
    hosts: dict[str, list[int]] = {}
    for rank, host in zip(group.ranks, group.all_gather_objects(socket.gethostname())):
        hosts.setdefault(host, []).append(rank)
    return new_subgroups_by_enumeration(list(hosts.values()))[0]


class PostLocalSGDOptimizer(Optimizer):
    """An optimizer that after each step has an averager bring the ranks' models together.

    Its groups and state are those of `optim`; its state_dict has the averager's step as well.
    """

    def __init__(self, optim: Optimizer, averager: ModelAverager) -> None:
        self._init_hooks()
        self.optim, self.averager = optim, averager
        self.defaults, self.param_groups = optim.defaults, optim.param_groups

    @property
    def state(self) -> Any:  # type: ignore[override]
        return self.optim.state

    def __repr__(self) -> str:
        return repr(self.optim)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = self.optim.step(closure)
        self.averager.average_parameters(self.param_groups)
        return loss

    def zero_grad(self, set_to_none: bool = True) -> None:
        self.optim.zero_grad(set_to_none)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        self.optim.add_param_group(param_group)

    def state_dict(self) -> dict[str, Any]:
        return {**self.optim.state_dict(), "step": self.averager.step}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """optim's, and the averager's step; without one it warns, and the averager begins anew."""
        self.optim.load_state_dict(state_dict)
        self.param_groups = self.optim.param_groups
        if "step" not in state_dict:
            warnings.warn(
                "Loaded state dict does not contain a step counter for an averager. Setting step "
                "counter to 0.",
                stacklevel=2,
            )
        self.averager.step = state_dict.get("step", 0)
