"""In-place writes: which are allowed, and what they do to the history of a tensor and its views.

A view's array shares the memory of its base's, so the values need no care.  The history does: after
`out[:, i] = f(x)` the gradient of `out` has to reach x, and that of every other view of `out` too.
So a recorded write to a view becomes a write to its base (`copy_region`), and each live view's node
is made anew as the region of the base that it shows.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from . import backend, graph
from . import dtype as dtypes
from .graph import Node, next_seq, writes
from .modes import grad_on
from .op import op
from .tensor import Tensor, edge, wrap


def _geometry(t: Any, base: Any) -> tuple[Any, Any, int]:
    """The shape and strides of array `t` and its offset in the memory of array `base`: elements."""
    k, xp = t.itemsize, backend.of(t)
    return t.shape, tuple(s // k for s in t.strides), (xp.address(t) - xp.address(base)) // k


def _region(xp: Any, flat: Any, geometry: Any) -> Any:
    shape, strides, offset = geometry
    if not flat.size or 0 in shape:
        return xp.empty(shape, flat.dtype)
    return xp.as_strided(flat[offset:], shape, [s * flat.itemsize for s in strides])


def _span(shape: Any, strides: Any, offset: int = 0) -> int:
    """How many elements of memory a tensor of this geometry reaches over."""
    if 0 in shape:
        return 0
    return offset + 1 + sum((n - 1) * s for n, s in zip(shape, strides))


def overlaps(shape: Any, strides: Any) -> bool:
    """Whether two elements may share memory (exact for expanded tensors)."""
    reach = 1
    for s, n in sorted(zip(strides, shape)):
        if n > 1:
            if s < reach:
                return True
            reach = s * n
    return False


def _flat_like(xp: Any, a: Any, base: Any) -> Any:
    """A buffer for the memory of a tensor of geometry `base`, and its view in that geometry."""
    shape, strides, _ = base
    flat = xp.zeros(_span(shape, strides), a.dtype)
    return flat, _region(xp, flat, (shape, strides, 0))


@op(half="keep")
def region(xp, x, *, base, view):
    """The elements of x that the geometry `view` shows, where x lies in memory as `base` says."""
    flat, whole = _flat_like(xp, x, base)
    whole[...] = x
    return _region(xp, flat, view).copy()


@op(half="keep")
def region_add(xp, g, *, base, view):
    """Zeros in the geometry `base`, with g added at `view`: the gradient of `region`."""
    flat, whole = _flat_like(xp, g, base)
    shape, strides, _ = view
    if overlaps(shape, strides):
        index = xp.arange(flat.size)
        xp.scatter_add(flat, _region(xp, index, view), g)
    else:
        _region(xp, flat, view)[...] = g
    if overlaps(*base[:2]):
        raise RuntimeError("the base of a view that is differentiated must not overlap itself")
    return whole


region.vjp(lambda g, y, x, base, view: region_add(g, base=base, view=view))
region_add.vjp(lambda g, y, x, base, view: region(g, base=base, view=view))


@op(half="keep")
def copy_region(xp, x, value, *, base, view):
    """x with its elements at `view` replaced by those of `value`."""
    flat, whole = _flat_like(xp, x, base)
    whole[...] = x
    _region(xp, flat, view)[...] = value
    return whole


def _grad_kept(g: Any, y: Any, x: Any, value: Any, base: Any, view: Any) -> Any:
    taken = region(g, base=base, view=view)
    return copy_region(g, taken * 0, base=base, view=view)


copy_region.vjp(_grad_kept, lambda g, y, x, value, base, view: region(g, base=base, view=view))


# ---- writing ---------------------------------------------------------------------------------


def check_writable(t: Tensor) -> None:
    """RuntimeError if `t` must not be written to in place, before anything is changed."""
    if grad_on():
        if t._rg and t._node is None:
            raise RuntimeError(
                "a leaf Variable that requires grad is being used in an in-place operation. "
                "Change it under no_grad(), or use the out-of-place form (y = x + 1)."
            )
        if t._base is not None and t._base._rg and t._base._node is None:
            raise RuntimeError(
                "a view of a leaf Variable that requires grad is being used in an in-place "
                "operation. Change it under no_grad(), or clone() the leaf first."
            )
    a = t._a
    if 0 in a.strides and a.size and any(s == 0 and n > 1 for s, n in zip(a.strides, a.shape)):
        raise RuntimeError(
            "unsupported operation: more than one element of the written-to tensor refers to a "
            "single memory location. Please clone() the tensor before performing the operation."
        )
    if type(a) is backend.ndarray and not a.flags.writeable:
        raise RuntimeError("the tensor is on read-only memory; clone() it before writing to it")


def write(t: Tensor, result: Tensor, name: str) -> Tensor:
    """Give `t` the values and the history of `result`, a tensor of its shape."""
    recorded = grad_on() and (result._rg or t._rg)
    check_writable(t)
    a, r = t._a, result._a
    if r.shape != a.shape:
        raise RuntimeError(
            f"output with shape {list(a.shape)} doesn't match the broadcast shape {list(r.shape)}"
        )
    source, target = dtypes.of_numpy(r.dtype), dtypes.of_numpy(a.dtype)
    if not dtypes.can_cast(source, target):
        raise RuntimeError(
            f"result type {source.name} can't be cast to the desired output type {target.name}; "
            f"use the out-of-place form of {name}"
        )
    if recorded and source is not target:
        result = result.to(target)
        r = result._a
    a[...] = r
    writes.stamp(a)
    if recorded:
        rebase(t, result)
    return t


def rebase(t: Tensor, result: Tensor) -> None:
    """Let the history of `t`, of its base and of the base's views begin at `result`."""
    base = t._base
    if base is None:
        # Written over by a leaf, it stays no leaf; by what has no history, its own ends here.
        t._node = result._node or Node(graph.ALIAS, (edge(result),), None, None, None, None,
                                       next_seq())  # fmt: skip
        t._rg = True
        base = t
    else:
        where = _geometry(base._a, base._a)
        node = Node(
            copy_region,
            (edge(base), edge(result)),
            None, None, {"base": where, "view": _geometry(t._a, base._a)}, None, next_seq(),
        )  # fmt: skip
        base._node, base._rg = node, True
    _refresh_views(base)


