"""Averages of the ranks' models, for ranks that don't average gradients at each step.

Call averager.average_parameters(params) after each step of the optimizer, or let
PostLocalSGDOptimizer (local_sgd.py) do it.  `params` are a model's parameters or an optimizer's
groups.  Public in dtorch.distributed.algorithms.model_averaging.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from dtorch.core.modes import no_grad
from dtorch.core.tensor import Tensor
from dtorch.optim.optimizer import Optimizer
from dtorch.optim.sgd import SGD

from .arguments import NON_MEMBER, AnyGroup, the_group
from .buckets import assign, flatten, unflatten
from .collectives import broadcast
from .group import Group
from .membership import new_subgroups

Params = Iterable[Tensor] | Iterable[dict[str, Any]]
_MB = 1 << 20


def listed(params: Params) -> list[Tensor]:
    """The parameters of a model, or of an optimizer's groups."""
    result: list[Tensor] = []
    for p in params:
        if not isinstance(p, (Tensor, dict)):
            raise NotImplementedError(f"Parameter input of type {type(p)} is not supported")
        result += p["params"] if isinstance(p, dict) else [p]
    return result


def get_params_to_average(params: Params) -> list[Tensor]:
    """Those that have a gradient."""
    return [p for p in listed(params) if p.grad is not None]


@no_grad()
def average_parameters(params: Iterable[Tensor], process_group: AnyGroup) -> None:
    """Replace tensors by their mean over the ranks; outside of the group nothing happens."""
    if process_group is NON_MEMBER:
        return
    group = the_group(process_group)
    arrays = [p._a for p in params]
    for indices in assign(range(len(arrays)), arrays, 25 * _MB, 25 * _MB):
        some = [arrays[i] for i in indices]
        flat = flatten(some)
        group.all_reduce(flat, "avg", "parameters").wait()
        unflatten(flat, some)


def average_parameters_or_parameter_groups(params: Params, process_group: AnyGroup) -> None:
    """average_parameters of those that have a gradient."""
    average_parameters(get_params_to_average(params), process_group)


class ModelAverager(ABC):
    """What averages models; `step` counts the calls of average_parameters."""

    def __init__(self, process_group: AnyGroup = None) -> None:
        self.process_group: Group = the_group(process_group)
        self.step = 0

    @abstractmethod
    def average_parameters(self, params: Params) -> None:
        """Average if it is time; to be called once a step."""


class PeriodicModelAverager(ModelAverager):
    """Every `period` steps, from step number warmup_steps on, the mean over the ranks."""

    def __init__(self, period: int, warmup_steps: int = 0, process_group: AnyGroup = None) -> None:
        super().__init__(process_group)
        _check_warmup(warmup_steps)
        if period < 1:
            raise ValueError("Arg ``period`` must be a positive value.")
        if period == 1:
            _warn_of_one("period")
        self.period, self.warmup_steps = period, warmup_steps

    def average_parameters(self, params: Params) -> None:
        since = self.step - self.warmup_steps
        if since >= 0 and since % self.period == 0:
            average_parameters_or_parameter_groups(params, self.process_group)
        self.step += 1


class HierarchicalModelAverager(ModelAverager):
    """Small groups average often, larger ones seldom.

    period_group_size_dict: how large the groups are that average every so many steps, the last being
        all ranks: {2: 4, 8: 16} averages four neighbours every 2 steps, and all sixteen every 8.
        Where a step is in several periods the largest counts

    Hierarchical local SGD, of Lin et al., "Don't use large mini-batches, use local SGD" (2018).
    """

    def __init__(
        self,
        period_group_size_dict: Mapping[int, int] | None = None,
        warmup_steps: int = 0,
        process_group: AnyGroup = None,
    ) -> None:
        super().__init__(process_group)
        sizes = dict(period_group_size_dict or {})
        if not sizes:
            raise ValueError("Arg ``period_group_size_dict`` must not be empty.")
        periods, whole = list(sizes), self.process_group.size()
        if periods[0] <= 0:
            raise ValueError(
                "The minimum period in arg ``period_group_size_dict`` must be a positive value."
            )
        if periods != sorted(periods):
            raise ValueError(f"expected periods in ascending order, got {periods}")
        if sizes[periods[-1]] != whole:
            raise ValueError(
                f"The last value in arg ``period_group_size_dict`` {sizes[periods[-1]]} must be "
                f"equal to the size of arg ``process_group`` {whole}."
            )
        _check_warmup(warmup_steps)
        if periods[-1] == 1:
            _warn_of_one("the maximum period in arg ``period_group_size_dict``")
        self.warmup_steps = warmup_steps
        self.period_process_group_dict: dict[int, Group | None] = {
            period: self.process_group if size == whole
            else new_subgroups(size, self.process_group)[0]
            for period, size in sizes.items()
        }  # fmt: skip

    def average_parameters(self, params: Params) -> None:
        due = [p for p in self.period_process_group_dict if self.step % p == 0]
        if self.step >= self.warmup_steps and due:
            group = self.period_process_group_dict[due[-1]]
            average_parameters_or_parameter_groups(params, group)
        self.step += 1


