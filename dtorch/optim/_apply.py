"""How an optimizer's `update` is run on a parameter.

An update is written once, in operators.  It runs on arrays: on slices that fit the cache one after
the other, so that a step reads each array from memory once, however many operators it has; on the
rows that a sparse gradient names; in float32 where the parameter is float16 or bfloat16; on the real
and imaginary parts of complex numbers.  With differentiable=True it runs on Tensors, and is recorded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from ..core import backend
from ..core import dtype as dtypes
from ..core.backend.sparse import SparseArray
from ..core.graph import writes
from ..core.ops.complex import view_as_real
from ..core.ops.pointwise import abs as absolute
from ..core.ops.pointwise import clamp, maximum, sign, sqrt, where
from ..core.tensor import Tensor

if TYPE_CHECKING:
    from .optimizer import Optimizer

Update = Callable[[Any, Any, dict[str, Any]], None]  # of an array, its gradient and its state

_FLOAT = "fd"  # NumPy's letters for float32 and float64: to compare dtypes would take longer
_HALF = {dtypes.float16.np, dtypes.bfloat16.np}


def _add_scaled(target: Any, x: Any, factor: Any) -> None:
    target += factor * x


# What updates call beside operators, under the names of backends.
_ON_TENSORS = SimpleNamespace(
    absolute=absolute, add_scaled=_add_scaled, clip=clamp, maximum=maximum, sign=sign, sqrt=sqrt,
    where=where,
)  # fmt: skip


def on_array(optimizer: Optimizer, p: Tensor, g: Any, group: dict[str, Any]) -> None:
    """A step on the memory of p, with the gradient g, an array."""
    state, numbers = _begin(optimizer, p, group)
    values = numbers
    if state:
        values = {k: v._a if isinstance(v, Tensor) else v for k, v in state.items()} | numbers
    now = optimizer.prepare(p, values, group)
    a = p._a
    xp = backend.of(a)
    if a.size <= xp.slice_size and a.dtype.char in _FLOAT and not isinstance(g, SparseArray):
        optimizer.regularize_and_update(xp, a, g, values, group, now)  # at once: the plain case
        writes.stamp(a)
        return

    def update(p: Any, g: Any, state: dict[str, Any]) -> None:
        optimizer.regularize_and_update(xp, p, g, state, group, now)

    if isinstance(g, SparseArray):
        _on_rows(update, xp, a, g.to_coo().coalesce(), values)
    elif optimizer.elementwise:
        _on_slices(update, xp, a, g, values)
    else:
        _in_float(update, a, g, values)
    writes.stamp(a)


def on_tensor(optimizer: Optimizer, p: Tensor, group: dict[str, Any]) -> None:
    """A step that is recorded; the state becomes new tensors, as the old ones may be saved."""
    state, numbers = _begin(optimizer, p, group)
    for k, v in state.items():
        if isinstance(v, Tensor) and k != "step":
            state[k] = v.clone()
    values = state | numbers
    now = optimizer.prepare(p, values, group)
    grad: Any = p.grad
    if p.is_complex():
        p, grad = view_as_real(p), view_as_real(grad)
        values = {k: view_as_real(v) if _is_complex(v) else v for k, v in values.items()}
    optimizer.regularize_and_update(_ON_TENSORS, p, grad, values, group, now)


def _begin(
    optimizer: Optimizer, p: Tensor, group: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The parameter's state, its step counted, and the numbers that `update` gets beside it."""
    state: dict[str, Any] = optimizer.state.get(p) or {}
    fresh = not state or next(iter(state.values())) is None  # torch's checkpoints may have a None
    if fresh:
        state = optimizer.init_state(p, group)
        if state:
            optimizer.state[p] = state
    numbers: dict[str, Any] = {"fresh": fresh}
    step = state.get("step")
    if isinstance(step, Tensor):
        step._a += 1
        numbers["step"] = int(step._a)
    elif step is not None:
        numbers["step"] = state["step"] = step + 1
    return state, numbers


def _on_rows(update: Update, xp: Any, a: Any, g: SparseArray, state: dict[str, Any]) -> None:
    """Change only those rows, of the parameter and of its state, that a sparse gradient names."""
    at = tuple(g.indices)
    rows = {k: v[at] if getattr(v, "shape", None) == a.shape else v for k, v in state.items()}
    p = a[at]
    _on_slices(update, xp, p, g.values, rows)
    a[at] = p
    for k, v in state.items():
        if rows[k] is not v:
            v[at] = rows[k]


def _on_slices(update: Update, xp: Any, a: Any, g: Any, state: dict[str, Any]) -> None:
    """An elementwise update, slice by slice."""
    if a.dtype.kind == "c":
        a, g, state = _as_real(a), _as_real(g), {k: _as_real(v) for k, v in state.items()}
    if a.size <= xp.slice_size:
        _in_float(update, a, g, state)
        return
    alike = [k for k, v in state.items() if getattr(v, "shape", None) == a.shape]
    for p, grad, *values in _slices([a, g, *map(state.get, alike)], xp.slice_size):
        _in_float(update, p, grad, state | dict(zip(alike, values)))


def _in_float(update: Update, a: Any, g: Any, state: dict[str, Any]) -> None:
    """Half precision is computed in float32 and rounded once."""
    if a.dtype not in _HALF:
        update(a, g, state)
        return
    exact = {k: _widened(v) for k, v in state.items()}
    p = _widened(a)
    update(p, _widened(g), exact)
    a[...] = p
    for k, v in state.items():
        if exact[k] is not v:
            v[...] = exact[k]


def _slices(arrays: list[Any], size: int) -> Iterator[list[Any]]:
    """Views of arrays of one shape, about `size` elements at a time."""
    if all(a.flags.c_contiguous for a in arrays):
        arrays = [a.reshape(-1) for a in arrays]
    first = arrays[0]
    rows = max(1, size * len(first) // first.size)
    for i in range(0, len(first), rows):
        yield [a[i : i + rows] for a in arrays]


def _widened(v: Any) -> Any:
    return v.astype(dtypes.float32.np) if getattr(v, "dtype", None) in _HALF else v


def _is_complex(v: Any) -> bool:
    return isinstance(v, Tensor) and v.is_complex()


def _as_real(v: Any) -> Any:
    """A complex array as the real one of its parts.  (*) -> (*, 2)"""
    if getattr(v, "dtype", dtypes.float32.np).kind != "c":
        return v
    return v.reshape(*v.shape, 1).view(v.real.dtype)
