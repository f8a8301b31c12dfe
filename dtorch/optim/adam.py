"""Adam, and what it shares with its relatives."""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

from math import sqrt

from .optimizer import Optimizer, check_options, counter, zeros_like


def ema(xp, average, value, decay, out):
    """average = decay average + (1 - decay) value, in place; `out` is scratch memory."""
    average *= decay
    average += xp.multiply(value, 1 - decay, out=out)


def ema_squared(xp, average, value, decay, out):
    """average = decay average + (1 - decay) value^2, in place; `out` is scratch memory."""
    ema(xp, average, xp.multiply(value, value, out=out), decay, out)


class Adam(Optimizer):
    """p -= lr m / (sqrt(v) + eps), m and v running means of g and g^2 without their bias to zero.

    Kingma and Ba, "Adam: a method for stochastic optimization" (2014); amsgrad: Reddi et al., "On
    the convergence of Adam and beyond" (2018).
    """

    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0,
                 amsgrad=False, *, foreach=None, maximize=False, capturable=False,
                 differentiable=False, fused=None, decoupled_weight_decay=False):  # fmt: skip
        check_options(lr=lr, eps=eps, betas=betas, weight_decay=weight_decay)
        super().__init__(params, {
            "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "amsgrad": amsgrad,
            "maximize": maximize, "foreach": foreach, "capturable": capturable,
            "differentiable": differentiable, "fused": fused,
            "decoupled_weight_decay": decoupled_weight_decay,
        })  # fmt: skip

    def init_state(self, p, group):
        names = ["exp_avg", "exp_avg_sq"] + ["max_exp_avg_sq"] * group["amsgrad"]
        return {"step": counter(), **{name: zeros_like(p) for name in names}}

    def update(self, xp, p, g, state, group, temp):
        beta1, beta2 = map(float, group["betas"])
        m, v, t = state["exp_avg"], state["exp_avg_sq"], state["step"]
        ema(xp, m, g, beta1, temp(1))
        ema_squared(xp, v, g, beta2, temp(1))
        if group["amsgrad"]:
            v = xp.maximum(state["max_exp_avg_sq"], v, out=state["max_exp_avg_sq"])
        # The two corrections of the bias go into scalars, not over the arrays once more:
        # lr m' / (sqrt(v') + eps) = (lr sqrt(c2) / c1) m / (sqrt(v) + eps sqrt(c2))
        c1, c2 = 1 - beta1**t, sqrt(1 - beta2**t)
        step = xp.sqrt(v, out=temp(1))
        step += group["eps"] * c2
        step = xp.divide(m, step, out=step)
        step *= float(group["lr"]) * c2 / c1
        p -= step
