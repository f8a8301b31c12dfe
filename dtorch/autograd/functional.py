"""Jacobians, Hessians and their products with vectors, of functions of Tensors.

`inputs` is a Tensor or a tuple of them, and results are nested alike: for several outputs and several
inputs, result[i][j] belongs to output i and input j.  With create_graph=True the results can be
differentiated.  With strict=True an output that does not depend on an input raises RuntimeError
instead of giving zeros.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..core.autograd import grad
from ..core.levels import Level, Pushforward, zeros
from ..core.modes import enable_grad
from ..core.ops.join import stack
from ..core.tensor import Tensor

Tensors = tuple[Tensor, ...]

NOT_STRICT = "This is not allowed in strict mode"


# ---- what comes in and goes out ----------------------------------------------------------------


def _as_tuple(x: Any, what: str, who: str) -> Tensors:
    """A Tensor, or a tuple of them, as a tuple; TypeError for anything else."""
    if isinstance(x, Tensor):
        return (x,)
    expected = f"The {what} given to {who} must be either a Tensor or a tuple of Tensors but the"
    if not isinstance(x, tuple):
        raise TypeError(f"{expected} given {what} has type {type(x)}.")
    for i, t in enumerate(x):
        if not isinstance(t, Tensor):
            raise TypeError(f"{expected} value at index {i} has type {type(t)}.")
    return x


def _leaves(inputs: Any, create_graph: bool, who: str) -> Tensors:
    """The inputs to differentiate with respect to: the caller's own history ends there, unless it
    is wanted."""
    return tuple(
        x.view(x.shape) if create_graph and x.requires_grad else x.detach().requires_grad_()
        for x in _as_tuple(inputs, "inputs", who)
    )


def _call(func: Callable[..., Any], xs: Tensors, who: str, strict: bool) -> tuple[bool, Tensors]:
    """Whether func(*xs) is one Tensor, and its outputs as a tuple."""
    ys = func(*xs)
    outputs = _as_tuple(ys, "outputs of the user-provided function", who)
    for i, y in enumerate(outputs):
        if strict and not y.requires_grad:
            raise RuntimeError(
                f"Output {i} of the user-provided function does not require gradients. The outputs "
                "must be computed in a differentiable manner from the input when running in strict "
                "mode."
            )
    return isinstance(ys, Tensor), outputs


def _single(func: Callable[..., Any], xs: Tensors, who: str, strict: bool) -> Tensor:
    """func(*xs), which must be a Tensor of one element."""
    single, ys = _call(func, xs, who, strict)
    if not single:
        raise RuntimeError(f"The function given to {who} should return a single Tensor")
    if ys[0].numel() != 1:
        raise RuntimeError(
            f"The Tensor returned by the function given to {who} should contain a single element"
        )
    return ys[0]


def _vector(v: Any, like: Tensors, of: str, who: str) -> Tensors:
    """The vector of a product, one Tensor of the shape of each of `like`; 1 for a single number."""
    if v is None:
        if len(like) != 1 or like[0].numel() != 1:
            raise RuntimeError(
                f"The vector v can only be None if {of} a single Tensor with a single element."
            )
        return (zeros(like[0]) + 1,)
    vs = _as_tuple(v, "v", who)
    if len(vs) != len(like):
        if len(like) == 1:
            raise RuntimeError("The given v should contain a single Tensor.")
        raise RuntimeError(
            f"v is a tuple of invalid length: should be {len(like)} but got {len(vs)}."
        )
    for i, (a, b) in enumerate(zip(vs, like)):
        if a.shape != b.shape:
            prefix = f"Entry {i} in " if len(like) > 1 else ""
            raise RuntimeError(
                f"{prefix}v has invalid size: should be {b.shape} but got {a.shape}."
            )
    return vs


OUTPUT, INPUT = "the user-provided function returns", "the input to the user-provided function is"


def _grads(ys: Tensors, xs: Tensors, vs: Sequence[Tensor], create_graph: bool) -> tuple[Any, ...]:
    """The gradients, None where there is no dependence; the graph stays."""
    kept = [(y, v) for y, v in zip(ys, vs) if y.requires_grad]
    if not kept:
        return (None,) * len(xs)
    return grad([y for y, _ in kept], xs, [v for _, v in kept], retain_graph=True,
                create_graph=create_graph, allow_unused=True)  # fmt: skip


def _filled(gs: Any, xs: Tensors, strict: bool, create_graph: bool, missing: str) -> Tensors:
    """The gradients with zeros for None, or in strict mode an error.

    missing: what an error says of number {i}
    """
    for i, g in enumerate(gs):
        if strict and g is None:
            raise RuntimeError(f"{missing.format(i=i)} {NOT_STRICT}.")
        if strict and create_graph and not g.requires_grad:
            raise RuntimeError(
                f"The jacobian of the user-provided function is independent of input {i}. "
                f"{NOT_STRICT} when create_graph=True."
            )
    return tuple(zeros(x) if g is None else g for g, x in zip(gs, xs))


INDEPENDENT = "The output of the user-provided function is independent of input {i}."


def _check_twice(jac: Any) -> None:
    """In strict mode, RuntimeError for a gradient that does not depend on the inputs."""
    for i, g in enumerate(jac):
        if g is None:
            raise RuntimeError(f"{INDEPENDENT.format(i=i)} {NOT_STRICT}.")
        if not g.requires_grad:
            raise RuntimeError(
                "While computing the hessian, found that the jacobian of the user-provided function "
                f"with respect to input {i} is independent of the input. {NOT_STRICT}. You should "
                "ensure that your function is twice differentiable and that the jacobian depends on "
                "the inputs (this would be violated by a linear function for example)."
            )


def _plain(results: Any, create_graph: bool) -> Any:
    return tuple(r if create_graph else r.detach() for r in results)


# ---- products ----------------------------------------------------------------------------------


def vjp(func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False,
        strict: bool = False) -> tuple[Any, Any]:  # fmt: skip
    """func(*inputs) and v^T J; v has the shapes of the outputs."""
    with enable_grad():
        xs = _leaves(inputs, create_graph, "vjp")
        single, ys = _call(func, xs, "vjp", strict)
        vs = _vector(v, ys, OUTPUT, "vjp")
        gs = _grads(ys, xs, vs, create_graph)
        products = _filled(gs, xs, strict, create_graph, INDEPENDENT)
    ys, products = _plain(ys, create_graph), _plain(products, create_graph)
    return ys[0] if single else ys, products[0] if isinstance(inputs, Tensor) else products


def jvp(func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False,
        strict: bool = False) -> tuple[Any, Any]:  # fmt: skip
    """func(*inputs) and J v; v has the shapes of the inputs.

    By two backward passes: u^T J is linear in u, and its derivative with respect to u in direction v
    is J v.
    """
    with enable_grad():
        xs = _leaves(inputs, create_graph, "jvp")
        vs = _vector(v, xs, INPUT, "jvp")
        single, ys = _call(func, xs, "jvp", strict)
        us = tuple(zeros(y).requires_grad_() for y in ys)
        rows = _filled(_grads(ys, xs, us, True), xs, strict, False, INDEPENDENT)
        missing = (
            "The gradient with respect to the input is independent of entry {i} in the outputs."
        )
        products = _filled(_grads(rows, us, vs, create_graph), ys, strict, create_graph, missing)
    ys, products = _plain(ys, create_graph), _plain(products, create_graph)
    return (ys[0], products[0]) if single else (ys, products)


def vhp(func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False,
        strict: bool = False) -> tuple[Any, Any]:  # fmt: skip
    """func(*inputs), of one element, and v^T H; v has the shapes of the inputs."""
    return _hessian_product("vhp", func, inputs, v, create_graph, strict)


def hvp(func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False,
        strict: bool = False) -> tuple[Any, Any]:  # fmt: skip
    """func(*inputs), of one element, and H v, which is v^T H since H is symmetric."""
    return _hessian_product("hvp", func, inputs, v, create_graph, strict)


def _hessian_product(who: str, func: Callable[..., Any], inputs: Any, v: Any, create_graph: bool,
                     strict: bool) -> tuple[Any, Any]:  # fmt: skip
    with enable_grad():
        xs = _leaves(inputs, create_graph, who)
        vs = _vector(v, xs, INPUT, who)
        y = _single(func, xs, who, strict)
        jac = _grads((y,), xs, [zeros(y) + 1], True)
        if strict:
            _check_twice(jac)
        jac = tuple(zeros(x) if g is None else g for g, x in zip(jac, xs))
        gs = _grads(jac, xs, vs, create_graph)
        products = _filled(gs, xs, strict, create_graph, INDEPENDENT)
    products = _plain(products, create_graph)
    (value,) = _plain((y,), create_graph)
    return value, products[0] if isinstance(inputs, Tensor) else products


# ---- matrices ----------------------------------------------------------------------------------

REVERSE, FORWARD = "reverse-mode", "forward-mode"


def _check_strategy(strategy: str, vectorize: bool) -> None:
    if strategy not in (REVERSE, FORWARD):
        raise AssertionError(
            'Expected strategy to be either "forward-mode" or "reverse-mode". Hint: If your function '
            'has more outputs than inputs, "forward-mode" tends to be more performant. Otherwise, '
            f'prefer to use "reverse-mode". Got {strategy!r}.'
        )
    if strategy == FORWARD and not vectorize:
        raise NotImplementedError(
            "Computing Jacobian using forward-AD or forward-over-reverse Hessian is only implemented "
            "for `vectorize=True`."
        )


def jacobian(func: Callable[..., Any], inputs: Any, create_graph: bool = False,
             strict: bool = False, vectorize: bool = False,
             strategy: str = REVERSE) -> Any:  # fmt: skip
    """The Jacobian, (*output.shape, *input.shape), of each output with respect to each input.

    vectorize: accepted, and required for "forward-mode" as in torch; rows are computed one by one
    strategy: "reverse-mode", a walk back for each element of the outputs, or "forward-mode", one for
        each element of the inputs
    """
    _check_strategy(strategy, vectorize)
    if strategy == FORWARD:
        if create_graph:
            raise NotImplementedError(
                "dtorch.autograd.functional.jacobian: `create_graph=True` and "
                '`strategy="forward-mode"` are not supported together. Please either set '
                '`create_graph=False` or `strategy="reverse-mode"`.'
            )
        _refuse_strict(strict)
        return _forward_jacobian(func, inputs)
    if vectorize:
        _refuse_strict(strict)
    with enable_grad():
        xs = _leaves(inputs, create_graph, "jacobian")
        single, ys = _call(func, xs, "jacobian", strict)
        rows = [
            _plain(_row(i, y, xs, create_graph, strict), create_graph) for i, y in enumerate(ys)
        ]
    return _nested(rows, single, isinstance(inputs, Tensor))


def _refuse_strict(strict: bool) -> None:
    if strict:
        raise RuntimeError(
            "dtorch.autograd.functional.jacobian: `strict=True` and `vectorized=True` are not "
            "supported together. Please either set `strict=False` or `vectorize=False`."
        )


def _row(i: int, y: Tensor, xs: Tensors, create_graph: bool, strict: bool) -> list[Tensor]:
    """The Jacobian of output number i with respect to each input."""
    missing = f"Output {i} of the user-provided function is independent of input {{i}}."
    # cells[k][j]: the gradient of element k of y with respect to input j
    cells = [
        _filled(_grads((e,), xs, [zeros(e) + 1], create_graph), xs, strict, create_graph, missing)
        for e in y.reshape(-1)
    ]
    return [
        stack([c[j] for c in cells]).reshape(*y.shape, *x.shape) if cells
        else x.new_zeros((*y.shape, *x.shape))
        for j, x in enumerate(xs)
    ]  # fmt: skip


def _forward_jacobian(func: Callable[..., Any], inputs: Any) -> Any:
    level = Level()
    given = _as_tuple(inputs, "inputs", "jacobian")
    xs = tuple(level.enter(x.detach()) for x in given)
    with enable_grad():
        single, ys = _call(func, xs, "jacobian", False)
        push = Pushforward(level, ys, xs)
    level.close()
    blocks: list[list[Tensor]] = [[] for _ in ys]
    for j, x in enumerate(xs):
        columns = []
        for k in range(x.numel()):
            unit = x.new_zeros(x.numel())
            unit[k] = 1
            vs = [unit.reshape(x.shape) if m == j else zeros(z) for m, z in enumerate(xs)]
            columns.append(push(vs))
        for i, y in enumerate(ys):
            blocks[i].append(
                stack([c[i] for c in columns], -1).reshape(*y.shape, *x.shape) if columns
                else y.new_zeros((*y.shape, *x.shape))
            )  # fmt: skip
    rows = [_plain(row, False) for row in blocks]
    return _nested(rows, single, isinstance(inputs, Tensor))


def _nested(rows: Any, one_output: bool, one_input: bool) -> Any:
    if one_input:
        rows = [row[0] for row in rows]
    return rows[0] if one_output else tuple(rows)


def hessian(func: Callable[..., Any], inputs: Any, create_graph: bool = False,
            strict: bool = False, vectorize: bool = False,
            outer_jacobian_strategy: str = REVERSE) -> Any:  # fmt: skip
    """The second derivatives of a function with one output of one element.

    result[i][j], (*input i.shape, *input j.shape), belongs to inputs i and j.
    vectorize, outer_jacobian_strategy: jacobian's, for the derivative of the gradient
    """
    _check_strategy(outer_jacobian_strategy, vectorize)
    _as_tuple(inputs, "inputs", "hessian")

    def gradient(*xs: Tensor) -> Tensors:
        y = _single(func, xs, "hessian", strict)
        jac = _filled(_grads((y,), xs, [zeros(y) + 1], True), xs, False, False, "")
        if strict:
            _check_twice(jac)
        return jac

    rows = jacobian(gradient, inputs, create_graph, strict, vectorize, outer_jacobian_strategy)
    return rows[0] if isinstance(inputs, Tensor) else rows