class EMAModelAverager(ModelAverager):
    """A moving average of the ranks' mean, beside models that stay as they are.

    Every `period` steps, averages = decay averages + (1 - decay) mean; the first time it is the mean.
    For evaluation, copy_to(model.parameters()) of a copy.  (Not in torch.)
    """

    def __init__(
        self, decay: float = 0.999, period: int = 1, process_group: AnyGroup = None
    ) -> None:
        super().__init__(process_group)
        if not 0 <= decay <= 1:
            raise ValueError(f"expected a decay of 0 to 1, got {decay}")
        if period < 1:
            raise ValueError(f"expected a positive period, got {period}")
        self.decay, self.period = decay, period
        self.averages: list[Tensor] = []

    @no_grad()
    def average_parameters(self, params: Params) -> None:
        self.step += 1
        if self.step % self.period:
            return
        means = [p.detach().clone() for p in listed(params)]
        average_parameters(means, self.process_group)
        if not self.averages:
            self.averages = means
        for average, mean in zip(self.averages, means, strict=True):
            average.lerp_(mean, 1 - self.decay)

    @no_grad()
    def copy_to(self, params: Params) -> None:
        """Replace parameters by the averages; RuntimeError before the first."""
        if not self.averages:
            raise RuntimeError("nothing has been averaged yet")
        for p, average in zip(listed(params), self.averages, strict=True):
            p.copy_(average)


class DiLoCo(ModelAverager):
    """Ranks train apart for `period` steps; then all take one outer step from where they began.

    The outer gradient is the way back: where they began, minus the mean of where they are.  So an
    outer SGD of lr 1 without momentum is PeriodicModelAverager.

    params: the model's; all ranks begin with rank 0's
    period: inner steps to one outer step
    outer_optimizer: makes the outer optimizer of a list of tensors; by default SGD with Nesterov
        momentum of 0.9 and a rate of 0.7

    Douillard et al., "DiLoCo: Distributed low-communication training of language models" (2023),
    algorithm 1.  (Not in torch.)
    """

    def __init__(
        self,
        params: Params,
        period: int,
        outer_optimizer: Callable[[list[Tensor]], Optimizer] | None = None,
        process_group: AnyGroup = None,
    ) -> None:
        super().__init__(process_group)
        if period < 1:
            raise ValueError(f"expected a positive period, got {period}")
        self.period = period
        self.params = listed(params)
        for p in self.params:
            broadcast(p.detach(), group=self.process_group, group_src=0)
        self.start = [p.detach().clone() for p in self.params]
        make = outer_optimizer or _nesterov
        self.optimizer = make([t.requires_grad_() for t in self.start])

    @no_grad()
    def average_parameters(self, params: Params | None = None) -> None:
        """Every `period` calls, the outer step.  It is of the parameters that it was made with."""
        self.step += 1
        if self.step % self.period:
            return
        ways_back = [start.detach() - p.detach() for start, p in zip(self.start, self.params)]
        average_parameters(ways_back, self.process_group)
        for start, way_back in zip(self.start, ways_back):
            start.grad = way_back
        self.optimizer.step()
        self.optimizer.zero_grad()
        for start, p in zip(self.start, self.params):
            p.copy_(start)

    def state_dict(self) -> dict[str, Any]:
        start = [t.detach().clone() for t in self.start]
        return {"step": self.step, "start": start, "optimizer": self.optimizer.state_dict()}

    @no_grad()
    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        for ours, theirs in zip(self.start, state_dict["start"], strict=True):
            ours.copy_(theirs)
        self.optimizer.load_state_dict(state_dict["optimizer"])
        self.step = state_dict["step"]


def _nesterov(params: list[Tensor]) -> Optimizer:
    return SGD(params, lr=0.7, momentum=0.9, nesterov=True)


def _check_warmup(steps: int) -> None:
    if steps < 0:
        raise ValueError("Arg ``warmup_steps`` must be a non-negative number.")


def _warn_of_one(what: str) -> None:
    warnings.warn(
        f"When {what} is 1, no need to use model averaging because the communication cost of "
        "all-reducing parameters will be no less than the cost of all-reducing gradients by "
        "DistributedDataParallel in the backward pass. Therefore, only DistributedDataParallel "
        "should be used for this case.",
        stacklevel=3,
    )
