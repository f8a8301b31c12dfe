"""Muon: momentum whose steps are made orthogonal."""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

from math import sqrt

from ..core import dtype as dtypes
from .optimizer import Optimizer, zeros_like


class Muon(Optimizer):
    """p -= lr U V^T, where U S V^T is a running mean of g.  For matrices: the weights of hidden layers.

    adjust_lr_fn: "original" scales lr by sqrt(max(1, rows / columns)), "match_rms_adamw" by
        0.2 sqrt(max(rows, columns))

    Jordan et al., "Muon: an optimizer for hidden layers in neural networks" (2024); Liu et al.,
    "Muon is scalable for LLM training" (2025).
    """

    elementwise = False
    decoupled_weight_decay = True

    def __init__(self, params, lr=1e-3, weight_decay=0.1, momentum=0.95, nesterov=True,
                 ns_coefficients=(3.4445, -4.7750, 2.0315), eps=1e-7, ns_steps=5,
                 adjust_lr_fn=None):  # fmt: skip
        if getattr(lr, "numel", int)() > 1:
            raise ValueError("Tensor lr must be 1-element")
        if not lr >= 0.0:
            raise ValueError(f"Learning rate should be >= 0 but is: {lr}")
        if not momentum >= 0.0:
            raise ValueError(f"momentum should be >= 0 but is: {momentum}")
        if not weight_decay >= 0.0:
            raise ValueError(f"weight decay should be >= 0 but is: {weight_decay}")
        if adjust_lr_fn not in (None, "original", "match_rms_adamw"):
            raise ValueError(f"Adjust learning rate function {adjust_lr_fn} is not supported")
        super().__init__(params, {
            "lr": lr, "weight_decay": weight_decay, "momentum": momentum, "nesterov": nesterov,
            "ns_coefficients": ns_coefficients, "eps": eps, "ns_steps": ns_steps,
            "adjust_lr_fn": adjust_lr_fn,
        })  # fmt: skip
        for p in self._params():
            if p.ndim != 2:
                raise ValueError(
                    "Muon only supports 2D parameters whereas we found a parameter with size: "
                    f"{p.size()}"
                )

    def gradient(self, p, group):
        if p.is_complex():
            raise RuntimeError("Muon does not support complex parameters")
        if group["ns_steps"] >= 100:
            raise ValueError("Number of steps must be less than 100 for computational efficiency")
        if len(group["ns_coefficients"]) != 3:
            raise ValueError("Coefficients must be a tuple of exactly 3 values")
        return super().gradient(p, group)

    def init_state(self, p, group):
        return {"momentum_buffer": zeros_like(p)}

    def prepare(self, p, state, group):
        """The step size."""
        rows, columns = p.shape
        if group["adjust_lr_fn"] == "match_rms_adamw":
            return group["lr"] * 0.2 * sqrt(max(rows, columns))
        return group["lr"] * sqrt(max(1, rows / columns))

    def update(self, xp, p, g, state, group, lr):
        momentum, b = group["momentum"], state["momentum_buffer"]
        b += (1 - momentum) * (g - b)
        ahead = b - (1 - momentum) * (b - g) if group["nesterov"] else b
        p -= lr * _orthogonal(xp, ahead, group["ns_coefficients"], group["ns_steps"], group["eps"])


def _orthogonal(xp, g, coefficients, steps, eps):
    """About U V^T for g = U S V^T: a polynomial, applied again and again, takes S near to ones.

    As in torch each product is rounded to bfloat16; sums are in float32.  (m, n) -> (m, n)
    """
    a, b, c = coefficients
    tall = g.shape[0] > g.shape[1]
    x = _rounded(g.T if tall else g)
    x = _rounded(x / max(float(_rounded(xp.sqrt((x * x).sum()))), eps))
    for _ in range(steps):
        gram = _rounded(x @ x.T)
        x = _fused(a, x, 1.0, _fused(b, gram, c, gram @ gram) @ x)
    return x.T if tall else x


def _fused(a, x, b, y):
    """a x + b y, with one rounding before that to bfloat16, as a fused multiply-add has it."""
    wide = dtypes.float64.np
    return _rounded((a * x.astype(wide) + b * y.astype(wide)).astype(dtypes.float32.np))


def _rounded(a):
    """float32, with the precision of bfloat16."""
    return a.astype(dtypes.bfloat16.np).astype(dtypes.float32.np)
