"""Indexing: x[...] and what selects, gathers or scatters by position."""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

import numbers

from ..op import op
from ..tensor import Tensor
from .shape import axis, raw

_FINAL = (int, type(None), type(Ellipsis))
_BASIC = (*_FINAL, slice)


@op(saves="s", half="keep", view=True)
def _slice(xp, x, *, index):
    return x[index]


@op(half="keep")
def _slice_add(xp, g, *, index, shape):
    """Zeros of `shape` with g at `index`: the gradient of a basic index."""
    out = xp.zeros(shape, g.dtype)
    out[index] = g
    return out


_slice.vjp(lambda g, y, shape, index: _slice_add(g, index=index, shape=shape))
_slice_add.vjp(lambda g, y, x, index, shape: _slice(g, index=index))


@op(saves="s", half="keep")
def _take(xp, x, *, index):
    return x[index]


@op(half="keep")
def _take_add(xp, g, *, index, shape):
    """Zeros of `shape` with g added at an advanced index, as often as an element was taken."""
    out = xp.zeros(shape, g.dtype)
    xp.scatter_add(out, index, g)
    return out


_take.vjp(lambda g, y, shape, index: _take_add(g, index=index, shape=shape))
_take_add.vjp(lambda g, y, x, index, shape: _take(g, index=index))


def getitem(x, index):
    """x[index]: a view for integers and slices, a copy for tensors and lists of indices."""
    index, basic = ((index, ...), True) if type(index) is int else _plain(x, index)
    try:
        if not basic and any(type(i) is int for i in index):
            first, index = _stages(index, x.ndim)
            x = _slice(x, index=first)
        return (_slice if basic else _take)(x, index=index)
    except IndexError as error:
        raise IndexError(_too_far(x, index, error)) from None


def _plain(x, index):
    """The index with tensors as arrays, and whether it is basic (a view)."""
    if type(index) is slice:
        return (_plain_item(index), ...), True
    items = index if isinstance(index, tuple) else (index,)
    plain = tuple([i if type(i) in _FINAL else _plain_item(i) for i in items])
    basic = all(type(i) in _BASIC for i in plain)
    return ((*plain, ...) if basic and Ellipsis not in plain else plain), basic


def _stages(index, ndim):
    """An index with integers and arrays as a basic one, and the arrays that index its result.

    Integers come first in torch; NumPy would broadcast them with the arrays.
    """
    used = sum(
        getattr(i, "ndim", 1) if _is_mask(i) else i is not None and i is not Ellipsis for i in index
    )
    first, then = [], []
    for i in index:
        if i is Ellipsis:
            first += [slice(None)] * (ndim - used)
            then += [slice(None)] * (ndim - used)
        elif type(i) is int:
            first.append(i)
        elif hasattr(i, "dtype"):
            first += [slice(None)] * (i.ndim if _is_mask(i) else 1)
            then.append(i)
        else:
            first.append(i)
            then.append(slice(None))
    return (*first, ...), tuple(then)


def _is_mask(i):
    return getattr(getattr(i, "dtype", None), "kind", "") == "b"


def _plain_item(i):
    if isinstance(i, Tensor):
        if not i.ndim and i.dtype.category == 1:
            return int(i)
        if i.dtype.category > 1:
            raise IndexError("tensors used as indices must be long, int, byte or bool tensors")
        return i._a.astype(bool) if i.dtype.name == "uint8" else i._a
    if isinstance(i, slice):
        if i.step is not None and int(i.step) <= 0:
            raise ValueError("step must be greater than zero")
        if type(i.start) in _FINAL and type(i.stop) in _FINAL and type(i.step) in _FINAL:
            return i
        return slice(*[None if p is None else int(p) for p in (i.start, i.stop, i.step)])
    if isinstance(i, (list, range)):
        from .create import as_tensor

        return _plain_item(as_tensor(list(i))) if len(i) else as_tensor([]).long()._a
    if isinstance(i, numbers.Integral) and not isinstance(i, bool):
        return int(i)
    if isinstance(i, (float, complex, str)):
        raise TypeError(
            "only integers, slices (`:`), ellipsis (`...`), None and long or byte Variables are "
            "valid "
            f"indices (got {type(i).__name__})"
        )
    return i


def _too_far(x, index, error):
    """torch's message for an index that is out of range."""
    used = [i for i in index if i is not None and i is not Ellipsis]
    if len(used) > x.ndim:
        return f"too many indices for tensor of dimension {x.ndim}"
    for d, i in enumerate(used):
        if type(i) is int and not -x.shape[d] <= i < x.shape[d]:
            return f"index {i} is out of bounds for dimension {d} with size {x.shape[d]}"
    return str(error)


