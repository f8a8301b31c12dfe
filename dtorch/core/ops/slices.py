"""Whole slices by a vector of indices: index_select, index_add and kin; index_put."""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

from .. import dtype as dtypes
from ..backend import of
from ..tensor import Tensor, wrap
from .index import _plain_item, index_put, take_rows
from .pointwise import where
from .scatter import scatter_reduce
from .shape import axis, expand, raw, reshape


def _rows_index(name, input, dim, index):
    i = raw(index)
    if i.dtype.kind != "i" or i.dtype.itemsize < 4:
        raise RuntimeError(
            f"{name}(): Expected dtype int32 or int64 for index but got: {index.dtype}"
        )
    if i.ndim > 1:
        raise IndexError(f"{name}(): Index is supposed to be a vector, but got dim: {i.ndim}")
    d, n = axis(dim, input.ndim), input.shape[dim] if input.ndim else 1
    if of(i).name == "cpu" and i.size and (i.min() < 0 or i.max() >= n):
        raise IndexError(f"{name}(): index out of range in self: expected 0 <= index < {n}")
    return d, i.reshape(-1)


def index_select(input, dim, index):
    """The slices along `dim` that a vector of indices names, as a copy."""
    d, i = _rows_index("index_select", input, dim, index)
    if not input.ndim:
        if i.size != 1:
            raise RuntimeError("index_select(): Index to scalar can have only 1 value")
        return input.clone()
    return take_rows(input, index=i, dim=d)


def _at(index, dim):
    return (slice(None),) * dim + (index,)


def _check_source(name, input, dim, index, source):
    """torch's errors for a source that is not the input with the size of index along `dim`."""
    if source.dtype != input.dtype:
        raise RuntimeError(
            f"{name}(): self and source expected to have the same dtype, but got (self) "
            f"{input.dtype.name} and (source) {source.dtype.name}"
        )
    want = [index.size if k == dim else n for k, n in enumerate(input.shape)]
    if list(source.shape or (1,)) != (want or [1]):
        raise RuntimeError(
            f"{name}(): source must have the size {want} that input and index ask for, got "
            f"{list(source.shape)}"
        )


def _index_write(name, input, dim, index, source, accumulate):
    d, i = _rows_index(name, input, dim, index)
    _check_source(name, input, d, i, source)
    if not input.ndim:
        x = index_put(
            reshape(input, (1,)), reshape(source, (-1,)), index=(i,), accumulate=accumulate
        )
        return reshape(x, ())
    if not source.ndim:
        source = reshape(source, (1,))
    return index_put(input, source, index=_at(i, d), accumulate=accumulate)


def index_add(input, dim, index, source, *, alpha=1):
    """The input with alpha * source added to the slices that index names."""
    source = source if alpha == 1 else source * alpha
    return _index_write("index_add", input, dim, index, source, True)


def index_copy(input, dim, index, source):
    """The input with the slices of source in place of those that index names."""
    return _index_write("index_copy", input, dim, index, source, False)


def index_reduce(input, dim, index, source, reduce, *, include_self=True):
    """The input with the slices of source combined with those that index names, along `dim`.

    reduce: "prod", "mean", "amax" or "amin"; include_self=False leaves out what the input held
    """
    if reduce not in ("prod", "mean", "amax", "amin"):
        raise RuntimeError(
            "index_reduce(): Expected reduce to be one of prod, mean, amax or amin but got "
            f"{reduce}."
        )
    d, i = _rows_index("index_reduce", input, dim, index)
    _check_source("index_reduce", input, d, i, source)
    along = [-1 if k == d else 1 for k in range(source.ndim)]
    rows = expand(wrap(i.reshape(along)), source.shape) if source.ndim else wrap(i)
    return scatter_reduce(input, d, rows, source, reduce, include_self=include_self)


def index_fill(input, dim, index, value):
    """The input with the slices that index names filled with a number (or a 0-d tensor)."""
    d = axis(dim, input.ndim)
    index = where(index < 0, index + (input.shape[d] if input.ndim else 1), index)
    d, i = _rows_index("index_fill", input, dim, index)
    if isinstance(value, Tensor):
        if value.ndim:
            raise RuntimeError(
                "index_fill_ only supports a 0-dimensional value tensor, but got tensor with "
                f"{value.ndim} dimension(s)."
            )
        value = value.to(input.dtype)
    else:
        value = dtypes.as_held(value, input.dtype)
    if not input.ndim:
        return reshape(index_fill(reshape(input, (1,)), 0, index, value), ())
    return index_put(input, value, index=_at(of(i).unique(i), d))  # a gradient counts once


def index_put_of(input, indices, values, accumulate=False):
    """input[indices] = values, or += with each of repeated indices counted, as a copy."""
    index = tuple(slice(None) if i is None else _plain_item(i, input) for i in indices)
    if len(index) > input.ndim:
        raise IndexError(
            f"too many indices for tensor of dimension {input.ndim} (got {len(index)})"
        )
    if values.dtype != input.dtype:
        raise RuntimeError(
            f"Index put requires the source and destination dtypes match, got {input.dtype} for "
            "the "
            f"destination and {values.dtype} for the source."
        )
    try:
        return index_put(input, values, index=index, accumulate=accumulate)
    except ValueError as error:
        raise RuntimeError(f"shape mismatch: {error}") from None


IN_PLACE = {
    "index_add": index_add, "index_copy": index_copy, "index_fill": index_fill,
    "index_put": index_put_of, "index_reduce": index_reduce,
}  # fmt: skip
FUNCTIONS = METHODS = IN_PLACE | {"index_select": index_select}
