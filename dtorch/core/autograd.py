"""backward() and grad(), the two ways to start the walk back."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any, NamedTuple

from .backend import of as backend_of
from .backend.sparse import SparseArray
from .graph import AccumulateGrad, Grads, Node, public_edge
from .modes import grad_on
from .tensor import Tensor, edge, wrap
from .walk import accumulate, run_hooks, walk


class GradientEdge(NamedTuple):
    """Where the gradient of a tensor goes: a node, and which of its outputs the tensor is."""

    node: Node
    output_nr: int
    ownership_token: Any = None


Tensors = Tensor | GradientEdge | Sequence[Tensor | GradientEdge]

# node -> number of an output -> a tensor like it that takes no memory, for get_gradient_edge's edges
_likes: weakref.WeakKeyDictionary[Node, dict[int, Tensor]] = weakref.WeakKeyDictionary()


def get_gradient_edge(tensor: Tensor) -> GradientEdge:
    """The edge that the gradient of `tensor` goes to; grad() and backward() take it for the tensor.

    It keeps the graph alive, not the tensor.
    """
    if not tensor.requires_grad:
        raise RuntimeError(
            "It is not possible to get the gradient edge for a Tensor that does not require "
            "gradients"
        )
    node, number = public_edge(edge(tensor))
    a = tensor._a
    xp = backend_of(a)
    like = wrap(xp.broadcast_to(xp.zeros((), a.dtype), a.shape))
    _likes.setdefault(node, {})[number] = like
    token = tensor._node if tensor._node is not None and tensor._node is not node else None
    return GradientEdge(node, number, token)


def _listed(x: Any) -> list[Any]:
    return [x] if x is None or isinstance(x, (Tensor, GradientEdge)) else list(x)


def _inputs(inputs: Any, caller: str) -> list[Any]:
    """The tensors, or edges, to differentiate with respect to."""
    wanted = _listed(inputs)
    if not wanted:
        raise RuntimeError(f"`inputs` argument to `{caller}()` cannot be empty.")
    for t in wanted:
        if not isinstance(t, (Tensor, GradientEdge)):
            raise TypeError(
                f"expected inputs to be Tensors or GradientEdges, got {type(t).__name__}"
            )
        if isinstance(t, Tensor) and not t._rg:
            raise RuntimeError("One of the differentiated Tensors does not require grad")
    return wanted


def _place(x: Any) -> Any:
    """The node or leaf where the walk meets the gradient of a tensor or an edge."""
    if isinstance(x, Tensor):
        return edge(x)
    if isinstance(x.node, AccumulateGrad):
        return x.node.variable
    return x.ownership_token or x.node


def _found(targets: dict[Any, Any], x: Any) -> Any:
    """The gradient that a walk has left for a tensor or an edge; None if none has come."""
    g = targets[_place(x)]
    return g.get(x.output_nr) if type(g) is Grads else g


# ---- where the walk begins -------------------------------------------------------------------


def _roots(outputs: Any, gradients: Any, create_graph: bool) -> list[tuple[Any, Any]]:
    """(node or leaf, gradient) of each output; the gradient of a scalar is 1."""
    outputs = _listed(outputs)
    gradients = [None] * len(outputs) if gradients is None else _listed(gradients)
    if len(outputs) != len(gradients):
        raise RuntimeError(
            f"got {len(outputs)} tensors and {len(gradients)} gradients; expected one for each"
        )
    roots = []
    for i, (t, g) in enumerate(zip(outputs, gradients)):
        if isinstance(t, Tensor) and not t._rg:
            raise RuntimeError(
                f"element {i} of tensors does not require grad and does not have a grad_fn: nothing "
                "that it was computed from has requires_grad=True"
            )
        if g is not None and not isinstance(g, Tensor):
            raise TypeError(f"gradients can be either Tensors or None, but got {type(g).__name__}")
        g = _root_gradient(i, _like(t, g), g)
        given = g if create_graph else g._a
        place = _place(t)
        if type(t) is GradientEdge and place is t.node and (t.output_nr or t.node.op.outputs > 1):
            given = Grads({t.output_nr: given})
        roots.append((place, given))
    return roots


def _like(t: Any, g: Any) -> Tensor:
    """A tensor of an output's shape and dtype: of an edge that was made by hand, its gradient."""
    if isinstance(t, Tensor):
        return t
    like = _likes.get(t.node, {}).get(t.output_nr, g)
    if like is None:
        raise RuntimeError(
            "the shape at a GradientEdge that get_gradient_edge() has not made is not known: pass "
            "a gradient for it"
        )
    return like


def _root_gradient(i: int, y: Tensor, g: Any) -> Tensor:
    """The gradient of output number i, checked against the output y; 1 where y has one element."""
    if g is None:
        if y._a.size != 1:
            raise RuntimeError(
                f"grad can be implicitly created only for scalar outputs, got shape {list(y.shape)};"
                " pass a gradient of that shape"
            )
        if y._a.dtype.kind == "c":
            raise RuntimeError(
                f"grad can be implicitly created only for real scalar outputs but got {y.dtype}"
            )
        xp = backend_of(y._a)
        with xp.on(y._a):
            return wrap(xp.ones(y._a.shape, y._a.dtype))
    if g._a.shape != y._a.shape:
        raise RuntimeError(
            f"Mismatch in shape: grad_output[{i}] has a shape of {g.shape} and output[{i}] has a "
            f"shape of {y.shape}."
        )
    if g._a.dtype == y._a.dtype:
        return g
    if "c" in (g._a.dtype.kind, y._a.dtype.kind):
        raise RuntimeError(
            "For complex Tensors, both grad_output and output are required to have the same dtype. "
            f"Mismatch in dtype: grad_output[{i}] has a dtype of {g.dtype} and output[{i}] has a "
            f"dtype of {y.dtype}."
        )
    return g.to(y.dtype)


