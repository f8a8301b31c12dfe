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
from typing import Any

from . import backend, graph
from . import dtype as dtypes
from .backend import cpu
from .backend.cpu import asarray, float32, float64, ndarray
from .backend.cpu import dtype as np_dtype
from .graph import Node, next_seq, pick
from .modes import grad_on, is_anomaly_enabled
from .tensor import Tensor, edge, new, register_view, wrap

f32, f64 = np_dtype(float32), np_dtype(float64)
_HALF = {dtypes.float16.np, dtypes.bfloat16.np}
_NUMBERS = (numbers.Number,)

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
        self.composite: Callable[..., Any] | None = None
        self.backward: Callable[[Node, Any], Any] = _no_rule
        self.conjugated: Op | None = None
        self.fn: Callable[..., Any] = _general(self)
        if ufunc is not None and promote in ("float", "keep"):
            self.fn = _unary(self, getattr(cpu, ufunc))
        elif ufunc is not None and promote in ("result", "float2"):
            self.fn = _binary(self, getattr(cpu, ufunc))

    # ---- declaring -------------------------------------------------------------------------------

    def vjp(self, *rules: Callable[..., Any] | None) -> Op:
        """One rule for each tensor argument; None for one that is not differentiable."""
        self.rules = rules
        if len(rules) == 1:
            self.backward = _backward_unary(rules[0])
        elif len(rules) == 2 and self.promote is not None:
            self.backward = _backward_binary(*rules)
        else:
            self.backward = _backward_each(rules)
        return self

    def vjp_joint(self, rule: Callable[..., Any]) -> Op:
        """One rule for all arguments: rule(needs, g, y, *inputs, **params) -> a gradient each."""
        self.rules = (rule,)
        self.backward = _backward_joint(rule)
        return self

    def define(self, composite: Callable[..., Any]) -> Callable[..., Any]:
        """Say what the op computes in terms of other ops: composite(*inputs, **params).

        It is differentiated in place of the rule under create_graph, so that the rule of a fused op
        need not be differentiable itself.
        """
        self.composite = composite
        self.backward = _backward_composite(self.backward, composite)
        return composite

    def override(self, device: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Replace the kernel on one device type: @tanh.override("cuda")."""

        def register(kernel: Callable[..., Any]) -> Callable[..., Any]:
            self.kernels[device] = kernel
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
        recorded = grad_on() and self.rules and any(isinstance(x, Tensor) and x._rg for x in xs)
        many = type(out) is tuple
        xp = backend.of(*(out if many else (out,)))
        outs = tuple(_as_array(xp, o) for o in out) if many else _as_array(xp, out)
        if not recorded or not any(map(_differentiable, outs if many else (outs,))):
            if many:
                return tuple(map(self._wrap_view, outs, (xs[0],) * len(outs)))
            return self._wrap_view(outs, xs[0])
        node = self._record(xs, given, arrays, outs, params)
        if not many:
            return self._wrap_view(outs, xs[0], node)
        return tuple(
            self._wrap_view(o, xs[0], pick(node, i) if _differentiable(o) else None)
            for i, o in enumerate(outs)
        )

    def _wrap_view(self, out: Any, of: Any, node: Node | None = None) -> Tensor:
        t = wrap(out, node)
        return register_view(t, of) if self.view else t

    def _record(self, xs: Any, given: Any, arrays: Any, out: Any, params: Any) -> Node:
        edges = tuple([edge(x) if isinstance(x, Tensor) else None for x in xs])
        saved = None
        if self.saves_x:
            saved = tuple(arrays)
        elif self.saves_shape:
            saved = tuple([getattr(a, "shape", None) for a in arrays])
        fix = None
        if self.promote is not None:
            first = out[0] if type(out) is tuple else out
            if any(getattr(a, "shape", first.shape) != first.shape or
                   getattr(a, "dtype", first.dtype) != first.dtype for a in given):  # fmt: skip
                fix = tuple([(a.shape, a.dtype) if hasattr(a, "dtype") else None for a in given])
        one = out[0] if type(out) is tuple else out
        op = self if one.dtype.kind != "c" and not _any_complex(given) else _conjugated(self)
        node = Node(op, edges, saved, out if self.saves_y else None, params, fix, next_seq())
        if is_anomaly_enabled():
            graph.remember_stack(node)
        return node

    def _check(self, xs: Any) -> None:
        for x in xs:
            if type(x) is ndarray:
                raise TypeError(
                    f"{self.name}(): argument must be Tensor, got numpy.ndarray; wrap it with "
                    "dtorch.from_numpy"
                )
            if self.promote is not None and not isinstance(x, (Tensor, *_NUMBERS)):
                raise TypeError(
                    f"{self.name}(): argument must be Tensor or a number, got {type(x).__name__}"
                )


def _narrow(xp: Any, out: Any, half: Any) -> Any:
    """A float32 result as float16 or bfloat16; anything else as it is."""
    return xp.asarray(out).astype(half) if getattr(out, "dtype", None) == f32 else out


def _as_array(xp: Any, out: Any) -> Any:
    return out if type(out) is xp.ndarray else xp.asarray(out)


def _differentiable(a: Any) -> bool:
    return a.dtype.kind in "fcV"  # V: bfloat16


def _any_complex(arrays: Any) -> bool:
    return any(getattr(a, "dtype", f32).kind == "c" for a in arrays)


def _no_rule(node: Node, g: Any) -> Any:
    raise RuntimeError(f"derivative for {node.op.name} is not implemented")


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
        if x._rg and grad_on():
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
        if rg and grad_on():
            e0 = x._node
            if e0 is None and x._rg:
                e0 = x
            t._rg = True
            t._node = Node(op, (e0, e1), (a, b) if saves_x else None, out if saves_y else None,
                           None, fix, next_seq())  # fmt: skip
        else:
            t._rg = False
            t._node = None
        return t

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


# ---- running rules ---------------------------------------------------------------------------


def fit(g: Any, fix: Any) -> Any:
    """Undo broadcasting and promotion: sum `g` to the shape and cast it to the dtype of an input."""
    from .ops.reduce import sum_to
    from .ops.shape import cast

    shape, dtype = fix
    if g.shape != shape:
        g = sum_to(g, shape)
    d = g._a.dtype if isinstance(g, Tensor) else g.dtype
    return g if d == dtype else cast(g, dtype)


def _backward_unary(rule: Any) -> Callable[[Node, Any], Any]:
    def backward(node: Node, g: Any) -> Any:
        saved, params = node.saved, node.params
        x = None if saved is None else saved[0]
        g = rule(g, node.y, x) if params is None else rule(g, node.y, x, **params)
        return (g if node.fix is None else fit(g, node.fix[0]),)

    return backward


def _backward_binary(rule0: Any, rule1: Any) -> Callable[[Node, Any], Any]:
    def backward(node: Node, g: Any) -> Any:
        e0, e1 = node.edges
        saved, y, params = node.saved, node.y, node.params or {}
        a, b = (None, None) if saved is None else saved
        g0 = None if e0 is None or rule0 is None else rule0(g, y, a, b, **params)
        g1 = None if e1 is None or rule1 is None else rule1(g, y, a, b, **params)
        fix = node.fix
        if fix is not None:
            if g0 is not None:
                g0 = fit(g0, fix[0])
            if g1 is not None:
                g1 = fit(g1, fix[1])
        return g0, g1

    return backward


def _backward_each(rules: Any) -> Callable[[Node, Any], Any]:
    def backward(node: Node, g: Any) -> Any:
        xs = node.saved or (None,) * len(node.edges)
        if type(g) is graph.Grads:
            g = _all_outputs(g, node)
        grads = []
        for i, e in enumerate(node.edges):
            rule = rules[i] if i < len(rules) else None
            if e is None or rule is None:
                grads.append(None)
            else:
                ge = rule(g, node.y, *xs, **(node.params or {}))
                if node.fix is not None and node.fix[i] is not None:
                    ge = fit(ge, node.fix[i])
                grads.append(ge)
        return grads

    return backward


def _backward_joint(rule: Any) -> Callable[[Node, Any], Any]:
    def backward(node: Node, g: Any) -> Any:
        xs = node.saved or (None,) * len(node.edges)
        if type(g) is graph.Grads:
            g = _all_outputs(g, node)
        needs = tuple([e is not None for e in node.edges])
        return rule(needs, g, node.y, *xs, **(node.params or {}))

    return backward


def _backward_composite(rule: Any, composite: Any) -> Callable[[Node, Any], Any]:
    """Under create_graph, the gradient of what the op is made of."""

    def backward(node: Node, g: Any) -> Any:
        given = list(g.values()) if type(g) is graph.Grads else [g]
        if not isinstance(given[0], Tensor):
            return rule(node, g)
        from .autograd import grad
        from .modes import enable_grad

        with enable_grad():
            outs = composite(*node.saved, **(node.params or {}))
        picked = [outs[i] for i in g] if type(g) is graph.Grads else [outs]
        wanted = [x for x, e in zip(node.saved, node.edges) if e is not None]
        got = iter(grad(picked, wanted, given, create_graph=True, allow_unused=True))
        return tuple(None if e is None else next(got) for e in node.edges)

    return backward


def _all_outputs(g: graph.Grads, node: Node) -> tuple[Any, ...]:
    """The gradient of each output of a node, None for those that have none."""
    n = len(node.y) if type(node.y) is tuple else max(g) + 1
    return tuple(g.get(i) for i in range(n))


def _conjugated(op: Op) -> Op:
    """The op as it is recorded on complex arrays.

    torch's gradient of a real loss is conj(J)^T g for a holomorphic op, and J^T is what the rules
    compute: so conj(rule(conj(g))).
    """
    if op.conjugated is None:
        twin = new(Op)
        twin.__dict__.update(op.__dict__)
        inner = op.backward

        def backward(node: Node, g: Any) -> Any:
            from .ops.pointwise import conj_any

            if type(g) is graph.Grads:
                g = graph.Grads({i: conj_any(x) for i, x in g.items()})
            else:
                g = conj_any(g)
            return tuple(None if x is None else conj_any(x) for x in inner(node, g))

        twin.backward = backward
        op.conjugated = twin
    return op.conjugated


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
