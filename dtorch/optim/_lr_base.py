"""The base class of learning rate schedulers."""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

import types
import warnings

from ..core.tensor import Tensor
from .optimizer import Optimizer


def _value(x):
    return x.clone() if isinstance(x, Tensor) else x


def rates(optimizer, key="lr"):
    return [_value(group[key]) for group in optimizer.param_groups]


def set_rate(group, lr):
    """A rate that is a Tensor stays the same Tensor."""
    if isinstance(group["lr"], Tensor):
        group["lr"].fill_(float(lr))
    else:
        group["lr"] = lr


def each_group(name, optimizer, given):
    """`given` as a list with a value for each parameter group."""
    n = len(optimizer.param_groups)
    if not isinstance(given, (list, tuple)):
        return [_value(given) for _ in range(n)]
    if len(given) != n:
        raise ValueError(
            f"{name} must have the same length as optimizer.param_groups. {name} has {len(given)} "
            f"values, param_groups has {n}."
        )
    return [_value(x) for x in given]


def attributes(fn):
    """What is saved of a user's function: the attributes of a callable object, else None."""
    plain = fn is None or isinstance(fn, types.FunctionType)
    return None if plain else dict(fn.__dict__)


def warn_of_epoch():
    warnings.warn(
        "The epoch parameter in `scheduler.step()` is deprecated: not every schedule can jump. Call "
        "step() without it, or load a state_dict to go on from an epoch.",
        UserWarning,
        stacklevel=3,
    )


def check_optimizer(optimizer):
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"{type(optimizer).__name__} is not an Optimizer")


class LRScheduler:
    """Base class.  A subclass of yours defines get_lr(), the rates of self.last_epoch.

    The ones here define next_lrs() instead, which get_lr() returns after a warning unless step() has
    called it; or get_factor(), by which each rate is multiplied.

    last_epoch: the epoch to go on from; -1 to begin
    """

    unsaved: tuple[str, ...] = ("optimizer",)  # attributes that are not part of the state
    _is_initial = False
    _get_lr_called_within_step = False

    def __init__(self, optimizer, last_epoch=-1):
        check_optimizer(optimizer)
        self.optimizer = optimizer
        for i, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                group.setdefault("initial_lr", _value(group["lr"]))
            elif "initial_lr" not in group:
                raise KeyError(
                    f"param 'initial_lr' is not specified in param_groups[{i}] when resuming "
                    "scheduler with last_epoch >= 0; load the optimizer's state_dict first"
                )
        self.base_lrs = rates(optimizer, "initial_lr")
        self.last_epoch = last_epoch
        self._initial_step()

    def _initial_step(self):
        self._step_count = 0
        self._is_initial = True
        try:
            self.step()
        finally:
            self._is_initial = False

    def state_dict(self):
        """All attributes but the optimizer."""
        return {k: v for k, v in self.__dict__.items() if k not in self.unsaved}

    def load_state_dict(self, state_dict):
        """Take up what state_dict returned."""
        self.__dict__.update(state_dict)

    def get_last_lr(self):
        """The rates that the last step has set."""
        return self._last_lr

    def get_factor(self):
        """What the rate of the epoch before is multiplied by to give this one's."""
        raise NotImplementedError

    def next_lrs(self):
        """The rate of each group in self.last_epoch."""
        factor = self.get_factor()
        return [group["lr"] * factor for group in self.optimizer.param_groups]

    def get_lr(self):
        """For step() to call; get_last_lr() tells which rates hold."""
        lrs = self.next_lrs()
        if not self._get_lr_called_within_step:
            warnings.warn(
                "To get the last learning rate computed by the scheduler, please use "
                "`get_last_lr()`.",
                UserWarning,
                stacklevel=2,
            )
        return lrs

    def step(self, epoch=None):
        """Set the rates of the next epoch; to be called after optimizer.step()."""
        if self._step_count == 1 and not self.optimizer._opt_called:
            warnings.warn(
                "Detected call of `lr_scheduler.step()` before `optimizer.step()`. Call them in "
                "the opposite order, or the first value of the learning rate schedule is skipped.",
                UserWarning,
                stacklevel=2,
            )
        self._step_count += 1
        if epoch is not None:
            warn_of_epoch()
        self._update_lr(epoch)

    def _update_lr(self, epoch=None):
        self._get_lr_called_within_step = True
        try:
            if epoch is None:
                self.last_epoch += 1
                lrs = self.get_lr()
            else:
                self.last_epoch = epoch
                lrs = self._get_closed_form_lr()
        finally:
            self._get_lr_called_within_step = False
        for group, lr in zip(self.optimizer.param_groups, lrs):
            set_rate(group, lr)
        self._last_lr = rates(self.optimizer)

    def _get_closed_form_lr(self):
        """The rates of an epoch that is jumped to, from the initial ones."""
        return self.get_lr()
