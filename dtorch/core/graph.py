"""The graph of recorded ops, and the walk back through it.

A node is one recorded op.  Its edges lead to the nodes that made its inputs, or to an input itself
where that is a leaf; None stands for an input that needs no gradient.  A node is created after
everything that it depends on, so creation order (`seq`) is a topological order.
"""

from __future__ import annotations

import itertools
import sys
import traceback
import weakref
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from . import backend, errors
from .modes import _grad, is_anomaly_enabled, is_nan_checked

if TYPE_CHECKING:
    from .tensor import Tensor

next_seq = itertools.count(1).__next__
FREED: Any = ("the saved values of a node whose backward has run",)


class Node:
    """One recorded op: what its gradient rule needs, and where the gradients go."""

    __slots__ = ("op", "edges", "saved", "y", "params", "fix", "seq", "g", "hooks", "__weakref__")

    def __init__(
        self, op: Any, edges: Any, saved: Any, y: Any, params: Any, fix: Any, seq: int
    ) -> None:
        self.op = op
        self.edges = edges
        self.saved = saved  # the input arrays, their shapes, or None: what the op declared
        self.y = y  # the output's array, if the op's rules read it
        self.params = params
        self.fix = fix  # (shape, dtype) of each input, where broadcasting or promotion changed it
        self.seq = seq
        self.g: Any = None  # the gradient gathered so far in a running backward
        self.hooks: dict[int, Any] | None = None

    def name(self) -> str:
        """torch's name for it, such as MulBackward0."""
        return self.op.grad_name(self)

    def __repr__(self) -> str:
        return f"<{self.name()} object at {hex(id(self))}>"

    @property
    def next_functions(self) -> tuple[tuple[Any, int], ...]:
        """The nodes that its gradients go to, each with the number of the output concerned."""
        return tuple(_next_function(e) for e in self.edges)

    def register_hook(self, hook: Callable[..., Any]) -> Any:
        """Call hook(grad_inputs, grad_outputs) in backward; what it returns replaces grad_inputs."""
        return add_hook(self, NodeHook(hook))

    def register_prehook(self, hook: Callable[..., Any]) -> Any:
        """Call hook(grad_outputs) before the rule; what it returns replaces grad_outputs."""
        return add_hook(self, lambda g: (hook((g,)) or (g,))[0])


class NodeHook:
    """Marks a hook that is called after a node's rule, with all of its gradients."""

    def __init__(self, call: Callable[..., Any]) -> None:
        self.call = call


class AccumulateGrad:
    """What stands for a leaf among next_functions."""

    def __init__(self, variable: Tensor) -> None:
        self.variable = variable
        self.next_functions: tuple[Any, ...] = ()

    def name(self) -> str:
        return "AccumulateGrad"

    def __repr__(self) -> str:
        return f"<AccumulateGrad object at {hex(id(self))}>"

    def register_hook(self, hook: Callable[..., Any]) -> Any:
        """Call hook(grad_inputs, grad_outputs) once the leaf's gradient has been accumulated."""
        return self.variable.register_post_accumulate_grad_hook(lambda t: hook((), (t.grad,)))


def _next_function(edge: Any) -> tuple[Any, int]:
    if edge is None or type(edge) is Node:
        if edge is not None and edge.op is PICK:
            return edge.edges[0], edge.params["index"]
        return edge, 0
    if edge._leaf is None or edge._leaf.node is None:
        leaf_extras(edge).node = AccumulateGrad(edge)
    return edge._leaf.node, 0


class Handle:
    """What registering a hook returns: remove() takes the hook away."""

    def __init__(self, hooks: dict[int, Any]) -> None:
        self.hooks, self.id = hooks, next_seq()

    def remove(self) -> None:
        self.hooks.pop(self.id, None)

    def __enter__(self) -> Handle:
        return self

    def __exit__(self, *error: object) -> None:
        self.remove()


def add_hook(node: Node, hook: Any) -> Handle:
    """Call hook(gradient) before a node's rule."""
    if node.hooks is None:
        node.hooks = {}
    handle = Handle(node.hooks)
    node.hooks[handle.id] = hook
    return handle


