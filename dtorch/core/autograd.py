"""backward() and grad(), the two ways to start the walk back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from . import graph
from .backend import of as backend_of
from .modes import grad_on
from .tensor import Tensor, edge, wrap

Tensors = Tensor | Sequence[Tensor]


def _listed(x: Any) -> list[Any]:
    return [x] if x is None or isinstance(x, Tensor) else list(x)


def _roots(outputs: Any, gradients: Any, create_graph: bool) -> list[tuple[Tensor, Any]]:
    """(output, gradient) of each output that requires one; the gradient of a scalar is 1."""
    outputs = _listed(outputs)
    gradients = [None] * len(outputs) if gradients is None else _listed(gradients)
    if len(outputs) != len(gradients):
        raise RuntimeError(
            f"got {len(outputs)} tensors and {len(gradients)} gradients; expected one for each"
        )
    roots = []
    for t, g in zip(outputs, gradients):
        if not t._rg:
            raise RuntimeError(
                "element 0 of tensors does not require grad and does not have a grad_fn: nothing "
                "that it was computed from has requires_grad=True"
            )
        if g is None:
            if t._a.size != 1:
                raise RuntimeError(
                    f"grad can be implicitly created only for scalar outputs, got shape "
                    f"{list(t.shape)}; pass a gradient of that shape"
                )
            g = wrap(backend_of(t._a).ones_like(t._a))
        elif not isinstance(g, Tensor):
            raise TypeError(f"gradients can be either Tensors or None, but got {type(g).__name__}")
        elif g._a.shape != t._a.shape:
            raise RuntimeError(
                f"Mismatch in shape: grad_output has a shape of {list(g.shape)} and output has a "
                f"shape of {list(t.shape)}."
            )
        if g._a.dtype != t._a.dtype:
            g = g.to(t.dtype)
        roots.append((t, g if create_graph else g._a))
    return roots


def backward(
    tensors: Tensors,
    grad_tensors: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    grad_variables: Any = None,
    inputs: Any = None,
) -> None:
    """Add the gradients of `tensors` to .grad of the leaves that they were computed from.

    tensors: what to differentiate; one with more than one element needs its entry of grad_tensors,
        of its shape
    retain_graph: keep the saved values, so that backward can run again (default: create_graph)
    create_graph: record the backward itself, for derivatives of higher order
    inputs: the only leaves to accumulate into (default: all)

    Raises RuntimeError for a missing gradient, a second backward, or a saved value that has been
    overwritten in place.
    """
    retain = create_graph if retain_graph is None else retain_graph
    roots = _roots(tensors, grad_tensors, create_graph)
    if inputs is None:
        graph.walk(roots, retain, create_graph)
        return
    wanted = _listed(inputs)
    if not wanted:
        raise RuntimeError("`inputs` argument to `backward()` cannot be empty.")
    targets = {edge(t): None for t in wanted}
    if None in targets:
        raise RuntimeError("One of the differentiated Tensors does not require grad")
    leaves = {t for t in wanted if t._node is None}

    def to_leaf(leaf: Any, g: Any) -> None:
        if leaf in leaves:
            graph.accumulate(leaf, g)

    graph.walk(roots, retain, create_graph, targets, to_leaf)
    for t in wanted:
        if t._node is not None and targets[t._node] is not None:
            graph.accumulate(t, targets[t._node])


def grad(
    outputs: Tensors,
    inputs: Tensors,
    grad_outputs: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    only_inputs: bool = True,
    allow_unused: bool | None = None,
    is_grads_batched: bool = False,
    materialize_grads: bool = False,
) -> tuple[Any, ...]:
    """The gradients of the sum of `outputs` with respect to `inputs`; .grad is left alone.

    Returns a tuple, a Tensor of its shape for each input; None (zeros if materialize_grads) for one
    that the outputs do not depend on, which raises RuntimeError unless allow_unused.
    """
    wanted = _listed(inputs)
    if allow_unused is False and materialize_grads:
        raise ValueError(
            "Expected allow_unused to be True or not passed when materialize_grads=True"
        )
    if is_grads_batched:
        raise NotImplementedError("is_grads_batched: call grad() once for each gradient")
    for t in wanted:
        if not isinstance(t, Tensor):
            raise TypeError(f"expected inputs to be Tensors, got {type(t).__name__}")
        if not t._rg:
            raise RuntimeError("One of the differentiated Tensors does not require grad")
    retain = create_graph if retain_graph is None else retain_graph
    targets: dict[Any, Any] = {edge(t): None for t in wanted}

    def to_leaf(leaf: Any, g: Any) -> None:
        if leaf in targets:
            if leaf._leaf is not None and leaf._leaf.pre:
                g = graph._run_hooks(leaf._leaf.pre, g)
            targets[leaf] = g

    graph.walk(_roots(outputs, grad_outputs, create_graph), retain, create_graph, targets, to_leaf)
    result = []
    for t in wanted:
        g = targets[edge(t)]
        if g is None:
            if materialize_grads:
                g = wrap(backend_of(t._a).zeros_like(t._a))
            elif not allow_unused:
                raise RuntimeError(
                    "One of the differentiated Tensors appears to not have been used in the graph. "
                    "Set allow_unused=True if this is the desired behavior."
                )
        elif not isinstance(g, Tensor):
            g = wrap(backend_of(t._a).asarray(g, dtype=t._a.dtype))
        result.append(g)
    return tuple(result)


__all__ = ["backward", "grad", "grad_on"]
