"""Learning rate schedulers that go up and down."""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

from bisect import bisect_left
from math import cos, pi

from ._lr_base import LRScheduler, attributes, check_optimizer, each_group, set_rate


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

    def next_lrs(self):
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
    lows = each_group("base_momentum", optimizer, base)
    highs = each_group("max_momentum", optimizer, peak)
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


# mode: what the height of a cycle depends on
_SCALE_MODES = {"triangular": "cycle", "triangular2": "cycle", "exp_range": "iterations"}


class CyclicLR(LRScheduler):
    """Up and down between base_lr and max_lr, the momentum the other way round.

    Smith, "Cyclical learning rates for training neural networks" (2015).
    """

    unsaved = ("optimizer", "_scale_fn_custom")

    def __init__(
        self,
        optimizer,
        base_lr,
        max_lr,
        step_size_up=2000,
        step_size_down=None,
        mode="triangular",
        gamma=1.0,
        scale_fn=None,
        scale_mode="cycle",
        cycle_momentum=True,
        base_momentum=0.8,
        max_momentum=0.9,
        last_epoch=-1,
    ):
        check_optimizer(optimizer)
        if scale_fn is None:
            if mode not in _SCALE_MODES:
                raise ValueError("mode is invalid and scale_fn is None")
            scale_mode = _SCALE_MODES[mode]
        base_lrs = each_group("base_lr", optimizer, base_lr)
        self.max_lrs = each_group("max_lr", optimizer, max_lr)
        down = step_size_up if step_size_down is None else step_size_down
        self.total_size = float(step_size_up + down)
        self.step_ratio = step_size_up / self.total_size
        self.mode, self.gamma = mode, gamma
        self._scale_fn_custom, self.scale_mode = scale_fn, scale_mode
        self.cycle_momentum = cycle_momentum
        if cycle_momentum:
            begin = last_epoch == -1
            self.use_beta1 = _cycle_momentum(optimizer, base_momentum, max_momentum, begin)
            self.base_momentums = each_group("base_momentum", optimizer, base_momentum)
            self.max_momentums = each_group("max_momentum", optimizer, max_momentum)
        if last_epoch == -1:
            for lr, group in zip(base_lrs, optimizer.param_groups):
                set_rate(group, lr)
        super().__init__(optimizer, last_epoch)
        self.base_lrs = base_lrs

    def scale_fn(self, x):
        """The height of a cycle, at the number x of a cycle or of a step."""
        if self._scale_fn_custom is not None:
            return self._scale_fn_custom(x)
        if self.mode == "triangular":
            return 1.0
        return 1 / 2.0 ** (x - 1) if self.mode == "triangular2" else self.gamma**x

    def state_dict(self):
        fn = self._scale_fn_custom
        return {**super().state_dict(), "_scale_fn_custom": attributes(fn)}

    def load_state_dict(self, state_dict):
        rest = dict(state_dict)
        saved = rest.pop("_scale_fn_custom")
        if saved is not None:
            self._scale_fn_custom.__dict__.update(saved)
        super().load_state_dict(rest)

    def next_lrs(self):
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


# A phase of OneCycleLR: its last step, and the names in a group of its rates and momenta.
_PHASE = ("end_step", "start_lr", "end_lr", "start_momentum", "end_momentum")


class OneCycleLR(LRScheduler):
    """Up from max_lr / div_factor to max_lr, then down to a fraction of the first; once.

    Smith and Topin, "Super-convergence" (2017).  The total number of steps is total_steps, or
    epochs * steps_per_epoch; pct_start is the part of it that goes up.
    """

    def __init__(self, optimizer, max_lr, total_steps=None, epochs=None, steps_per_epoch=None,
                 pct_start=0.3, anneal_strategy="cos", cycle_momentum=True, base_momentum=0.85,
                 max_momentum=0.95, div_factor=25.0, final_div_factor=1e4, three_phase=False,
                 last_epoch=-1):  # fmt: skip
        check_optimizer(optimizer)
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
                f"anneal_strategy must be one of 'cos' or 'linear', instead got {anneal_strategy}"
            )
        self.total_steps = total_steps
        self._anneal_func_type = anneal_strategy
        self.cycle_momentum = cycle_momentum
        top, end = pct_start * total_steps - 1, total_steps - 1
        phases = [(top, "initial_lr", "max_lr", "max_momentum", "base_momentum")]
        if three_phase:
            phases.append((2 * top, "max_lr", "initial_lr", "base_momentum", "max_momentum"))
            phases.append((end, "initial_lr", "min_lr", "max_momentum", "max_momentum"))
        else:
            phases.append((end, "max_lr", "min_lr", "base_momentum", "max_momentum"))
        self._schedule_phases = [dict(zip(_PHASE, phase)) for phase in phases]
        highest = each_group("max_lr", optimizer, max_lr)
        if cycle_momentum:
            begin = last_epoch == -1
            self.use_beta1 = _cycle_momentum(optimizer, base_momentum, max_momentum, begin)
        if last_epoch == -1:
            for group, high in zip(optimizer.param_groups, highest):
                low = high / div_factor
                group.update(initial_lr=low, max_lr=high, min_lr=low / final_div_factor)
        super().__init__(optimizer, last_epoch)

    def next_lrs(self):
        if self.last_epoch > self.total_steps:
            raise ValueError(
                f"Tried to step {self.last_epoch} times. The specified number of total steps is "
                f"{self.total_steps}"
            )
        ends = [phase["end_step"] for phase in self._schedule_phases]
        i = bisect_left(ends[:-1], self.last_epoch)
        start = ends[i - 1] if i else 0.0
        part = (self.last_epoch - start) / (ends[i] - start)
        weight = (1 - cos(pi * part)) / 2 if self._anneal_func_type == "cos" else part
        names = [self._schedule_phases[i][key] for key in _PHASE[1:]]
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
