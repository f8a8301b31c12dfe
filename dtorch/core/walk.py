"""The walk back through the graph: rules, hooks, and what becomes of the gradients of leaves."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from operator import attrgetter
from typing import Any

from . import backend, errors
from .backend.cpu import ndarray
from .backend.sparse import SparseArray
from .graph import (
    ALIAS,
    FREED,
    Alias,
    Grads,
    Hooks,
    Node,
    next_seq,
    pick,
    writes,
)
from .modes import _grad, is_anomaly_check_nan_enabled, is_anomaly_enabled, is_grad_layout_enforced
from .recording import opened_node
from .tensor import NO_GRAD, Tensor, wrap

_by_seq = attrgetter("seq")
_ids = itertools.count().__next__


class _Task:
    """A running backward: its number, what it goes through, and what is called at its end."""

    __slots__ = ("id", "order", "uses", "targets", "needed", "callbacks")

    def __init__(self, order: Any, uses: Any, targets: Any, outer: _Task | None) -> None:
        self.id = _ids()
        self.order = order
        self.uses = uses
        self.targets = targets
        self.needed: set[Node] | None = None if targets is None else _leads_to(order, targets)
        self.callbacks: list[Callable[[], None]] = [] if outer is None else outer.callbacks

    def reaches(self, edge: Any) -> bool:
        """Whether the gradient of an edge's tensor will be known."""
        if self.needed is not None:
            return edge in self.targets or edge in self.needed
        return edge in (self.order if type(edge) is Node else self.uses)


_task: ContextVar[_Task | None] = ContextVar("task", default=None)


running_task = _task.get


def current_task() -> _Task:
    """The running backward, for hooks."""
    task = _task.get()
    if task is None:
        raise RuntimeError("this is for hooks: no backward is running")
    return task


def queue_callback(callback: Callable[[], None]) -> None:
    """From a hook: call something when the running backward, the outermost one, is through."""
    current_task().callbacks.append(callback)


def reachable(starts: Sequence[Any]) -> tuple[list[Node], dict[Any, int]]:
    """The nodes that the starts lead to, newest first, and how many edges lead to each leaf."""
    order = list(dict.fromkeys(starts))
    seen = set(order)
    uses: dict[Any, int] = {}
    for node in order:  # grows while it is iterated over
        for e in node.edges:
            if type(e) is Node:
                if e not in seen:
                    seen.add(e)
                    order.append(e)
            elif e is not None:
                uses[e] = uses[e] + 1 if e in uses else 1
    if len(order) > 1:
        order.sort(key=_by_seq, reverse=True)
    return order, uses


def _leads_to(order: list[Node], targets: dict[Any, Any]) -> set[Node]:
    """The nodes from which a way leads to one of the targets."""
    found: set[Node] = set()
    for node in reversed(order):  # oldest first, so edges are known before the node
        if any(e in found or e in targets for e in node.edges if e is not None):
            found.add(node)
    return found


