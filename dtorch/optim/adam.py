"""Adam, and what it shares with its relatives."""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

from ..core.tensor import Tensor
from .optimizer import Optimizer, check_options, counter, zeros_like


def ema(xp, average, value, decay):
    """average = decay average + (1 - decay) value, in place."""
    average *= decay
    xp.add_scaled(average, value, 1 - decay)


class Adam(Optimizer):
    """p -= lr m / (sqrt(v) + eps), m and v running means of g and g^2 without their bias to zero.

    Kingma and Ba, "Adam: a method for stochastic optimization" (2014); amsgrad: Reddi et al., "On
    the convergence of Adam and beyond" (2018).
    """

    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0,
                 amsgrad=False, *, foreach=None, maximize=False, capturable=False,
                 differentiable=False, fused=None, decoupled_weight_decay=False):  # fmt: skip
        check_options(lr=lr, eps=eps, betas=betas, weight_decay=weight_decay)
        if not (
            all(isinstance(b, float) for b in betas) or all(isinstance(b, Tensor) for b in betas)
        ):
            raise ValueError("betas must be either both floats or both Tensors")
        super().__init__(params, {
            "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "amsgrad": amsgrad,
            "maximize": maximize, "foreach": foreach, "capturable": capturable,
            "differentiable": differentiable, "fused": fused,
            "decoupled_weight_decay": decoupled_weight_decay,
        })  # fmt: skip

    def init_state(self, p, group):
        names = ["exp_avg", "exp_avg_sq"] + ["max_exp_avg_sq"] * group["amsgrad"]
        return {"step": counter(), **{name: zeros_like(p) for name in names}}

    def prepare(self, p, state, group):
        """The step size and eps, with what takes the bias of m and v to zero out.

        lr m' / (sqrt(v') + eps) = (lr sqrt(c2) / c1) m / (sqrt(v) + eps sqrt(c2))
        """
        (beta1, beta2), t = group["betas"], state["step"]
        c1, c2 = 1 - beta1**t, (1 - beta2**t) ** 0.5
        return group["lr"] * c2 / c1, group["eps"] * c2

    def update(self, xp, p, g, state, group, now):
        (beta1, beta2), (lr, eps) = group["betas"], now
        m, v = state["exp_avg"], state["exp_avg_sq"]
        ema(xp, m, g, beta1)
        ema(xp, v, g * g, beta2)
        if group["amsgrad"]:
            highest = state["max_exp_avg_sq"]
            highest[...] = v = xp.maximum(1.0 * highest, v)  # of a copy: backward may look at it
        xp.add_scaled(p, m / (xp.sqrt(v) + eps), -lr)
