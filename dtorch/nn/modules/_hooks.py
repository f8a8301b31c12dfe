"""The hooks of a Module: functions that are called around forward and around its backward."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, NamedTuple

from ...core import backend
from ...core.graph import Grads, Handle, Node, next_seq, pick
from ...core.modes import grad_on
from ...core.tensor import Tensor, edge, wrap


class ForwardHook(NamedTuple):
    call: Callable[..., Any]
    with_kwargs: bool
    always_call: bool = False


def add(hooks: OrderedDict[int, Any], hook: Any, prepend: bool = False) -> Handle:
    """Add a hook, behind the others or before them; the handle takes it away again."""
    handle = Handle(hooks)
    hooks[handle.id] = hook
    if prepend:
        hooks.move_to_end(handle.id, last=False)
    return handle


def _as_tuple(x: Any) -> tuple[Any, ...]:
    return x if isinstance(x, tuple) else (x,)


class Hooks:
    """The part of Module that registers hooks and calls forward with them."""

    _forward_pre_hooks: OrderedDict[int, ForwardHook]
    _forward_hooks: OrderedDict[int, ForwardHook]
    _backward_pre_hooks: OrderedDict[int, Callable[..., Any]]
    _backward_hooks: OrderedDict[int, Callable[..., Any]]
    forward: Callable[..., Any]

    def register_forward_pre_hook(
        self, hook: Callable[..., Any], *, prepend: bool = False, with_kwargs: bool = False
    ) -> Handle:
        """Call hook(module, args) before forward; what it returns replaces the arguments.

        with_kwargs: call hook(module, args, kwargs), which returns None or (args, kwargs)
        """
        return add(self._forward_pre_hooks, ForwardHook(hook, with_kwargs), prepend)

    def register_forward_hook(
        self,
        hook: Callable[..., Any],
        *,
        prepend: bool = False,
        with_kwargs: bool = False,
        always_call: bool = False,
    ) -> Handle:
        """Call hook(module, args, output) after forward; what it returns replaces the output.

        with_kwargs: call hook(module, args, kwargs, output)
        always_call: call it with output None, too, when forward raises
        """
        return add(self._forward_hooks, ForwardHook(hook, with_kwargs, always_call), prepend)

    def register_full_backward_pre_hook(
        self, hook: Callable[..., Any], prepend: bool = False
    ) -> Handle:
        """Call hook(module, grad_output) before the module's backward; a result replaces it."""
        return add(self._backward_pre_hooks, hook, prepend)

    def register_full_backward_hook(
        self, hook: Callable[..., Any], prepend: bool = False
    ) -> Handle:
        """Call hook(module, grad_input, grad_output) when the gradients of the module's positional
        inputs are known; a result replaces grad_input."""
        return add(self._backward_hooks, hook, prepend)

    register_backward_hook = register_full_backward_hook

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not (self._forward_hooks or self._forward_pre_hooks or self._backward_hooks
                or self._backward_pre_hooks):  # fmt: skip
            return self.forward(*args, **kwargs)
        called: set[int] = set()
        try:
            return self._call_with_hooks(args, kwargs, called)
        except Exception:
            for key, hook in self._forward_hooks.items():
                if hook.always_call and key not in called:
                    self._run_forward_hook(hook, args, kwargs, None)
            raise

    def _call_with_hooks(self, args: Any, kwargs: Any, called: set[int]) -> Any:
        for pre in list(self._forward_pre_hooks.values()):
            if pre.with_kwargs:
                got = pre.call(self, args, kwargs)
                if got is not None:
                    if not (isinstance(got, tuple) and len(got) == 2):
                        raise RuntimeError(
                            "forward pre-hook must return None or a tuple of (new_args, "
                            f"new_kwargs), but got {got}."
                        )
                    args, kwargs = got
            else:
                got = pre.call(self, args)
                if got is not None:
                    args = _as_tuple(got)
        gates = None
        if grad_on() and (self._backward_hooks or self._backward_pre_hooks):
            gates = _Gates(self)
            args = gates.enter(args)
        output = self.forward(*args, **kwargs)
        for key, hook in list(self._forward_hooks.items()):
            called.add(key)
            got = self._run_forward_hook(hook, args, kwargs, output)
            if got is not None:
                output = got
        return output if gates is None else gates.leave(output)

    def _run_forward_hook(self, hook: ForwardHook, args: Any, kwargs: Any, output: Any) -> Any:
        if hook.with_kwargs:
            return hook.call(self, args, kwargs, output)
        return hook.call(self, args, output)


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


class _Gates:
    """One call of a module between two gates: in backward gradients pass the outer one first."""

    def __init__(self, module: Hooks) -> None:
        self.module = module
        self.grad_output: tuple[Any, ...] = ()
        self.inputs = 0
        self.gated = False  # whether a gradient can reach the inputs

    def enter(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        self.inputs = len(args)
        self.gated = any(isinstance(x, Tensor) and x.requires_grad for x in args)
        return self._through(args, self._input_grads) if self.gated else args

    def leave(self, output: Any) -> Any:
        if isinstance(output, (list, dict)):
            return output  # as in torch: only a tensor, or a tuple of them, is seen
        through = self._through(_as_tuple(output), self._output_grads)
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
        for hook in list(self.module._backward_pre_hooks.values()):
            got = hook(self.module, grads)
            if got is not None:
                grads = _as_tuple(got)
        self.grad_output = grads
        if not self.gated:
            self._run(tuple([None] * self.inputs))
        return grads

    def _input_grads(self, grads: tuple[Any, ...]) -> tuple[Any, ...]:
        return self._run(grads)

    def _run(self, grads: tuple[Any, ...]) -> tuple[Any, ...]:
        for hook in list(self.module._backward_hooks.values()):
            got = hook(self.module, grads, self.grad_output)
            if got is not None:
                got = _as_tuple(got)
                if len(got) != len(grads):
                    raise RuntimeError(
                        "Backward hook returned an invalid number of grad_input, got "
                        f"{len(got)}, but expected {len(grads)}"
                    )
                grads = got
        return grads
