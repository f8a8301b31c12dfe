"""In-place writes: which are allowed, and what they do to the history of a tensor and its views.

A view's array shares the memory of its base's, so the values need no care.  The history does: after
`out[:, i] = f(x)` the gradient of `out` has to reach x, and that of every other view of `out` too.
So a recorded write to a view becomes a write to its base (`copy_region`), and each live view's node
is made anew as the region of the base that it shows.

Where one of the two is complex and the other shows its parts, both are taken as real numbers.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from . import backend, graph
from . import device as devices
from . import dtype as dtypes
from .backend.cpu import ndarray
from .backend.sparse import SparseArray
from .graph import Node, next_seq, writes
from .modes import grad_on
from .op import op
from .ops.complex import _view_as_complex, _view_as_real, pairs
from .tensor import Tensor, disabled_torch_function, edge, live_views, wrap


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


def _memory_range(a: Any) -> tuple[int, int]:
    """The addresses between which the elements of an array lie: first byte, last byte + 1."""
    start = end = backend.of(a).address(a)
    for n, s in zip(a.shape, a.strides):
        if s < 0:
            start += (n - 1) * s
        else:
            end += (n - 1) * s
    return start, end + a.itemsize


def _is_dense(a: Any) -> bool:
    """Whether the elements of an array fill their memory, without gaps and without overlap."""
    start, end = _memory_range(a)
    return end - start == a.nbytes and not overlaps(a.shape, a.strides)


def _flat_like(xp: Any, a: Any, base: Any) -> Any:
    """A buffer for the memory of a tensor of geometry `base`, and its view in that geometry."""
    shape, strides, _ = base
    flat = xp.zeros(_span(shape, strides), a.dtype)
    return flat, _region(xp, flat, (shape, strides, 0))


@op(half="keep")
def region(xp, x, *, base, view):
    """The elements of x that the geometry `view` shows, where x lies in memory as `base` says."""
    flat, whole = _flat_like(xp, x, base)
    if overlaps(*base[:2]):
        at, count = _places(xp, flat, base)
        xp.scatter_add(flat, at, x)
        flat = flat / count
    else:
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
    if overlaps(*base[:2]):  # elements that share memory share its gradient, as in torch
        return _region(xp, flat / _places(xp, flat, base)[1], (*base[:2], 0)).copy()
    return whole


def _places(xp: Any, flat: Any, base: Any) -> tuple[Any, Any]:
    """Where in `flat` the elements of the geometry `base` lie, and how many at each place."""
    at = _region(xp, xp.arange(flat.size), (*base[:2], 0))
    count = xp.zeros(flat.size, flat.dtype)
    xp.scatter_add(count, at, xp.ones(at.shape, flat.dtype))
    return at, xp.maximum(count, 1)


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


def _node(op: Any, *edges: Any, **params: Any) -> Node:
    return Node(op, edges, None, None, params or None, None, next_seq())


def _alike(view: Any, base: Any) -> tuple[Any, Any]:
    """Both arrays as they are, or where their dtypes differ as real numbers."""
    if view.dtype == base.dtype:
        return view, base
    view, base = (pairs(backend.of(a), a) if a.dtype.kind == "c" else a for a in (view, base))
    return view, base


def _seen_as(a: Any, d: Any, at: Any) -> Any:
    """The edge `at` of values like array `a`, as an edge of the same values in the dtype `d`."""
    if at is None or a.dtype.kind == d.kind:
        return at
    return _node(_view_as_real if d.kind == "f" else _view_as_complex, at)


# ---- writing ---------------------------------------------------------------------------------


def check_history(t: Tensor, recorded: bool | None = None) -> None:
    """RuntimeError if what backward needs forbids to change `t` in place.

    recorded: whether the change is, as what is written needs a gradient (None: if `t` needs one)
    """
    if grad_on() and (t._rg if recorded is None else recorded):
        if t._base is not None and t._views is not None:
            raise RuntimeError(
                f"a view is being modified in place that {t._views}, which is forbidden while "
                "gradients are recorded: it would be ambiguous what the gradient of its base is. "
                "Use the out-of-place form, or write under no_grad()."
            )
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


def check_overlap(t: Tensor, sources: Any, apart: bool = False) -> None:
    """RuntimeError if writing to `t` would change what is read of a source: torch's rule.

    The very same elements are no harm (unless `apart`); memory with gaps counts as not shared.
    """
    for x in sources:
        if isinstance(x, Tensor) and _collides(t._a, x._a, apart):
            raise RuntimeError(
                "unsupported operation: some elements of the input tensor and the written-to "
                "tensor refer to a single memory location. Please clone() the tensor before "
                "performing the operation."
            )


def _collides(a: Any, b: Any, apart: bool) -> bool:
    if a is b or type(a) is not type(b):
        return apart and a is b
    if (a.base is None and b.base is None) or not a.size or not b.size:
        return False
    if not (_is_dense(a) and _is_dense(b)):
        return False
    (start, end), (low, high) = _memory_range(a), _memory_range(b)
    if end <= low or high <= start:
        return False
    return apart or (start, end, _steps(a)) != (low, high, _steps(b))


def _steps(a: Any) -> list[Any]:
    """The strides of the dimensions along which there is more than one element."""
    return [s for s, n in zip(a.strides, a.shape) if n != 1]


def check_writable(
    t: Tensor, recorded: bool | None = None, sources: Any = (), apart: bool = False,
    alike: bool = False,
) -> None:  # fmt: skip
    """RuntimeError if `t` must not be written to in place, before anything is changed.

    recorded: as in check_history
    sources, apart: as in check_overlap
    alike: elements of `t` that share memory are given the same value
    """
    check_history(t, recorded)
    a = t._a
    check_overlap(t, sources, apart)
    if 0 in a.strides and not alike and a.size and _repeats(a):
        raise RuntimeError(
            "unsupported operation: more than one element of the written-to tensor refers to a "
            "single memory location. Please clone() the tensor before performing the operation."
        )
    if type(a) is backend.ndarray and not a.flags.writeable:
        raise RuntimeError("the tensor is on read-only memory; clone() it before writing to it")


def _repeats(a: Any) -> bool:
    """Whether an expanded dimension shows the same elements again and again."""
    return any(s == 0 and n > 1 for s, n in zip(a.strides, a.shape))


def check_castable(result: Any, target: Any, name: str) -> None:
    """RuntimeError if an in-place write must not store an array of one dtype in one of another."""
    source, wanted = dtypes.of_numpy(result.dtype), dtypes.of_numpy(target.dtype)
    if not dtypes.can_cast(source, wanted):
        raise RuntimeError(
            f"result type {source.name} can't be cast to the desired output type {wanted.name}; "
            f"use the out-of-place form of {name}"
        )


def write(t: Tensor, result: Tensor, name: str, alike: bool = False) -> Tensor:
    """Give `t` the values and the history of `result`, a tensor of its shape.

    alike: as in check_writable
    """
    recorded = grad_on() and (result._rg or t._rg)
    check_writable(t, recorded, alike=alike)
    a, r = t._a, result._a
    if r.shape != a.shape:
        raise RuntimeError(
            f"output with shape {list(a.shape)} doesn't match the broadcast shape {list(r.shape)}"
        )
    check_castable(r, a, name)
    if recorded and r.dtype != a.dtype:
        result = result.to(t.dtype)
        r = result._a
    backend.store(a, r)
    writes.stamp(a)
    if recorded:
        node = result._node
        if node is not None and node.y is r:  # its op saved the output: that is this memory now,
            node.y, node.seq = a, next_seq()  # so that a later write is noticed, as in torch
        rebase(t, result)
    return t


def _restart(t: Tensor, node: Any, requires_grad: bool) -> None:
    """Let the history of `t` begin at a node; retain_grad is about the tensor as it is now."""
    if t.retains_grad:
        handle = t.__dict__["_retains"]
        keep = handle.tables[0].pop(handle.id)
        t.__dict__["_retains"] = graph.add_hook(graph.node_hooks(node).retain, keep)
    t._node, t._rg = node, requires_grad


def rebase(t: Tensor, result: Tensor) -> None:
    """Let the history of `t`, of its base and of the base's views begin at `result`."""
    base = t._base
    if base is None:
        # Written over by a leaf, it stays no leaf; by what has no history, its own ends here.
        node = result._node or _node(graph.ALIAS, edge(result))
        base = t
    else:
        view, whole = _alike(t._a, base._a)
        node = _node(
            copy_region,
            _seen_as(base._a, whole.dtype, edge(base)),
            _seen_as(t._a, view.dtype, edge(result)),
            base=_geometry(whole, whole),
            view=_geometry(view, whole),
        )
        node = _seen_as(whole, base._a.dtype, node)
    _restart(base, node, True)
    _refresh_views(base)