@op(saves="s", half="keep")
def index_put(xp, x, value, *, index, accumulate=False):
    """x with x[index] = value, or += value with every one of repeated indices counted."""
    out = x.copy()
    if accumulate:
        xp.scatter_add(out, index, value)
    else:
        out[index] = value
    return out


def _fit_to(g, shape):
    from .reduce import sum_to

    return sum_to(g, shape)


@op(half="keep")
def _zero_at(xp, g, *, index):
    out = g.copy()
    out[index] = 0
    return out


_zero_at.vjp(lambda g, y, x, index: _zero_at(g, index=index))
index_put.vjp(
    lambda g, y, x, v, index, accumulate=False: g if accumulate else _zero_at(g, index=index),
    lambda g, y, x, v, index, accumulate=False: _fit_to(_take(g, index=index), v),
)


def setitem(x, index, value):
    """x[index] = value, recorded where x or value is."""
    from ..modes import grad_on
    from ..views import write
    from .create import as_tensor

    plain, basic = _plain(x, index)
    if not isinstance(value, Tensor):
        value = as_tensor(value, dtype=x.dtype, device=x.device)
    value = value.to(device=x.device, dtype=x.dtype)
    try:
        if not basic and any(type(i) is int for i in plain):
            first, plain = _stages(plain, x.ndim)
            x = _slice(x, index=first)
        if basic:
            getitem(x, index).copy_(value)
        elif grad_on() and (x._rg or value._rg):
            write(x, index_put(x.clone(), value, index=plain), "index_put_")
        else:
            from ..graph import writes
            from ..views import check_writable

            check_writable(x)
            x._a[plain] = value._a
            writes.stamp(x._a)
    except IndexError as error:
        raise IndexError(_too_far(x, plain, error)) from None
    except ValueError as error:
        raise RuntimeError(
            f"shape mismatch: value tensor of shape {list(value.shape)}: {error}"
        ) from None


def narrow(input, dim, start, length):
    """A view of `length` elements from `start` on, along `dim`."""
    dim = axis(dim, input.ndim)
    n = input.shape[dim]
    if isinstance(start, Tensor) and (start.ndim or raw(start).dtype.kind not in "iu"):
        raise RuntimeError("start must be an 0-dim integral Tensor.")
    start = int(start)
    if length < 0 or not -n <= start <= n or (start % n if n and start < 0 else start) + length > n:
        raise RuntimeError(f"start ({start}) + length ({length}) exceeds dimension size ({n}).")
    start = start + n if start < 0 else start
    return _slice(input, index=(slice(None),) * dim + (slice(start, start + length), ...))


def select(input, dim, index):
    """A view without dimension `dim`: its element `index`."""
    dim = axis(dim, input.ndim)
    if not -input.shape[dim] <= index < input.shape[dim]:
        raise IndexError(
            f"select(): index {index} out of range for tensor of size {list(input.shape)} at "
            f"dimension {dim}"
        )
    return _slice(input, index=(slice(None),) * dim + (int(index), ...))


def unbind(input, dim=0):
    """The slices along `dim`, as views, in a tuple."""
    dim = axis(dim, input.ndim)
    return tuple(select(input, dim, i) for i in range(input.shape[dim]))


# ---- whole slices ----------------------------------------------------------------------------


@op(saves="s", half="keep")
def take_rows(xp, x, *, index, dim):
    """The slices of x along `dim` that an integer array names."""
    return xp.take(x, index, axis=dim)


@op(half="keep")
def _add_rows(xp, g, *, index, dim, shape):
    """Zeros of `shape` with the slices of g added where `index` says: the gradient of take_rows."""
    out = xp.zeros(shape, g.dtype)
    if not shape:
        return out + g.sum()
    lead = tuple(range(dim, dim + index.ndim))
    g = xp.moveaxis(g, lead, tuple(range(index.ndim)))
    rows = g.reshape(index.size, *g.shape[index.ndim :])
    xp.index_rows_add(xp.moveaxis(out, dim, 0), index.reshape(-1), rows)
    return out


take_rows.vjp(lambda g, y, shape, index, dim: _add_rows(g, index=index, dim=dim, shape=shape))
_add_rows.vjp(lambda g, y, x, index, dim, shape: take_rows(g, index=index, dim=dim))


def fill(input, value):
    """A tensor like the input with every element a number, or a 0-d tensor."""
    if isinstance(value, Tensor) and value.ndim:
        raise RuntimeError(
            f"fill only supports 0-dimension value tensor but got tensor with {value.ndim} "
            "dimensions."
        )
    value = value.to(input.dtype) if isinstance(value, Tensor) else value
    return index_put(input, value, index=(Ellipsis,))


FUNCTIONS = METHODS = {"narrow": narrow, "select": select, "unbind": unbind}
FUNCTIONS = FUNCTIONS | {"fill": fill}
