"""@op: one kernel and its gradient rules make an op.  This is the hot path.

    @op(saves="y")
    def tanh(xp, x):                              # kernel: arrays in, array out; xp is a backend
        return xp.tanh(x)
    tanh.vjp(lambda g, y, x: g * (1 - y * y))     # a rule for each tensor argument

Tensors are positional arguments of a kernel, parameters are keyword-only.  A rule gets the gradient,
the output (None unless saves has a "y"), then the inputs (None each, unless saves has an "x"; their
shapes, if it has an "s"), and the parameters as keywords.  It returns the gradient of its input,
with an elementwise op's broadcasting and promotion still in: `fit` undoes both.

Rules run on arrays in an ordinary backward and on Tensors under create_graph, so they use operators,
other ops and functions made of ops, never methods of arrays.  An op called with arrays is its kernel.
"""

from __future__ import annotations

import numbers
from collections.abc import Callable
from inspect import CO_VARARGS
from typing import Any

from . import backend, graph
from . import dtype as dtypes
from .backend import cpu
from .backend.cpu import asarray, float32, float64, ndarray
from .backend.cpu import dtype as np_dtype
from .graph import Node, next_seq, pick
from .modes import grad_on, is_anomaly_enabled
from .rules import (
    Runner,
    no_rule,
    run_binary,
    run_composite,
    run_conjugated,
    run_each,
    run_joint,
    run_unary,
)
from .tensor import Tensor, edge, new, register_view, wrap

f32, f64 = np_dtype(float32), np_dtype(float64)
_HALF = {dtypes.float16.np, dtypes.bfloat16.np}
_DIFFERENTIABLE = "fcV"  # kinds of dtypes; V is bfloat16's

REGISTRY: dict[str, Op] = {}


