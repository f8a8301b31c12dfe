"""Learning rate schedulers: what the learning rate of each parameter group is after each epoch.

As in torch a scheduler changes the present rate from step to step, so that several can work on one
optimizer: most multiply it by a factor, which is their `get_factor()`.
"""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

import types
import warnings
from bisect import bisect_right
from collections import Counter
from math import cos, inf, pi

from ..core.tensor import Tensor
from .optimizer import Optimizer


def _value(x):
    return x.clone() if isinstance(x, Tensor) else x


def _rates(optimizer, key="lr"):
    return [_value(group[key]) for group in optimizer.param_groups]


def _set_rate(group, lr):
    """A rate that is a Tensor stays the same Tensor."""
    if isinstance(group["lr"], Tensor):
        group["lr"].fill_(float(lr))
    else:
        group["lr"] = lr


def _each_group(name, optimizer, given):
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


def _check_optimizer(optimizer):
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"{type(optimizer).__name__} is not an Optimizer")


class LRScheduler:
    """Base class.  A subclass defines get_lr(), or get_factor(), by which each rate is multiplied.

    last_epoch: the epoch to go on from; -1 to begin
    """

    unsaved = ("optimizer",)  # attributes that are not part of the state
    _is_initial = False

    def __init__(self, optimizer, last_epoch=-1):
        _check_optimizer(optimizer)
        self.optimizer = optimizer
        for i, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                group.setdefault("initial_lr", _value(group["lr"]))
            elif "initial_lr" not in group:
                raise KeyError(
                    f"param 'initial_lr' is not specified in param_groups[{i}] when resuming "
                    "scheduler with last_epoch >= 0; load the optimizer's state_dict first"
                )
        self.base_lrs = _rates(optimizer, "initial_lr")
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
        return {
            k: v for k, v in self.__dict__.items() if k not in self.unsaved and k != "_is_initial"
        }

    def load_state_dict(self, state_dict):
        """Take up what state_dict returned."""
        self.__dict__.update(state_dict)

    def get_last_lr(self):
        """The rates that the last step has set."""
        return self._last_lr

    def get_factor(self):
        """What the rate of the epoch before is multiplied by to give this one's."""
        raise NotImplementedError

    def get_lr(self):
        factor = self.get_factor()
        return [group["lr"] * factor for group in self.optimizer.param_groups]

    def step(self, epoch=None):
        """Set the rates of the next epoch; to be called after optimizer.step()."""
        if self._step_count == 1 and not self.optimizer._opt_called:
            warnings.warn(
                "Detected call of `lr_scheduler.step()` before `optimizer.step()`. Call them in the "
                "opposite order, or the first value of the learning rate schedule is skipped.",
                UserWarning,
                stacklevel=2,
            )
        self._step_count += 1
        self._update_lr(epoch)

    def _update_lr(self, epoch=None):
        if epoch is None:
            self.last_epoch += 1
            lrs = self.get_lr()
        else:
            self.last_epoch = epoch
            lrs = self._get_closed_form_lr()
        for group, lr in zip(self.optimizer.param_groups, lrs):
            _set_rate(group, lr)
        self._last_lr = _rates(self.optimizer)

    def _get_closed_form_lr(self):
        """The rates of an epoch that is jumped to, from the initial ones."""
        return self.get_lr()


_LRScheduler = LRScheduler


class _FromBase(LRScheduler):
    """A scheduler that also knows its factor on the initial rates, `get_total_factor()`."""

    def get_total_factor(self):
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
        saved = [
            None if isinstance(fn, types.FunctionType) else dict(fn.__dict__)
            for fn in self.lr_lambdas
        ]
        return {**super().state_dict(), "lr_lambdas": saved}

    def load_state_dict(self, state_dict):
        rest = dict(state_dict)
        for fn, saved in zip(self.lr_lambdas, rest.pop("lr_lambdas")):
            if saved is not None:
                fn.__dict__.update(saved)
        super().load_state_dict(rest)