# ---- the two -----------------------------------------------------------------------------------


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
    grad_variables: the former name of grad_tensors
    inputs: the only tensors to accumulate into (default: all leaves)

    Raises RuntimeError for a missing gradient, a second backward, or a saved value that has been
    overwritten in place.
    """
    if grad_variables is not None:
        if grad_tensors is not None:
            raise RuntimeError(
                "`grad_tensors` and `grad_variables` (deprecated) arguments both passed to "
                "`backward()`. Please only use `grad_tensors`."
            )
        grad_tensors = grad_variables
    retain = create_graph if retain_graph is None else retain_graph
    if inputs is None:
        walk(_roots(tensors, grad_tensors, create_graph), retain, create_graph)
        return
    wanted = _inputs(inputs, "backward")
    targets = {_place(t): None for t in wanted}

    def to_leaf(leaf: Any, g: Any) -> None:
        if leaf in targets:
            accumulate(leaf, g)

    for t in wanted:
        if isinstance(t, Tensor):
            t.retain_grad()  # as torch does: nothing to a leaf
    walk(_roots(tensors, grad_tensors, create_graph), retain, create_graph, targets, to_leaf)


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

    is_grads_batched: each of grad_outputs has a leading dimension, and so have the results: a
        gradient for each entry along it

    Returns a tuple, a Tensor of its shape for each input; None (zeros if materialize_grads) for one
    that the outputs do not depend on, which raises RuntimeError unless allow_unused.
    """
    wanted = _inputs(inputs, "grad")
    if materialize_grads:
        if allow_unused is False:
            raise ValueError(
                "Expected allow_unused to be True or not passed when materialize_grads=True, but "
                "got: allow_unused=False."
            )
        if any(isinstance(t, GradientEdge) for t in wanted):
            raise RuntimeError(
                "materialize_grads cannot be used when the given input is a GradientEdge"
            )
    unused = bool(allow_unused) or materialize_grads
    retain = create_graph if retain_graph is None else retain_graph
    if is_grads_batched:
        result = _batched(_listed(outputs), wanted, grad_outputs, retain, create_graph, unused)
    else:
        result = _grad(outputs, wanted, grad_outputs, retain, create_graph, unused)
    if materialize_grads:
        result = [
            wrap(backend_of(t._a).zeros_like(t._a)) if g is None else g
            for t, g in zip(wanted, result)
        ]
    return tuple(result)


def _grad(outputs: Any, wanted: list[Any], grad_outputs: Any, retain: bool, create_graph: bool,
          unused: bool) -> list[Any]:  # fmt: skip
    targets: dict[Any, Any] = {_place(t): None for t in wanted}

    def to_leaf(leaf: Any, g: Any) -> None:
        if leaf in targets:
            targets[leaf] = g if leaf._leaf is None else run_hooks(leaf._leaf.pre, g)

    walk(_roots(outputs, grad_outputs, create_graph), retain, create_graph, targets, to_leaf)
    result = []
    for i, t in enumerate(wanted):
        g = _found(targets, t)
        if g is None:
            if not unused:
                raise RuntimeError(
                    f"The differentiated Tensor at index {i} appears to not have been used in the "
                    "graph. Set allow_unused=True if this is the desired behavior."
                )
        elif not isinstance(g, Tensor):
            g = wrap(g if isinstance(t, GradientEdge) or isinstance(g, SparseArray)
                     else backend_of(t._a).asarray(g, dtype=t._a.dtype))  # fmt: skip
        result.append(g)
    return result


def _batched(outputs: list[Any], wanted: list[Any], grad_outputs: Any, retain: bool,
             create_graph: bool, unused: bool) -> list[Any]:  # fmt: skip
    """_grad for each entry of grad_outputs, stacked."""
    from .ops.join import stack

    gradients = _listed(grad_outputs)
    for i, (y, g) in enumerate(zip(outputs, gradients)):
        y = _like(y, g[0])
        if g.shape[1:] != y.shape:
            raise RuntimeError(
                "If `is_grads_batched=True`, we interpret the first dimension of each grad_output "
                "as the batch dimension. The sizes of the remaining dimensions are expected to match "
                f"the shape of corresponding output, but a mismatch was detected: grad_output[{i}] "
                f"has a shape of {g.shape} and output[{i}] has a shape of {y.shape}. If you only "
                "want some tensors in `grad_output` to be considered batched, consider using vmap."
            )
    n = len(gradients[0])
    rows = [
        _grad(outputs, wanted, [g[k] for g in gradients], retain or k < n - 1, create_graph, unused)
        for k in range(n)
    ]
    if not rows:
        return [wrap(backend_of(t._a).zeros((0, *t._a.shape), t._a.dtype)) for t in wanted]
    return [None if gs[0] is None else stack(gs) for gs in zip(*rows)]


def _of_tensor(
    self: Tensor,
    gradient: Tensor | None = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    inputs: Any = None,
) -> None:
    """Add d(self)/d(leaf) to .grad of each leaf that requires it; see autograd.backward."""
    backward(self, gradient, retain_graph, create_graph, None, inputs)


_of_tensor.__name__ = _of_tensor.__qualname__ = "backward"
METHODS = {"backward": _of_tensor}
__all__ = ["GradientEdge", "backward", "get_gradient_edge", "grad", "grad_on"]
