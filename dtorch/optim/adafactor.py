"""Adafactor."""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

from math import sqrt

from ..core.dtype import finfo
from ..core.tensor import wrap
from .adam import ema
from .optimizer import Optimizer, backend, counter, zeros_like


class Adafactor(Optimizer):
    """p -= alpha g / sqrt(v), where of v, a running mean of g^2, only the sums of rows and columns
    are kept, in tensors of more than one dimension; the step's root mean square is at most d.

    Shazeer and Stern, "Adafactor: adaptive learning rates with sublinear memory cost" (2018).  As in
    torch lr bounds the relative step size from above, and eps is (the least v's root, the least
    scale of a parameter), where None is the dtype's epsilon.
    """

    elementwise = False

    def __init__(self, params, lr=1e-2, beta2_decay=-0.8, eps=(None, 1e-3), d=1.0, weight_decay=0.0,
                 *, foreach=None, maximize=False):  # fmt: skip
        if getattr(lr, "numel", int)() > 1:
            raise ValueError("Tensor lr must be 1-element")
        if not lr >= 0.0:
            raise ValueError(f"Learning rate should be >= 0 but is: {lr}")
        if not beta2_decay <= 0.0:
            raise ValueError(f"beta2_decay should be <= 0 but is: {beta2_decay}")
        if eps[0] is not None and not eps[0] >= 0.0:
            raise ValueError(f"epsilon1 should be >= 0 but is: {eps[0]}")
        if not eps[1] >= 0.0:
            raise ValueError(f"epsilon2 should be >= 0 but is: {eps[1]}")
        if not d >= 1.0:
            raise ValueError(f"Clipping threshold d should be >= 1 but is: {d}")
        if not weight_decay >= 0.0:
            raise ValueError(f"weight_decay should be >= 0 but is: {weight_decay}")
        super().__init__(params, {
            "lr": lr, "beta2_decay": beta2_decay, "eps": eps, "d": d, "weight_decay": weight_decay,
            "foreach": foreach, "maximize": maximize,
        })  # fmt: skip

    def gradient(self, p, group):
        if p.is_complex():
            raise RuntimeError("Adafactor does not support complex parameters")
        return super().gradient(p, group)

    def init_state(self, p, group):
        if p.ndim < 2:
            return {"step": counter(), "variance": zeros_like(p)}
        zeros, rows = backend.of(p._a).zeros, p.shape[:-1]
        return {
            "step": counter(),
            "row_var": wrap(zeros((*rows, 1), p._a.dtype)),
            "col_var": wrap(zeros((*rows[:-1], 1, p.shape[-1]), p._a.dtype)),
        }

    def prepare(self, p, state, group):
        """eps of the parameter's own dtype."""
        least = group["eps"][0]
        return finfo(p.dtype).eps if least is None else least

    def regularize_and_update(self, xp, p, g, state, group, least):
        """Weight decay comes after the parameter has been measured, so it is done here."""
        if not p.size:
            return
        if group["maximize"]:
            g = -g
        t, lr = state["step"], group["lr"]
        alpha = max(group["eps"][1], _rms(p)) * min(lr, 1 / sqrt(t))
        if group["weight_decay"]:
            p *= 1 - lr * group["weight_decay"]
        beta2 = 1 - t ** group["beta2_decay"]
        squares = g * g
        if p.ndim < 2:
            v = state["variance"]
            ema(xp, v, squares, beta2)
        else:
            rows, columns = state["row_var"], state["col_var"]
            ema(xp, rows, squares.mean(axis=-1, keepdims=True), beta2)
            ema(xp, columns, squares.mean(axis=-2, keepdims=True), beta2)
            v = rows @ columns / xp.maximum(rows.mean(axis=-2, keepdims=True), least)
        step = g / xp.sqrt(xp.maximum(v, least * least))
        p -= alpha / max(1.0, _rms(step) / group["d"]) * step


def _rms(a):
    """The root of the mean of the squares of all elements."""
    return sqrt(float((a * a).mean()))
