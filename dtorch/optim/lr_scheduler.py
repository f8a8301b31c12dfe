"""Learning rate schedulers: what the learning rate of each parameter group is after each epoch.

As in torch a scheduler changes the present rate from step to step, so that several can work on one
optimizer: most multiply it by a factor, which is their `get_factor()`.
"""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from math import cos, pi

from ._lr_base import LRScheduler, attributes, rates
from ._lr_combined import ChainedScheduler, ReduceLROnPlateau, SequentialLR
from ._lr_cycles import CosineAnnealingWarmRestarts, CyclicLR, OneCycleLR

__all__ = [
    "ChainedScheduler", "ConstantLR", "CosineAnnealingLR", "CosineAnnealingWarmRestarts",
    "CyclicLR", "ExponentialLR", "LRScheduler", "LambdaLR", "LinearLR", "MultiStepLR",
    "MultiplicativeLR", "OneCycleLR", "PolynomialLR", "ReduceLROnPlateau", "SequentialLR",
    "StepLR",
]  # fmt: skip


class _LRScheduler(LRScheduler):
    """torch's old name of the base class."""


class _FromBase(LRScheduler):
    """A scheduler that also knows its factor on the initial rates, `get_total_factor()`."""

    def get_total_factor(self):
        """By how much the initial learning rate is multiplied now."""
        raise NotImplementedError

    def _get_closed_form_lr(self):
        factor = self.get_total_factor()
        return [base * factor for base in self.base_lrs]


class _Lambdas(LRScheduler):
    """Functions of the epoch, one for each group.  Of callable objects the attributes are saved."""

    unsaved = ("optimizer", "lr_lambdas")

    def __init__(self, optimizer, lr_lambda, last_epoch=-1):
        n = len(optimizer.param_groups)
        given = list(lr_lambda) if isinstance(lr_lambda, (list, tuple)) else [lr_lambda] * n
        if len(given) != n:
            raise ValueError(f"Expected {n} lr_lambdas, but got {len(given)}")
        for fn in given:
            if not callable(fn):
                raise TypeError(f"lr_lambda should be a function, but got {type(fn).__name__}")
        self.lr_lambdas = given
        super().__init__(optimizer, last_epoch)

    def state_dict(self):
        return {**super().state_dict(), "lr_lambdas": list(map(attributes, self.lr_lambdas))}

    def load_state_dict(self, state_dict):
        rest = dict(state_dict)
        for fn, saved in zip(self.lr_lambdas, rest.pop("lr_lambdas")):
            if saved is not None:
                fn.__dict__.update(saved)
        super().load_state_dict(rest)


class LambdaLR(_Lambdas):
    """initial lr * lr_lambda(epoch)."""

    def next_lrs(self):
        return [base * fn(self.last_epoch) for fn, base in zip(self.lr_lambdas, self.base_lrs)]


class MultiplicativeLR(_Lambdas):
    """lr *= lr_lambda(epoch)."""

    def next_lrs(self):
        if self._is_initial:
            return rates(self.optimizer)
        groups = self.optimizer.param_groups
        return [group["lr"] * fn(self.last_epoch) for fn, group in zip(self.lr_lambdas, groups)]