def walk(
    roots: Sequence[tuple[Any, Any]],
    retain_graph: bool,
    create_graph: bool,
    targets: dict[Any, Any] | None = None,
    to_leaf: Callable[[Any, Any], None] | None = None,
) -> None:
    """Run the rules from the roots back.

    roots: (node or leaf, gradient), gradients as arrays, or as Tensors under create_graph
    targets: nodes and leaves whose gradient is wanted; it is put there as the value
    to_leaf: what to do with a leaf's gradient, `accumulate` unless given
    """
    to_leaf = to_leaf or accumulate
    order, uses = reachable([e for e, _ in roots if type(e) is Node])
    for e, _ in roots:
        if type(e) is not Node:
            uses[e] = uses.get(e, 0) + 1
    partial: dict[Any, Any] = {}

    def arrive(leaf: Any, g: Any) -> None:
        """Gather a leaf's gradient over all its uses; the last one hands it on."""
        uses[leaf] -= 1
        before = partial.pop(leaf, None)
        if before is not None:
            if g is None:
                g = before
            else:  # _sum, without the call in the common case
                g = before + g if type(before) is ndarray else _sum(before, g)
        if not uses[leaf]:
            if g is not None:
                to_leaf(leaf, g)
        elif g is not None:
            partial[leaf] = g

    outer = _task.get()
    task = _Task(order, uses, targets, outer)
    needed = task.needed
    running = _task.set(task)
    token = _grad.set(create_graph)
    node: Any = None
    try:
        for e, g in roots:
            if type(e) is Node:
                e.g = g if e.g is None else _sum(e.g, g)
            else:
                arrive(e, g)
        last_write = writes.last
        check_nan = is_anomaly_enabled() and is_anomaly_check_nan_enabled()
        for node in order:
            g = node.g
            if g is not None:
                node.g = None
                hooks = node.hooks
                if hooks is not None:
                    g = _run_tensor_hooks(hooks, g)
                if targets is not None and node in targets:
                    targets[node] = g
            if g is None or (needed is not None and node not in needed):
                for e in node.edges:
                    if e is not None and type(e) is not Node:
                        arrive(e, None)
                continue
            if hooks is not None and hooks.pre:
                g = _run_pre_hooks(node, g)
            saved = node.saved
            if saved is FREED:
                raise errors.second_backward()
            if last_write > node.seq:
                writes.check(node)
            if create_graph:
                twin = with_tensors(opened_node(node))
                grads = twin.op.backward(twin, g)
            elif type(g) is ndarray:
                grads = node.op.backward(node, g)
            else:
                with backend.of(g).on(g):
                    grads = node.op.backward(node, g)
            if check_nan:
                _refuse_nan(node, grads)
            if hooks is not None and hooks.post:
                grads = _run_post_hooks(node, grads, g)
            for e, ge in zip(node.edges, grads):
                if type(e) is Node:
                    if ge is not None:
                        c = e.g
                        e.g = ge if c is None else c + ge if type(c) is ndarray else _sum(c, ge)
                elif e is not None:
                    if uses[e] > 1 or ge is None or e in partial:
                        arrive(e, ge)
                    else:  # its only use
                        to_leaf(e, ge)
            # Arrays are let go; shapes may stay.
            if not retain_graph and (node.y is not None or saved and type(saved[0]) is not tuple):
                node.saved = FREED
                node.y = None
    except BaseException as error:
        for n in order:
            n.g = None
        if is_anomaly_enabled() and node is not None and hasattr(error, "add_note"):
            error.add_note(_forward_line(node))
        raise
    finally:
        _grad.reset(token)
        _task.reset(running)
    if outer is None:
        for callback in task.callbacks:
            callback()


def _sum(a: Any, b: Any) -> Any:
    """Two gradients of one tensor, as one."""
    if type(a) is ndarray or isinstance(a, Tensor):
        return a + b
    with backend.of(a).on(a):
        return a + b


def _add_to(a: Any, b: Any) -> None:
    """a += b, of arrays."""
    if type(a) is ndarray:
        a += b
        return
    with backend.of(a).on(a):
        a += b


# ---- detect_anomaly --------------------------------------------------------------------------


def _refuse_nan(node: Node, grads: Any) -> None:
    """Under detect_anomaly, RuntimeError if a rule has made a NaN."""
    for i, g in enumerate(grads):
        a = getattr(g, "_a", g)
        if hasattr(a, "dtype") and a.dtype.kind in "fc" and backend.of(a).isnan(a).any():
            raise RuntimeError(f"Function '{node.name()}' returned nan values in its {i}th output.")


def _forward_line(node: Node) -> str:
    """Where the node at which backward failed was made."""
    stack = node.metadata.get("traceback_")
    if stack is None:
        return (
            f"Error detected in {node.name()}. No forward pass information available. Enable detect "
            "anomaly during forward pass for more information."
        )
    return (
        f"Error detected in {node.name()}. Traceback of forward call that caused the error:\n"
        + "".join(stack)
    )


# ---- hooks -----------------------------------------------------------------------------------


def _hook_name(hook: Any) -> str:
    return getattr(hook, "__name__", type(hook).__name__)


def _as_tensor(g: Any) -> Any:
    return g if g is None or isinstance(g, Tensor) else wrap(g)


