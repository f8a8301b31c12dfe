"""Gradients of several batches that are averaged once: accumulate(k), and means by weight."""

from __future__ import annotations

import math
from types import TracebackType
from typing import TYPE_CHECKING, Any

from dtorch.core.tensor import Tensor
from dtorch.optim.optimizer import Optimizer, register_optimizer_step_pre_hook

from .reducer import Reducer

if TYPE_CHECKING:
    from .ddp import DistributedDataParallel


class Accumulation:
    """DistributedDataParallel.accumulate: only every k-th backward inside averages gradients."""

    def __init__(self, ddp: DistributedDataParallel, k: int) -> None:
        if not isinstance(k, int) or k < 1:
            raise ValueError(f"accumulate: expected a number of batches of at least 1, got {k!r}")
        self._ddp, self._k = ddp, k

    def __enter__(self) -> None:
        reducer = self._ddp.reducer
        if reducer.every > 1 or reducer.held:
            raise RuntimeError("accumulate() inside of accumulate() or no_sync()")
        self._reducer, self._rounds = reducer, reducer.rounds
        reducer.every, reducer.done = self._k, 0
        self._step_hook = register_optimizer_step_pre_hook(self._check_step)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:  # fmt: skip
        reducer = self._reducer
        self._step_hook.remove()
        # A rank that had no batch at all takes part as well: the others may have had one.
        if kind is None and (reducer.done or reducer.rounds == self._rounds):
            self._ddp._share_in_join()
            reducer.average_now()
        reducer.every, reducer.done = 1, 0

    def _check_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        """RuntimeError if an optimizer of the model's parameters steps before the average."""
        done = self._reducer.done
        if done and self._reducer.holds(p for g in optimizer.param_groups for p in g["params"]):
            raise RuntimeError(
                f"optimizer.step() after {done} of the {self._k} backwards of accumulate({self._k}): "
                "gradients are not averaged yet, so that the ranks would part.  Step after "
                f"backward number {self._k}, or after the block, which averages what is there"
            )


def backward_with_weight(reducer: Reducer, loss: Tensor, weight: Any) -> None:
    """See DistributedDataParallel.backward."""
    w = float(weight)
    if not (math.isfinite(w) and w >= 0):
        raise ValueError(f"expected a weight that is finite and not negative, got {w}")
    if loss.numel() != 1:
        raise RuntimeError(f"expected a loss of one element, got shape {tuple(loss.shape)}")
    if reducer.weight is None and reducer.has_gradients():
        raise RuntimeError(
            "gradients without a weight are there, of an earlier step or backward: call zero_grad() "
            "before the first ddp.backward(loss, weight=...) of a step"
        )
    reducer.weight = (reducer.weight or 0.0) + w
    if w == 0 and not loss.isfinite().item():
        reducer.pass_by()  # a mean over nothing, whose gradient times 0 would be nan
        return
    reducer.weighing = True
    try:
        # A product of the two could overflow in half precision.
        loss.backward(loss.detach().new_full(loss.shape, w))
    finally:
        reducer.weighing = False
