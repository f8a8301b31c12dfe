"""Join: ranks with different numbers of batches; public in dtorch.distributed.algorithms.join.

A rank that has run out of inputs would leave the others waiting in their collectives.  In a Join it
stays instead, and takes part in what they do with contributions that change nothing, until all have
run out.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Sequence
from types import TracebackType
from typing import Any

from dtorch.core.backend import cpu

from .group import Group
from .work import Work

_SKEW = 1000  # batches that a rank may have less than others before it is worth a warning


class JoinHook:
    """What a rank without inputs does for one object."""

    def main_hook(self) -> None:
        """Take part in the collectives of one iteration of the others."""

    def post_hook(self, is_last_joiner: bool) -> None:
        """Called once when all ranks have joined, on every rank."""


class Joinable(ABC):
    """An object whose collectives a rank without inputs can take part in.

    It calls Join.notify_join_context(self) before the collectives of each iteration.
    """

    _join: Join | None = None  # while inside of one

    @abstractmethod
    def join_hook(self, **kwargs: Any) -> JoinHook:
        """The hook; all objects of a Join are given its keyword arguments."""

    @property
    @abstractmethod
    def join_device(self) -> Any:
        """The device of the object's tensors."""

    @property
    @abstractmethod
    def join_process_group(self) -> Group:
        """The ranks, the same for all objects of one Join."""


class Join:
    """`with Join([model]):` around a loop over batches, whose number may differ between ranks.

    joinables: at least one object; the first one's notifications are those that count
    enable: whether to do anything
    throw_on_early_termination: instead of going on, raise RuntimeError on every rank as soon as
        one has run out
    kwargs: for the joinables' join_hook

    active: the ranks that had inputs when the ranks last told each other, in order
    """

    def __init__(self, joinables: Sequence[Joinable], enable: bool = True,
                 throw_on_early_termination: bool = False, **kwargs: Any) -> None:  # fmt: skip
        if not joinables:
            raise ValueError("The join context manager requires at least one joinable")
        for joinable in joinables:
            if not isinstance(joinable, Joinable):
                raise TypeError(
                    f"expected objects that inherit from Joinable, got {type(joinable)}"
                )
        groups = [joinable.join_process_group for joinable in joinables]
        if any(g is not groups[0] for g in groups):
            raise ValueError("Using join context manager with multiple process groups")
        self._joinables = list(joinables)
        self._hooks = [joinable.join_hook(**kwargs) for joinable in joinables]
        self._enable = enable
        self._throw = throw_on_early_termination
        self._group = groups[0]
        self.active = list(range(self._group.size()))

    def __enter__(self) -> None:
        if self._enable:
            for joinable in self._joinables:
                joinable._join = self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:  # fmt: skip
        try:
            if self._enable and kind is None:
                self._take_part()
        finally:
            for joinable in self._joinables:
                joinable._join = None

    def _take_part(self) -> None:
        """Until nobody has inputs any more, do what those do who have."""
        skew = 0
        while True:
            last = self.active
            self._tell(False).wait()
            if not self.active:
                break
            if self._throw:
                raise RuntimeError(f"Rank {self._group.rank()} exhausted all inputs.")
            skew += 1
            if skew == _SKEW:
                warnings.warn(
                    f"Detected uneven input skew of greater than {_SKEW}. This means that rank "
                    f"{self._group.rank()} has at least {_SKEW} fewer inputs than other "
                    "currently-active ranks. This level of skew could lead to performance "
                    "degradation during training.",
                    stacklevel=3,
                )
            for hook in self._hooks:
                hook.main_hook()
        for hook in self._hooks:
            hook.post_hook(self._group.rank() in last)

    def _tell(self, active: bool) -> Work:
        """Tell the others whether this rank has inputs, and learn it of them."""
        everyone = cpu.empty(self._group.size(), bool)
        work = self._group.all_gather(cpu.array([active]), everyone)
        work.then(lambda: self._heard(everyone.nonzero()[0].tolist()))
        return work

    def _heard(self, active: list[int]) -> None:
        self.active = active

    @staticmethod
    def notify_join_context(joinable: Joinable) -> Work | None:
        """Say that this rank still has inputs.

        Returns the Work of the exchange, None outside of a Join and for all joinables but the
        first.  Raises RuntimeError where throw_on_early_termination was given and a rank has run
        out.
        """
        join = joinable._join
        if join is None or join._joinables[0] is not joinable:
            return None
        work = join._tell(True)
        if join._throw:
            work.wait()
            if len(join.active) < join._group.size():
                raise RuntimeError(
                    "Detected at least one rank that exhausted inputs. Throwing across all ranks."
                )
        return work
