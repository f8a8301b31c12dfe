"""How users call the package's functions: arguments checked, NumPy's names understood, out= filled.

Methods of Tensor are the functions themselves; only functions of the package go through here.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any

from . import subclasses
from .errors import not_a_tensor
from .modes import grad_on
from .tensor import Tensor
from .views import check_castable, check_overlap, write

# Arguments that torch takes under NumPy's names too.
NUMPY_NAMES = {
    "axis": "dim", "keepdims": "keepdim", "x": "input", "a": "input", "x1": "input", "x2": "other",
}  # fmt: skip

# Arguments that torch names after the kind of value, where ours take any kind under one name; and
# dropout's, which the functions of nn.functional call otherwise.
KIND_NAMES = {
    "sections": "indices_or_sections", "indices": "indices_or_sections",
    "tensor_indices_or_sections": "indices_or_sections", "split_size": "split_size_or_sections",
    "train": "training",
}  # fmt: skip

# Functions whose first operand may be a number; so may that of special's polynomials.
NUMBER_FIRST = {
    "add", "sub", "subtract", "mul", "multiply", "div", "divide", "true_divide", "floor_divide", "pow",
    "remainder", "float_power", "xlogy", "bitwise_and", "bitwise_or", "bitwise_xor",
    "bitwise_left_shift", "bitwise_right_shift", "zeta", "xlog1py",
}  # fmt: skip

# Functions whose out= must have just the result's dtype, and memory that no argument shares.
OWN_OUT = {
    "aminmax", "gather", "index_select", "kthvalue", "masked_select", "multinomial", "take",
}  # fmt: skip
# Those that read their arguments while they write: for these no memory may be shared either.
APART = OWN_OUT | {"cat", "concat", "concatenate"}


def _argument_names(fn: Callable[..., Any]) -> tuple[str, ...]:
    code = getattr(fn, "__code__", None)
    return code.co_varnames[: code.co_argcount + code.co_kwonlyargcount] if code else ()


def _foreign(own: tuple[str, ...]) -> dict[str, str]:
    """The names under which a function of these arguments takes some of them too: theirs to ours."""
    names = NUMPY_NAMES | {theirs: ours for theirs, ours in KIND_NAMES.items() if ours in own}
    return {theirs: ours for theirs, ours in names.items() if theirs not in own}


def public(fn: Callable[..., Any], name: str | None = None) -> Callable[..., Any]:
    """A function as users call it, under torch's name for it (default: its own)."""
    own = _argument_names(fn)
    needs_tensor = own[:1] in (("input",), ("self",), ("A",), ("x",))
    title = name or fn.__name__
    number_first = title in NUMBER_FIRST or "polynomial" in title
    foreign = _foreign(_argument_names(getattr(fn, "__wrapped__", fn)))
    takes_out = "out" in own

    @functools.wraps(fn)
    def function(*args: Any, **kwargs: Any) -> Any:
        if needs_tensor and args and not isinstance(args[0], Tensor):
            _check_first(title, own[0], args[0], number_first)
        if subclasses.defined:
            return subclasses.call(fill, args, kwargs)
        if not kwargs:
            return fn(*args)
        return fill(*args, **kwargs)

    @functools.wraps(fn)
    def fill(*args: Any, **kwargs: Any) -> Any:
        if not foreign.keys().isdisjoint(kwargs):
            kwargs = {foreign.get(k, k): v for k, v in kwargs.items()}
        out = None if takes_out else kwargs.pop("out", None)
        result = fn(*args, **kwargs)
        return result if out is None else into(out, result, title, (*args, *kwargs.values()))

    if name is not None:
        function.__name__ = function.__qualname__ = name
    return function


def method(fn: Callable[..., Any]) -> Callable[..., Any]:
    """A function as a method of Tensor: itself, unless an argument has other names too."""
    own = _argument_names(fn)
    # `other` aside: methods of two tensors are the operators', and a call around them costs
    others = set(own[1:]) - {"other"}
    foreign = {theirs: ours for theirs, ours in _foreign(own).items() if ours in others}
    if not foreign:
        return fn

    @functools.wraps(fn)
    def call(self: Tensor, *args: Any, **kwargs: Any) -> Any:
        if not kwargs:
            return fn(self, *args)
        if not foreign.keys().isdisjoint(kwargs):
            kwargs = {foreign.get(k, k): v for k, v in kwargs.items()}
        return fn(self, *args, **kwargs)

    return call


def _check_first(name: str, argument: str, x: Any, number_first: bool) -> None:
    if not (number_first and isinstance(x, (int, float, complex))):
        raise not_a_tensor(f"{name}(): argument '{argument}' (position 1)", x)


# ---- out= ----------------------------------------------------------------------------------------


def into(out: Any, result: Any, name: str, arguments: tuple[Any, ...]) -> Any:
    """Store a result, or each of several, in the tensors given as out=.

    Raises TypeError or RuntimeError, before anything is stored, for what is no tensor, for a dtype
    that the result can't be cast to, and for memory that an argument shares in part.
    """
    several = isinstance(result, tuple)
    outs, results = (tuple(out), tuple(result)) if several else ((out,), (result,))
    if len(outs) != len(results):
        raise TypeError(f"{name}(): expected {len(results)} tensors as out=, got {len(outs)}")
    for o, r in zip(outs, results):
        _check_out(o, r, name, arguments)
    for o, r in zip(outs, results):
        _store(o, r)
    if not several:
        return out
    return type(result)(*outs) if hasattr(result, "_fields") else outs


def _check_out(out: Any, result: Tensor, name: str, arguments: tuple[Any, ...]) -> None:
    if not isinstance(out, Tensor):
        raise not_a_tensor(f"{name}(): argument 'out'", out)
    if grad_on() and (out._rg or result._rg):
        raise RuntimeError(
            f"{name}(): functions with out=... arguments don't support automatic differentiation, "
            "but one of the arguments requires grad."
        )
    if out.device != result.device:
        raise RuntimeError(
            f"{name}(): expected out= to be on {result.device}, but it is on {out.device}"
        )
    if name in OWN_OUT and out.dtype is not result.dtype:
        raise RuntimeError(
            f"{name}(): Expected out tensor to have dtype {result.dtype.name}, but got "
            f"{out.dtype.name} instead"
        )
    check_castable(result._a, out._a, f"{name}(), which allocates its result")
    check_overlap(out, _tensors(arguments), name in APART)


def _tensors(arguments: Any) -> Any:
    for x in arguments:
        if isinstance(x, Tensor):
            yield x
        elif isinstance(x, (list, tuple)):
            yield from _tensors(x)


def _store(out: Tensor, result: Tensor) -> None:
    if out.shape != result.shape:
        if out.numel():
            warnings.warn(
                f"An output with one or more elements was resized since it had shape "
                f"{list(out.shape)}, which does not match the required output shape "
                f"{list(result.shape)}. Resize it to zero elements with t.resize_(0) first to reuse "
                "its memory.",
                stacklevel=4,
            )
        out.resize_(result.shape)
    write(out, result, "out=")