def _refresh_views(base: Tensor) -> None:
    """Make the node of each live view of `base` anew, as a region of it."""
    if not base._views:
        return
    where = _geometry(base._a, base._a)
    alive = [r for r in base._views if r() is not None]
    base._views = alive
    for r in alive:
        v = r()
        if v is not None and v._a.dtype == base._a.dtype:
            params = {"base": where, "view": _geometry(v._a, base._a)}
            v._node = Node(region, (edge(base),), None, None, params, None, next_seq())
            v._rg = base._rg


def in_place(function: Callable[..., Any], ufunc: str | None = None) -> Callable[..., Tensor]:
    """The in-place form of a function: t.add_(x) from add(t, x).

    Where nothing is recorded an elementwise op writes straight into the tensor's memory.
    """
    name = function.__name__ + "_"

    @functools.wraps(function)
    def method(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        rg = grad_on() and (self._rg or any(isinstance(x, Tensor) and x._rg for x in args))
        check_writable(self)
        if not rg:
            if ufunc is not None and not kwargs and _direct(self._a, args, ufunc):
                writes.stamp(self._a)
                return self
            return write(self, function(self, *args, **kwargs), name)
        # The values that the op saves must not be the memory that is written to now.
        before = wrap(self._a.copy(order="K"), self._node)
        before._rg = self._rg
        return write(self, function(before, *args, **kwargs), name)

    method.__name__ = method.__qualname__ = name
    return method


def _direct(a: Any, args: tuple[Any, ...], ufunc: str) -> bool:
    """ufunc(a, *args, out=a), where no promotion and no broadcasting of `a` is involved."""
    if a.dtype.kind != "f":
        return False
    operands = []
    for x in args:
        if isinstance(x, Tensor):
            b = x._a
            if b.dtype != a.dtype or type(b) is not type(a) or b.shape != a.shape:
                return False
            operands.append(b)
        elif type(x) in (int, float):
            operands.append(x)
        else:
            return False
    getattr(backend.of(a), ufunc)(a, *operands, out=a)
    return True
