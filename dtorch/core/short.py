"""The short paths: what @op compiles of a kernel for float32 and float64 arrays of one dtype.

This is the hot path: on small tensors its Python is most of the time.  So the function on Tensors is
made for each op: a closure or, where the op has parameters, text with their names in it, as **params
would be packed and unpacked twice.  What is written out twice here would cost a call each.

All else (other dtypes, promotion, other devices, bad arguments) goes through Op.apply.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from weakref import ref

from .backend import cpu
from .backend.cpu import asarray, float32, float64, generic, ndarray
from .backend.cpu import dtype as np_dtype
from .graph import Node, next_seq
from .modes import grad_on
from .tensor import NO_GRAD, Tensor, forget_dead, new, settled

if TYPE_CHECKING:
    from .op import Op

f32, f64 = np_dtype(float32), np_dtype(float64)
DIFFERENTIABLE = "fcV"  # kinds of dtypes; V is bfloat16's


def unary(op: Op, kernel: Callable[..., Any]) -> Callable[..., Any]:
    """An elementwise op of one tensor without parameters, whose kernel is a ufunc."""
    saves_x, saves_y, slow = op.saves_x, op.saves_y, op.apply

    def fn(input: Any) -> Any:
        try:
            a = input._a
        except AttributeError:
            return slow(input)
        d = a.dtype
        if (d is not f32 and d is not f64) or type(a) is not ndarray:
            return slow(input)
        out = kernel(a)
        if type(out) is not ndarray:
            out = asarray(out)
        t = new(Tensor)
        t._a = out
        t._grad = t._base = t._views = t._leaf = None
        if input._rg and grad_on() and op.rules:
            t._rg = True
            t._node = Node(op, (input._node or input,), (a,) if saves_x else None,
                           out if saves_y else None, None, None, next_seq())  # fmt: skip
        else:
            t._rg = False
            t._node = None
        return t

    return _named(fn, op)


def binary(op: Op, kernel: Callable[..., Any]) -> Callable[..., Any]:
    """An elementwise op of two tensors, or of a tensor and a number, whose kernel is a ufunc."""
    saves_x, saves_y, slow, numbers = op.saves_x, op.saves_y, op.apply, op.numbers

    def fn(input: Any, other: Any) -> Any:
        try:
            a = input._a
            b = other._a
        except AttributeError:
            if type(other) not in (float, int) or not isinstance(input, Tensor) or not numbers:
                return slow(input, other)
            b = other
            d = a.dtype
            fits = (d is f32 or d is f64) and type(a) is ndarray
            fix = None
            rg = input._rg
            e1 = None
        else:
            d = a.dtype
            fits = d is b.dtype and (d is f32 or d is f64) and type(a) is type(b) is ndarray
            fix = None if a.shape == b.shape else ((a.shape, d), (b.shape, d))
            rg = input._rg or other._rg
            e1 = other._node
            if e1 is None and other._rg:
                e1 = other
        if not fits:
            return slow(input, other)
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
            e0 = input._node
            if e0 is None and input._rg:
                e0 = input
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


# {declared}: the parameters' names as in a def, {passed}: in a call; {params}: the dict of them
_SINGLE = """
def make(op, kernel, slow, others, saves_x, saves_y, saves_shape):
    def fn(input{declared}):
        try:
            a = input._a
        except AttributeError:
            return slow(input{passed})
        d = a.dtype
        if type(a) is not ndarray or (d is not f32 and d is not f64 and d.kind not in others):
            return slow(input{passed})
        {settle}out = kernel(cpu, a{passed})
        if type(out) is not ndarray:
            if type(out) is tuple:
                return op.finish((input,), (a,), (a,), out, {params}, input._rg)
            if isinstance(out, generic):  # what is none is on another device now
                out = asarray(out)
        t = new(Tensor)
        t._a = out
        t._grad = t._base = t._views = t._leaf = None
        if input._rg and grad_on() and op.rules:
            if out.dtype is not d:  # complex numbers of real ones, indices, truth values
                return op.finish((input,), (a,), (a,), out, {params}, True)
            saved = (a,) if saves_x else (a.shape,) if saves_shape else None
            t._rg = True
            t._node = Node(op, (input._node or input,), saved, out if saves_y else None,
                           {params}, None, next_seq())
        else:
            t._rg = False
            t._node = None
        {noted}return t
    return fn
"""

# For one that makes a view.  Its memory is in the order that the strides say, which only images lack:
_SETTLE = """if a.ndim > 3:
            a = settled(input)
        """
# tensor.register_view, written out:
_NOTED = """base = input._base
        if base is None:
            base = input
        else:
            t._views = input._views
        t._base = base
        views = base._views
        if views is None:
            base._views = [ref(t)]
        else:
            views.append(ref(t))
            if not len(views) & 31:
                forget_dead(views)
        if not grad_on():
            t._rg, t._views = base._rg, NO_GRAD
        """


_SCOPE = {
    "__name__": __name__, "NO_GRAD": NO_GRAD, "Node": Node, "Tensor": Tensor, "asarray": asarray,
    "cpu": cpu, "f32": f32, "f64": f64, "forget_dead": forget_dead, "generic": generic,
    "grad_on": grad_on, "ndarray": ndarray, "new": new, "next_seq": next_seq, "ref": ref,
    "settled": settled,
}  # fmt: skip


@functools.cache
def _single_maker(names: tuple[str, ...], view: bool) -> Callable[..., Any]:
    """What makes the functions of ops with these parameters."""
    passed = "".join(f", {n}={n}" for n in names)
    params = "{" + ", ".join(f"{n!r}: {n}" for n in names) + "}" if names else "None"
    declared = ", *, " + ", ".join(names) if names else ""
    settle, noted = (_SETTLE, _NOTED) if view else ("", "")
    text = _SINGLE.format(
        declared=declared, passed=passed, params=params, settle=settle, noted=noted
    )
    made: dict[str, Any] = {}
    exec(compile(text, f"{__file__}:tensor{declared}", "exec"), _SCOPE, made)
    make: Callable[..., Any] = made["make"]
    return make


def single(op: Op, kernel: Callable[..., Any]) -> Callable[..., Any]:
    """An op of one tensor and any parameters: reductions, softmax; or one that makes a view."""
    # kinds of dtypes beside floats that are left alone
    if op.view:
        others = "iubfV"
    elif op.promote == "float":
        others = ""
    else:
        others = "".join(set("iub").intersection(op.kinds or "iub"))
    code = op.kernel.__code__  # what overrides it need not name them
    names = code.co_varnames[code.co_argcount : code.co_argcount + code.co_kwonlyargcount]
    make = _single_maker(names, op.view)
    fn = make(op, kernel, op.apply, others, op.saves_x, op.saves_y, op.saves_shape)
    fn.__kwdefaults__ = op.kernel.__kwdefaults__
    return _named(fn, op)


def several(op: Op, kernel: Callable[..., Any]) -> Callable[..., Any]:
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
        out = kernel(cpu, *arrays, **params)
        return op.finish(xs, arrays, arrays, out, params or None, rg, real=True)

    return _named(fn, op)


def general(op: Op, argcount: int) -> Callable[..., Any]:
    """An op without a short path."""

    def pair(input: Any, other: Any, **params: Any) -> Any:
        return op.apply(input, other, **params)

    def fn(input: Any, *others: Any, **params: Any) -> Any:
        return op.apply(input, *others, **params)

    return _named(pair if argcount == 3 else fn, op)  # 3: xp and two tensors


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