class LeafExtras:
    """What few leaves have: hooks, and a home where the gradient's memory is (a DDP bucket)."""

    __slots__ = ("pre", "post", "home", "node")

    def __init__(self) -> None:
        self.pre: dict[int, Any] = {}
        self.post: dict[int, Any] = {}
        self.home: Any = None
        self.node: AccumulateGrad | None = None


def leaf_extras(leaf: Tensor) -> LeafExtras:
    if leaf._leaf is None:
        leaf._leaf = LeafExtras()
    extras: LeafExtras = leaf._leaf
    return extras


# ---- nodes with several outputs ------------------------------------------------------------------


class Grads(dict[int, Any]):
    """The gradients of several outputs of one node by number; adding merges."""

    def __add__(self, other: Grads) -> Grads:
        merged = Grads(self)
        for i, g in other.items():
            merged[i] = merged[i] + g if i in merged else g
        return merged


class _Pick:
    """The op of the node between output number `index` and the node that made all outputs."""

    name = "pick"

    def grad_name(self, node: Node) -> str:
        return node.edges[0].name()

    def backward(self, node: Node, g: Any) -> tuple[Grads]:
        return (Grads({node.params["index"]: g}),)


PICK = _Pick()


def pick(node: Node, index: int) -> Node:
    """The node of output number `index` of `node`."""
    return Node(PICK, (node,), None, None, {"index": index}, None, next_seq())


# ---- in-place writes -------------------------------------------------------------------------


class _Writes:
    """Which buffers have been written to in place, and when.

    Saving a value costs nothing: each write stamps a sequence number, and backward looks further
    only at a node that is older than the newest write.
    """

    def __init__(self) -> None:
        self.last = 0
        # id of the owning array -> [last write, how many, what forgets the array when it is freed]
        self.log: dict[int, list[Any]] = {}

    def stamp(self, array: Any) -> None:
        self.last = next_seq()
        root = backend.of(array).root(array)
        key = id(root)
        entry = self.log.get(key)
        if entry is None:
            self.log[key] = [self.last, 1, weakref.ref(root, lambda _: self.log.pop(key, None))]
        else:
            entry[0] = self.last
            entry[1] += 1

    def version(self, array: Any) -> int:
        return self.log.get(id(backend.of(array).root(array)), (0, 0))[1]

    def check(self, node: Node) -> None:
        """RuntimeError if a value that `node` saved has been written to since."""
        values = (*(node.saved or ()), *(node.y if type(node.y) is tuple else (node.y,)))
        for a in values:
            if hasattr(a, "dtype") and hasattr(a, "base"):
                entry = self.log.get(id(backend.of(a).root(a)))
                if entry is not None and entry[0] > node.seq:
                    kind = "Tensor" if backend.of(a).name == "cpu" else "cuda Tensor"
                    raise errors.modified_in_place(node.name(), a.shape, kind)


writes = _Writes()


# ---- the walk --------------------------------------------------------------------------------

_by_seq = attrgetter("seq")
_callbacks: ContextVar[list[Callable[[], None]] | None] = ContextVar("callbacks", default=None)


def queue_callback(callback: Callable[[], None]) -> None:
    """From a hook: call something when the running backward, the outermost one, is through."""
    callbacks = _callbacks.get()
    if callbacks is None:
        raise RuntimeError("queue_callback() is for hooks: no backward is running")
    callbacks.append(callback)


def _reachable(starts: Sequence[Any]) -> tuple[list[Node], dict[Any, int]]:
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
                uses[e] = uses.get(e, 0) + 1
    order.sort(key=_by_seq, reverse=True)
    return order, uses


def _leads_to(order: list[Node], targets: dict[Any, Any]) -> set[Node]:
    """The nodes on a way to one of the targets."""
    found: set[Node] = set()
    for node in reversed(order):  # oldest first, so edges are known before the node
        if node in targets or any(e in found or e in targets for e in node.edges if e is not None):
            found.add(node)
    return found