class StepLR(_FromBase):
    """lr *= gamma every step_size epochs."""

    def __init__(self, optimizer, step_size, gamma=0.1, last_epoch=-1):
        self.step_size = step_size
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def get_factor(self):
        return 1 if self.last_epoch == 0 or self.last_epoch % self.step_size else self.gamma

    def get_total_factor(self):
        """By how much the initial learning rate is multiplied now."""
        return self.gamma ** (self.last_epoch // self.step_size)


class MultiStepLR(_FromBase):
    """lr *= gamma at each milestone, an epoch."""

    def __init__(self, optimizer, milestones, gamma=0.1, last_epoch=-1):
        self.milestones = Counter(milestones)
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def get_factor(self):
        return self.gamma ** self.milestones[self.last_epoch]

    def get_total_factor(self):
        """By how much the initial learning rate is multiplied now."""
        return self.gamma ** bisect_right(sorted(self.milestones.elements()), self.last_epoch)


class ConstantLR(_FromBase):
    """initial lr * factor, until epoch total_iters."""

    def __init__(self, optimizer, factor=1.0 / 3, total_iters=5, last_epoch=-1):
        if factor > 1.0 or factor < 0:
            raise ValueError("Constant multiplicative factor expected to be between 0 and 1.")
        self.factor = factor
        self.total_iters = total_iters
        super().__init__(optimizer, last_epoch)

    def get_factor(self):
        if self.last_epoch == 0:
            return self.factor
        return 1 / self.factor if self.last_epoch == self.total_iters else 1

    def get_total_factor(self):
        """By how much the initial learning rate is multiplied now."""
        return 1 if self.last_epoch >= self.total_iters else self.factor


class LinearLR(_FromBase):
    """initial lr * a factor that goes from start_factor to end_factor in total_iters epochs."""

    def __init__(self, optimizer, start_factor=1.0 / 3, end_factor=1.0, total_iters=5,
                 last_epoch=-1):  # fmt: skip
        if start_factor > 1.0 or start_factor <= 0:
            raise ValueError(
                "Starting multiplicative factor expected to be greater than 0 and less or equal to "
                "1."
            )
        if end_factor > 1.0 or end_factor < 0:
            raise ValueError("Ending multiplicative factor expected to be between 0 and 1.")
        self.start_factor = start_factor
        self.end_factor = end_factor
        self.total_iters = total_iters
        super().__init__(optimizer, last_epoch)

    def get_factor(self):
        if self.last_epoch == 0:
            return self.start_factor
        if self._is_initial or self.last_epoch > self.total_iters:
            return 1
        return self._at(self.last_epoch) / self._at(self.last_epoch - 1)

    def get_total_factor(self):
        """By how much the initial learning rate is multiplied now."""
        return self._at(min(self.total_iters, self.last_epoch))

    def _at(self, epoch):
        return self.start_factor + (self.end_factor - self.start_factor) * epoch / self.total_iters


class ExponentialLR(_FromBase):
    """lr *= gamma every epoch."""

    def __init__(self, optimizer, gamma, last_epoch=-1):
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def get_factor(self):
        return 1 if self._is_initial else self.gamma

    def get_total_factor(self):
        """By how much the initial learning rate is multiplied now."""
        return self.gamma**self.last_epoch


class PolynomialLR(_FromBase):
    """initial lr * (1 - epoch / total_iters)^power, until it is zero."""

    def __init__(self, optimizer, total_iters=5, power=1.0, last_epoch=-1):
        self.total_iters = total_iters
        self.power = power
        super().__init__(optimizer, last_epoch)

    def get_factor(self):
        if self._is_initial or self.last_epoch > self.total_iters:
            return 1
        left = self.total_iters - self.last_epoch
        return (left / (left + 1)) ** self.power

    def get_total_factor(self):
        """By how much the initial learning rate is multiplied now."""
        return (1 - min(self.total_iters, self.last_epoch) / self.total_iters) ** self.power


class CosineAnnealingLR(LRScheduler):
    """From the initial lr down to eta_min in T_max epochs along half a cosine, and up again.

    Loshchilov and Hutter, "SGDR: stochastic gradient descent with warm restarts" (2016), without
    the restarts.
    """

    def __init__(self, optimizer, T_max, eta_min=0.0, last_epoch=-1):
        self.T_max = T_max
        self.eta_min = eta_min
        super().__init__(optimizer, last_epoch)

    def next_lrs(self):
        groups, low, t = self.optimizer.param_groups, self.eta_min, self.last_epoch
        if self._is_initial:
            return rates(self.optimizer)
        if self._step_count == 1 and t > 0:
            return self._get_closed_form_lr()
        if (t - 1 - self.T_max) % (2 * self.T_max) == 0:  # the epoch before was at the bottom
            rise = (1 - cos(pi / self.T_max)) / 2
            return [g["lr"] + (base - low) * rise for base, g in zip(self.base_lrs, groups)]
        ratio = (1 + cos(pi * t / self.T_max)) / (1 + cos(pi * (t - 1) / self.T_max))
        return [ratio * (g["lr"] - low) + low for g in groups]

    def _get_closed_form_lr(self):
        height = (1 + cos(pi * self.last_epoch / self.T_max)) / 2
        return [self.eta_min + (base - self.eta_min) * height for base in self.base_lrs]
