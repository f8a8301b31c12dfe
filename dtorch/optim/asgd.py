"""Averaged stochastic gradient descent."""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

from .optimizer import Optimizer, check_options, counter, zeros_like


class ASGD(Optimizer):
    """SGD that keeps the mean of p from step t0 on in state["ax"].

    Polyak and Juditsky, "Acceleration of stochastic approximation by averaging" (1992).
    """

    scalars = ("step", "eta", "mu")

    def __init__(self, params, lr=1e-2, lambd=1e-4, alpha=0.75, t0=1e6, weight_decay=0,
                 foreach=None, maximize=False, differentiable=False, capturable=False):  # fmt: skip
        check_options(lr=lr, weight_decay=weight_decay)
        super().__init__(params, {
            "lr": lr, "lambd": lambd, "alpha": alpha, "t0": t0, "weight_decay": weight_decay,
            "foreach": foreach, "maximize": maximize, "differentiable": differentiable,
            "capturable": capturable,
        })  # fmt: skip

    def init_state(self, p, group):
        return {"step": counter(), "eta": counter() + float(group["lr"]), "mu": counter() + 1,
                "ax": zeros_like(p)}  # fmt: skip

    def prepare(self, p, state, group):
        """eta and mu, the weights of the gradient and of p in the mean, which the state has ready."""
        now = float(state["eta"]), float(state["mu"])
        t, lr = state["step"], group["lr"]
        state["eta"][...] = lr / (1 + group["lambd"] * lr * t) ** group["alpha"]
        state["mu"][...] = 1 / max(1, t - group["t0"])
        return now

    def update(self, xp, p, g, state, group, now):
        mean, (eta, mu) = state["ax"], now
        p *= 1 - group["lambd"] * eta
        p -= eta * g
        mean += mu * (p - mean)
