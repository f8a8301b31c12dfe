"""RMSprop."""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

from .adam import ema
from .optimizer import Optimizer, check_options, counter, zeros_like


class RMSprop(Optimizer):
    """p -= lr g / (sqrt(v) + eps), v a running mean of g^2 (Hinton, lecture notes, 2012).

    centered: v is the variance (Graves, "Generating sequences with recurrent neural networks",
        2013); momentum: the steps are gathered as in SGD
    """

    def __init__(self, params, lr=1e-2, alpha=0.99, eps=1e-8, weight_decay=0, momentum=0,
                 centered=False, capturable=False, foreach=None, maximize=False,
                 differentiable=False):  # fmt: skip
        check_options(lr=lr, eps=eps, momentum=momentum, weight_decay=weight_decay, alpha=alpha)
        super().__init__(params, {
            "lr": lr, "momentum": momentum, "alpha": alpha, "eps": eps, "centered": centered,
            "weight_decay": weight_decay, "capturable": capturable, "foreach": foreach,
            "maximize": maximize, "differentiable": differentiable,
        })  # fmt: skip

    def init_state(self, p, group):
        names = ["square_avg"]
        names += ["momentum_buffer"] * (group["momentum"] > 0) + ["grad_avg"] * group["centered"]
        return {"step": counter(), **{name: zeros_like(p) for name in names}}

    def update(self, xp, p, g, state, group, now):
        alpha, v = group["alpha"], state["square_avg"]
        ema(xp, v, g * g, alpha)
        if group["centered"]:
            mean = state["grad_avg"]
            ema(xp, mean, g, alpha)
            v = v - mean * mean
        step = g / (xp.sqrt(v) + group["eps"])
        if group["momentum"] > 0:
            b = state["momentum_buffer"]
            b *= group["momentum"]
            b += step
            step = b
        p -= group["lr"] * step
