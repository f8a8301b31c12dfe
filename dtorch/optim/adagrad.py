"""Adagrad."""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

from .optimizer import Optimizer, check_options, counter, zeros_like


class Adagrad(Optimizer):
    """p -= lr g / (sqrt(sum of all g^2) + eps).

    Duchi et al., "Adaptive subgradient methods for online learning and stochastic optimization"
    (2011).  lr falls as 1 / (1 + step lr_decay).
    """

    def __init__(
        self,
        params,
        lr=1e-2,
        lr_decay=0,
        weight_decay=0,
        initial_accumulator_value=0,
        eps=1e-10,
        foreach=None,
        *,
        maximize=False,
        differentiable=False,
        fused=None,
    ):
        check_options(
            lr=lr, lr_decay=lr_decay, weight_decay=weight_decay, eps=eps,
            initial_accumulator_value=initial_accumulator_value,
        )  # fmt: skip
        super().__init__(params, {
            "lr": lr, "lr_decay": lr_decay, "eps": eps, "weight_decay": weight_decay,
            "initial_accumulator_value": initial_accumulator_value, "foreach": foreach,
            "maximize": maximize, "differentiable": differentiable, "fused": fused,
        })  # fmt: skip

    def add_param_group(self, param_group):
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        for p in group["params"]:  # as in torch, the state is there before the first step
            self.state[p] = self.init_state(p, group)

    def share_memory(self):
        """Move the state to memory that processes share; call it before they start."""
        for state in self.state.values():
            state["sum"].share_memory_()

    def init_state(self, p, group):
        start = group["initial_accumulator_value"]
        if p.is_complex():
            start = complex(start, start)
        return {"step": counter(), "sum": zeros_like(p, start)}

    def sparse_gradient(self, g, group):
        if group["weight_decay"]:
            raise RuntimeError("weight_decay option is not compatible with sparse gradients")
        return g

    def prepare(self, p, state, group):
        return group["lr"] / (1 + (state["step"] - 1) * group["lr_decay"])

    def update(self, xp, p, g, state, group, lr):
        total = state["sum"]
        total += g * g
        p -= lr * (g / (xp.sqrt(total) + group["eps"]))
