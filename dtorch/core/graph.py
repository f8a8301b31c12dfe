"""The graph of recorded ops: nodes, their edges and hooks, and the log of in-place writes.

A node is one recorded op.  Its edges lead to the nodes that made its inputs, or to an input itself
where that is a leaf; None stands for an input that needs no gradient.  A node is created after
everything that it depends on, so creation order (`seq`) is a topological order.
"""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from . import backend, errors

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
        self.hooks: Hooks | None = None

    def name(self) -> str:
        """torch's name for it, such as MulBackward0."""
        return self.op.grad_name(self)

    def __repr__(self) -> str:
        return f"<{self.name()} object at {hex(id(self))}>"

    @property
    def next_functions(self) -> tuple[tuple[Any, int], ...]:
        """The nodes that its gradients go to, each with the number of the output concerned."""
        return tuple(public_edge(e) for e in self.edges)

    @property
    def metadata(self) -> dict[str, Any]:
        """A dictionary for whoever likes to note something about the node."""
        return _metadata.setdefault(self, {})

    def _sequence_nr(self) -> int:
        return self.seq

    def register_hook(self, hook: Callable[..., Any]) -> Handle:
        """Call hook(grad_inputs, grad_outputs) in backward; what it returns replaces grad_inputs."""
        return add_hook(node_hooks(self).post, hook)

    def register_prehook(self, hook: Callable[..., Any]) -> Handle:
        """Call hook(grad_outputs) before the rule; what it returns replaces grad_outputs."""
        return add_hook(node_hooks(self).pre, hook)

    # Properties, one by one: a __getattr__ would slow down every attribute of every node.

    @property
    def saved_tensors(self) -> Any:
        """What a Function has saved."""
        return self.op.ctx.saved_tensors

    @property
    def needs_input_grad(self) -> Any:
        return self.op.ctx.needs_input_grad


def _saved_value(node: Node, name: str) -> Any:
    """What a node keeps of its first two inputs (self, other), of its output (result), or of the
    argument that the kernel calls by this name."""
    from .recording import opened_node
    from .walk import with_tensors

    if node.saved is FREED:
        raise errors.second_backward()
    if name in (node.params or {}):
        return node.params[name]
    kept = with_tensors(opened_node(node))
    kernel = getattr(node.op, "kernel", None)
    if kernel is not None and name == "result" and kept.y is not None:
        return kept.y
    if kernel is not None and node.op.saves_x:
        names = kernel.__code__.co_varnames[1 : kernel.__code__.co_argcount]
        for known in (names, ("self", "other"), ("input", "exponent"), ("input", "mat2")):
            value = dict(zip(known, kept.saved)).get(name)
            if value is not None:
                return value
    raise AttributeError(f"'{node.name()}' object has no attribute '_saved_{name}'")


for _name in (
    "self",
    "other",
    "exponent",
    "mat2",
    "input",
    "weight",
    "bias",
    "result",
    "dim",
    "index",
):
    setattr(Node, f"_saved_{_name}", property(partial(_saved_value, name=_name)))

_metadata: weakref.WeakKeyDictionary[Node, dict[str, Any]] = weakref.WeakKeyDictionary()


# ---- leaves, and edges as users see them -----------------------------------------------------


class _Accumulate:
    """The op of what stands for a leaf among next_functions."""

    def grad_name(self, node: Node) -> str:
        return "AccumulateGrad"


class AccumulateGrad(Node):
    """Stands for a leaf in next_functions and gradient edges; the graph has the leaf itself."""

    __slots__ = ("variable",)

    def __init__(self, variable: Tensor) -> None:
        super().__init__(_Accumulate(), (), None, None, None, None, next_seq())
        self.variable = variable


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


def public_edge(edge: Any) -> tuple[Any, int]:
    """A node and the number of its output: what torch says for an edge."""
    if edge is None:
        return None, 0
    if type(edge) is Node:
        return (edge.edges[0], edge.params["index"]) if edge.op is PICK else (edge, 0)
    extras = leaf_extras(edge)
    if extras.node is None:
        extras.node = AccumulateGrad(edge)
    return extras.node, 0


# ---- hooks -----------------------------------------------------------------------------------


class Hooks:
    """The hooks of a node, each kind by number, in the order in which they are run."""

    __slots__ = ("tensor", "retain", "pre", "post")

    def __init__(self) -> None:
        self.tensor: dict[int, Any] = {}  # Tensor.register_hook
        self.retain: dict[int, Any] = {}  # Tensor.retain_grad
        self.pre: dict[int, Any] = {}  # Node.register_prehook
        self.post: dict[int, Any] = {}  # Node.register_hook


class Handle:
    """What registering a hook returns: remove() takes it away, with what is noted of it elsewhere."""

    def __init__(self, hooks: dict[int, Any], *notes: dict[int, Any]) -> None:
        self.tables, self.id = (hooks, *notes), next_seq()

    def remove(self) -> None:
        for table in self.tables:
            table.pop(self.id, None)

    def __enter__(self) -> Handle:
        return self

    def __exit__(self, *error: object) -> None:
        self.remove()


def add_hook(hooks: dict[int, Any], hook: Any) -> Handle:
    handle = Handle(hooks)
    hooks[handle.id] = hook
    return handle


def node_hooks(node: Node) -> Hooks:
    if node.hooks is None:
        node.hooks = Hooks()
    return node.hooks


# ---- nodes that hand gradients on ------------------------------------------------------------


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
    saves_x = False
    outputs = 1

    def grad_name(self, node: Node) -> str:
        return node.edges[0].name()

    def backward(self, node: Node, g: Any) -> tuple[Grads]:
        return (Grads({node.params["index"]: g}),)


PICK = _Pick()


def pick(node: Node, index: int) -> Node:
    """The node of output number `index` of `node`."""
    return Node(PICK, (node,), None, None, {"index": index}, None, next_seq())


class Alias:
    """The op of a node that hands its gradient on, to the dtype and shape that `fix` asks for."""

    name = "alias"
    saves_x = False
    outputs = 1

    def grad_name(self, node: Node) -> str:
        return "AliasBackward0"

    def backward(self, node: Node, g: Any) -> tuple[Any]:
        from .rules import fit

        return (g if node.fix is None else fit(g, node.fix[0]),)


ALIAS = Alias()


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
        owns = type(array) is backend.ndarray and array.base is None
        root = array if owns else backend.of(array).counter(array)
        key = id(root)
        entry = self.log.get(key)
        if entry is None:
            self.log[key] = [self.last, 1, weakref.ref(root, lambda _: self.log.pop(key, None))]
        else:
            entry[0] = self.last
            entry[1] += 1

    def version(self, array: Any) -> int:
        return self.log.get(id(backend.of(array).counter(array)), (0, 0))[1]

    def check(self, node: Node) -> None:
        """RuntimeError if a value that `node` saved has been written to since."""
        values = (*(node.saved or ()), *(node.y if type(node.y) is tuple else (node.y,)))
        for a in values:
            if hasattr(a, "dtype") and hasattr(a, "base"):
                entry = self.log.get(id(backend.of(a).counter(a)))
                if entry is not None and entry[0] > node.seq:
                    kind = "Tensor" if backend.of(a).name == "cpu" else "cuda Tensor"
                    raise errors.modified_in_place(node.name(), a.shape, kind)


writes = _Writes()
