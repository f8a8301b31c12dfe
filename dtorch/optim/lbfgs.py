"""L-BFGS: a quasi-Newton method that remembers some of the last steps."""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

from ..core.modes import enable_grad, no_grad
from ..core.ops.complex import view_as_real
from ..core.ops.create import zeros
from ..core.ops.join import cat
from ._line_search import Point, strong_wolfe
from .optimizer import Optimizer, check_options


class LBFGS(Optimizer):
    """Steps along -H g, H an estimate of the inverse Hessian from the last `history_size` steps.

    One step() makes up to max_iter iterations and calls the closure, which recomputes the loss, up to
    about max_eval times (default: 1.25 max_iter); it ends early when no gradient is larger than
    tolerance_grad, or neither a parameter nor the loss changes by tolerance_change.

    line_search_fn: "strong_wolfe", or None for steps of length lr.  All parameters form one group;
    their state, as in torch, is that of the first.

    Nocedal and Wright, "Numerical optimization" (2006), algorithms 7.4 and 3.5.
    """

    scalars = ()

    def __init__(self, params, lr=1, max_iter=20, max_eval=None, tolerance_grad=1e-7,
                 tolerance_change=1e-9, history_size=100, line_search_fn=None):  # fmt: skip
        check_options(lr=lr)
        if max_eval is None:
            max_eval = max_iter * 5 // 4
        super().__init__(params, {
            "lr": lr, "max_iter": max_iter, "max_eval": max_eval, "tolerance_grad": tolerance_grad,
            "tolerance_change": tolerance_change, "history_size": history_size,
            "line_search_fn": line_search_fn,
        })  # fmt: skip
        if len(self.param_groups) != 1:
            raise ValueError("LBFGS doesn't support per-parameter options (parameter groups)")

    @no_grad()
    def step(self, closure):
        """Minimize for up to max_iter iterations; the loss that closure() returned first."""
        group = self.param_groups[0]
        search = group["line_search_fn"]
        if search not in (None, "strong_wolfe"):
            raise RuntimeError(f"only 'strong_wolfe' is supported, got {search!r}")
        closure = enable_grad()(closure)
        first = closure()
        grad = self._flat_grad()
        state = self.state[self.param_groups[0]["params"][0]]
        state.setdefault("func_evals", 0)
        state.setdefault("n_iter", 0)
        state["func_evals"] += 1
        if grad.abs().max() <= group["tolerance_grad"]:
            return first
        self._iterate(closure, group, state, float(first), grad)
        return first

    def _iterate(self, closure, group, state, loss, grad):
        """Iterations until one of the tolerances or limits is reached."""
        lr, evals, tolerance = group["lr"], 1, group["tolerance_change"]
        for i in range(1, group["max_iter"] + 1):
            state["n_iter"] += 1
            if state["n_iter"] == 1:
                state.update(d=-grad, t=None, old_dirs=[], old_stps=[], ro=[], H_diag=1)
                t = min(1.0, 1.0 / grad.abs().sum()) * lr
            else:
                _remember(state, grad, group["history_size"])
                state["d"] = _direction(state, grad, group["history_size"])
                t = lr
            d = state["d"]
            state.update(t=t, prev_flat_grad=grad.clone(), prev_loss=loss)
            slope = grad.dot(d)
            if slope > -tolerance:
                return
            before = loss
            if group["line_search_fn"] is None:
                self._move(t, d)
                used = 0
                if i < group["max_iter"]:  # the last point is left for the next step to evaluate
                    loss, grad, used = float(closure()), self._flat_grad(), 1
            else:
                start = Point(0, loss, grad, slope)
                best, used = strong_wolfe(
                    self._along(closure, d), start, t, d.abs().max(), tolerance,
                    group["max_eval"] - evals,
                )  # fmt: skip
                state["t"], loss, grad, _ = best
                self._move(best.t, d)
            evals += used
            state["func_evals"] += used
            if (
                evals >= group["max_eval"]
                or grad.abs().max() <= group["tolerance_grad"]
                or (d * state["t"]).abs().max() <= tolerance
                or abs(loss - before) < tolerance
            ):
                return

    def _along(self, closure, d):
        """The function of t that evaluates closure() at p + t d, for line searches."""
        params = self.param_groups[0]["params"]
        start = [p.clone() for p in params]

        def evaluate(t):
            self._move(t, d)
            loss, grad = float(closure()), self._flat_grad()
            for p, before in zip(params, start):
                p.copy_(before)
            return Point(t, loss, grad, grad.dot(d))

        return evaluate

    def _flat_grad(self):
        """The gradients of all parameters, zeros where there is none, as one vector of reals."""
        parts = []
        for p in self.param_groups[0]["params"]:
            g = p.grad
            if g is None:
                g = zeros(p.shape, dtype=p.dtype, device=p.device)
            elif g.is_sparse:
                g = g.to_dense()
            parts.append((view_as_real(g) if g.is_complex() else g).reshape(-1))
        return cat(parts)

    def _move(self, t, d):
        """p += t d, where d is a vector for all parameters."""
        offset = 0
        for p in self.param_groups[0]["params"]:
            real = view_as_real(p) if p.is_complex() else p
            n = real.numel()
            real.add_(d[offset : offset + n].view(real.shape), alpha=t)
            offset += n


def _remember(state, grad, history_size):
    """Add the last step and what it changed in the gradient to the history."""
    y, s = grad - state["prev_flat_grad"], state["d"] * state["t"]
    curvature = y.dot(s)
    if curvature <= 1e-10:
        return
    history = state["old_dirs"], state["old_stps"], state["ro"]
    if len(state["ro"]) == history_size:
        for values in history:
            values.pop(0)
    for values, new in zip(history, (y, s, 1.0 / curvature)):
        values.append(new)
    state["H_diag"] = curvature / y.dot(y)


def _direction(state, grad, history_size):
    """-H g by two loops over the history (Nocedal and Wright, algorithm 7.4)."""
    history = list(zip(state["old_dirs"], state["old_stps"], state["ro"]))
    alphas = state.setdefault("al", [None] * history_size)
    q = -grad
    for i, (y, s, ro) in reversed(list(enumerate(history))):
        alphas[i] = s.dot(q) * ro
        q.add_(y, alpha=-alphas[i])
    q = q * state["H_diag"]
    for (y, s, ro), alpha in zip(history, alphas):
        q.add_(s, alpha=alpha - y.dot(q) * ro)
    return q
