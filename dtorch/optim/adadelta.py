"""Adadelta."""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

from .adam import ema
from .optimizer import Optimizer, check_options, counter, zeros_like


class Adadelta(Optimizer):
    """p -= lr d, d = g sqrt(u + eps) / sqrt(v + eps), v and u running means of g^2 and of d^2.

    Zeiler, "ADADELTA: an adaptive learning rate method" (2012).
    """

    def __init__(self, params, lr=1.0, rho=0.9, eps=1e-6, weight_decay=0, foreach=None, *,
                 capturable=False, maximize=False, differentiable=False):  # fmt: skip
        check_options(lr=lr, eps=eps, weight_decay=weight_decay)
        if not 0.0 <= rho <= 1.0:
            raise ValueError(f"Invalid rho value: {rho}")
        super().__init__(params, {
            "lr": lr, "rho": rho, "eps": eps, "weight_decay": weight_decay, "maximize": maximize,
            "capturable": capturable, "foreach": foreach, "differentiable": differentiable,
        })  # fmt: skip

    def init_state(self, p, group):
        return {"step": counter(), "square_avg": zeros_like(p), "acc_delta": zeros_like(p)}

    def update(self, xp, p, g, state, group, now):
        rho, eps = group["rho"], group["eps"]
        v, u = state["square_avg"], state["acc_delta"]
        ema(xp, v, g * g, rho)
        d = xp.sqrt(u + eps) / xp.sqrt(v + eps) * g
        ema(xp, u, d * d, rho)
        p -= group["lr"] * d
