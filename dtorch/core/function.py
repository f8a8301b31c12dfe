"""autograd.Function: an op of the user's own, with torch's protocol."""

from __future__ import annotations

import functools
import inspect
import weakref
from collections.abc import Callable
from typing import Any

from . import backend, errors, graph
from .graph import Node, next_seq, pick
from .modes import grad_on, no_grad
from .recording import boxed, opened
from .rules import fit
from .tensor import Tensor, edge, wrap
from .walk import with_history


class Context:
    """`ctx`, in which a Function's forward leaves what its backward needs."""

    needs_input_grad: tuple[bool, ...]

    def __init__(self) -> None:
        self._to_save: tuple[Any, ...] = ()
        self._origins: list[
            Any
        ] = []  # of each saved tensor: an edge, the number of an output, None
        self._node: Callable[[], Node | None] = lambda: None
        self._dirty: tuple[Tensor, ...] = ()
        self._constant: tuple[Tensor, ...] = ()
        self._materialize = True

    def save_for_backward(self, *tensors: Tensor | None) -> None:
        """Keep tensors (or None) for backward: inputs, outputs or others."""
        for i, t in enumerate(tensors):
            if t is not None and not isinstance(t, Tensor):
                raise TypeError(
                    f"save_for_backward can only save variables, but argument {i} is of type "
                    f"{type(t).__name__}; keep other things as attributes of ctx"
                )
        self._to_save = tensors

    def save_for_forward(self, *tensors: Tensor | None) -> None:
        """For torch's forward mode, which calls jvp(); here that, too, goes through backward()."""
        for i, t in enumerate(tensors):
            if t is not None and not isinstance(t, Tensor):
                raise TypeError(
                    f"save_for_forward can only save variables, but argument {i} is of type "
                    f"{type(t).__name__}; keep other things as attributes of ctx"
                )

    def mark_dirty(self, *tensors: Tensor) -> None:
        """Say which inputs forward has changed in place; each must be among its outputs."""
        self._dirty = tensors

    def mark_non_differentiable(self, *tensors: Tensor) -> None:
        """Say which outputs have no gradient."""
        for t in tensors:
            if not isinstance(t, Tensor):
                raise RuntimeError(
                    "mark_non_differentiable only accepts variable arguments, but got "
                    f"{type(t).__name__}"
                )
        self._constant = tensors

    def set_materialize_grads(self, value: bool) -> None:
        """Whether backward gets zeros (the default) or None for an output without a gradient."""
        self._materialize = value

    @property
    def saved_tensors(self) -> tuple[Any, ...]:
        """What was given to save_for_backward; RuntimeError once backward has freed it."""
        node = self._node()
        if node is None:
            return self._to_save
        if node.saved is graph.FREED:
            raise errors.second_backward()
        return tuple(
            with_history(a, _node_of(node, origin))
            for a, origin in zip(opened(node.saved or ()), self._origins)
        )

    def _keep(self, node: Node, inputs: Any, outputs: list[Any]) -> None:
        """Move what was saved to the node: as arrays, which the walk checks and frees.

        An output is kept as its number: a reference to it would be a cycle.
        """
        for t in self._to_save:
            at = _position(outputs, t)
            self._origins.append(edge(t) if at is None and t is not None else at)
        if self._to_save:
            arrays = tuple(t if t is None else t._a for t in self._to_save)
            node.saved = boxed(arrays, self._origins)
        self._to_save = ()
        self._dirty = self._constant = ()
        self._node = weakref.ref(node)


_signature = functools.cache(inspect.signature)


def _position(tensors: Any, t: Any) -> int | None:
    return next((i for i, x in enumerate(tensors) if x is t and t is not None), None)


def _node_of(node: Node, origin: Any) -> Any:
    """The edge that a saved tensor came by."""
    if type(origin) is not int:
        return origin
    return node if node.op.outputs == 1 else pick(node, origin)


