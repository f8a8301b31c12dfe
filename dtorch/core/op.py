"""@op: one kernel and its gradient rules make an op.

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

from . import backend, short
from . import device as devices
from . import dtype as dtypes
from .backend import cpu
from .backend.cpu import generic, ndarray
from .backend.sparse import SparseArray
from .errors import not_a_tensor
from .graph import Node, next_seq, pick
from .modes import grad_on
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
from .short import DIFFERENTIABLE, f32
from .tensor import Tensor, new, register_view, settled, wrap

_HALF = {dtypes.float16.np, dtypes.bfloat16.np}

REGISTRY: dict[str, Op] = {}


class Op:
    """A kernel, its gradient rules, and `fn`, the function on Tensors that is compiled from them.

    Calling the op itself takes Tensors or arrays: that is for rules and for functions made of ops.
    """

    def __init__(self, kernel: Callable[..., Any], name: str, saves: str, promote: str | None,
                 half: str, view: bool, ufunc: str | None, numbers: bool,
                 kinds: str, any_layout: bool) -> None:  # fmt: skip
        self.kernel = kernel
        self.name = name
        self.__name__ = self.__qualname__ = name
        self.__doc__ = kernel.__doc__
        self.saves_x, self.saves_y, self.saves_shape = "x" in saves, "y" in saves, "s" in saves
        self.saves_rest = "r" in saves
        self.promote = promote
        self.half = half
        self.view = view
        self.ufunc = ufunc
        self.numbers = numbers
        self.kinds = kinds
        self.kernels: dict[str, Callable[..., Any]] = {}
        self.fused: dict[str, Callable[..., Any]] = {}
        self.fast_rules: dict[str, tuple[Callable[..., Any], int]] = {}
        self.rules: tuple[Any, ...] = ()
        self.own: tuple[bool, ...] = ()
        self.composite: Callable[..., Any] | None = None
        self.any_layout = any_layout
        self.backward: Runner = no_rule
        self.conjugated: Op | None = None
        self.outputs = 1
        self.fn: Callable[..., Any] = self._compile()

    def _compile(self) -> Callable[..., Any]:
        """The function on Tensors: the shortest path that is right for the op's arguments."""
        if self.ufunc is not None:
            elementwise = short.unary if self.promote in ("float", "keep") else short.binary
            return elementwise(self, getattr(cpu, self.ufunc))
        kernel = self.kernels.get("cpu", self.kernel)
        code = kernel.__code__
        if self.any_layout or self.kinds and "f" not in self.kinds:
            return short.general(self, code.co_argcount)  # the short paths are for floats
        if code.co_argcount == 2 and not code.co_flags & CO_VARARGS:  # xp and one tensor
            return short.single(self, kernel)
        if self.promote is None:
            return short.several(self, kernel)
        return short.general(self, code.co_argcount)

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

    def fuse(self, device: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Try kernel(xp, *arrays, **params) first on one device type: @tanh.fuse("cuda").

        It gets float16 and bfloat16 as they are, and may return None: then the op's kernel runs.
        """

        def register(kernel: Callable[..., Any]) -> Callable[..., Any]:
            self.fused[device] = kernel
            return kernel

        return register

    def override_rule(self, rule: Callable[..., Any], least: int, device: str = "cpu") -> None:
        """Try rule(g, y, *inputs, **params) first, on arrays, for the first input's gradient.

        least: the number of elements of g from which it is tried.
        It may return None, and the rule that was given is run.  That is for what is faster on large
        arrays; under create_graph the given rule alone is run, and differentiated.
        """
        fast = self.fast_rules
        fast[device] = rule, least
        if len(fast) > 1:
            return  # `first` is in place, and looks here
        given = self.rules[0]

        def first(g: Any, *values: Any, **params: Any) -> Any:
            if type(g) is ndarray:
                device = "cpu"
            elif isinstance(g, Tensor):
                return given(g, *values, **params)
            else:
                device = backend.of(g).name
            rule, least = fast.get(device, (None, 0))
            got = rule(g, *values, **params) if rule is not None and g.size >= least else None
            return given(g, *values, **params) if got is None else got

        self.vjp(first, *self.rules[1:], own=self.own)

    def on_sparse(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Say how to compute the op where a tensor is sparse: function(*xs, **params), on Tensors."""
        self.sparse = function  # type: ignore[method-assign]
        return function

    def check(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Say what else is refused: function(*arguments), which sees numbers and arrays as given.

        It is not asked on the short paths, of floats.
        """
        self.check_given = function  # type: ignore[method-assign]
        return function

    def check_given(self, *given: Any) -> None:
        """What the op refuses of its arguments, before they are promoted: nothing unless declared."""

    def sparse(self, *xs: Any, **params: Any) -> Any:
        """The op where a tensor is in a sparse layout."""
        layouts = {x._a.layout for x in xs if isinstance(getattr(x, "_a", None), SparseArray)}
        raise NotImplementedError(
            f"Could not run 'aten::{self.name.strip('_')}' with arguments from the 'Sparse' backend: "
            f"it is not implemented for layout {', '.join(sorted(layouts))}. Convert to a dense "
            "tensor first, with .to_dense()"
        )

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
        return self.run(xs if self.promote is None else self.prepare(xs), params)

    def prepare(self, arrays: Any) -> Any:
        """Promote the operands as torch does."""
        if self.promote in (None, "keep"):
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
        xp = cpu if type(arrays[0]) is ndarray else backend.of(*arrays)
        if xp.name in self.fused:
            out = self.fused[xp.name](xp, *arrays, **params)
            if out is not None:
                return out
        kernel = self.kernels.get(xp.name, self.kernel)
        half = _half_among(arrays) if self.half == "float32" else None
        if half is None:
            return kernel(xp, *arrays, **params)
        arrays = [a.astype(f32) if getattr(a, "dtype", None) in _HALF else a for a in arrays]
        out = kernel(xp, *arrays, **params)
        if type(out) is tuple:
            return tuple(_narrow(xp, o, half) for o in out)
        return _narrow(xp, out, half)

    def apply(self, *xs: Any, **params: Any) -> Any:
        """The op on Tensors, with every check and every device: what the short paths fall back to."""
        xs = tuple(map(python_number, xs))
        if self.view and isinstance(xs[0], Tensor):
            settled(xs[0])
        given = [x._a if isinstance(x, Tensor) else x for x in xs]
        if not self.any_layout and any(isinstance(a, SparseArray) for a in given):
            return self.sparse(*xs, **params)
        if len(given) > 1:
            given = _same_device(self, given)
        self._check(xs)
        self.check_given(*given)
        rg = any(isinstance(x, Tensor) and x._rg for x in xs)
        with backend.of(*given).on(*given):
            arrays = self.prepare(given)
            if self.kinds:
                dtypes.check_kind(self.name, self.kinds, *arrays)
            return self.finish(xs, given, arrays, self.run(arrays, params), params, rg)

    def finish(
        self, xs: Any, given: Any, arrays: Any, out: Any, params: dict[str, Any] | None, rg: bool,
        real: bool = False,
    ) -> Any:  # fmt: skip
        """The kernel's output, or outputs, as Tensors with their history.

        xs: the arguments, given: their arrays, arrays: those after promotion
        real: whether it is known that none of these arrays is complex
        """
        if type(out) is not tuple:
            if type(out) is not ndarray:
                out = _as_array(out)
            node = None
            if rg and grad_on() and self.rules and out.dtype.kind in DIFFERENTIABLE:
                node = self._record(xs, given, arrays, out, out, params, real)
            t = wrap(out, node)
            return register_view(t, xs[0]) if self.view else t
        outs = tuple(map(_as_array, out))
        if self.saves_rest:
            first, node = outs[0], None
            if rg and grad_on() and self.rules and first.dtype.kind in DIFFERENTIABLE:
                node = self._record(xs, given, arrays, first, outs, params, real)
            return (wrap(first, node), *map(wrap, outs[1:]))
        self.outputs = len(outs)
        grads = [a.dtype.kind in DIFFERENTIABLE for a in outs]
        node = None
        if rg and grad_on() and self.rules and any(grads):
            node = self._record(xs, given, arrays, outs[0], outs, params, real)
        return tuple([
            wrap(a, pick(node, i) if node is not None and grad else None)
            for i, (a, grad) in enumerate(zip(outs, grads))
        ])  # fmt: skip

    def _record(self, xs: Any, given: Any, arrays: Any, first: Any, out: Any,
                params: dict[str, Any] | None, real: bool) -> Node:  # fmt: skip
        """The node of a call whose output (the first of several) is the array `first`."""
        edges = tuple([
            x._node or (x if x._rg else None) if isinstance(x, Tensor) else None for x in xs
        ])  # fmt: skip
        saved = fix = None
        if self.saves_x:
            saved = tuple(arrays)
            if False in self.own:
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
        real = (real or not _any_complex(given)) and first.dtype.kind != "c"
        op = self if real else self._on_complex()
        y = out if self.saves_y else (None, *out[1:]) if self.saves_rest else None
        return Node(op, edges, saved, y, params, fix, next_seq())

    def _on_complex(self) -> Op:
        """The op as it is recorded on complex arrays."""
        if self.conjugated is None:
            twin = new(Op)
            twin.__dict__.update(self.__dict__, backward=run_conjugated(self.backward))
            self.conjugated = twin
        return self.conjugated

    def _check(self, xs: Any) -> None:
        """TypeError unless the operands are tensors, or numbers where the op takes those."""
        alone = not any(isinstance(x, Tensor) for x in xs)
        for i, x in enumerate(xs):
            if self.promote is None:
                wrong = type(x) is ndarray
            else:
                number = self.numbers and not alone and isinstance(x, numbers.Number)
                wrong = not number and not isinstance(x, Tensor)
            if wrong:
                name = "input" if i == 0 else "other"
                raise not_a_tensor(f"{self.name}(): argument '{name}' (position {i + 1})", x)


def python_number(x: Any) -> Any:
    """A NumPy scalar as the Python number that it counts as; anything else as it is."""
    return x.item() if isinstance(x, generic) else x


def _half_among(arrays: Any) -> Any:
    """The first dtype of half precision among those of some arrays, or None."""
    for a in arrays:
        d = getattr(a, "dtype", f32)
        if d is not f32 and d in _HALF:
            return d
    return None


def _narrow(xp: Any, out: Any, half: Any) -> Any:
    """A float32 result as float16 or bfloat16; anything else as it is."""
    return xp.asarray(out).astype(half) if getattr(out, "dtype", None) == f32 else out


def _as_array(out: Any) -> Any:
    """A kernel's result as an array: NumPy makes scalars of 0-d ones."""
    if type(out) is ndarray or isinstance(out, SparseArray):
        return out
    return cpu.asarray(out) if backend.of(out) is cpu else out


def _any_complex(arrays: Any) -> bool:
    return "c" in [getattr(a, "dtype", f32).kind for a in arrays]


def _same_device(op: Op, arrays: list[Any]) -> list[Any]:
    """The arrays, all on one device; a 0-d CPU array goes along to the GPU."""
    tensors = [a for a in arrays if hasattr(a, "dtype")]
    if all(type(a) is ndarray for a in tensors):
        return arrays
    devices.check_same(op.name, tensors)
    xp = backend.of(*[a for a in tensors if type(a) is not ndarray])
    return [xp.asarray(a) if type(a) is ndarray else a for a in arrays]


# ---- the decorators --------------------------------------------------------------------------


def op(
    saves: str = "",
    *,
    promote: str | None = None,
    half: str = "float32",
    view: bool = False,
    ufunc: str | None = None,
    numbers: bool = True,
    kinds: str = "",
    name: str | None = None,
    holomorphic: bool = True,
    any_layout: bool = False,
) -> Callable[[Callable[..., Any]], Op]:
    """Make a kernel an op.

    saves: what its rules read: "x" the inputs, "y" the output, "s" the inputs' shapes; "r" all
        outputs but the first, which are there for the rules and have no gradient.  The first may
        then be written to, and is None in the rules' y
    promote: None: operands are left alone.  "float": integers become the default float.  "keep":
        an elementwise op of one operand, of any dtype.  "result": operands are brought to torch's
        result dtype, and broadcast; "float2": as result, where integers become floats
    half: "float32": the kernel gets float16 and bfloat16 as float32; "keep": as they are
    view: the output shares memory with the first input
    ufunc: the name of the function that alone is the kernel; it then has a short path
    numbers: whether an operand of an op that promotes may be a Python number
    kinds: which dtypes the kernel takes, where not all: NumPy's letters, "b" bool, "u" and "i"
        integers, "f" floating point, "c" complex
    name: the op's name, where the function's is taken by Python
    holomorphic: False when the rules handle complex gradients themselves (abs, real, conj)
    any_layout: the kernel itself takes sparse arrays; others see none, see `on_sparse`
    """

    def make(kernel: Callable[..., Any]) -> Op:
        o = Op(kernel, name or kernel.__name__, saves, promote, half, view, ufunc, numbers, kinds,
               any_layout)  # fmt: skip
        if not holomorphic:
            o.conjugated = o
        if o.name in REGISTRY:
            raise ValueError(f"there is an op {o.name} already")
        REGISTRY[o.name] = o
        return o

    return make