def run_hooks(hooks: dict[int, Any], g: Any) -> Any:
    """Hand the gradient of a tensor to its hooks; what one returns replaces it."""
    for hook in list(hooks.values()):
        given = _as_tensor(g)
        got = hook(given)
        if got is not None:
            _check_replacement(hook, got, given)
            g = got if isinstance(g, Tensor) else got._a
    return g


def _run_tensor_hooks(hooks: Hooks, g: Any) -> Any:
    """The hooks of the tensor that a node has made; then retain_grad takes what they leave."""
    g = run_hooks(hooks.tensor, g)
    for keep in list(hooks.retain.values()):
        keep(_as_tensor(g))
    return g


def _check_replacement(hook: Any, got: Any, given: Tensor) -> None:
    if not isinstance(got, Tensor):
        raise TypeError(f"expected Variable, but hook returned '{type(got).__name__}'")
    if got.dtype != given.dtype:
        raise RuntimeError(
            f"hook '{_hook_name(hook)}' has changed the type of value (was {given.type()} got "
            f"{got.type()})"
        )
    if got.shape != given.shape:
        raise RuntimeError(
            f"hook '{_hook_name(hook)}' has changed the size of value: expected "
            f"{list(given.shape)}, got {list(got.shape)}"
        )


def _replaced(hook: Any, got: Any, given: tuple[Any, ...]) -> tuple[Any, ...]:
    """What a node's hook returned in place of the gradients that it was given."""
    if not isinstance(got, tuple):
        raise TypeError(f"expected tuple, but hook returned '{type(got).__name__}'")
    if len(got) != len(given):
        raise RuntimeError(
            f"hook '{_hook_name(hook)}' has returned an incorrect number of values (got {len(got)}, "
            f"but expected {len(given)})"
        )
    for new, old in zip(got, given):
        if new is not None and old is not None:
            _check_replacement(hook, new, old)
    return got


def _outputs(node: Node, g: Any) -> tuple[Any, ...]:
    """The gradients of a node's outputs as Tensors, None for one that has none."""
    if type(g) is not Grads:
        return (_as_tensor(g),)
    n = len(node.y) if type(node.y) is tuple else getattr(node.op, "outputs", max(g) + 1)
    return tuple(_as_tensor(g.get(i)) for i in range(n))


def _run_pre_hooks(node: Node, g: Any) -> Any:
    many = type(g) is Grads
    raw = not any(isinstance(x, Tensor) for x in (g.values() if many else (g,)))
    grads = _outputs(node, g)
    for hook in list(node.hooks.pre.values()):  # type: ignore[union-attr]
        got = hook(grads)
        if got is not None:
            grads = _replaced(hook, got, grads)
    arrays = [x._a if raw and x is not None else x for x in grads]
    return Grads({i: x for i, x in enumerate(arrays) if x is not None}) if many else arrays[0]


def _run_post_hooks(node: Node, grads: Any, g: Any) -> Any:
    raw = not any(isinstance(x, Tensor) for x in grads)
    given = tuple(map(_as_tensor, grads))
    outs = _outputs(node, g)
    for hook in list(node.hooks.post.values()):  # type: ignore[union-attr]
        got = hook(given, outs)
        if got is not None:
            given = _replaced(hook, got, given)
    return tuple(x._a if raw and x is not None else x for x in given)


# ---- the rules on Tensors (create_graph) ---------------------------------------------------------


def with_history(array: Any, edge: Any, fix: Any = None) -> Any:
    """A saved array as a Tensor with the history of the edge that it came by."""
    if not hasattr(array, "dtype") or edge is None:
        return wrap(array) if hasattr(array, "dtype") else array
    if isinstance(edge, Tensor) and edge._a is array:
        return edge
    if type(edge) is Node and fix is None:
        return wrap(array, edge)
    return wrap(array, Node(ALIAS, (edge,), None, None, None, fix and (fix,), next_seq()))