def _refresh_views(base: Tensor) -> None:
    """Make the node of each live view of `base` anew, as a region of it."""
    if not base._views:
        return
    for v in live_views(base):
        view, whole = _alike(v._a, base._a)
        if v._views is not None:
            v.__class__ = SpoiltView
        elif view.dtype == whole.dtype:
            at = _seen_as(base._a, whole.dtype, edge(base))
            where = {"base": _geometry(whole, whole), "view": _geometry(view, whole)}
            _restart(v, _seen_as(view, v._a.dtype, _node(region, at, **where)), base._rg)


class SpoiltView(Tensor):
    """A view that must not be written to, after its base was: its history can't be told any more.

    Whatever asks for its history raises.
    """

    __slots__ = ()
    __torch_function__ = staticmethod(disabled_torch_function)

    @property
    def _node(self) -> Any:  # type: ignore[override]
        raise RuntimeError(
            f"this view {self._views}, and its base or another view of its base has been modified "
            "in place. That is forbidden while gradients are recorded: write to a clone() instead."
        )


def in_place(
    function: Callable[..., Any], name: str | None = None, ufunc: str | None = None
) -> Callable[..., Tensor]:
    """The in-place form of a function: t.add_(x) from add(t, x).

    name: torch's name for it (default: the function's own, with its underscore)
    ufunc: where nothing is recorded, what writes straight into the tensor's memory
    """
    name = name or function.__name__ + "_"

    @functools.wraps(function)
    def method(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        given = (*args, *kwargs.values()) if kwargs else args
        rg = grad_on() and (self._rg or any(isinstance(x, Tensor) and x._rg for x in given))
        check_writable(self, rg, given)
        if not rg:
            if ufunc is not None and not kwargs and _direct(self._a, args, ufunc):
                writes.stamp(self._a)
                return self
            return write(self, function(self, *args, **kwargs), name)
        # The values that the op saves must not be the memory that is written to now.
        with backend.of(self._a).on(self._a):
            before = wrap(self._a.copy(order="K"), self._node)
        before._rg = self._rg
        return write(self, function(before, *args, **kwargs), name)

    method.__name__ = method.__qualname__ = name
    return method


def _direct(a: Any, args: tuple[Any, ...], ufunc: str) -> bool:
    """ufunc(a, *args, out=a), where no promotion and no broadcasting of `a` is involved."""
    if isinstance(a, SparseArray):
        return False
    if a.dtype.kind == "f":
        numbers: tuple[type, ...] = (int, float)
    elif a.dtype.kind == "i" and a.itemsize == 8 and ufunc != "true_divide":
        numbers = (int,)
    else:
        return False
    operands = []
    for x in args:
        if isinstance(x, Tensor):
            b = x._a
            if b.dtype != a.dtype or type(b) is not type(a) or b.shape != a.shape:
                return False
            operands.append(b)
        elif type(x) in numbers:
            operands.append(x)
        else:
            return False
    if type(a) is not ndarray:
        devices.check_same(ufunc, [a, *(b for b in operands if type(b) is type(a))])
    xp = backend.of(a)
    with xp.on(a):
        getattr(xp, ufunc)(a, *operands, out=a)
    return True