class LambdaLR(_Lambdas):
    """initial lr * lr_lambda(epoch)."""

    def get_lr(self):
        return [base * fn(self.last_epoch) for fn, base in zip(self.lr_lambdas, self.base_lrs)]


class MultiplicativeLR(_Lambdas):
    """lr *= lr_lambda(epoch)."""

    def get_lr(self):
        if self._is_initial:
            return _rates(self.optimizer)
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
        return 1 if self.last_epoch >= self.total_iters else self.factor


class LinearLR(_FromBase):
    """initial lr * a factor that goes from start_factor to end_factor in total_iters epochs."""

    def __init__(self, optimizer, start_factor=1.0 / 3, end_factor=1.0, total_iters=5, last_epoch=-1):
        if start_factor > 1.0 or start_factor <= 0:
            raise ValueError(
                "Starting multiplicative factor expected to be greater than 0 and less or equal to 1."
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

    def get_lr(self):
        groups, low, t = self.optimizer.param_groups, self.eta_min, self.last_epoch
        if self._is_initial:
            return _rates(self.optimizer)
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


class CosineAnnealingWarmRestarts(LRScheduler):
    """Cosines from the initial lr to eta_min, the first T_0 epochs long, each next T_mult times so.

    Loshchilov and Hutter, "SGDR: stochastic gradient descent with warm restarts" (2016).
    """

    def __init__(self, optimizer, T_0, T_mult=1, eta_min=0.0, last_epoch=-1):
        if not isinstance(T_0, int) or T_0 <= 0:
            raise ValueError(f"Expected positive integer T_0, but got {T_0}")
        if not isinstance(T_mult, int) or T_mult < 1:
            raise ValueError(f"Expected integer T_mult >= 1, but got {T_mult}")
        if not isinstance(eta_min, (float, int)):
            raise ValueError(
                f"Expected float or int eta_min, but got {eta_min} of type {type(eta_min)}"
            )
        self.T_0 = self.T_i = T_0
        self.T_mult = T_mult
        self.eta_min = eta_min
        self.T_cur = last_epoch
        super().__init__(optimizer, last_epoch)

    def get_lr(self):
        height = (1 + cos(pi * self.T_cur / self.T_i)) / 2
        return [self.eta_min + (base - self.eta_min) * height for base in self.base_lrs]

    def step(self, epoch=None):
        """Go on by one epoch, or to `epoch`, which may be a fraction."""
        if epoch is None:
            epoch = self.last_epoch + 1
        if epoch < 0:
            raise ValueError(f"Expected non-negative epoch, but got {epoch}")
        self._step_count += 1
        self.T_i, self.T_cur = self.T_0, epoch
        if self.T_mult == 1:
            self.T_cur = epoch % self.T_0
        while self.T_cur >= self.T_i:
            self.T_cur -= self.T_i
            self.T_i *= self.T_mult
        self._update_lr(int(epoch // 1))


def _cycle_momentum(optimizer, base, peak, begin):
    """Prepare each group for a momentum (or beta1) between base and peak; whether it is beta1."""
    if "momentum" not in optimizer.defaults and "betas" not in optimizer.defaults:
        raise ValueError(
            "optimizer must support momentum or beta1 with `cycle_momentum` option enabled"
        )
    beta1 = "betas" in optimizer.defaults
    lows = _each_group("base_momentum", optimizer, base)
    highs = _each_group("max_momentum", optimizer, peak)
    if begin:
        for group, low, high in zip(optimizer.param_groups, lows, highs):
            _set_momentum(group, high, beta1)
            group["max_momentum"], group["base_momentum"] = high, low
    return beta1


def _set_momentum(group, value, beta1):
    if beta1:
        group["betas"] = (value, *group["betas"][1:])
    else:
        group["momentum"] = value


class CyclicLR(LRScheduler):
    """Up and down between base_lr and max_lr, the momentum the other way round.

    Smith, "Cyclical learning rates for training neural networks" (2015).
    """

    unsaved = ("optimizer", "scale_fn")

    def __init__(self, optimizer, base_lr, max_lr, step_size_up=2000, step_size_down=None,
                 mode="triangular", gamma=1.0, scale_fn=None, scale_mode="cycle",
                 cycle_momentum=True, base_momentum=0.8, max_momentum=0.9, last_epoch=-1):  # fmt: skip
        _check_optimizer(optimizer)
        scales = {
            "triangular": (lambda cycle: 1.0, "cycle"),
            "triangular2": (lambda cycle: 1 / 2.0 ** (cycle - 1), "cycle"),
            "exp_range": (lambda epoch: gamma**epoch, "iterations"),
        }
        if scale_fn is None:
            if mode not in scales:
                raise ValueError("mode is invalid and scale_fn is None")
            scale_fn, scale_mode = scales[mode]
        base_lrs = _each_group("base_lr", optimizer, base_lr)
        self.max_lrs = _each_group("max_lr", optimizer, max_lr)
        down = step_size_up if step_size_down is None else step_size_down
        self.total_size = float(step_size_up + down)
        self.step_ratio = step_size_up / self.total_size
        self.mode, self.gamma = mode, gamma
        self.scale_fn, self.scale_mode = scale_fn, scale_mode
        self.cycle_momentum = cycle_momentum
        if last_epoch == -1:
            for lr, group in zip(base_lrs, optimizer.param_groups):
                _set_rate(group, lr)
        if cycle_momentum:
            self.use_beta1 = _cycle_momentum(optimizer, base_momentum, max_momentum, last_epoch == -1)
        super().__init__(optimizer, last_epoch)
        self.base_lrs = base_lrs

    def get_lr(self):
        cycle = int(1 + self.last_epoch / self.total_size)
        x = 1 + self.last_epoch / self.total_size - cycle
        up = x <= self.step_ratio
        height = x / self.step_ratio if up else (x - 1) / (self.step_ratio - 1)
        height *= self.scale_fn(cycle if self.scale_mode == "cycle" else self.last_epoch)
        if self.cycle_momentum:
            for group in self.optimizer.param_groups:
                low, high = group["base_momentum"], group["max_momentum"]
                _set_momentum(group, high - (high - low) * height, self.use_beta1)
        return [base + (top - base) * height for base, top in zip(self.base_lrs, self.max_lrs)]


class OneCycleLR(LRScheduler):
    """Up from max_lr / div_factor to max_lr, then down to a fraction of the first; once.

    Smith and Topin, "Super-convergence" (2017).  The total number of steps is total_steps, or
    epochs * steps_per_epoch; pct_start is the part of it that goes up.
    """

    def __init__(self, optimizer, max_lr, total_steps=None, epochs=None, steps_per_epoch=None,
                 pct_start=0.3, anneal_strategy="cos", cycle_momentum=True, base_momentum=0.85,
                 max_momentum=0.95, div_factor=25.0, final_div_factor=1e4, three_phase=False,
                 last_epoch=-1):  # fmt: skip
        _check_optimizer(optimizer)
        if total_steps is None:
            if epochs is None or steps_per_epoch is None:
                raise ValueError(
                    "You must define either total_steps OR (epochs AND steps_per_epoch)"
                )
            _check_positive(epochs=epochs, steps_per_epoch=steps_per_epoch)
            total_steps = epochs * steps_per_epoch
        _check_positive(total_steps=total_steps)
        if not isinstance(pct_start, float) or not 0 <= pct_start <= 1:
            raise ValueError(f"Expected float between 0 and 1 pct_start, but got {pct_start}")
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(
                "anneal_strategy must be one of 'cos' or 'linear', instead got "
                f"{anneal_strategy}"
            )
        self.total_steps = total_steps
        self.anneal_strategy = anneal_strategy
        self.cycle_momentum = cycle_momentum
        top = pct_start * total_steps - 1
        # (last step, rate at its start, at its end, momentum at its start, at its end)
        up = (top, "initial_lr", "max_lr", "max_momentum", "base_momentum")
        end = total_steps - 1
        if three_phase:
            down = (2 * top, "max_lr", "initial_lr", "base_momentum", "max_momentum")
            rest = (end, "initial_lr", "min_lr", "max_momentum", "max_momentum")
            self.phases = [up, down, rest]
        else:
            self.phases = [up, (end, "max_lr", "min_lr", "base_momentum", "max_momentum")]
        highest = _each_group("max_lr", optimizer, max_lr)
        if cycle_momentum:
            self.use_beta1 = _cycle_momentum(optimizer, base_momentum, max_momentum, last_epoch == -1)
        if last_epoch == -1:
            for group, high in zip(optimizer.param_groups, highest):
                low = high / div_factor
                group.update(initial_lr=low, max_lr=high, min_lr=low / final_div_factor)
        super().__init__(optimizer, last_epoch)

    def get_lr(self):
        if self.last_epoch > self.total_steps:
            raise ValueError(
                f"Tried to step {self.last_epoch} times. The specified number of total steps is "
                f"{self.total_steps}"
            )
        start = 0.0
        for end, *names in self.phases[:-1]:
            if self.last_epoch <= end:
                break
            start = end
        else:
            end, *names = self.phases[-1]
        part = (self.last_epoch - start) / (end - start)
        weight = (1 - cos(pi * part)) / 2 if self.anneal_strategy == "cos" else part
        lrs = []
        for group in self.optimizer.param_groups:
            lr0, lr1, m0, m1 = (group.get(name) for name in names)
            lrs.append(lr0 + (lr1 - lr0) * weight)
            if self.cycle_momentum:
                _set_momentum(group, m0 + (m1 - m0) * weight, self.use_beta1)
        return lrs


def _check_positive(**given):
    for name, n in given.items():
        if not isinstance(n, int) or n <= 0:
            raise ValueError(f"Expected positive integer {name}, but got {n}")


class _Several(LRScheduler):
    """A scheduler made of others for the same optimizer."""

    unsaved = ("optimizer", "_schedulers")

    def _take(self, schedulers, optimizer):
        name = type(self).__name__
        if not schedulers:
            raise ValueError(f"{name} expects at least one scheduler, but got no scheduler.")
        for i, s in enumerate(schedulers):
            if not hasattr(s, "optimizer"):
                raise TypeError(f"{name} at index {i} should have `optimizer` as its attribute.")
            if isinstance(s, ReduceLROnPlateau):
                raise ValueError(
                    f"{name} does not support `ReduceLROnPlateau` scheduler as it requires additional "
                    f"kwargs to be specified when calling `step`, but got one at index {i}."
                )
            if s.optimizer is not (optimizer or schedulers[0].optimizer):
                raise ValueError(
                    f"{name} expects all schedulers to belong to the same optimizer, but got "
                    f"scheduler {type(s).__name__} at index {i} with another one."
                )
        self._schedulers = list(schedulers)
        self.optimizer = schedulers[0].optimizer

    def state_dict(self):
        return {**super().state_dict(), "_schedulers": [s.state_dict() for s in self._schedulers]}

    def load_state_dict(self, state_dict):
        rest = dict(state_dict)
        for s, saved in zip(self._schedulers, rest.pop("_schedulers")):
            s.load_state_dict(saved)
        super().load_state_dict(rest)


class SequentialLR(_Several):
    """One scheduler after the other: schedulers[i + 1] begins at epoch milestones[i]."""

    def __init__(self, optimizer, schedulers, milestones, last_epoch=-1):
        self._take(schedulers, optimizer)
        if len(milestones) != len(schedulers) - 1:
            raise ValueError(
                "Sequential Schedulers expects number of schedulers provided to be one more than the "
                f"number of milestone points, but got number of schedulers {len(schedulers)} and the "
                f"number of milestones to be equal to {len(milestones)}"
            )
        self._milestones = milestones
        self.last_epoch = last_epoch + 1
        # Each scheduler made its initial step when it was made: take all of these back, and begin.
        for group in optimizer.param_groups:
            _set_rate(group, group["initial_lr"])
        self._undo()
        first = self._schedulers[bisect_right(milestones, 0)]
        first._initial_step()
        self._last_lr = first.get_last_lr()

    def _undo(self):
        for s in self._schedulers:
            if isinstance(s, _Several):
                s._undo()
            else:
                s.last_epoch -= 1

    def _initial_step(self):
        self._schedulers[0]._initial_step()

    def step(self):
        self.last_epoch += 1
        i = bisect_right(self._milestones, self.last_epoch)
        scheduler = self._schedulers[i]
        if i > 0 and self._milestones[i - 1] == self.last_epoch:
            scheduler._update_lr(0)
        else:
            scheduler.step()
        self._last_lr = scheduler.get_last_lr()


class ChainedScheduler(_Several):
    """All schedulers at once, each on what the one before has set."""

    def __init__(self, schedulers, optimizer=None):
        self._take(schedulers, optimizer)
        self._last_lr = _rates(self.optimizer)

    _undo = SequentialLR._undo

    def _initial_step(self):
        for s in self._schedulers:
            s._initial_step()

    def step(self):
        for s in self._schedulers:
            s.step()
        self._last_lr = _rates(self.optimizer)


class ReduceLROnPlateau(LRScheduler):
    """lr *= factor after more than `patience` epochs in which a metric has not improved.

    mode: "min" or "max", what is better; threshold: by how much at least, as a part of the best
        ("rel") or absolutely ("abs"); cooldown: epochs to wait after each reduction
    """

    def __init__(self, optimizer, mode="min", factor=0.1, patience=10, threshold=1e-4,
                 threshold_mode="rel", cooldown=0, min_lr=0, eps=1e-8):  # fmt: skip
        if factor >= 1.0:
            raise ValueError("Factor should be < 1.0.")
        _check_optimizer(optimizer)
        if mode not in ("min", "max"):
            raise ValueError(f"mode {mode} is unknown!")
        if threshold_mode not in ("rel", "abs"):
            raise ValueError(f"threshold mode {threshold_mode} is unknown!")
        self.optimizer = optimizer
        self.min_lrs = _each_group("min_lr", optimizer, min_lr)
        self.factor, self.patience, self.cooldown, self.eps = factor, patience, cooldown, eps
        self.mode, self.threshold, self.threshold_mode = mode, threshold, threshold_mode
        self.last_epoch = 0
        self._last_lr = _rates(optimizer)
        self._reset()

    def _reset(self):
        """Forget the best metric and begin to count anew."""
        self.best = inf if self.mode == "min" else -inf
        self.cooldown_counter = self.num_bad_epochs = 0

    @property
    def in_cooldown(self):
        return self.cooldown_counter > 0

    def _is_better(self, metric):
        sign = 1 if self.mode == "max" else -1
        if self.threshold_mode == "rel":
            return sign * metric > sign * self.best * (1 + sign * self.threshold)
        return sign * metric > sign * self.best + self.threshold

    def step(self, metrics, epoch=None):
        """Count an epoch that ended with this metric, and reduce the rates if it is time to."""
        metric = float(metrics)
        self.last_epoch = self.last_epoch + 1 if epoch is None else epoch
        if self._is_better(metric):
            self.best = metric
            self.num_bad_epochs = 0
        else:
            self.num_bad_epochs += 1
        if self.in_cooldown:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        if self.num_bad_epochs > self.patience:
            self._reduce()
            self.cooldown_counter = self.cooldown
            self.num_bad_epochs = 0
        self._last_lr = _rates(self.optimizer)

    def _reduce(self):
        if len(self.min_lrs) != len(self.optimizer.param_groups):
            raise RuntimeError(
                f"the optimizer has {len(self.optimizer.param_groups)} param groups, but had "
                f"{len(self.min_lrs)} when ReduceLROnPlateau was made; extend its min_lrs"
            )
        for group, lowest in zip(self.optimizer.param_groups, self.min_lrs):
            old = float(group["lr"])
            new = max(old * self.factor, lowest)
            if old - new > self.eps:
                _set_rate(group, new)
