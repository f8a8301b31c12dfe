"""Nested containers of tensors, taken apart into leaves and put together again.

Tuples, namedtuples, lists, dicts and their subclasses of the standard library are nodes; everything
else, None too, is a leaf.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class TreeSpec:
    """The shape of a tree: the type of its root, what that needs beside its children, and those."""

    type: Any  # None: a leaf
    context: Any
    children_specs: tuple[TreeSpec, ...]

    @property
    def num_leaves(self) -> int:
        return 1 if self.type is None else sum(c.num_leaves for c in self.children_specs)

    def is_leaf(self) -> bool:
        return self.type is None

    def __repr__(self) -> str:
        if self.type is None:
            return "*"
        children = ", ".join(map(repr, self.children_specs))
        return f"TreeSpec({self.type.__name__}, {self.context}, [{children}])"


LEAF = TreeSpec(None, None, ())


def _taken_apart(tree: Any) -> tuple[Any, list[Any]] | None:
    """(context, children) of a node; None for a leaf."""
    kind = type(tree)
    if kind in (tuple, list) or isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return None, list(tree)
    if kind in (dict, OrderedDict):
        return list(tree), list(tree.values())
    if kind is defaultdict:
        return [tree.default_factory, list(tree)], list(tree.values())
    if kind is deque:
        return tree.maxlen, list(tree)
    return None


def _put_together(spec: TreeSpec, children: list[Any]) -> Any:
    kind, context = spec.type, spec.context
    if kind in (dict, OrderedDict):
        return kind(zip(context, children))
    if kind is defaultdict:
        return defaultdict(context[0], zip(context[1], children))
    if kind is deque:
        return deque(children, context)
    return kind(*children) if hasattr(kind, "_fields") else kind(children)


def tree_flatten(
    tree: Any, is_leaf: Callable[[Any], bool] | None = None
) -> tuple[list[Any], TreeSpec]:
    """The leaves from left to right, and what tree_unflatten needs to put them back."""
    apart = None if is_leaf is not None and is_leaf(tree) else _taken_apart(tree)
    if apart is None:
        return [tree], LEAF
    context, children = apart
    leaves: list[Any] = []
    specs = []
    for child in children:
        more, spec = tree_flatten(child, is_leaf)
        leaves += more
        specs.append(spec)
    return leaves, TreeSpec(type(tree), context, tuple(specs))


def tree_unflatten(leaves: Any, treespec: TreeSpec) -> Any:
    """The tree of these leaves; ValueError if their number is not that of the spec."""
    leaves = list(leaves)
    if len(leaves) != treespec.num_leaves:
        raise ValueError(
            f"tree_unflatten(leaves, treespec): `leaves` has length {len(leaves)} but the spec "
            f"refers to a pytree that holds {treespec.num_leaves} items ({treespec})."
        )
    return _grown(treespec, iter(leaves))


def _grown(spec: TreeSpec, leaves: Any) -> Any:
    if spec.type is None:
        return next(leaves)
    return _put_together(spec, [_grown(child, leaves) for child in spec.children_specs])


def tree_leaves(tree: Any, is_leaf: Callable[[Any], bool] | None = None) -> list[Any]:
    return tree_flatten(tree, is_leaf)[0]


def tree_structure(tree: Any, is_leaf: Callable[[Any], bool] | None = None) -> TreeSpec:
    return tree_flatten(tree, is_leaf)[1]


def tree_map(
    func: Callable[..., Any], tree: Any, *rests: Any, is_leaf: Callable[[Any], bool] | None = None
) -> Any:
    """The tree of func(leaf, the leaves of `rests` at the same place)."""
    leaves, spec = tree_flatten(tree, is_leaf)
    others = [tree_leaves(rest, is_leaf) for rest in rests]
    return tree_unflatten([func(*xs) for xs in zip(leaves, *others, strict=True)], spec)


def tree_map_only(kind: Any, func: Callable[[Any], Any], tree: Any) -> Any:
    """tree_map over the leaves of one type; the others stay as they are."""
    return tree_map(lambda x: func(x) if isinstance(x, kind) else x, tree)


def broadcast_prefix(tree: Any, spec: TreeSpec) -> list[Any] | None:
    """A leaf of `tree` for each leaf of a larger tree of structure `spec`: one leaf may stand for a
    whole branch.  None where the two don't fit."""
    apart = _taken_apart(tree)
    if apart is None:
        return [tree] * spec.num_leaves
    context, children = apart
    same = type(tree) is spec.type and context == spec.context
    if not same or len(children) != len(spec.children_specs):
        return None
    leaves: list[Any] = []
    for child, child_spec in zip(children, spec.children_specs):
        more = broadcast_prefix(child, child_spec)
        if more is None:
            return None
        leaves += more
    return leaves
