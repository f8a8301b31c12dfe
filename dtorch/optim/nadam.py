"""NAdam: Adam with Nesterov's momentum."""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

from .adam import ema
from .optimizer import Optimizer, check_options, counter, zeros_like


class NAdam(Optimizer):
    """Adam that steps along the momentum that it will have after the next step.

    Dozat, "Incorporating Nesterov momentum into Adam" (2016).
    """

    scalars = ("step", "mu_product")

    def __init__(self, params, lr=2e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0,
                 momentum_decay=4e-3, decoupled_weight_decay=False, *, foreach=None, maximize=False,
                 capturable=False, differentiable=False):  # fmt: skip
        check_options(
            lr=lr, eps=eps, betas=betas, weight_decay=weight_decay, momentum_decay=momentum_decay
        )
        super().__init__(params, {
            "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay,
            "momentum_decay": momentum_decay, "decoupled_weight_decay": decoupled_weight_decay,
            "maximize": maximize, "foreach": foreach, "capturable": capturable,
            "differentiable": differentiable,
        })  # fmt: skip

    def init_state(self, p, group):
        return {"step": counter(), "mu_product": counter() + 1, "exp_avg": zeros_like(p),
                "exp_avg_sq": zeros_like(p)}  # fmt: skip

    def prepare(self, p, state, group):
        """The weights of g and m, and the correction of v."""
        (beta1, beta2), t = group["betas"], state["step"]
        mu = beta1 * (1 - 0.5 * 0.96 ** (t * group["momentum_decay"]))
        mu_next = beta1 * (1 - 0.5 * 0.96 ** ((t + 1) * group["momentum_decay"]))
        product = state["mu_product"]
        product *= mu
        done = float(product)
        lr = group["lr"]
        return lr * (1 - mu) / (1 - done), lr * mu_next / (1 - done * mu_next), 1 - beta2**t

    def update(self, xp, p, g, state, group, now):
        (beta1, beta2), (g_weight, m_weight, c2) = group["betas"], now
        m, v = state["exp_avg"], state["exp_avg_sq"]
        ema(xp, m, g, beta1)
        ema(xp, v, g * g, beta2)
        p -= (g_weight * g + m_weight * m) / (xp.sqrt(v / c2) + group["eps"])