def walk(
    roots: Sequence[tuple[Tensor, Any]],
    retain_graph: bool,
    create_graph: bool,
    targets: dict[Any, Any] | None = None,
    to_leaf: Callable[[Any, Any], None] | None = None,
) -> None:
    """Run the rules from the roots back.

    roots: (tensor, gradient), gradients as arrays, or as Tensors under create_graph
    targets: nodes and leaves whose gradient is wanted; it is put there as the value
    to_leaf: what to do with a leaf's gradient, `accumulate` unless given
    """
    to_leaf = to_leaf or accumulate
    starts = [t._node for t, _ in roots if t._node is not None]
    order, uses = _reachable(starts)
    for t, _ in roots:
        if t._node is None:
            uses[t] = uses.get(t, 0) + 1
    partial: dict[Any, Any] = {}

    def arrive(leaf: Any, g: Any) -> None:
        """Gather a leaf's gradient over all its uses; the last one hands it on."""
        uses[leaf] -= 1
        before = partial.pop(leaf, None)
        if before is not None:
            g = before if g is None else before + g
        if not uses[leaf]:
            if g is not None:
                to_leaf(leaf, g)
        elif g is not None:
            partial[leaf] = g

    wanted = None if targets is None else _leads_to(order, targets)
    token = _grad.set(create_graph)
    callbacks: list[Callable[[], None]] | None = None if _callbacks.get() is not None else []
    outermost = None if callbacks is None else _callbacks.set(callbacks)
    try:
        for t, g in roots:
            node = t._node
            if node is None:
                arrive(t, g)
            else:
                node.g = g if node.g is None else node.g + g
        last_write = writes.last
        check_nan = is_anomaly_enabled() and is_nan_checked()
        for node in order:
            g = node.g
            if g is None or (wanted is not None and node not in wanted):
                for e in node.edges:
                    if e is not None and type(e) is not Node:
                        arrive(e, None)
                node.g = None
                continue
            node.g = None
            if node.hooks:
                g = _run_hooks(node.hooks, g)
            if targets is not None and node in targets:
                targets[node] = g
            if node.saved is FREED:
                raise errors.second_backward()
            if last_write > node.seq:
                writes.check(node)
            if create_graph:
                grads = node.op.backward(_with_tensors(node), g)
            else:
                grads = node.op.backward(node, g)
            if check_nan:
                _refuse_nan(node, grads)
            if node.hooks:
                grads = _run_node_hooks(node.hooks, grads, g)
            for e, ge in zip(node.edges, grads):
                if type(e) is Node:
                    if ge is not None:
                        c = e.g
                        e.g = ge if c is None else c + ge
                elif e is not None:
                    arrive(e, ge)
            if not retain_graph and (node.saved is not None or node.y is not None):
                node.saved = FREED
                node.y = None
    except BaseException as error:
        for n in order:
            n.g = None
        _explain(error, node if order else None)
        raise
    finally:
        _grad.reset(token)
        if outermost is not None:
            _callbacks.reset(outermost)
    for callback in callbacks or ():
        callback()


def _refuse_nan(node: Node, grads: Any) -> None:
    """Under detect_anomaly, RuntimeError if a rule has made a NaN."""
    for i, g in enumerate(grads):
        a = getattr(g, "_a", g)
        if hasattr(a, "dtype") and a.dtype.kind in "fc" and backend.of(a).isnan(a).any():
            raise RuntimeError(f"Function '{node.name()}' returned nan values in its {i}th output.")


def _explain(error: BaseException, node: Node | None) -> None:
    """Under detect_anomaly, add the forward line of the node at which backward failed."""
    if node is not None and node in forward_stacks and hasattr(error, "add_note"):
        error.add_note(
            f"Error detected in {node.name()}. Traceback of forward call that caused the error:\n"
            + "".join(forward_stacks[node])
        )


# node -> the formatted stack of its forward, under detect_anomaly
forward_stacks: weakref.WeakKeyDictionary[Node, list[str]] = weakref.WeakKeyDictionary()


def remember_stack(node: Node) -> None:
    """Keep the stack of a node's forward call."""
    forward_stacks[node] = traceback.format_stack()[:-3]


def _run_hooks(hooks: dict[int, Any], g: Any) -> Any:
    """Hand the gradient to the hooks as a Tensor; what one returns replaces it."""
    from .tensor import Tensor, wrap

    for hook in list(hooks.values()):
        if type(hook) is not NodeHook:
            given = g if isinstance(g, Tensor) else wrap(g)
            got = hook(given)
            if got is not None:
                if got.shape != given.shape:
                    raise RuntimeError(
                        f"hook has changed the size of value: expected {tuple(given.shape)}, got "
                        f"{tuple(got.shape)}"
                    )
                g = got if isinstance(g, Tensor) else got._a
    return g


