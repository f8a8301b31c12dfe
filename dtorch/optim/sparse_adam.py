"""Adam for sparse gradients."""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

from ..core.backend.sparse import SparseArray
from .adam import ema
from .optimizer import Optimizer, check_options, zeros_like


class SparseAdam(Optimizer):
    """Adam on the rows that a sparse gradient names; the others, and their means, stay as they are.

    The parameters are dense; a dense gradient is refused.
    """

    scalars = ()  # its step is a plain number

    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, maximize=False):
        check_options(lr=lr, eps=eps, betas=betas)
        if lr == 0:
            raise ValueError(f"Invalid learning rate: {lr}")
        if eps == 0:
            raise ValueError(f"Invalid epsilon value: {eps}")
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "maximize": maximize})
        params = list(self._params())
        sparse = [i for i, p in enumerate(params) if isinstance(p._a, SparseArray)]
        if sparse:
            raise ValueError(
                f"Sparse params at indices {sparse}: SparseAdam requires dense parameter tensors"
            )
        complexes = [i for i, p in enumerate(params) if p.is_complex()]
        if complexes:
            raise ValueError(
                f"Complex params at indices {complexes}: SparseAdam does not support complex "
                "parameters"
            )

    def init_state(self, p, group):
        return {"step": 0, "exp_avg": zeros_like(p), "exp_avg_sq": zeros_like(p)}

    def gradient(self, p, group):
        if not isinstance(p._grad._a, SparseArray):
            raise RuntimeError(
                "SparseAdam does not support dense gradients, please consider Adam instead"
            )
        return p._grad._a

    def prepare(self, p, state, group):
        (beta1, beta2), t = group["betas"], state["step"]
        return group["lr"] * (1 - beta2**t) ** 0.5 / (1 - beta1**t)

    def update(self, xp, p, g, state, group, lr):
        beta1, beta2 = group["betas"]
        m, v = state["exp_avg"], state["exp_avg_sq"]
        ema(xp, m, g, beta1)
        ema(xp, v, g * g, beta2)
        p -= lr * (m / (xp.sqrt(v) + group["eps"]))
