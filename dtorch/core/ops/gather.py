"""Elements by tensors of indices: gather, take and take_along_dim."""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

from math import prod

from ..backend import of
from ..backend.sparse import Coo
from ..device import check_same
from ..op import op
from .index import take_rows
from .pointwise import where
from .shape import axis, expand, raw, reshape
from .sparse import assembled


def along(xp, index, dim):
    """The advanced index of the elements that `index` names along `dim`: broadcasting aranges."""
    parts = []
    for d, n in enumerate(index.shape):
        shape = [1] * index.ndim
        shape[d] = n
        parts.append(index if d == dim else xp.arange(n).reshape(shape))
    return tuple(parts)


def check_index(name, input, dim, index, like=None):
    """(dim, index array); torch's errors for an index of the wrong dtype, rank, size or range."""
    i, d = raw(index), axis(dim, input.ndim)
    check_same(name, (raw(input), i))
    if not i.size:
        return d, i.astype("int64")
    if i.dtype.kind != "i" or i.dtype.itemsize < 4:
        raise RuntimeError(f"{name}(): Expected dtype int64 for index")
    if i.ndim != input.ndim and (i.ndim or 1) != (input.ndim or 1):
        raise RuntimeError(
            "Index tensor must have the same number of dimensions as "
            f"{'self' if like is None else 'input'} "
            f"tensor: got {i.ndim} and {input.ndim}"
        )
    for whose, shape in (("self", input.shape), ("src", i.shape if like is None else like.shape)):
        for k, (n, m) in enumerate(zip(i.shape, shape)):
            if n > m and (k != d or whose == "src"):
                raise RuntimeError(
                    f"Size does not match at dimension {k} expected index {list(i.shape)} to be no "
                    f"larger than {whose} {list(shape)} apart from dimension {d}"
                )
    check_range(i, input.shape[d] if input.ndim else 1, d)
    return d, i


def check_range(i, n, dim):
    """RuntimeError unless 0 <= i < n."""
    if not of(i).in_range(i, n):
        low, high = i.min(), i.max()
        raise RuntimeError(
            f"index {low if low < 0 else high} is out of bounds for dimension {dim} with size {n}"
        )


@op(saves="s", half="keep")
def gathered(xp, x, *, index, dim, sparse=False):
    """gather without the checks: index is an array of valid indices."""
    return x[along(xp, index, dim)]


@op(half="keep")
def _gather_add(xp, g, *, index, dim, shape):
    """Zeros of `shape` with g added where it was gathered."""
    out = xp.zeros(shape, g.dtype)
    xp.scatter_add(out, along(xp, index, dim), g)
    return out


def _gathered_vjp(g, y, shape, index, dim, sparse=False):
    if not sparse:
        return _gather_add(g, index=index, dim=dim, shape=shape)
    xp = of(index)
    places = list(xp.indices(index.shape))
    places[dim] = index
    like = Coo(xp.stack(places).reshape(len(shape), -1), index, shape)
    return assembled(reshape(g, (-1,)), like=like)


gathered.vjp(_gathered_vjp)
_gather_add.vjp(lambda g, y, x, index, dim, shape: gathered(g, index=index, dim=dim))


@op(saves="s", half="keep")
def picked(xp, x, *, index, dim, keepdim):
    """One element of each line of x along `dim`; index: an array of their places, of size 1 there."""
    y = x[along(xp, index, dim)]
    return y if keepdim else y.reshape(index.shape[:dim] + index.shape[dim + 1 :])


@op(half="keep")
def _picked_put(xp, g, *, index, dim, shape):
    """Zeros of `shape` with g, in the shape of the index, where it was picked."""
    out = xp.zeros(shape, g.dtype)
    out[along(xp, index, dim)] = g
    return out


picked.vjp(lambda g, y, shape, index, dim, keepdim: _picked_put(
    reshape(g, index.shape), index=index, dim=dim, shape=shape
))  # fmt: skip
_picked_put.vjp(lambda g, y, x, index, dim, shape: gathered(g, index=index, dim=dim))


def gather(input, dim, index, *, sparse_grad=False):
    """out[i][j][k] = input[index[i][j][k]][j][k] for dim 0, and so on; sizes are those of index.

    sparse_grad: the gradient of the input is a sparse_coo tensor of the elements taken.
    """
    d, i = check_index("gather", input, dim, index)
    if not input.ndim or not i.ndim:
        flat = reshape(input, (1,)) if not input.ndim else input
        return reshape(gathered(flat, index=i.reshape(-1), dim=0), i.shape)
    if not i.size:
        return (
            gathered(reshape(input, (-1,)), index=i, dim=0)
            if i.ndim == 1
            else _none(input, i.shape)
        )
    return gathered(input, index=i, dim=d, sparse=sparse_grad)


def _none(x, shape):
    return reshape(reshape(x, (-1,))[:0], shape)


def take_along_dim(input, indices, dim=None):
    """gather, where input and indices broadcast but along `dim`; with no dim, of all elements."""
    if raw(indices).dtype != "int64":
        raise RuntimeError(
            "torch.take_along_dim(): dtype of indices should be Long but got another"
        )
    if dim is None:
        return gather(reshape(input, (-1,)), 0, reshape(indices, (-1,)))
    if input.ndim != indices.ndim:
        raise RuntimeError(
            "torch.take_along_dim(): input and indices should have the same number of dimensions, "
            "but "
            f"got {input.ndim} dimensions for input, and {indices.ndim} dimensions for indices"
        )
    d = axis(dim, input.ndim)
    rest = [(1 if i == d else n, 1 if i == d else m)
            for i, (n, m) in enumerate(zip(input.shape, indices.shape))]  # fmt: skip
    wide = [m if n == 1 else n for n, m in rest]
    x = expand(input, [input.shape[i] if i == d else n for i, n in enumerate(wide)])
    i = expand(indices, [indices.shape[i] if i == d else n for i, n in enumerate(wide)])
    n = x.shape[d]
    check_range(raw(i) + n, 2 * n, d)
    return gather(x, d, where(i < 0, i + n, i))


def take(input, index):
    """The elements of the flattened input that index names, in the shape of index."""
    i = raw(index)
    check_same("take", (raw(input), i))
    if i.dtype != "int64":
        raise RuntimeError(f"take(): Expected a long tensor for index, but got {index.dtype}")
    n = prod(input.shape)
    if not of(i).in_range(i + n, 2 * n):
        raise IndexError(f"out of range: tried to access an index beyond {n} elements")
    return take_rows(reshape(input, (-1,)), index=i % max(n, 1), dim=0)


FUNCTIONS = METHODS = {"gather": gather, "take_along_dim": take_along_dim, "take": take}
