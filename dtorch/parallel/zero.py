"""ZeroRedundancyOptimizer: each rank keeps the optimizer's state of its share of the parameters.

Rajbhandari et al., "ZeRO: Memory optimizations toward training trillion parameter models" (2020),
stage 1.  Gradients are everybody's, as DistributedDataParallel leaves them; a rank steps its own
parameters only, and the ranks then give each other the results.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dtorch.core import backend
from dtorch.core.device import of as device_of
from dtorch.core.modes import no_grad
from dtorch.core.tensor import Tensor, wrap
from dtorch.optim.optimizer import Optimizer, ParamsT

from .arguments import AnyGroup, the_group
from .buckets import flatten, unflatten
from .group import Group
from .join import Joinable, JoinHook
from .messages import recv_object_list, send_object_list


class ZeroRedundancyOptimizer(Optimizer, Joinable):
    """An optimizer whose state is spread over the ranks: about 1/n of it on each of n.

    params: of a model that is the same on all ranks, which all make this; groups as anywhere
    optimizer_class: what steps the parameters, as dtorch.optim.Adam; one that needs a closure several
        times a step (LBFGS) can't be spread
    process_group: the ranks; the default group if None
    parameters_as_bucket_view: lay the parameters out in common memory, so that they are exchanged
        without copies; changes where p.data is, so make it before anything holds views of them
    overlap_with_ddp: accepted, as torch's, and changes nothing: step() does all of a step
    defaults: the options of optimizer_class

    A parameter is one rank's as a whole, given to the rank that has the least so far, the largest
    first.  Steps have the bits of the optimizer that is not spread.  state_dict() is what that one
    would give, on a rank that consolidate_state_dict() has gathered it on.
    """

    def __init__(
        self,
        params: ParamsT,
        optimizer_class: Callable[..., Optimizer],
        process_group: AnyGroup = None,
        parameters_as_bucket_view: bool = False,
        overlap_with_ddp: bool = False,
        **defaults: Any,
    ) -> None:
        self.process_group = the_group(process_group)
        self.rank, self.world_size = self.process_group.rank(), self.process_group.size()
        self.parameters_as_bucket_view = parameters_as_bucket_view
        self._rank_of: dict[Tensor, int] = {}
        self._loads = [0] * self.world_size  # elements by rank
        self._consolidated: list[dict[str, Any]] | None = None
        self.optim: Optimizer | None = None
        super().__init__(params, defaults)
        self.optim = optimizer_class([self._own_part(g) for g in self.param_groups], **defaults)
        self._copy_options(self.optim, self)
        self._lay_out()

    @property
    def _local(self) -> Optimizer:
        assert self.optim is not None
        return self.optim

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        for p in sorted(group["params"], key=Tensor.numel, reverse=True):
            rank = self._loads.index(min(self._loads))
            self._rank_of[p] = rank
            self._loads[rank] += p.numel()
        if self.optim is not None:
            self.optim.add_param_group(self._own_part(group))
            self._copy_options(self.optim, self)
            self._lay_out()

    def _own_part(self, group: dict[str, Any]) -> dict[str, Any]:
        """A group with this rank's of its parameters."""
        own = [i for i, p in enumerate(group["params"]) if self._rank_of[p] == self.rank]
        part = {**group, "params": [group["params"][i] for i in own]}
        if "param_names" in group:
            part["params"] = [(group["param_names"][i], group["params"][i]) for i in own]
            del part["param_names"]
        return part

    def _lay_out(self) -> None:
        """By dtype and device: each rank's parameters, and the flat memory of all if they are views."""
        kinds: dict[Any, list[list[Tensor]]] = {}
        for p, rank in self._rank_of.items():
            kind = kinds.setdefault((device_of(p._a), p._a.dtype), [[] for _ in self._loads])
            kind[rank].append(p)
        self._kinds: list[tuple[list[list[Tensor]], Any]] = []
        for by_rank in kinds.values():
            flat = None
            if self.parameters_as_bucket_view:
                params = [p for some in by_rank for p in some]
                flat = flatten([p._a for p in params])
                start = 0
                for p in params:
                    end = start + p.numel()
                    p.data = wrap(flat[start:end].reshape(p._a.shape))
                    start = end
            self._kinds.append((by_rank, flat))

    # ---- the step --------------------------------------------------------------------------------

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Step this rank's parameters, and take the others' over from their ranks."""
        self._copy_options(self, self._local)
        loss = self._local.step(closure)
        self._copy_options(self._local, self)
        self._exchange()
        return loss

    @no_grad()
    def _exchange(self) -> None:
        group, rank = self.process_group, self.rank
        if self.world_size == 1:
            return
        for by_rank, memory in self._kinds:
            counts = [sum(p.numel() for p in params) for params in by_rank]
            everybody = [p._a for params in by_rank for p in params]
            xp = backend.of(*everybody)
            flat = xp.empty(sum(counts), everybody[0].dtype) if memory is None else memory
            start = sum(counts[:rank])
            # Not a part of what is received into, which MPI forbids.
            own = xp.concatenate([p._a.reshape(-1) for p in by_rank[rank]] or [flat[:0]])
            group.all_gather(own, flat, counts).wait()
            before = sum(map(len, by_rank[:rank]))
            after = before + len(by_rank[rank])
            unflatten(flat[:start], everybody[:before])
            unflatten(flat[start + counts[rank] :], everybody[after:])

    @staticmethod
    def _copy_options(source: Optimizer, target: Optimizer) -> None:
        """Schedulers change those of this optimizer, a step may change those of the local one."""
        for ours, theirs in zip(source.param_groups, target.param_groups):
            theirs.update({k: v for k, v in ours.items() if k not in ("params", "param_names")})

    # ---- state -----------------------------------------------------------------------------------

    def consolidate_state_dict(self, to: int = 0) -> None:
        """Gather the state of all ranks on rank `to` of the group.  All ranks call it."""
        self._copy_options(self, self._local)
        mine = self._local.state_dict()
        self._consolidated = None
        if self.rank != to:
            send_object_list([mine], group=self.process_group, group_dst=to)
            return
        everyones = [mine] * self.world_size
        for rank in range(self.world_size):
            if rank != to:
                received: list[Any] = [None]
                recv_object_list(received, group=self.process_group, group_src=rank)
                everyones[rank] = received[0]
        self._consolidated = everyones

    def state_dict(self) -> dict[str, Any]:
        """The state as of the last consolidate_state_dict, which must have been to this rank.

        RuntimeError otherwise.
        """
        if self._consolidated is None:
            raise RuntimeError(
                "Optimizer state has not been consolidated on this rank. Please call "
                f"`consolidate_state_dict(to={self.rank})` on all ranks beforehand if you meant to "
                "save the global state."
            )
        result = super().state_dict()
        for rank, local in enumerate(self._consolidated):
            numbers = self._numbers(rank)
            result["state"].update({numbers[i]: s for i, s in local["state"].items()})
        result["state"] = dict(sorted(result["state"].items()))
        return result

    def own_state_dict(self) -> dict[str, Any]:
        """The part of state_dict() that this rank keeps: the options, and its parameters' state."""
        result = super().state_dict()
        numbers = self._numbers(self.rank)
        assert self.optim is not None
        result["state"] = {numbers[i]: s for i, s in self.optim.state_dict()["state"].items()}
        return result

    def _numbers(self, rank: int) -> list[int]:
        """The numbers of a rank's parameters among all, in their order there."""
        return [i for i, p in enumerate(self._params()) if self._rank_of[p] == rank]

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up this rank's part of a whole state: of this optimizer or of one that isn't spread."""
        numbers = {number: i for i, number in enumerate(self._numbers(self.rank))}
        state, groups = state_dict["state"], state_dict["param_groups"]
        super().load_state_dict({"state": {}, "param_groups": groups})
        own = {numbers[number]: s for number, s in state.items() if number in numbers}
        local = self._local.state_dict()["param_groups"]
        options = [{**g, "params": part["params"]} for g, part in zip(groups, local)]
        for group in options:
            group.pop("param_names", None)
        self._local.load_state_dict({"state": own, "param_groups": options})

    # ---- ranks with different numbers of batches -------------------------------------------------

    def join_hook(self, **kwargs: Any) -> JoinHook:
        return _Steps(self)

    @property
    def join_device(self) -> Any:
        return next(iter(self._rank_of)).device

    @property
    def join_process_group(self) -> Group:
        return self.process_group


class _Steps(JoinHook):
    """A rank without inputs goes on stepping its parameters, by the gradients of the others.

    In `Join([ddp, zero])` it has them from ddp, which has to come first.
    """

    def __init__(self, zero: ZeroRedundancyOptimizer) -> None:
        self._zero = zero

    def main_hook(self) -> None:
        self._zero.step()
