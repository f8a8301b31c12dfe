"""Resilient backpropagation."""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

from .optimizer import Optimizer, check_options, counter, zeros_like


class Rprop(Optimizer):
    """Each element has a step size that grows while its gradient keeps its sign.

    Riedmiller and Braun, "A direct adaptive method for faster backpropagation learning" (1993).
    """

    def __init__(self, params, lr=1e-2, etas=(0.5, 1.2), step_sizes=(1e-6, 50), *, capturable=False,
                 foreach=None, maximize=False, differentiable=False):  # fmt: skip
        check_options(lr=lr)
        if not 0.0 < etas[0] < 1.0 < etas[1]:
            raise ValueError(f"Invalid eta values: {etas[0]}, {etas[1]}")
        super().__init__(params, {
            "lr": lr, "etas": etas, "step_sizes": step_sizes, "foreach": foreach,
            "maximize": maximize, "differentiable": differentiable, "capturable": capturable,
        })  # fmt: skip

    def init_state(self, p, group):
        lr = float(group["lr"])
        size = zeros_like(p, complex(lr, lr) if p.is_complex() else lr)
        return {"step": counter(), "prev": zeros_like(p), "step_size": size}

    def update(self, xp, p, g, state, group, now):
        (shrink, grow), before, size = group["etas"], state["prev"], state["step_size"]
        product = g * before
        turned = product < 0
        larger = xp.where(product > 0, grow * size, size)
        size[...] = xp.clip(xp.where(turned, shrink * size, larger), *group["step_sizes"])
        before[...] = xp.where(turned, 0, g)  # after a step too far, the next one starts anew
        p -= xp.sign(before) * size