class _Applied:
    """The op of the node of one call of a Function."""

    saves_x = False

    def __init__(self, cls: type[Function], ctx: Context, likes: list[Any], single: bool) -> None:
        self.cls = cls
        self.ctx = ctx
        self.likes = likes  # of each output: (xp, shape, dtype), or None
        self.outputs = 1 if single else len(likes)

    def grad_name(self, node: Node) -> str:
        return f"{self.cls.__name__}Backward"

    def backward(self, node: Node, g: Any) -> tuple[Any, ...]:
        given = g if type(g) is graph.Grads else {0: g}
        raw = not any(isinstance(x, Tensor) for x in given.values())
        grads = [given.get(i) for i in range(len(self.likes))]
        if self.ctx._materialize:
            grads = [_zeros(like) if g is None else g for g, like in zip(grads, self.likes)]
        as_tensors = [g if g is None or isinstance(g, Tensor) else wrap(g) for g in grads]
        rule = self.cls.vjp if self.cls.backward is Function.backward else self.cls.backward
        got = rule(self.ctx, *as_tensors)
        return self._checked(node, got if isinstance(got, tuple) else (got,), raw)

    def _checked(self, node: Node, grads: tuple[Any, ...], raw: bool) -> tuple[Any, ...]:
        """What backward returned, a gradient of the right shape and dtype for each input."""
        n = len(node.edges)
        if len(grads) < n or any(g is not None for g in grads[n:]):
            raise RuntimeError(
                f"function {node.name()} returned an incorrect number of gradients (expected {n}, "
                f"got {len(grads)})"
            )
        result: list[Any] = []
        for i, (e, g) in enumerate(zip(node.edges, grads)):
            if e is None or g is None:
                result.append(None)
                continue
            if not isinstance(g, Tensor):
                raise RuntimeError(
                    f"expected Variable or None (got {type(g).__name__}) from {node.name()} at index "
                    f"{i}"
                )
            shape = node.fix[i][0]
            if not _expands_to(shape, g.shape):
                raise RuntimeError(
                    f"Function {node.name()} returned an invalid gradient at index {i} - got "
                    f"{list(g.shape)} but expected shape compatible with {list(shape)}"
                )
            result.append(fit(g._a if raw else g, node.fix[i]))
        return tuple(result)


def _zeros(like: Any) -> Any:
    return None if like is None else like[0].zeros(like[1], like[2])


def _expands_to(shape: Any, target: Any) -> bool:
    lead = len(target) - len(shape)
    return lead >= 0 and all(n in (1, m) for n, m in zip(shape, target[lead:]))


class Function:
    """The base of user-defined ops: static methods forward and backward, called through apply.

        class Exp(Function):
            @staticmethod
            def forward(ctx, x):
                y = x.exp()
                ctx.save_for_backward(y)
                return y

            @staticmethod
            def backward(ctx, g):
                (y,) = ctx.saved_tensors
                return g * y

    Or forward(*inputs) without ctx, together with setup_context(ctx, inputs, output).  backward gets
    a gradient for each output and returns one for each input, None for those that have none.  It is
    recorded itself under create_graph, so a backward of differentiable ops has derivatives too.

    torch's static methods jvp and vmap, and generate_vmap_rule, may be there and are not called:
    forward-mode derivatives go through backward, and vmap calls forward with one sample at a time.
    """

    generate_vmap_rule = False

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise RuntimeError(
            "Legacy autograd function with non-static forward method is deprecated. Please use "
            f"static methods, and call {type(self).__name__}.apply(...)"
        )

    @staticmethod
    def forward(*args: Any) -> Any:
        raise NotImplementedError(
            "You must implement the forward function for custom autograd.Function."
        )

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        raise NotImplementedError("setup_context is not implemented.")

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        raise NotImplementedError(
            "You must implement either the backward or vjp method for your custom autograd.Function "
            "to use it with backward mode AD."
        )

    vjp = backward  # another name for it: one of the two is to be there

    @staticmethod
    def jvp(ctx: Any, *grad_inputs: Any) -> Any:
        raise NotImplementedError(
            "You must implement the jvp function for custom autograd.Function to use it with forward "
            "mode AD."
        )

    @staticmethod
    def vmap(info: Any, in_dims: Any, *args: Any) -> Any:
        raise NotImplementedError("vmap() calls forward() with one sample at a time")

    @classmethod
    def apply(cls, *args: Any, **kwargs: Any) -> Any:
        """Run forward on the arguments and record it if one of them requires a gradient."""
        if cls.backward is not Function.backward and cls.vjp is not Function.vjp:
            raise RuntimeError(
                "Implementing both 'backward' and 'vjp' for a custom Function is not allowed. You "
                "should only implement one of them."
            )
        ctx = Context()
        if cls.setup_context is not Function.setup_context:  # it gets the defaults too
            bound = _signature(cls.forward).bind(*args, **kwargs)
            bound.apply_defaults()
            args, kwargs = bound.args, bound.kwargs
        elif kwargs:  # in their place among the inputs
            bound = _signature(cls.forward).bind(ctx, *args, **kwargs)
            args, kwargs = bound.args[1:], bound.kwargs
        needs = tuple(isinstance(x, Tensor) and x._rg for x in args)
        ctx.needs_input_grad = needs
        recorded = grad_on() and any(needs)
        with no_grad():
            if cls.setup_context is Function.setup_context:
                result = cls.forward(ctx, *args, **kwargs)
            else:
                result = cls.forward(*args, **kwargs)
                cls.setup_context(ctx, args, result)
        if not recorded:
            return result
        single = not isinstance(result, tuple)
        outputs = [result] if single else list(result)
        recorded_outputs = _record(cls, ctx, args, outputs, single)
        return recorded_outputs[0] if single else tuple(recorded_outputs)