def _run_node_hooks(hooks: dict[int, Any], grads: Any, g: Any) -> Any:
    from .tensor import Tensor, wrap

    for hook in list(hooks.values()):
        if type(hook) is NodeHook:
            as_tensors = [x if x is None or isinstance(x, Tensor) else wrap(x) for x in grads]
            out = g if isinstance(g, Tensor) else wrap(g)
            got = hook.call(tuple(as_tensors), (out,))
            if got is not None:
                raw = not isinstance(g, Tensor)
                grads = tuple(x._a if raw and isinstance(x, Tensor) else x for x in got)
    return grads


# ---- the rules on Tensors (create_graph) ---------------------------------------------------------


class _Alias:
    """The op of a node that hands its gradient on, to the dtype and shape that `fix` asks for."""

    name = "alias"

    def grad_name(self, node: Node) -> str:
        return "AliasBackward0"

    def backward(self, node: Node, g: Any) -> tuple[Any]:
        from .rules import fit

        return (g if node.fix is None else fit(g, node.fix[0]),)


ALIAS = _Alias()


def _as_tensor(array: Any, edge: Any, fix: Any) -> Any:
    """A saved array as a Tensor with the history of the edge that it came by."""
    from .tensor import Tensor, wrap

    if not hasattr(array, "dtype") or edge is None:
        return wrap(array) if hasattr(array, "dtype") else array
    if isinstance(edge, Tensor) and edge._a is array:
        return edge
    if type(edge) is Node and fix is None:
        return wrap(array, edge)
    return wrap(array, Node(ALIAS, (edge,), None, None, None, fix and (fix,), next_seq()))


def _with_tensors(node: Node) -> Node:
    """A copy of the node whose saved values are Tensors with history, for rules run on Tensors."""
    from .tensor import wrap

    saved, y = node.saved, node.y
    if saved is not None and node.op.saves_x:
        fixes = node.fix or (None,) * len(saved)
        # After promotion the saved array has the promoted dtype, and its own shape.
        fixes = [
            f and hasattr(a, "dtype") and ((a.shape, f[1]) if a.dtype != f[1] else None) or None
            for a, f in zip(saved, fixes)
        ]
        saved = tuple(map(_as_tensor, saved, node.edges, fixes))
    if type(y) is tuple:
        y = tuple(wrap(a, pick(node, i)) for i, a in enumerate(y))
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

    class Fresh(_Alias):
        def backward(self, node: Node, g: Any) -> tuple[Any]:
            return (backend.cpu.empty(1),)

    class Root:
        _node = Node(Fresh(), (object(),), None, None, None, None, 0)

    walk([(Root, 1.0)], True, False, to_leaf=lambda leaf, g: counts.append(_references(g)))  # type: ignore[list-item]
    return counts[0]


_UNSHARED = _unshared()


def accumulate(leaf: Any, g: Any) -> None:
    """Add a gradient to leaf.grad, and run the leaf's hooks."""
    from .tensor import Tensor, wrap

    extras = leaf._leaf
    if extras is not None and extras.pre:
        g = _run_hooks(extras.pre, g)
    grad = leaf._grad
    if isinstance(g, Tensor):  # create_graph
        leaf._grad = g if grad is None else grad + g
    else:
        a = leaf._a
        if type(g) is not type(a):
            g = backend.of(a).asarray(g)
        if g.dtype is not a.dtype and g.dtype != a.dtype:
            g = g.astype(a.dtype)
        if grad is not None:
            if grad._rg:
                leaf._grad = grad + wrap(g)
            else:
                grad._a += g
                writes.stamp(grad._a)
        elif extras is not None and extras.home is not None:
            extras.home[...] = g
            leaf._grad = wrap(extras.home)
        else:
            # Taken over, not copied, where nobody else holds it and its layout is the leaf's.
            fresh = g.base is None and _references(g) <= _UNSHARED and g.strides == a.strides
            leaf._grad = wrap(g if fresh else _copy_like(g, a))
    if extras is not None and extras.post:
        for hook in list(extras.post.values()):
            hook(leaf)


def _copy_like(g: Any, a: Any) -> Any:
    """A copy of g in the memory layout of a."""
    out = backend.of(a).empty_like(a)
    out[...] = g
    return out
