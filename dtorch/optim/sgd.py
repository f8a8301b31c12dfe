"""Stochastic gradient descent."""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

from .optimizer import Optimizer, check_options, zeros_like


class SGD(Optimizer):
    """p -= lr b, where b = momentum b + (1 - dampening) g, and g itself in the first step.

    nesterov: the step is along g + momentum b (Sutskever et al., "On the importance of
        initialization and momentum in deep learning", 2013)
    """

    def __init__(self, params, lr=1e-3, momentum=0, dampening=0, weight_decay=0, nesterov=False, *,
                 maximize=False, foreach=None, differentiable=False, fused=None):  # fmt: skip
        check_options(lr=lr, momentum=momentum, weight_decay=weight_decay)
        if nesterov and (momentum <= 0 or dampening != 0):
            raise ValueError("Nesterov momentum requires a momentum and zero dampening")
        super().__init__(params, {
            "lr": lr, "momentum": momentum, "dampening": dampening, "weight_decay": weight_decay,
            "nesterov": nesterov, "maximize": maximize, "foreach": foreach,
            "differentiable": differentiable, "fused": fused,
        })  # fmt: skip

    def init_state(self, p, group):
        return {"momentum_buffer": zeros_like(p)} if group["momentum"] else {}

    def update(self, xp, p, g, state, group, temp):
        momentum, step = group["momentum"], temp(1)
        if momentum:
            b = state["momentum_buffer"]
            if state["fresh"]:
                b[...] = g
            else:
                b *= momentum
                b += xp.multiply(g, 1 - group["dampening"], out=step)
            g = xp.add(g, xp.multiply(b, momentum, out=step), out=step) if group["nesterov"] else b
        p -= xp.multiply(g, float(group["lr"]), out=step)
