"""Indexing: x[...] and what selects, gathers or scatters by position."""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

import numbers
import operator

from .. import device as devices
from ..backend import ndarray, store
from ..graph import writes
from ..modes import grad_on
from ..op import op
from ..tensor import Tensor, several_views
from ..views import check_writable, write
from .shape import axis, raw, reshape

_FINAL = (int, type(None), type(Ellipsis))
_BASIC = (*_FINAL, slice)
_BOUND = (int, type(None))


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
    if type(index) is int:
        index, basic = (index, ...), True
    elif type(index) is slice:
        index, basic = (_plain_slice(index), ...), True
    else:
        index, basic = _plain(x, index)
    try:
        if basic:
            return (_slice.fn if isinstance(x, Tensor) else _slice)(x, index=index)
        if any(type(i) is int for i in index):
            first, then = _stages(index, x.ndim)
            return _take(_slice(x, index=first), index=then)
        return _take(x, index=index)
    except IndexError as error:
        raise IndexError(_misfit(x, index, error)) from None


def _plain(x, index):
    """The index of x with tensors as arrays, and whether it is basic (a view)."""
    items = index if isinstance(index, tuple) or _like_a_tuple(index) else (index,)
    plain = tuple([i if type(i) in _FINAL else _plain_item(i, x) for i in items])
    basic = all(type(i) in _BASIC for i in plain)
    return ((*plain, ...) if basic and Ellipsis not in plain else plain), basic


def _like_a_tuple(index):
    """Whether a list stands for several indices: it does if it holds more than numbers."""
    several = (Tensor, list, tuple, slice, type(None), type(Ellipsis))
    return isinstance(index, list) and any(isinstance(i, several) for i in index[:31])


def _stages(index, ndim):
    """An index with integers and arrays as a basic one, and the arrays that index its result.

    Integers come first in torch; NumPy would broadcast them with the arrays.
    """
    used = _used(index)
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


def _used(index):
    """How many dimensions an index takes up."""
    return sum(
        getattr(i, "ndim", 1) if _is_mask(i) else i is not None and i is not Ellipsis for i in index
    )


def _is_mask(i):
    return getattr(getattr(i, "dtype", None), "kind", "") == "b"


def _plain_item(i, x):
    if isinstance(i, Tensor):
        if not i.ndim and i.dtype.category == 1:
            return int(i)
        if i.dtype.category > 1:
            raise IndexError("tensors used as indices must be long, int, byte or bool tensors")
        a = i._a.astype(bool) if i.dtype.name == "uint8" else i._a
        return a if type(a) is type(raw(x)) is ndarray else _beside(a, raw(x))
    if isinstance(i, slice):
        return _plain_slice(i)
    if isinstance(i, (list, range)):
        from .create import as_tensor

        values = as_tensor(list(i), device="cpu")
        return _plain_item(values if len(i) else values.long(), x)
    if isinstance(i, numbers.Integral) and not isinstance(i, bool):
        return int(i)
    if isinstance(i, (float, complex, str)):
        raise (TypeError if isinstance(i, str) else IndexError)(
            "only integers, slices (`:`), ellipsis (`...`), None and long or byte Variables are "
            f"valid indices (got {type(i).__name__})"
        )
    return i


def _beside(a, x):
    """An index on the device of x, arrays both: one on the CPU follows there, others must be there."""
    where = devices.of(x)
    if type(a) is not ndarray and devices.of(a) != where:
        raise RuntimeError(
            f"indices should be either on cpu or on the same device as the indexed tensor ({where})"
        )
    return devices.move(a, where)


def _plain_slice(i):
    if not (type(i.start) in _BOUND and type(i.stop) in _BOUND and type(i.step) in _BOUND):
        i = slice(_bound(i.start), _bound(i.stop), _bound(i.step))
    if i.step is not None and i.step <= 0:
        raise ValueError(f"step must be greater than zero, got {i.step}")
    return i


def _bound(p):
    """The start, stop or step of a slice as an int: from a number, or a tensor of one integer."""
    if isinstance(p, Tensor) and p.numel() != 1:
        raise TypeError("only integer tensors of a single element can be converted to an index")
    if p is not None and not hasattr(p, "__index__"):
        raise TypeError(
            "slice indices must be integers or None or have an __index__ method, "
            f"got {type(p).__name__}"
        )
    return None if p is None else operator.index(p)


