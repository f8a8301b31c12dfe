"""A model as a GraphDef: what autograd records of one forward pass, grouped by modules.

Nodes are numbered in the order in which they are made.  Hooks note the number at which each module's
forward begins and ends, so that a node belongs to the innermost module that was running then.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tensorboardX.proto.attr_value_pb2 import AttrValue
from tensorboardX.proto.graph_pb2 import GraphDef
from tensorboardX.proto.node_def_pb2 import NodeDef
from tensorboardX.proto.tensor_shape_pb2 import TensorShapeProto
from tensorboardX.proto.versions_pb2 import VersionDef

from dtorch.core.graph import next_seq
from dtorch.core.modes import enable_grad
from dtorch.core.tensor import Tensor

from .._pytree import tree_leaves, tree_map_only


class _Calls:
    """Which module was running when a node was made."""

    def __init__(self, model: Any) -> None:
        self._outermost = type(model).__name__
        self.scopes = {model: self._outermost}
        for path, module in model.named_modules():
            if path:
                parent, _, name = path.rpartition(".")
                scope = f"{type(module).__name__}[{name}]"
                self.scopes[module] = f"{self.scopes[model.get_submodule(parent)]}/{scope}"
        self._intervals: list[tuple[int, int, str]] = []  # (begin, end, scope), inner ones first
        self._begun: list[int] = []

    @contextmanager
    def noted(self) -> Iterator[None]:
        handles = []
        for module in self.scopes:
            handles += [
                module.register_forward_pre_hook(self._begin),
                module.register_forward_hook(self._end),
            ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _begin(self, module: Any, args: Any) -> None:
        self._begun.append(next_seq())

    def _end(self, module: Any, args: Any, output: Any) -> None:
        self._intervals.append((self._begun.pop(), next_seq(), self.scopes[module]))

    def scope(self, seq: int) -> str:
        around = (scope for begin, end, scope in self._intervals if begin < seq < end)
        return next(around, self._outermost)  # what was recorded before belongs to no call


def graph_of(model: Any, inputs: Any) -> GraphDef:
    """The graph of model(*inputs) in evaluation mode; modes, gradients and hooks stay as they were.

    RuntimeError where no output depends on a parameter or on an input of floating point.
    """
    if inputs is None:
        raise ValueError("add_graph: expected input_to_model, the model's input or a tuple of them")
    args = inputs if isinstance(inputs, (tuple, list)) else (inputs,)
    args = tree_map_only(Tensor, _recorded, tuple(args))
    calls = _Calls(model)
    training = {module: module.training for module in model.modules()}
    try:
        with enable_grad(), calls.noted():
            outputs = model.eval()(*args)
    finally:
        for module, mode in training.items():
            module.training = mode
    results = [t for t in tree_leaves(outputs) if isinstance(t, Tensor) and t.grad_fn is not None]
    if not results:
        raise RuntimeError(
            "add_graph: no output of the model has a history; the graph is what autograd records"
        )
    leaves = {p: _owner(model, calls, name) for name, p in model.named_parameters()}
    given = [t for t in tree_leaves(args) if isinstance(t, Tensor)]
    leaves.update({t: f"input/{i}" for i, t in enumerate(given)})
    return _Definition(calls, leaves).of(results)


def _recorded(t: Tensor) -> Tensor:
    """An input as a leaf, so that what is done to it is recorded, too."""
    t = t.detach()
    return t.requires_grad_() if t.is_floating_point() or t.is_complex() else t


def _owner(model: Any, calls: _Calls, name: str) -> str:
    """The scope of a parameter, with its own name at the end."""
    module, _, own = name.rpartition(".")
    return f"{calls.scopes[model.get_submodule(module)]}/{own}"


class _Definition:
    """Gathers the nodes of a GraphDef."""

    def __init__(self, calls: _Calls, leaves: dict[Tensor, str]) -> None:
        self._calls, self._leaves = calls, leaves
        self._names: dict[Any, str] = {}
        self._taken: dict[str, int] = {}
        self._nodes: list[NodeDef] = []

    def of(self, results: list[Tensor]) -> GraphDef:
        found: dict[Any, None] = {}
        waiting: list[Any] = [t.grad_fn for t in results]
        while waiting:
            node = waiting.pop()
            if node is not None and node not in found:
                found[node] = None
                waiting += [source for source, _ in node.next_functions]
        # A leaf's stand-in may be younger than what uses it.
        for node in sorted(found, key=lambda n: (not hasattr(n, "variable"), n.seq)):
            self._add(node)
        for i, t in enumerate(results):
            self._nodes.append(_node(f"output/{i}", "Output", [self._names[t.grad_fn]], t.shape))
        return GraphDef(node=self._nodes, versions=VersionDef(producer=22))

    def _add(self, node: Any) -> None:
        if hasattr(node, "variable"):
            t = node.variable
            name = self._leaves.get(t)
            kind = (
                "Constant"
                if name is None
                else "Input"
                if name.startswith("input/")
                else "Parameter"
            )
            self._names[node] = self._unique(name or "constant")
            self._nodes.append(_node(self._names[node], kind, [], t.shape))
            return
        kind = re.sub(r"Backward\d*$", "", node.name())
        self._names[node] = self._unique(f"{self._calls.scope(node.seq)}/{kind}")
        sources = [self._names[source] for source, _ in node.next_functions if source is not None]
        self._nodes.append(_node(self._names[node], kind, sources))

    def _unique(self, name: str) -> str:
        count = self._taken[name] = self._taken.get(name, 0) + 1
        return name if count == 1 else f"{name}_{count - 1}"


def _node(name: str, kind: str, sources: list[str], shape: Any = None) -> NodeDef:
    attributes = {}
    if shape is not None:
        proto = TensorShapeProto(dim=[TensorShapeProto.Dim(size=n) for n in shape])
        attributes["_output_shapes"] = AttrValue(list=AttrValue.ListValue(shape=[proto]))
    return NodeDef(name=name, op=kind, input=sources, attr=attributes)
