"""What watches nodes being made: detect_anomaly, and hooks on what nodes save for backward.

Nodes are made on the hot path, which must not even ask whether somebody watches.  So while somebody
does, in whichever thread, Node.__init__ is another function; else none of this is ever run.
"""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from . import errors
from .graph import FREED, Node
from .modes import is_anomaly_enabled, no_grad
from .tensor import Tensor, wrap

Pair = tuple[Callable[[Tensor], Any], Callable[[Any], Tensor]]

_hooks: ContextVar[tuple[Pair, ...]] = ContextVar("saved_tensors_hooks", default=())
_disabled: ContextVar[str | None] = ContextVar("saved_tensors_hooks_disabled", default=None)
_plain_init = Node.__init__
_CORE = str(Path(__file__).parent)
_lock = threading.Lock()
_watchers = 0


def watch(by: int) -> None:
    """One watcher of nodes more (1) or less (-1)."""
    global _watchers
    with _lock:
        _watchers += by
        init: Any = _watched_init if _watchers else _plain_init
        Node.__init__ = init  # type: ignore[method-assign]


def _watched_init(self: Node, *args: Any) -> None:
    _plain_init(self, *args)
    if is_anomaly_enabled():
        self.metadata["traceback_"] = _stack()
    if _hooks.get() and not (self.saved is None and self.y is None and self.params is None):
        _pack_node(self)


def _stack() -> list[str]:
    """The lines of the stack that led to the core, as a traceback prints them."""
    frames = traceback.extract_stack()
    while len(frames) > 1 and frames[-1].filename.startswith(_CORE):
        frames.pop()
    return traceback.format_list(frames)


# ---- hooks on saved values -------------------------------------------------------------------


class saved_tensors_hooks:
    """While it is on, nodes keep pack(tensor) of each array that they save for backward, which calls
    unpack(packed) to have it back.

    pack gets a leaf itself, or a tensor of the saved values, and must not write to it.  The newest
    pair of hooks is the one that counts.
    """

    def __init__(
        self, pack_hook: Callable[[Tensor], Any], unpack_hook: Callable[[Any], Tensor]
    ) -> None:
        self.pack_hook = pack_hook
        self.unpack_hook = unpack_hook

    def __enter__(self) -> None:
        message = _disabled.get()
        if message is not None:
            raise RuntimeError(message)
        _hooks.set((*_hooks.get(), (self.pack_hook, self.unpack_hook)))
        watch(1)

    def __exit__(self, *error: object) -> None:
        watch(-1)
        _hooks.set(_hooks.get()[:-1])


class disable_saved_tensors_hooks:
    """In here saved_tensors_hooks raise RuntimeError with this message."""

    def __init__(self, error_message: str) -> None:
        self.error_message = error_message

    def __enter__(self) -> None:
        if _hooks.get():
            raise RuntimeError(self.error_message)
        self.before = _disabled.get()
        _disabled.set(self.error_message)

    def __exit__(self, *error: object) -> None:
        _disabled.set(self.before)


class _Box:
    """A saved array, packed."""

    __slots__ = ("packed", "unpack")

    def __init__(self, tensor: Tensor, hooks: Pair) -> None:
        pack, self.unpack = hooks
        version = tensor._version
        with no_grad():
            self.packed = pack(tensor)
        if tensor._version != version:
            raise RuntimeError(
                "A saved tensor pack hook is modifying its input in place. Tensors provided as "
                "input to pack hook cannot be modified by in-place operations as this can lead to "
                "unexpected side-effects. Let the hook return a changed copy instead."
            )

    def open(self) -> Any:
        with no_grad():
            tensor = self.unpack(self.packed)
        if not isinstance(tensor, Tensor):
            raise TypeError(
                "Output of saved tensor unpack_hook expected to be a Tensor but got result of type "
                f"{type(tensor).__name__}"
            )
        return tensor._a


class _Packed:
    """The op of a node whose saved values are packed: it opens them before the rule is run."""

    saves_x = False

    def __init__(self, op: Any) -> None:
        self.op = op

    def __getattr__(self, name: str) -> Any:
        return getattr(self.op, name)

    def backward(self, node: Node, g: Any) -> Any:
        node = opened_node(node)
        return node.op.backward(node, g)


def boxed(values: Any, edges: Any) -> Any:
    """Saved arrays, each packed by the hooks that are on; whatever else is saved as it is.

    edges: where the gradients of these arrays go
    """
    if not _hooks.get() or values is None:
        return values
    return tuple(_boxed(a, e) for a, e in zip(values, edges))


def _boxed(a: Any, edge: Any) -> Any:
    if not (hasattr(a, "dtype") and hasattr(a, "shape")) or isinstance(a, Tensor):
        return a
    leaf = isinstance(edge, Tensor) and edge._a is a
    return _Box(edge if leaf else wrap(a), _hooks.get()[-1])


def opened(values: Any) -> Any:
    """Saved values with the packed ones unpacked."""
    if type(values) is not tuple or values is FREED:
        return values.open() if type(values) is _Box else values
    return tuple(v.open() if type(v) is _Box else v for v in values)


def _pack_node(node: Node) -> None:
    """Pack what a new node keeps: inputs, outputs, and the masks and indices in its parameters."""
    saved, y, params = node.saved, node.y, node.params
    saved = boxed(saved, node.edges)
    y = boxed(y, (None,) * len(y)) if type(y) is tuple else _boxed(y, None)
    values = boxed(tuple(params.values()), (None,) * len(params)) if params else ()
    if any(type(v) is _Box for v in (*(saved or ()), *(y if type(y) is tuple else (y,)), *values)):
        node.saved, node.y = saved, y
        node.params = dict(zip(params, values)) if params else params
        node.op = _Packed(node.op)


def opened_node(node: Node) -> Node:
    """The node itself or, if its saved values are packed, one like it that has them unpacked."""
    if type(node.op) is not _Packed:
        return node
    if node.saved is FREED:
        raise errors.second_backward()
    twin = Node.__new__(Node)
    params = node.params and dict(zip(node.params, opened(tuple(node.params.values()))))
    _plain_init(twin, node.op.op, node.edges, opened(node.saved), opened(node.y), params, node.fix,
                node.seq)  # fmt: skip
    return twin