def _misfit(x, index, error):
    """torch's message for an index that is out of range, or for a mask of another shape."""
    used = _used(index)
    if not x.ndim and not any(isinstance(i, slice) for i in index):
        return "invalid index of a 0-dim tensor. Use tensor.item() to make it a number"
    if used > x.ndim:
        return f"too many indices for tensor of dimension {x.ndim}"
    d = 0  # the dimension that i indexes, the first one of a mask's
    for i in index:
        if i is Ellipsis:
            d += x.ndim - used
        elif _is_mask(i):
            for k, n in enumerate(i.shape, d):
                if n != x.shape[k]:
                    return (
                        f"The shape of the mask {list(i.shape)} at index {k - d} does not match "
                        f"the shape of the indexed tensor {list(x.shape)} at index {k}"
                    )
            d += i.ndim
        elif i is not None:
            n = x.shape[d]
            if not isinstance(i, slice):
                far = [i] if type(i) is int else i[(i < -n) | (i >= n)].reshape(-1)[:1].tolist()
                if far and not -n <= far[0] < n:
                    return f"index {far[0]} is out of bounds for dimension {d} with size {n}"
            d += 1
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
    """x[index] = value, a number or a tensor; recorded where x or value is."""
    from .create import as_tensor

    if not isinstance(value, (Tensor, numbers.Complex)):
        raise TypeError(
            f"can't assign a {type(value).__name__} to a {x.type()}: make it a tensor first"
        )
    plain, basic = _plain(x, index)
    if not basic:
        if _used(plain) > x.ndim:
            raise IndexError(f"too many indices for tensor of dimension {x.ndim}")
        recorded = grad_on() and (x._rg or (isinstance(value, Tensor) and value._rg))
        check_writable(x, recorded, (value,), apart=True)
    if not isinstance(value, Tensor):
        value = as_tensor(value, dtype=x.dtype, device=x.device)
    value = value.to(device=x.device, dtype=x.dtype)
    try:
        if basic:
            part = getitem(x, index)
            check_writable(part, grad_on() and (part._rg or value._rg))
            value = _without_ones(value, part.ndim)
            part.copy_(value) if value.ndim else part.fill_(value)
        else:
            _put(x, plain, _without_ones(value, 0))
    except IndexError as error:
        raise IndexError(_misfit(x, plain, error)) from None
    except (ValueError, TypeError):  # NumPy's: a TypeError where the index is a mask
        # at 0 in place of what the arrays name: the shape matters first, and they may be too far
        near = tuple([i * 0 if hasattr(i, "dtype") and not _is_mask(i) else i for i in plain])
        raise RuntimeError(
            f"shape mismatch: value tensor of shape {list(value.shape)} cannot be broadcast to "
            f"indexing result of shape {list(getitem(x.detach(), near).shape)}"
        ) from None


def _without_ones(value, ndim):
    """The value to set without the leading 1s of its shape that are beyond `ndim` dimensions."""
    extra = 0
    while value.ndim - extra > ndim and value.shape[extra] == 1:
        extra += 1
    return reshape(value, value.shape[extra:]) if extra else value


def _put(x, index, value):
    """x[index] = value, where arrays are among the index."""
    if any(type(i) is int for i in index):
        first, index = _stages(index, x.ndim)
        x = _slice(x, index=first)
    if grad_on() and (x._rg or value._rg):
        write(x, index_put(x.clone(), value, index=index), "index_put_")
    else:
        store(x._a, value._a, index)
        writes.stamp(x._a)


def narrow(input, dim, start, length):
    """A view of `length` elements from `start` on, along `dim`."""
    if not input.ndim:
        raise RuntimeError("narrow() cannot be applied to a 0-dim tensor.")
    dim = axis(dim, input.ndim)
    n = input.shape[dim]
    if isinstance(start, Tensor) and (start.ndim or raw(start).dtype.kind not in "iu"):
        raise RuntimeError("start must be an 0-dim integral Tensor.")
    start = int(start)
    if not -n <= start <= n:
        raise IndexError(
            f"start out of range (expected to be in range of [{-n}, {n}], but got {start})"
        )
    if length < 0 or (start % n if n and start < 0 else start) + length > n:
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
    return several_views(tuple(select(input, dim, i) for i in range(input.shape[dim])))


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
