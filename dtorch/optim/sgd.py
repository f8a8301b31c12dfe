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

    def sparse_gradient(self, g, group):
        if group["weight_decay"]:
            raise RuntimeError(
                "SGD: weight_decay changes every row, it can't go with sparse gradients"
            )
        return g.to_dense() if group["momentum"] else g

    def prepare(self, p, state, group):
        return 1 if state["fresh"] else 1 - group["dampening"]

    def update(self, xp, p, g, state, group, weight):
        momentum = group["momentum"]
        if momentum:
            b = state["momentum_buffer"]
            b *= momentum
            if weight == 1:
                b += g
            else:
                xp.add_scaled(b, g, weight)
            g = g + momentum * b if group["nesterov"] else b
        xp.add_scaled(p, g, -group["lr"])