class Op:
    """A kernel, its gradient rules, and `fn`, the function on Tensors that is compiled from them.

    Calling the op itself takes Tensors or arrays: that is for rules and for functions made of ops.
    """

    def __init__(self, kernel: Callable[..., Any], name: str, saves: str, promote: str | None,
                 half: str, view: bool, ufunc: str | None) -> None:  # fmt: skip
        self.kernel = kernel
        self.name = name
        self.__name__ = self.__qualname__ = name
        self.__doc__ = kernel.__doc__
        self.saves_x, self.saves_y, self.saves_shape = "x" in saves, "y" in saves, "s" in saves
        self.promote = promote
        self.half = half
        self.view = view
        self.ufunc = ufunc
        self.kernels: dict[str, Callable[..., Any]] = {}
        self.rules: tuple[Any, ...] = ()
        self.own: tuple[bool, ...] = ()
        self.composite: Callable[..., Any] | None = None
        self.backward: Runner = no_rule
        self.conjugated: Op | None = None
        self.fn: Callable[..., Any] = self._compile()

    def _compile(self) -> Callable[..., Any]:
        """The function on Tensors: the shortest path that is right for the op's arguments."""
        if self.ufunc is not None:
            elementwise = _unary if self.promote in ("float", "keep") else _binary
            return elementwise(self, getattr(cpu, self.ufunc))
        kernel = self.kernels.get("cpu", self.kernel)
        code = kernel.__code__
        if code.co_argcount == 2 and not code.co_flags & CO_VARARGS:  # xp and one tensor
            return _single(self, kernel)
        return _several(self, kernel) if self.promote is None else _general(self)

    # ---- declaring -------------------------------------------------------------------------------

    def vjp(self, *rules: Callable[..., Any] | None, own: tuple[bool, ...] = ()) -> Op:
        """One rule for each tensor argument; None for one that is not differentiable.

        own: whether each rule reads its own argument (default: yes).  One that is read by the other
            rules alone is let go where no other argument needs a gradient: memory is freed, and it
            may be written to
        """
        self.rules = rules
        self.own = own or (True,) * len(rules)
        if len(rules) == 1:
            self.backward = run_unary(rules[0])
        elif len(rules) == 2 and self.promote is not None:
            self.backward = run_binary(*rules)
        else:
            self.backward = run_each(rules)
        return self

    def vjp_joint(self, rule: Callable[..., Any]) -> Op:
        """One rule for all arguments: rule(needs, g, y, *inputs, **params) -> a gradient each."""
        self.rules = (rule,)
        self.backward = run_joint(rule)
        return self

    def define(self, composite: Callable[..., Any]) -> Callable[..., Any]:
        """Say what the op computes in terms of other ops: composite(*inputs, **params).

        It is differentiated in place of the rule under create_graph, so that the rule of a fused op
        need not be differentiable itself.
        """
        self.composite = composite
        self.backward = run_composite(self.backward, composite)
        return composite

    def override(self, device: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Replace the kernel on one device type: @tanh.override("cuda")."""

        def register(kernel: Callable[..., Any]) -> Callable[..., Any]:
            self.kernels[device] = kernel
            if device == "cpu" and self.ufunc is None:
                self.fn = self._compile()
            return kernel

        return register

    def grad_name(self, node: Node) -> str:
        words = self.name.strip("_").split("_")
        return "".join(w[:1].upper() + w[1:] for w in words) + "Backward0"

    def __repr__(self) -> str:
        return f"<op {self.name}>"

    # ---- running ---------------------------------------------------------------------------------

    def __call__(self, *xs: Any, **params: Any) -> Any:
        for x in xs:
            if isinstance(x, Tensor):
                return self.fn(*xs, **params)
        return self.run(self.prepare(xs), params)

    def prepare(self, arrays: Any) -> Any:
        """Promote the operands as torch does."""
        if self.promote is None:
            return arrays
        if self.promote == "keep":
            return arrays
        if self.promote == "float":
            return [a if a.dtype.kind in "fcV" else a.astype(dtypes.get_default_dtype().np)
                    for a in arrays]  # fmt: skip
        d = dtypes.result_dtype(arrays)
        if d.category < 2 and self.promote == "float2":
            d = dtypes.get_default_dtype()
        xp = backend.of(*arrays)
        return [xp.asarray(a).astype(d.np, copy=False) if hasattr(a, "dtype") or d.category < 2
                else a for a in arrays]  # fmt: skip

    def run(self, arrays: Any, params: dict[str, Any]) -> Any:
        """The kernel of the arrays' device; float16 and bfloat16 are computed in float32."""
        xp = backend.of(*arrays)
        kernel = self.kernels.get(xp.name, self.kernel)
        half = None
        if self.half == "float32":
            for a in arrays:
                if hasattr(a, "dtype") and a.dtype in _HALF:
                    half = a.dtype
                    arrays = [a.astype(f32) if getattr(a, "dtype", None) in _HALF else a
                              for a in arrays]  # fmt: skip
                    break
        out = kernel(xp, *arrays, **params)
        if half is not None:
            if type(out) is tuple:
                return tuple(_narrow(xp, o, half) for o in out)
            return _narrow(xp, out, half)
        return out

    def apply(self, *xs: Any, **params: Any) -> Any:
        """The op on Tensors, with every check and every device: what the short paths fall back to."""
        given = [x._a if isinstance(x, Tensor) else x for x in xs]
        if len(given) > 1:
            given = _same_device(self, given)
        self._check(xs)
        arrays = self.prepare(given)
        out = self.run(arrays, params)
        rg = any(isinstance(x, Tensor) and x._rg for x in xs)
        return self.finish(xs, given, arrays, out, params, rg)

    def finish(
        self, xs: Any, given: Any, arrays: Any, out: Any, params: dict[str, Any], rg: bool
    ) -> Any:
        """The kernel's output, or outputs, as Tensors with their history.

        xs: the arguments, given: their arrays, arrays: those after promotion
        """
        if type(out) is not tuple:
            if type(out) is not ndarray:
                out = _as_array(out)
            node = None
            if rg and grad_on() and self.rules and out.dtype.kind in _DIFFERENTIABLE:
                node = self._record(xs, given, arrays, out, out, params)
            t = wrap(out, node)
            return register_view(t, xs[0]) if self.view else t
        outs = tuple(map(_as_array, out))
        grads = [a.dtype.kind in _DIFFERENTIABLE for a in outs]
        node = None
        if rg and grad_on() and self.rules and any(grads):
            node = self._record(xs, given, arrays, outs[0], outs, params)
        return tuple(
            wrap(a, pick(node, i) if node is not None and grad else None)
            for i, (a, grad) in enumerate(zip(outs, grads))
        )

    def _record(
        self, xs: Any, given: Any, arrays: Any, first: Any, out: Any, params: dict[str, Any]
    ) -> Node:
        """The node of a call whose output (the first of several) is the array `first`."""
        edges = tuple([edge(x) if isinstance(x, Tensor) else None for x in xs])
        saved = fix = None
        if self.saves_x:
            saved = tuple(arrays)
            if not all(self.own):
                saved = tuple([
                    a if own or any(e is not None for e in edges[:i] + edges[i + 1 :]) else None
                    for i, (a, own) in enumerate(zip(arrays, self.own))
                ])  # fmt: skip
        elif self.saves_shape:
            saved = tuple([getattr(a, "shape", None) for a in arrays])
        if self.promote is not None and any(
            getattr(a, "shape", first.shape) != first.shape
            or getattr(a, "dtype", first.dtype) != first.dtype
            for a in given
        ):
            fix = tuple([(a.shape, a.dtype) if hasattr(a, "dtype") else None for a in given])
        op = self if first.dtype.kind != "c" and not _any_complex(given) else self._on_complex()
        node = Node(op, edges, saved, out if self.saves_y else None, params, fix, next_seq())
        if is_anomaly_enabled():
            graph.remember_stack(node)
        return node

    def _on_complex(self) -> Op:
        """The op as it is recorded on complex arrays."""
        if self.conjugated is None:
            twin = new(Op)
            twin.__dict__.update(self.__dict__, backward=run_conjugated(self.backward))
            self.conjugated = twin
        return self.conjugated

    def _check(self, xs: Any) -> None:
        for x in xs:
            if type(x) is ndarray:
                raise TypeError(
                    f"{self.name}(): argument must be Tensor, got numpy.ndarray; wrap it with "
                    "dtorch.from_numpy"
                )
            if self.promote is not None and not isinstance(x, (Tensor, numbers.Number)):
                raise TypeError(
                    f"{self.name}(): argument must be Tensor or a number, got {type(x).__name__}"
                )


def _narrow(xp: Any, out: Any, half: Any) -> Any:
    """A float32 result as float16 or bfloat16; anything else as it is."""
    return xp.asarray(out).astype(half) if getattr(out, "dtype", None) == f32 else out


def _as_array(out: Any) -> Any:
    """A kernel's result as an array: NumPy makes scalars of 0-d ones."""
    return out if type(out) is ndarray else backend.of(out).asarray(out)


def _any_complex(arrays: Any) -> bool:
    return any(getattr(a, "dtype", f32).kind == "c" for a in arrays)


def _same_device(op: Op, arrays: list[Any]) -> list[Any]:
    """The arrays, all on one device; a 0-d CPU array goes along to the GPU."""
    kinds = {type(a) for a in arrays if hasattr(a, "dtype")}
    if len(kinds) <= 1:
        return arrays
    xp = backend.of(*[a for a in arrays if type(a) is not ndarray])
    for a in arrays:
        if type(a) is ndarray and a.ndim:
            raise RuntimeError(
                "Expected all tensors to be on the same device, but found at least two devices, "
                f"cuda and cpu! (in {op.name}; move one with .to(device))"
            )
    return [xp.asarray(a) if type(a) is ndarray else a for a in arrays]


# ---- the short paths -------------------------------------------------------------------------
# One closure for each op, over float32 and float64 CPU arrays of one dtype.  All else goes through
# Op.apply.  What is written out twice here would cost a call each.


def _unary(op: Op, kernel: Callable[..., Any]) -> Callable[..., Any]:
    saves_x, saves_y, slow = op.saves_x, op.saves_y, op.apply

    def fn(x: Any) -> Any:
        try:
            a = x._a
        except AttributeError:
            return slow(x)
        d = a.dtype
        if (d is not f32 and d is not f64) or type(a) is not ndarray:
            return slow(x)
        out = kernel(a)
        if type(out) is not ndarray:
            out = asarray(out)
        t = new(Tensor)
        t._a = out
        t._grad = t._base = t._views = t._leaf = None
        if x._rg and grad_on() and op.rules:
            t._rg = True
            t._node = Node(op, (x._node or x,), (a,) if saves_x else None, out if saves_y else None,
                           None, None, next_seq())  # fmt: skip
        else:
            t._rg = False
            t._node = None
        return t

    return _named(fn, op)


def _binary(op: Op, kernel: Callable[..., Any]) -> Callable[..., Any]:
    saves_x, saves_y, slow = op.saves_x, op.saves_y, op.apply

    def fn(x: Any, y: Any) -> Any:
        try:
            a = x._a
            b = y._a
        except AttributeError:
            if type(y) not in (float, int) or type(x) is ndarray or not isinstance(x, Tensor):
                return slow(x, y)
            b = y
            d = a.dtype
            fits = (d is f32 or d is f64) and type(a) is ndarray
            fix = None
            rg = x._rg
            e1 = None
        else:
            d = a.dtype
            fits = d is b.dtype and (d is f32 or d is f64) and type(a) is type(b) is ndarray
            fix = None if a.shape == b.shape else ((a.shape, d), (b.shape, d))
            rg = x._rg or y._rg
            e1 = y._node
            if e1 is None and y._rg:
                e1 = y
        if not fits:
            return slow(x, y)
        try:
            out = kernel(a, b)
        except ValueError:
            raise _broadcast_error(a.shape, b.shape) from None
        if type(out) is not ndarray:
            out = asarray(out)
        t = new(Tensor)
        t._a = out
        t._grad = t._base = t._views = t._leaf = None
        if rg and grad_on() and op.rules:
            e0 = x._node
            if e0 is None and x._rg:
                e0 = x
            t._rg = True
            if saves_x:
                own0, own1 = op.own
                saved = (a if own0 or e1 is not None else None,
                         b if own1 or e0 is not None else None)  # fmt: skip
            else:
                saved = None
            t._node = Node(op, (e0, e1), saved, out if saves_y else None, None, fix, next_seq())
        else:
            t._rg = False
            t._node = None
        return t

    return _named(fn, op)


def _single(op: Op, kernel: Callable[..., Any]) -> Callable[..., Any]:
    """One tensor and any parameters: reductions, views, softmax."""
    others = "" if op.promote == "float" else "iub"  # kinds of dtypes that are left alone
    slow, saves_x, saves_y, saves_shape, view = (
        op.apply, op.saves_x, op.saves_y, op.saves_shape, op.view
    )  # fmt: skip

    def fn(x: Any, **params: Any) -> Any:
        try:
            a = x._a
        except AttributeError:
            return slow(x, **params)
        d = a.dtype
        if type(a) is not ndarray or (d is not f32 and d is not f64 and d.kind not in others):
            return slow(x, **params)
        out = kernel(cpu, a, **params)
        rg = x._rg
        if type(out) is not ndarray:
            if type(out) is tuple:
                return op.finish((x,), (a,), (a,), out, params, rg)
            out = asarray(out)
        t = new(Tensor)
        t._a = out
        t._grad = t._base = t._views = t._leaf = None
        if rg and grad_on() and op.rules and (out.dtype is d or out.dtype.kind in _DIFFERENTIABLE):
            if is_anomaly_enabled() or out.dtype.kind == "c":
                return op.finish((x,), (a,), (a,), out, params, rg)
            saved = (a,) if saves_x else (a.shape,) if saves_shape else None
            t._rg = True
            t._node = Node(op, (x._node or x,), saved, out if saves_y else None, params, None,
                           next_seq())  # fmt: skip
        else:
            t._rg = False
            t._node = None
        return register_view(t, x) if view else t

    return _named(fn, op)


def _several(op: Op, kernel: Callable[..., Any]) -> Callable[..., Any]:
    """Any tensors and parameters, nothing to promote: matmul, conv, where."""
    slow = op.apply

    def fn(*xs: Any, **params: Any) -> Any:
        arrays = []
        rg = False
        for x in xs:
            if isinstance(x, Tensor):
                a = x._a
                d = a.dtype
                if type(a) is not ndarray or (
                    d is not f32 and d is not f64 and d.kind not in "iub"
                ):
                    return slow(*xs, **params)
                rg = rg or x._rg
                arrays.append(a)
            elif type(x) is ndarray:
                return slow(*xs, **params)
            else:
                arrays.append(x)
        return op.finish(xs, arrays, arrays, kernel(cpu, *arrays, **params), params, rg)

    return _named(fn, op)


def _general(op: Op) -> Callable[..., Any]:
    def fn(*xs: Any, **params: Any) -> Any:
        return op.apply(*xs, **params)

    return _named(fn, op)


def _named(fn: Any, op: Op) -> Any:
    fn.__name__ = fn.__qualname__ = op.name
    fn.__doc__ = op.__doc__
    return fn


def _broadcast_error(a: tuple[int, ...], b: tuple[int, ...]) -> RuntimeError:
    """torch's message for shapes that do not broadcast."""
    for i in range(1, min(len(a), len(b)) + 1):
        if a[-i] != b[-i] and 1 not in (a[-i], b[-i]):
            return RuntimeError(
                f"The size of tensor a ({a[-i]}) must match the size of tensor b ({b[-i]}) at "
                f"non-singleton dimension {max(len(a), len(b)) - i}"
            )
    return RuntimeError(f"shapes {list(a)} and {list(b)} cannot be broadcast")


# ---- the decorators --------------------------------------------------------------------------


def op(
    saves: str = "",
    *,
    promote: str | None = None,
    half: str = "float32",
    view: bool = False,
    ufunc: str | None = None,
    name: str | None = None,
    holomorphic: bool = True,
) -> Callable[[Callable[..., Any]], Op]:
    """Make a kernel an op.

    saves: what its rules read: "x" the inputs, "y" the output, "s" the inputs' shapes
    promote: None: operands are left alone.  "float": integers become the default float.  "keep":
        an elementwise op of one operand, of any dtype.  "result": operands are brought to torch's
        result dtype, and broadcast; "float2": as result, where integers become floats
    half: "float32": the kernel gets float16 and bfloat16 as float32; "keep": as they are
    view: the output shares memory with the first input
    ufunc: the name of the function that alone is the kernel; it then has a short path
    name: the op's name, where the function's is taken by Python
    holomorphic: False when the rules handle complex gradients themselves (abs, real, conj)
    """

    def make(kernel: Callable[..., Any]) -> Op:
        o = Op(kernel, name or kernel.__name__, saves, promote, half, view, ufunc)
        if not holomorphic:
            o.conjugated = o
        if o.name in REGISTRY:
            raise ValueError(f"there is an op {o.name} already")
        REGISTRY[o.name] = o
        return o

    return make
