"""Adamax."""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

from .adam import ema
from .optimizer import Optimizer, check_options, counter, zeros_like


class Adamax(Optimizer):
    """p -= lr m / u, m a running mean of g, u = max(beta2 u, |g| + eps).

    Kingma and Ba, "Adam: a method for stochastic optimization" (2014), section 7.
    """

    def __init__(self, params, lr=2e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0, foreach=None,
                 *, maximize=False, differentiable=False, capturable=False):  # fmt: skip
        check_options(lr=lr, eps=eps, betas=betas, weight_decay=weight_decay)
        super().__init__(params, {
            "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "foreach": foreach,
            "maximize": maximize, "differentiable": differentiable, "capturable": capturable,
        })  # fmt: skip

    def init_state(self, p, group):
        return {"step": counter(), "exp_avg": zeros_like(p), "exp_inf": zeros_like(p)}

    def prepare(self, p, state, group):
        return group["lr"] / (1 - group["betas"][0] ** state["step"])

    def update(self, xp, p, g, state, group, lr):
        beta1, beta2 = group["betas"]
        m, u = state["exp_avg"], state["exp_inf"]
        ema(xp, m, g, beta1)
        u[...] = xp.maximum(beta2 * u, xp.absolute(g) + group["eps"])
        p -= lr * (m / u)
