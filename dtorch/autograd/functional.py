"""Jacobians, Hessians and their products with vectors, of functions of Tensors.

`inputs` is a Tensor or a tuple of them, and results are nested alike: for several outputs and several
inputs, result[i][j] belongs to output i and input j.  With create_graph=True the results can be
differentiated.  With strict=True an output that does not depend on an input raises RuntimeError
instead of giving zeros.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..core import backend
from ..core.autograd import grad
from ..core.modes import enable_grad
from ..core.tensor import Tensor, wrap


def _leaves(inputs: Any, create_graph: bool) -> tuple[Tensor, ...]:
    """The inputs to differentiate with respect to: the caller's own history ends there, unless it
    is wanted."""
    xs = (inputs,) if isinstance(inputs, Tensor) else tuple(inputs)
    for x in xs:
        if not isinstance(x, Tensor):
            raise TypeError(f"inputs must be Tensors, got {type(x).__name__}")
    return tuple(
        x.view(x.shape) if create_graph and x.requires_grad else x.detach().requires_grad_()
        for x in xs
    )


def _call(func: Callable[..., Any], xs: tuple[Tensor, ...]) -> tuple[bool, tuple[Tensor, ...]]:
    """Whether func(*xs) is one Tensor, and its outputs as a tuple."""
    ys = func(*xs)
    single = isinstance(ys, Tensor)
    outputs = (ys,) if single else tuple(ys)
    for y in outputs:
        if not isinstance(y, Tensor):
            raise TypeError(f"the function must return Tensors, got {type(y).__name__}")
    return single, outputs


def _grads(outputs: Any, xs: Any, cotangents: Any, create_graph: bool, strict: bool) -> Any:
    """The gradients, zeros where there is no dependence."""
    kept = [(y, v) for y, v in zip(outputs, cotangents) if y.requires_grad]
    if strict and len(kept) < len(outputs):
        raise RuntimeError("an output of the user-provided function is independent of all inputs")
    got: Any = (None,) * len(xs)
    if kept:
        got = grad([y for y, _ in kept], xs, [v for _, v in kept], retain_graph=True,
                   create_graph=create_graph, allow_unused=True)  # fmt: skip
    for i, g in enumerate(got):
        if strict and g is None:
            raise RuntimeError(f"the user-provided function is independent of input {i}")
    return tuple(wrap(backend.of(x._a).zeros_like(x._a)) if g is None else g
                 for g, x in zip(got, xs))  # fmt: skip


def _like(v: Any, ts: tuple[Tensor, ...], what: str) -> tuple[Tensor, ...]:
    """The vector of a product, one Tensor for each of ts and of its shape; 1 for a single number."""
    if v is None:
        if len(ts) != 1 or ts[0].numel() != 1:
            raise RuntimeError(
                f"v may be left out only for a function with one {what} of one element"
            )
        return (wrap(backend.of(ts[0]._a).ones_like(ts[0]._a)),)
    vs = (v,) if isinstance(v, Tensor) else tuple(v)
    for a, b in zip(vs, ts):
        if a.shape != b.shape:
            raise RuntimeError(
                f"v has size {list(a.shape)}, expected that of the {what}: {list(b.shape)}"
            )
    if len(vs) != len(ts):
        raise RuntimeError(f"v has {len(vs)} tensors, expected one for each {what}: {len(ts)}")
    return vs


def _plain(results: Any, create_graph: bool) -> Any:
    return tuple(r if create_graph else r.detach() for r in results)


def vjp(func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False,
        strict: bool = False) -> tuple[Any, Any]:  # fmt: skip
    """func(*inputs) and v^T J; v has the shapes of the outputs."""
    with enable_grad():
        xs = _leaves(inputs, create_graph)
        single, ys = _call(func, xs)
        products = _grads(ys, xs, _like(v, ys, "output"), create_graph, strict)
    ys, products = _plain(ys, create_graph), _plain(products, create_graph)
    return ys[0] if single else ys, products[0] if isinstance(inputs, Tensor) else products


def jvp(func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False,
        strict: bool = False) -> tuple[Any, Any]:  # fmt: skip
    """func(*inputs) and J v; v has the shapes of the inputs.

    By two backward passes: u^T J is linear in u, and its derivative with respect to u in direction v
    is J v.
    """
    with enable_grad():
        xs = _leaves(inputs, create_graph)
        vs = _like(v, xs, "input")
        single, ys = _call(func, xs)
        us = tuple(wrap(backend.of(y._a).zeros_like(y._a)).requires_grad_() for y in ys)
        rows = _grads(ys, xs, us, True, strict)
        products = _grads(rows, us, vs, create_graph, False)
    ys, products = _plain(ys, create_graph), _plain(products, create_graph)
    return (ys[0], products[0]) if single else (ys, products)


def _jacobian(ys: Any, xs: Any, create_graph: bool, strict: bool) -> Any:
    """rows[i][j]: (*shape of output i, *shape of input j)"""
    from .. import stack

    rows = []
    for y in ys:
        # cells[k][j]: the gradient of element k of y with respect to input j
        cells = [
            _grads((element,), xs, _like(None, (element,), "output"), create_graph, strict)
            for element in y.reshape(-1)
        ]
        rows.append(tuple(
            stack([c[j] for c in cells]).reshape(*y.shape, *x.shape) if cells
            else wrap(backend.of(x._a).zeros((*y.shape, *x.shape), x._a.dtype))
            for j, x in enumerate(xs)
        ))  # fmt: skip
    return rows


def jacobian(func: Callable[..., Any], inputs: Any, create_graph: bool = False,
             strict: bool = False) -> Any:  # fmt: skip
    """The Jacobian, (*output.shape, *input.shape), of each output with respect to each input."""
    with enable_grad():
        xs = _leaves(inputs, create_graph)
        single, ys = _call(func, xs)
        rows = [_plain(row, create_graph) for row in _jacobian(ys, xs, create_graph, strict)]
    if isinstance(inputs, Tensor):
        rows = [row[0] for row in rows]
    return rows[0] if single else tuple(rows)


def hessian(func: Callable[..., Any], inputs: Any, create_graph: bool = False,
            strict: bool = False) -> Any:  # fmt: skip
    """The second derivatives of a function with one output of one element.

    result[i][j], (*input i.shape, *input j.shape), belongs to inputs i and j.
    """

    def gradient(*xs: Tensor) -> tuple[Tensor, ...]:
        single, ys = _call(func, xs)
        if not single or ys[0].numel() != 1:
            raise RuntimeError("hessian: the function must return one Tensor with a single element")
        return _grads(ys, xs, _like(None, ys, "output"), True, strict)

    rows = jacobian(gradient, inputs, create_graph, strict)
    return rows[0] if isinstance(inputs, Tensor) else rows


def vhp(func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False,
        strict: bool = False) -> tuple[Any, Any]:  # fmt: skip
    """func(*inputs), of one element, and v^T H; v has the shapes of the inputs."""
    value: list[Tensor] = []

    def gradient(*xs: Tensor) -> tuple[Tensor, ...]:
        _, ys = _call(func, xs)
        value.append(ys[0] if create_graph else ys[0].detach())
        return _grads(ys, xs, _like(None, ys, "output"), True, strict)

    _, products = vjp(gradient, inputs, v, create_graph, strict)
    return value[0], products


hvp = vhp  # the Hessian is symmetric
