"""Running gradient rules: one runner for each form in which an op can give its rules.

A runner takes a node and the gradient of its output and returns the gradients of its inputs, as
arrays or, when the node holds Tensors (create_graph), as Tensors.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import graph
from .graph import Node
from .tensor import Tensor

Runner = Callable[[Node, Any], Any]


def fit(g: Any, fix: Any) -> Any:
    """Undo broadcasting and promotion: sum `g` to the shape and cast it to the dtype of an input."""
    from .ops.reduce import sum_to
    from .ops.shape import cast

    shape, dtype = fix
    if g.shape != shape:
        g = sum_to(g, shape)
    d = g._a.dtype if isinstance(g, Tensor) else g.dtype
    return g if d == dtype else cast(g, dtype)


def run_unary(rule: Any) -> Runner:
    def run(node: Node, g: Any) -> Any:
        saved, params = node.saved, node.params
        x = None if saved is None else saved[0]
        g = rule(g, node.y, x) if params is None else rule(g, node.y, x, **params)
        return (g if node.fix is None else fit(g, node.fix[0]),)

    return run


def run_binary(rule0: Any, rule1: Any) -> Runner:
    def run(node: Node, g: Any) -> Any:
        e0, e1 = node.edges
        saved, y, params = node.saved, node.y, node.params
        a, b = (None, None) if saved is None else saved
        if params:
            g0 = None if e0 is None or rule0 is None else rule0(g, y, a, b, **params)
            g1 = None if e1 is None or rule1 is None else rule1(g, y, a, b, **params)
        else:  # without an empty ** the calls take half the time
            g0 = None if e0 is None or rule0 is None else rule0(g, y, a, b)
            g1 = None if e1 is None or rule1 is None else rule1(g, y, a, b)
        fix = node.fix
        if fix is not None:
            if g0 is not None:
                g0 = fit(g0, fix[0])
            if g1 is not None:
                g1 = fit(g1, fix[1])
        return g0, g1

    return run


def run_each(rules: Any) -> Runner:
    def run(node: Node, g: Any) -> Any:
        xs = node.saved or (None,) * len(node.edges)
        if type(g) is graph.Grads:
            g = _all_outputs(g, node)
        grads: list[Any] = []
        for i, e in enumerate(node.edges):
            rule = rules[i] if i < len(rules) else None
            if e is None or rule is None:
                grads.append(None)
            else:
                ge = rule(g, node.y, *xs, **(node.params or {}))
                if node.fix is not None and node.fix[i] is not None:
                    ge = fit(ge, node.fix[i])
                grads.append(ge)
        return grads

    return run


def run_joint(rule: Any) -> Runner:
    def run(node: Node, g: Any) -> Any:
        xs = node.saved or (None,) * len(node.edges)
        if type(g) is graph.Grads:
            g = _all_outputs(g, node)
        needs = tuple([e is not None for e in node.edges])
        return rule(needs, g, node.y, *xs, **(node.params or {}))

    return run


def run_composite(rule: Any, composite: Any) -> Runner:
    """Under create_graph, the gradient of what the op is made of."""

    def run(node: Node, g: Any) -> Any:
        if not _records(g):
            return rule(node, g)
        from .autograd import grad
        from .modes import enable_grad

        given = list(g.values()) if type(g) is graph.Grads else [g]
        with enable_grad():
            outs = composite(*node.saved, **(node.params or {}))
        picked = [outs[i] for i in g] if type(g) is graph.Grads else [outs]
        wanted = [x for x, e in zip(node.saved, node.edges) if e is not None]
        got = iter(grad(picked, wanted, given, create_graph=True, allow_unused=True))
        return tuple(None if e is None else next(got) for e in node.edges)

    return run


def _records(g: Any) -> bool:
    """Whether a gradient, or that of each of several outputs, is a Tensor: create_graph."""
    return isinstance(next(iter(g.values())) if type(g) is graph.Grads else g, Tensor)


def _all_outputs(g: graph.Grads, node: Node) -> tuple[Any, ...]:
    """The gradient of each output of a node, None for those that have none."""
    n = len(node.y) if type(node.y) is tuple else max(g) + 1
    return tuple(g.get(i) for i in range(n))


def run_conjugated(inner: Runner) -> Runner:
    """The runner of an op on complex arrays.

    torch's gradient of a real loss is conj(J)^T g for a holomorphic op, and J^T is what the rules
    compute: so conj(rule(conj(g))).  The ops that a composite is made of do so themselves.
    """

    def run(node: Node, g: Any) -> Any:
        from .ops.complex import conj_any

        if node.op.composite is not None and _records(g):
            return inner(node, g)

        if type(g) is graph.Grads:
            g = graph.Grads({i: conj_any(x) for i, x in g.items()})
        else:
            g = conj_any(g)
        return tuple(None if x is None else conj_any(x) for x in inner(node, g))

    return run


def no_rule(node: Node, g: Any) -> Any:
    raise RuntimeError(f"derivative for {node.op.name} is not implemented")
