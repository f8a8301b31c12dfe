"""Training that goes on when ranks are lost; public as dtorch.distributed.elastic.run.

A rank that dies is seen by the others, which wait for it, and by dtorch-run.  Each leaves its step by
an exception, goes back to the step's beginning, and tells dtorch-run how many it has completed.  The
one that is furthest gives the others its state: all its sums were complete.  With virtual shards the
rest of the run has the bits that it would have had with any number of ranks.

A state changes in three ways.  Parameters and the optimizer's change in its step() alone; what else
there is (buffers, the loader's position, a scheduler) is small, and kept as of the last advance();
gradients are nothing yet.  So a rank can go back at any time, except between step() and advance().
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from dtorch.nn.modules.module import Module
from dtorch.optim.optimizer import Optimizer
from dtorch.utils.data import DataLoader
from dtorch.utils.data.distributed import ShardSampler

from .checkpoint_manager import CheckpointManager, copied
from .ddp import DistributedDataParallel
from .roster import Launcher, Refused, launcher
from .work import DistError
from .world import default_group, rejoin
from .zero import ZeroRedundancyOptimizer

T = TypeVar("T")


class _Leave(Exception):
    """All ranks leave their loops at the end of this step, to let a new one in."""


def run(train: Callable[[], T], state: CheckpointManager) -> T:
    """train(), again and again where ranks are lost, from the state of the rank that is furthest.

    Under `dtorch-run --elastic`; started otherwise, it is train().  All ranks call it once.

    train: a loop from state.step on, with a state.advance() after each optimizer.step(), and no
        collective between the two.  It is left by an exception where a rank is lost, and called
        again: what it needs from one step to the next is in the state
    state: holds the model as a DistributedDataParallel(..., virtual_shards=V), its optimizer, a
        DataLoader with a ShardSampler, and whatever else changes with the steps

    ValueError for a state that can't be passed on.  What train() raises otherwise it raises, too:
    an exception of a rank's own ends the job, as ever.
    """
    boss = launcher()
    if boss is None:
        return train()
    member = _Member(boss, state)
    state.observer = member
    if boss.late:
        member.join(None)
    else:
        boss.running(state.step)
    while True:
        try:
            result = train()
            default_group().barrier().wait()
        except _Leave:
            cause: DistError | None = None
        except DistError as error:
            cause = error
            default_group().abort("a rank was lost")  # who doesn't wait for that one shall see it
        else:
            boss.done()
            return result
        member.join(cause)


class _Member:
    """This rank, as one of those that come and go; the state's Observer.

    torn: the optimizer has begun to step, and the step is not yet counted
    kept: what an optimizer does not change, by part, as of the last step
    """

    def __init__(self, boss: Launcher, state: CheckpointManager) -> None:
        self._boss, self._state = boss, state
        self._timeout = default_group().timeout
        self._models = [p for p in state.parts.values() if isinstance(p, DistributedDataParallel)]
        self._samplers = [
            p.batch_sampler
            for p in state.parts.values()
            if isinstance(p, DataLoader) and isinstance(p.batch_sampler, ShardSampler)
        ]
        self._check()
        self._torn = boss.late  # one that is new has no state that counts
        for part in state.parts.values():
            if isinstance(part, Optimizer):
                part.register_step_pre_hook(self._tear)
        self._kept: dict[str, Any] = {}
        self._keep()

    def _check(self) -> None:
        parts = self._state.parts
        if not self._models or any(m.virtual_shards is None for m in self._models):
            raise ValueError(
                "elastic training needs the model among the state's parts as a "
                "DistributedDataParallel(..., virtual_shards=8), say: else its weights depend on "
                "how many ranks there are"
            )
        for name, part in parts.items():
            if isinstance(part, ZeroRedundancyOptimizer):
                raise ValueError(
                    f"{name!r} is a ZeroRedundancyOptimizer: what it keeps on one rank is lost with it"
                )
            if isinstance(part, DataLoader) and not isinstance(part.batch_sampler, ShardSampler):
                raise ValueError(
                    f"{name!r} is a DataLoader without a batch_sampler=ShardSampler(...), and can't "
                    "be dealt out again to another number of ranks"
                )

    # ---- from step to step -----------------------------------------------------------------------

    def _tear(self, *_: Any) -> None:
        self._torn = True

    def advanced(self) -> bool:
        self._torn = False
        self._keep()
        return self._boss.newcomer()

    def leave(self) -> None:
        raise _Leave

    def _keep(self) -> None:
        self._kept = {
            name: copied(_beside_parameters(part))
            for name, part in self._state.parts.items()
            if not isinstance(part, Optimizer)
        }

    def _go_back(self) -> None:
        """To the beginning of the step."""
        for name, kept in self._kept.items():
            part = self._state.parts[name]
            if isinstance(part, Module):
                part.load_state_dict(kept, strict=False)
            else:
                part.load_state_dict(kept)

    # ---- when ranks come or go -------------------------------------------------------------------

    def join(self, cause: DistError | None) -> None:
        """Be a rank among those that there are now, with the state of the one that is furthest.

        cause: what is raised again where no rank has gone or come
        """
        self._state.forget()
        self._boss.joining = True
        while True:
            self._boss.steps = -1 if self._torn else self._state.step
            try:
                rejoin(self._timeout)
                self._take_over()
            except Refused:
                raise cause or DistError("no rank has gone or come") from None
            except (DistError, ProcessLookupError):  # one more is gone; the latter: its process is
                continue
            return

    def _take_over(self) -> None:
        group, roster = default_group(), self._boss.roster
        donor = roster.donor
        if donor is None:
            raise RuntimeError(
                "no rank has a state to go on from: all were between optimizer.step() and "
                "advance(), where there should be no collective"
            )
        for model in self._models:
            model.rejoin(group)
        for sampler in self._samplers:
            sampler.deal_to(group.rank(), group.size())
        if roster.steps[roster.rank] >= 0:
            self._go_back()
        states: list[Any] = [None]
        if len(set(roster.steps)) > 1:
            if roster.rank == donor:
                states[0] = {name: part.state_dict() for name, part in self._state.parts.items()}
            group.broadcast_objects(states, donor)
        if states[0] is not None and roster.steps[roster.rank] != roster.steps[donor]:
            for name, part in self._state.parts.items():
                part.load_state_dict(states[0][name])
            self._state.step = roster.steps[donor]
            self._torn = False
            self._keep()
        self._boss.running(self._state.step)


def _beside_parameters(part: Any) -> Any:
    """A part's state; of a module what is no parameter."""
    state = part.state_dict()
    if not isinstance(part, Module):
        return state
    parameters = dict(part.named_parameters())
    return {name: value for name, value in state.items() if name not in parameters}
