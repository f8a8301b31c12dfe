"""Levels: the inputs of a function that is being differentiated as a function.

dtorch.func and forward-mode derivatives call a function on inputs that are recorded whether or not
they require a gradient, and want its derivative with respect to just those.  Such an input is the
output of a node that marks its level; behind the node, history goes on to what the caller gave.  So
levels nest: the derivative at an inner level is recorded where it depends on an outer one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from . import backend
from .autograd import grad
from .graph import Alias, Node, next_seq
from .modes import grad_on
from .tensor import Tensor, edge, wrap
from .walk import reachable


class _Input(Alias):
    """The op of the node that an input of a level comes from."""

    name = "input"


INPUT = _Input()


class Level:
    """One call of a function that is being differentiated."""

    def __init__(self) -> None:
        self.open = True
        self.recorded = grad_on()  # whether the caller records what comes out

    def enter(self, t: Tensor) -> Tensor:
        """The tensor as an input of the level."""
        node = Node(INPUT, (edge(t),), None, None, {"level": self}, None, next_seq())
        return wrap(t._a, node)

    def close(self) -> None:
        self.open = False

    def leaves_history(self, ts: Sequence[Any]) -> bool:
        """Whether what was computed at this level has a history for its caller."""
        return self.recorded and any(isinstance(t, Tensor) and self._leads_out(t) for t in ts)

    def _leads_out(self, t: Tensor) -> bool:
        """Whether t was computed from a leaf that requires a gradient, or from an input of another
        open level."""
        if t._node is None:
            return t._rg
        order, uses = reachable([t._node])
        levels = [n.params["level"] for n in order if n.op is INPUT]
        return bool(uses) or any(level.open and level is not self for level in levels)

    def release(self, t: Any) -> Any:
        """A result of the level as its caller may have it: with history only if that leads out."""
        if not isinstance(t, Tensor) or not t._rg or self.leaves_history((t,)):
            return t
        return wrap(t._a)


def zeros(t: Tensor) -> Tensor:
    return wrap(backend.of(t._a).zeros_like(t._a))


def pull(
    ys: Sequence[Tensor], xs: Sequence[Tensor], gs: Sequence[Tensor], keep: bool, record: bool
) -> list[Tensor]:
    """J^T g for each of xs, zeros where none of ys depends on it.

    keep: the graph is needed again; record: the result has a history
    """
    given = [(y, g) for y, g in zip(ys, gs) if y._rg]
    if not given:
        return [zeros(x) for x in xs]
    return list(
        grad([y for y, _ in given], xs, [g for _, g in given], retain_graph=keep or record,
             create_graph=record, materialize_grads=True)
    )  # fmt: skip


class Pushforward:
    """J v for one function at one point, for any number of vectors v.

    By two walks back: u -> J^T u is linear, and J v is its derivative with respect to u, applied to v.
    """

    def __init__(self, level: Level, ys: Sequence[Tensor], xs: Sequence[Tensor]) -> None:
        self.level = level
        self.ys = ys
        self.us = [level.enter(zeros(y)) for y in ys]
        self.rows = pull(ys, xs, self.us, keep=True, record=True)

    def __call__(self, vs: Sequence[Tensor], keep: bool = True) -> list[Tensor]:
        """A tangent for each output; keep: it will be called again."""
        record = self.level.leaves_history([*self.ys, *vs])
        return [self.level.release(t) for t in pull(self.rows, self.us, vs, keep, record)]