def _record(cls: type[Function], ctx: Context, args: Any, outputs: list[Any], single: bool) -> Any:
    """The outputs with the history that leads through one node to the arguments."""
    from .views import rebase

    for t in ctx._dirty:
        if _position(outputs, t) is None:
            raise RuntimeError(
                "Some elements marked as dirty during the forward method were not returned as "
                "output. The inputs that are modified inplace must all be outputs of the Function."
            )
        if t._rg and t._node is None:
            raise RuntimeError(
                "a leaf Variable that requires grad has been used in an in-place operation."
            )
    likes = [
        (backend.of(o._a), o._a.shape, o._a.dtype) if isinstance(o, Tensor) else None
        for o in outputs
    ]
    edges = tuple(edge(x) if isinstance(x, Tensor) else None for x in args)
    fix = tuple((x._a.shape, x._a.dtype) if isinstance(x, Tensor) else None for x in args)
    node = Node(_Applied(cls, ctx, likes, single), edges, None, None, None, fix, next_seq())
    dirty, constant = ctx._dirty, ctx._constant
    ctx._keep(node, args, outputs)
    results = []
    for i, o in enumerate(outputs):
        if not isinstance(o, Tensor):
            results.append(o)
        elif _position(constant, o) is not None or o.dtype.category < 2:
            results.append(o if _position(args, o) is None else o.detach())
        else:
            made = wrap(o._a, node if single else pick(node, i))
            if _position(dirty, o) is not None:
                rebase(o, made)
                made = o
            results.append(made)
    return results


def once_differentiable(backward: Callable[..., Any]) -> Callable[..., Any]:
    """Marks a backward that is not made of differentiable ops: differentiating it raises."""

    @functools.wraps(backward)
    def wrapped(ctx: Any, *grads: Any) -> Any:
        with no_grad():
            outputs = backward(ctx, *grads)
        inputs = [g for g in grads if isinstance(g, Tensor) and g._rg]
        if not grad_on() or not inputs:
            return outputs
        many = isinstance(outputs, tuple)
        edges = tuple(map(edge, inputs))
        guarded = tuple(
            o
            if o is None
            else wrap(o._a, Node(_Twice(), edges, None, None, None, None, next_seq()))
            for o in (outputs if many else (outputs,))
        )
        return guarded if many else guarded[0]

    return wrapped


class _Twice:
    """The op of the gradients that a once_differentiable backward returned."""

    saves_x = False

    def grad_name(self, node: Node) -> str:
        return "OnceDifferentiable"

    def backward(self, node: Node, g: Any) -> Any:
        raise RuntimeError(
            "trying to differentiate twice a function that was marked with @once_differentiable"
        )
