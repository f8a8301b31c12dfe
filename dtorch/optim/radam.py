"""RAdam: Adam whose adaptive step waits until its variance is known."""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

from math import sqrt

from .adam import ema, ema_squared
from .optimizer import Optimizer, check_options, counter, zeros_like


class RAdam(Optimizer):
    """Adam, rectified by the variance of its adaptive step size; plain momentum at first.

    Liu et al., "On the variance of the adaptive learning rate and beyond" (2019).
    """

    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0,
                 decoupled_weight_decay=False, *, foreach=None, maximize=False, capturable=False,
                 differentiable=False):  # fmt: skip
        check_options(lr=lr, eps=eps, betas=betas, weight_decay=weight_decay)
        super().__init__(params, {
            "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay,
            "maximize": maximize, "foreach": foreach, "capturable": capturable,
            "decoupled_weight_decay": decoupled_weight_decay, "differentiable": differentiable,
        })  # fmt: skip

    def init_state(self, p, group):
        return {"step": counter(), "exp_avg": zeros_like(p), "exp_avg_sq": zeros_like(p)}

    def update(self, xp, p, g, state, group, temp):
        (beta1, beta2), t = group["betas"], state["step"]
        m, v, step = state["exp_avg"], state["exp_avg_sq"], temp(1)
        ema(xp, m, g, beta1, step)
        ema_squared(xp, v, g, beta2, step)
        factor = float(group["lr"]) / (1 - beta1**t)
        longest = 2 / (1 - beta2) - 1  # of the approximated simple moving average
        length = longest - 2 * t * beta2**t / (1 - beta2**t)
        if length > 5:
            above = (length - 4) * (length - 2) * longest
            below = (longest - 4) * (longest - 2) * length
            factor *= sqrt(above / below) * sqrt(1 - beta2**t)
            xp.sqrt(v, out=step)
            step += group["eps"]
            xp.divide(m, step, out=step)
            step *= factor
        else:
            xp.multiply(m, factor, out=step)
        p -= step
