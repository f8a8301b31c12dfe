"""RAdam: Adam whose adaptive step waits until its variance is known."""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

from .adam import ema
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

    def prepare(self, p, state, group):
        """The step size, and whether the step is divided by sqrt(v)."""
        (beta1, beta2), t = group["betas"], state["step"]
        lr = group["lr"] / (1 - beta1**t)
        longest = 2 / (1 - beta2) - 1  # of the approximated simple moving average
        length = longest - 2 * t * beta2**t / (1 - beta2**t)
        if length <= 5:
            return lr, False
        above = (length - 4) * (length - 2) * longest
        below = (longest - 4) * (longest - 2) * length
        return lr * (above / below * (1 - beta2**t)) ** 0.5, True

    def update(self, xp, p, g, state, group, now):
        (beta1, beta2), (lr, adaptive) = group["betas"], now
        m, v = state["exp_avg"], state["exp_avg_sq"]
        ema(xp, m, g, beta1)
        ema(xp, v, g * g, beta2)
        p -= lr * (m / (xp.sqrt(v) + group["eps"]) if adaptive else m)