def with_tensors(node: Node) -> Node:
    """A copy of the node whose saved values are Tensors with history, for rules run on Tensors."""
    saved, y = node.saved, node.y
    if saved is not None and node.op.saves_x:
        fixes = node.fix or (None,) * len(saved)
        # After promotion the saved array has the promoted dtype, and its own shape.
        fixes = [
            f and hasattr(a, "dtype") and ((a.shape, f[1]) if a.dtype != f[1] else None) or None
            for a, f in zip(saved, fixes)
        ]
        saved = tuple(map(with_history, saved, node.edges, fixes))
    if type(y) is tuple:
        several = node.op.outputs > 1
        y = tuple(
            a
            if a is None
            else wrap(a, pick(node, i) if several and a.dtype.kind in "fcV" else None)
            for i, a in enumerate(y)
        )
    elif y is not None:
        y = wrap(y, node)
    return Node(node.op, node.edges, saved, y, node.params, node.fix, node.seq)


# ---- leaves ----------------------------------------------------------------------------------


def _references(g: Any) -> int:
    return sys.getrefcount(g)


def _unshared() -> int:
    """What `_references` reports in a leaf's function for a gradient that nobody else holds.

    Measured by a walk over one made-up node: the count depends on the Python version.
    """
    counts: list[int] = []

    class Fresh(Alias):
        def backward(self, node: Node, g: Any) -> tuple[Any]:
            return (backend.cpu.empty(1),)

    root = Node(Fresh(), (object(),), None, None, None, None, 0)
    walk([(root, 1.0)], True, False, to_leaf=lambda leaf, g: counts.append(_references(g)))
    return counts[0]


_UNSHARED = _unshared()


def accumulate(leaf: Any, g: Any) -> None:
    """Add a gradient to leaf.grad, and run the leaf's hooks."""
    if not leaf._rg or leaf._views is NO_GRAD:  # switched off since, or a view without history
        return
    extras = leaf._leaf
    hooks = None
    if extras is not None:
        if extras.pre:
            g = run_hooks(extras.pre, g)
        if extras.node is not None and extras.node.hooks is not None:
            hooks = extras.node.hooks
            g = _run_pre_hooks(extras.node, g)
    grad = leaf._grad
    if isinstance(g, Tensor):  # create_graph
        leaf._grad = g if grad is None else grad + g
    elif isinstance(g, SparseArray):
        _accumulate_sparse(leaf, g)
    else:
        a = leaf._a
        if type(g) is not type(a):
            g = backend.of(a).asarray(g)
        if g.dtype is not a.dtype and g.dtype != a.dtype:
            g = g.astype(a.dtype)
        if grad is not None:
            if grad._rg:
                leaf._grad = grad + wrap(g)
            elif isinstance(grad._a, SparseArray):
                leaf._grad = wrap(_sum(grad._a, g))
            else:
                _add_to(grad._a, g)
                writes.stamp(grad._a)
        elif extras is not None and extras.home is not None:
            backend.store(extras.home, g)
            leaf._grad = wrap(extras.home)
        else:
            # Taken over, not copied, where nobody else holds it and its layout is the leaf's.
            fresh = g.base is None and _references(g) <= _UNSHARED
            fits = g.strides == a.strides or not is_grad_layout_enforced()
            leaf._grad = wrap(g if fresh and fits else _copy_like(g, a))
    if extras is not None:
        for hook in list(extras.post.values()):
            hook(leaf)
    if hooks is not None:
        for hook in list(hooks.post.values()):
            hook((), (_as_tensor(g),))


def _accumulate_sparse(leaf: Any, g: SparseArray) -> None:
    """Add a sparse gradient to .grad, which stays sparse while all that is added is."""
    if leaf._leaf is not None and leaf._leaf.home is not None:
        raise NotImplementedError(
            "a parameter whose gradient is reduced over the ranks got a sparse gradient, which is "
            "not supported: use sparse=False in its Embedding or EmbeddingBag"
        )
    g, grad = g.astype(leaf._a.dtype, copy=False), leaf._grad
    if grad is None:
        leaf._grad = wrap(g.copy())  # its values may be a view of what others hold
    elif grad._rg:
        leaf._grad = grad + wrap(g)
    else:
        backend.store(grad._a, _sum(grad._a, g))
        writes.stamp(grad._a)


def _copy_like(g: Any, a: Any) -> Any:
    """A copy of g in the memory layout of a."""
    xp = backend.of(a)
    with xp.on(a):
        out = xp.empty_like(a)
        out[...] = g
    return out
