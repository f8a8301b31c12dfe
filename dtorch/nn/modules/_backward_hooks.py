"""Hooks around the backward of a Module: its inputs and its outputs go through gates."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any

from ...core import backend
from ...core.graph import Grads, Node, next_seq, pick
from ...core.tensor import Tensor, edge, wrap

Hooks = list[Callable[..., Any]]


def as_tuple(x: Any) -> tuple[Any, ...]:
    return x if isinstance(x, tuple) else (x,)


class _Gate:
    """The op of a node that all inputs, or all outputs, of one call of a module go through."""

    def __init__(self, xs: tuple[Any, ...], arrived: Callable[[Any], Any]) -> None:
        self.like = [(x._a.shape, x._a.dtype) if isinstance(x, Tensor) else None for x in xs]
        self.arrived = arrived  # gradients, None where there is no tensor -> those to go on with

    name = "backward_hook"

    def grad_name(self, node: Node) -> str:
        return "BackwardHookFunctionBackward"

    def backward(self, node: Node, grads: Grads) -> tuple[Any, ...]:
        some = next(iter(grads.values()))
        raw = not isinstance(some, Tensor)
        xp = backend.of(some if raw else some._a)

        def as_tensor(g: Any, like: Any) -> Any:
            if g is None:  # as in torch, zeros for a tensor that has got none
                return None if like is None else wrap(xp.zeros(*like))
            return wrap(g) if raw else g

        out = self.arrived(tuple(as_tensor(grads.get(i), like) for i, like in enumerate(self.like)))
        return tuple(g._a if raw and isinstance(g, Tensor) else g for g in out)


class Gates:
    """One call of a module between two gates: in backward gradients pass the outer one first."""

    def __init__(self, module: Any, pre_hooks: Hooks, hooks: Hooks) -> None:
        self.module = module
        self.pre_hooks, self.hooks = pre_hooks, hooks
        self.grad_output: tuple[Any, ...] | None = None  # known when backward has passed
        self.inputs = 0
        self.gated = False  # whether a gradient can reach the inputs

    def enter(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        self.inputs = len(args)
        self.gated = any(isinstance(x, Tensor) and x.requires_grad for x in args)
        return self._through(args, self._input_grads) if self.gated else args

    def leave(self, output: Any) -> Any:
        if not isinstance(output, (Tensor, tuple)):
            warnings.warn(
                "For backward hooks to be called, module output should be a Tensor or a tuple of "
                f"Tensors but received {type(output)}",
                stacklevel=4,
            )
            return output
        through = self._through(as_tuple(output), self._output_grads)
        return through if isinstance(output, tuple) else through[0]

    def _through(self, xs: tuple[Any, ...], arrived: Callable[[Any], Any]) -> tuple[Any, ...]:
        edges = tuple(edge(x) if isinstance(x, Tensor) else None for x in xs)
        if not any(e is not None for e in edges):
            return xs
        node = Node(_Gate(xs, arrived), edges, None, None, None, None, next_seq())
        return tuple(
            x if e is None else wrap(x._a, pick(node, i)) for i, (x, e) in enumerate(zip(xs, edges))
        )

    def _output_grads(self, grads: tuple[Any, ...]) -> tuple[Any, ...]:
        for hook in self.pre_hooks:
            got = hook(self.module, grads)
            if got is not None:
                grads = as_tuple(got)
        self.grad_output = grads
        if not self.gated:
            for hook in self.hooks:
                got = hook(self.module, (None,) * self.inputs, grads)
                if got is not None and any(g is not None for g in as_tuple(got)):
                    raise RuntimeError(
                        "Backward hook for Modules where no input requires gradient should always "
                        "return None or None for all gradients."
                    )
        return grads

    def _input_grads(self, grads: tuple[Any, ...]) -> tuple[Any, ...]:
        for hook in self.hooks if self.grad_output is not None else ():
            got = hook(self.module, grads, self.grad_output)
            if got is not None:
                got = as_tuple(got)
                if len(got) != len(grads):
                    raise RuntimeError(
                        "Backward hook returned an invalid number of grad_input, got "
                        f"{len(got)}, but expected {len(grads)}"
                    )
                grads = got
        return grads


def on_last_node(module: Any, hooks: Hooks, output: Any) -> None:
    """The deprecated kind of hook: it sees the gradients of the node that made the output, whatever
    part of the module that is."""
    first = output
    while not isinstance(first, Tensor):
        first = next(iter(first.values())) if isinstance(first, dict) else first[0]
    if first.grad_fn is None:
        return
    warnings.warn(
        "Using a non-full backward hook is deprecated: when the forward contains multiple autograd "
        "Nodes it will be missing some grad_input. Please use register_full_backward_hook to get "
        "the documented behavior.",
        FutureWarning,
        stacklevel=4,
    )
    for hook in hooks:
        first.grad_fn.register_hook(functools.partial(hook, module))
