"""Elements and slices by tensors of indices: gather, scatter, index_*, masked_*, embedding."""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

from math import prod

from ..backend import of
from ..op import op
from ..tensor import Tensor
from .arithmetic import div
from .index import _plain_item, index_put, take_rows
from .pointwise import where
from .shape import axis, broadcast_tensors, expand, raw, reshape

# ---- along a dimension -----------------------------------------------------------------------


def _along(xp, index, dim):
    """The advanced index of the elements that `index` names along `dim`: broadcasting aranges."""
    parts = []
    for d, n in enumerate(index.shape):
        shape = [1] * index.ndim
        shape[d] = n
        parts.append(index if d == dim else xp.arange(n).reshape(shape))
    return tuple(parts)


def _check_index(name, input, dim, index, like=None):
    """(dim, index array); torch's errors for an index of the wrong dtype, rank, size or range."""
    i, d = raw(index), axis(dim, input.ndim)
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
    """RuntimeError unless 0 <= i < n.  On the CPU alone: elsewhere the look would be a wait."""
    if of(i).name != "cpu" or not i.size:
        return
    low, high = i.min(), i.max()
    if low < 0 or high >= n:
        raise RuntimeError(
            f"index {low if low < 0 else high} is out of bounds for dimension {dim} with size {n}"
        )


@op(saves="s", half="keep")
def gathered(xp, x, *, index, dim):
    """gather without the checks: index is an array of valid indices."""
    return x[_along(xp, index, dim)]


@op(half="keep")
def _gather_add(xp, g, *, index, dim, shape):
    """Zeros of `shape` with g added where it was gathered."""
    out = xp.zeros(shape, g.dtype)
    xp.scatter_add(out, _along(xp, index, dim), g)
    return out


gathered.vjp(lambda g, y, shape, index, dim: _gather_add(g, index=index, dim=dim, shape=shape))
_gather_add.vjp(lambda g, y, x, index, dim, shape: gathered(g, index=index, dim=dim))


def gather(input, dim, index, *, sparse_grad=False):
    """out[i][j][k] = input[index[i][j][k]][j][k] for dim 0, and so on; sizes are those of index."""
    d, i = _check_index("gather", input, dim, index)
    if not input.ndim or not i.ndim:
        flat = reshape(input, (1,)) if not input.ndim else input
        return reshape(gathered(flat, index=i.reshape(-1), dim=0), i.shape)
    if not i.size:
        return (
            gathered(reshape(input, (-1,)), index=i, dim=0)
            if i.ndim == 1
            else _none(input, i.shape)
        )
    return gathered(input, index=i, dim=d)


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


@op(half="keep")
def _scatter(xp, x, src, *, index, dim):
    """x with src at the elements that index names; the last of several writes stays."""
    out = x.copy()
    out[_along(xp, index, dim)] = src
    return out


@op(half="keep")
def _scatter_add(xp, x, src, *, index, dim):
    out = x.copy()
    xp.scatter_add(out, _along(xp, index, dim), src)
    return out


_scatter.vjp(
    lambda g, y, x, src, index, dim: _scatter(g, 0, index=index, dim=dim),
    lambda g, y, x, src, index, dim: gathered(g, index=index, dim=dim),
)
_scatter_add.vjp(
    lambda g, y, x, src, index, dim: g,
    lambda g, y, x, src, index, dim: gathered(g, index=index, dim=dim),
)


def scatter(input, dim, index, src=None, *, value=None, reduce=None):
    """The input with src (a tensor or a number) written where index names, along `dim`.

    reduce "add" or "multiply" combines it with what is there.
    """
    src = value if src is None else src
    if reduce is not None:
        names = {"add": "sum", "multiply": "prod"}
        if reduce not in names:
            raise RuntimeError(f"reduce argument must be either add or multiply, got {reduce!r}")
        if not isinstance(src, Tensor):
            src = expand((input.detach() * 0).sum().to(input.dtype) + src, index.shape).to(
                input.dtype
            )
        return scatter_reduce(input, dim, index, src, names[reduce])
    like = src if isinstance(src, Tensor) else None
    return _scattered("scatter", _scatter, input, dim, index, src, like)


def scatter_add(input, dim, index, src):
    """The input with src added where index names, along `dim`."""
    return _scattered("scatter_add", _scatter_add, input, dim, index, src, src)


def _scattered(name, kernel, input, dim, index, src, like):
    if like is not None and like.dtype != input.dtype:
        raise RuntimeError(f"{name}(): Expected self.dtype to be equal to src.dtype")
    d, i = _check_index(name, input, dim, index, like)
    if not i.size:
        return input.clone()
    if not input.ndim:
        whole = src if like is None else reshape(src, (-1,))
        return reshape(kernel(reshape(input, (1,)), whole, index=i.reshape(-1), dim=0), ())
    if like is not None:
        if not like.ndim:
            src = reshape(src, (1,))
        i = i.reshape(-1) if not i.ndim else i
        src = src[tuple(slice(n) for n in i.shape)]
    return kernel(input, src, index=i.reshape(-1) if not i.ndim else i, dim=d)


def _reduced_at(ufunc, start):
    """x with src combined by a ufunc where index names; include_self=False begins at `start`."""

    @op(saves="xy", name=f"_scatter_{ufunc}")
    def kernel(xp, x, src, *, index, dim, include_self):
        out, at = x.copy(), _along(xp, index, dim)
        if not include_self:
            out[at] = start if x.dtype.kind == "f" or ufunc == "multiply" else (
                (xp.iinfo(x.dtype).min if start < 0 else xp.iinfo(x.dtype).max)
                if x.dtype.kind in "iu" else start > 0
            )  # fmt: skip
        getattr(xp, ufunc).at(out, at, src)
        return out

    return kernel


_scatter_multiply = _reduced_at("multiply", 1)
_scatter_maximum = _reduced_at("maximum", float("-inf"))
_scatter_minimum = _reduced_at("minimum", float("inf"))


def _written(x, index, dim, include_self):
    """1 where an element of x counts itself, else 0."""
    ones = where(x == x, 1, 1)
    return ones if include_self else _scatter(ones, 0, index=index, dim=dim)


def _scatter_extreme_vjp(needs, g, y, x, src, index, dim, include_self):
    mine = where(x == y, 1, 0) * _written(x, index, dim, include_self)
    its = where(src == gathered(y, index=index, dim=dim), 1, 0)
    share = div(g, _scatter_add(mine, its, index=index, dim=dim))
    written = _scatter(where(x == x, 1, 1), 0, index=index, dim=dim)  # others pass g on
    gx = where((written if not include_self else written * 0) == 1, g, share * mine)
    return gx, gathered(share, index=index, dim=dim) * its


def _scatter_multiply_vjp(needs, g, y, x, src, index, dim, include_self):
    """g times the product of the other factors of an element.

    The factors that are 0 are kept apart, since there is no dividing by them.  Where one other
    factor is 0, the product is that factor times the rest: it is 0, but its derivative is not.
    Derivatives from the third on lack the terms in which three factors are 0.
    """
    counts = _written(x, index, dim, include_self)
    zero_x, zero_src = where(x == 0, counts, 0), where(src == 0, 1, 0)
    x1, src1 = where(x == 0, 1, x), where(src == 0, 1, src)  # the others
    product = _scatter_multiply(x1, src1, index=index, dim=dim, include_self=include_self)
    zeros = _scatter_add(zero_x, zero_src, index=index, dim=dim)
    total = _scatter_add(zero_x * x, zero_src * src, index=index, dim=dim)  # of zeros

    def without(own, own_zero, divisor, g, product, zeros, total):
        rest, count = total - own_zero * own, zeros - own_zero
        return g * product / divisor * where(count == 0, 1, where(count == 1, rest, 0))

    at = [gathered(t, index=index, dim=dim) for t in (g, product, zeros, total)]
    gx = counts * without(x, zero_x, x1, g, product, zeros, total)
    return gx, without(src, zero_src, src1, *at)


_scatter_maximum.vjp_joint(_scatter_extreme_vjp)
_scatter_minimum.vjp_joint(_scatter_extreme_vjp)
_scatter_multiply.vjp_joint(_scatter_multiply_vjp)


def scatter_reduce(input, dim, index, src, reduce, *, include_self=True):
    """The input with src combined where index names: "sum", "prod", "mean", "amax" or "amin"."""
    ops = {"prod": _scatter_multiply, "amax": _scatter_maximum, "amin": _scatter_minimum}
    if reduce in ops:

        def kernel(x, s, **where_):
            return ops[reduce](x, s, include_self=include_self, **where_)

        return _scattered("scatter_reduce", kernel, input, dim, index, src, src)
    if reduce not in ("sum", "mean"):
        raise RuntimeError(
            f"reduce argument must be either sum, prod, mean, amax or amin, got {reduce}."
        )
    start = input if include_self else scatter(input, dim, index, 0)
    total = scatter_add(start, dim, index, src)
    if reduce == "sum":
        return total
    one = input.detach() * 0 + 1
    ones = scatter_add(
        one if include_self else scatter(one, dim, index, 0), dim, index, src.detach() * 0 + 1
    )
    counts = where(ones < 1, 1, ones)
    return total / counts if input.dtype.category > 1 else total // counts


# ---- slices ----------------------------------------------------------------------------------


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


def _index_write(name, input, dim, index, source, accumulate):
    d, i = _rows_index(name, input, dim, index)
    if source.dtype != input.dtype:
        raise RuntimeError(
            f"{name}(): self and source expected to have the same dtype, but got (self) "
            f"{input.dtype} "
            f"and (source) {source.dtype}"
        )
    if not input.ndim:
        x = index_put(
            reshape(input, (1,)), reshape(source, (-1,)), index=(i,), accumulate=accumulate
        )
        return reshape(x, ())
    if source.ndim < input.ndim and input.ndim == 1:
        source = reshape(source, (-1,))
    want = [i.size if k == d else n for k, n in enumerate(input.shape)]
    if list(source.shape) != want:
        raise RuntimeError(
            f"{name}(): source must have the size {want} that input and index ask for, got "
            f"{list(source.shape)}"
        )
    return index_put(input, source, index=_at(i, d), accumulate=accumulate)


def index_add(input, dim, index, source, *, alpha=1):
    """The input with alpha * source added to the slices that index names."""
    source = source if alpha == 1 else source * alpha
    return _index_write("index_add", input, dim, index, source, True)


def index_copy(input, dim, index, source):
    """The input with the slices of source in place of those that index names."""
    return _index_write("index_copy", input, dim, index, source, False)


def index_fill(input, dim, index, value):
    """The input with the slices that index names filled with a number (or a 0-d tensor)."""
    d, i = _rows_index("index_fill", input, dim, index)
    if isinstance(value, Tensor):
        if value.ndim:
            raise RuntimeError(
                "index_fill_ only supports a 0-dimensional value tensor, but got tensor with "
                f"{value.ndim} dimension(s)."
            )
        value = value.to(input.dtype)
    if isinstance(value, complex) and input.dtype.category < 3:
        raise RuntimeError(
            "index_fill_(): Converting complex Scalar to non-complex type is not supported"
        )
    if not input.ndim:
        return reshape(index_fill(reshape(input, (1,)), 0, index, value), ())
    return index_put(input, value, index=_at(of(i).unique(i), d))  # a gradient counts once


def index_put_of(input, indices, values, accumulate=False):
    """input[indices] = values, or += with each of repeated indices counted, as a copy."""
    index = tuple(slice(None) if i is None else _plain_item(i) for i in indices)
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


def take(input, index):
    """The elements of the flattened input that index names, in the shape of index."""
    i = raw(index)
    if i.dtype != "int64":
        raise RuntimeError(f"take(): Expected a long tensor for index, but got {index.dtype}")
    n = prod(input.shape)
    if i.size and (i.min() < -n or i.max() >= n):
        raise IndexError(f"out of range: tried to access an index beyond {n} elements")
    return take_rows(reshape(input, (-1,)), index=i % max(n, 1), dim=0)


def put(input, index, source, accumulate=False):
    """The input with source at the elements of the flattened input that index names."""
    n = prod(input.shape)
    flat = index_put(reshape(input, (-1,)), reshape(source, (-1,)),
                     index=(raw(index).reshape(-1) % max(n, 1),),
                     accumulate=accumulate)  # fmt: skip
    return reshape(flat, input.shape)


# ---- masks -----------------------------------------------------------------------------------


def _mask(name, mask):
    if raw(mask).dtype not in (bool, "uint8"):
        raise RuntimeError(
            f"{name} only supports boolean masks, but got mask with dtype {mask.dtype}"
        )
    return mask


def masked_fill(input, mask, value):
    """The input with a number (or a 0-d tensor) where the mask, which broadcasts, is True."""
    if isinstance(value, Tensor) and value.ndim:
        raise RuntimeError(
            "masked_fill only supports a 0-dimensional value tensor, but got tensor with "
            f"{value.ndim} dimension(s)."
        )
    _mask("masked_fill", mask)
    of_complex = value.dtype.is_complex if isinstance(value, Tensor) else isinstance(value, complex)
    if of_complex and not input.dtype.is_complex:
        raise RuntimeError(
            f"value cannot be converted to type {input.dtype.name} without overflow: {value}"
        )
    if isinstance(value, Tensor):
        value = value.to(input.dtype)
    elif isinstance(value, float) and input.dtype.category < 2:
        value = int(value)
    return where(mask, value, input).to(input.dtype)


def masked_select(input, mask):
    """(N,): the elements where the mask is True; both broadcast."""
    if raw(mask).dtype != bool:
        raise RuntimeError("masked_select: expected BoolTensor for mask")
    input, mask = broadcast_tensors(input, mask)
    return input[mask]


def masked_scatter(input, mask, source):
    """The input with the elements of source, in order, where the mask is True."""
    _mask("masked_scatter", mask)
    if source.dtype != input.dtype:
        raise RuntimeError(
            f"masked_scatter: expected self and source to have same dtypes but got {input.dtype} "
            "and "
            f"{source.dtype}"
        )
    input, mask = broadcast_tensors(input, mask)
    m = raw(mask).astype(bool)
    n = int(m.sum())
    if source.numel() < n:
        raise RuntimeError(
            f"Number of elements of source < number of ones in mask: {source.numel()} < {n}"
        )
    return index_put(input, reshape(source, (-1,))[:n], index=(m,))


def nonzero(input, *, as_tuple=False):
    """(N, D) int64: the indices of the elements that are not 0; as_tuple: D vectors."""
    if as_tuple and not input.ndim:
        return nonzero(reshape(input, (1,)), as_tuple=True)
    found = argwhere(input)
    return tuple(found[:, i] for i in range(input.ndim)) if as_tuple else found


@op(half="keep")
def _argwhere(xp, x):
    return xp.argwhere(x) if x.ndim else xp.zeros((int(bool(x)), 0), "int64")


def argwhere(input):
    """(N, D) int64: the indices of the elements that are not 0."""
    return _argwhere(input.detach())


# ---- embedding -------------------------------------------------------------------------------


@op(saves="s", half="keep")
def _embedding(xp, weight, *, indices, padding_idx):
    return xp.take(weight, indices, axis=0)


@op(half="keep")
def _embedding_add(xp, g, *, indices, padding_idx, shape):
    """(V, ...): g added to the rows that were looked up, but for padding_idx."""
    out = xp.zeros(shape, g.dtype)
    xp.index_rows_add(out, indices.reshape(-1), g.reshape(indices.size, *shape[1:]))
    if padding_idx is not None:
        out[padding_idx] = 0
    return out


def _embedding_again(g, y, x, indices, padding_idx, shape):
    g = _embedding(g, indices=indices, padding_idx=None)
    if padding_idx is None:
        return g
    pads = (indices == padding_idx).reshape(*indices.shape, *(1,) * (len(shape) - 1))
    return where(pads, 0, g)


_embedding.vjp(
    lambda g, y, shape, **params: _embedding_add(g, shape=shape, **params),
)
_embedding_add.vjp(_embedding_again)


def embedding(weight, indices, padding_idx=None):
    """The rows of weight that indices name: (V, D), (*) -> (*, D).

    Row padding_idx gets no gradient.
    IndexError if an index is out of range.
    """
    i = raw(indices)
    if i.dtype.kind != "i" or i.dtype.itemsize < 4:
        raise RuntimeError(
            "Expected tensor for argument #1 'indices' to have one of the following scalar types: "
            f"Long, Int; but got {indices.dtype} instead (while checking arguments for embedding)"
        )
    if of(i).name == "cpu" and i.size and (i.min() < 0 or i.max() >= weight.shape[0]):
        raise IndexError(f"index out of range in self: expected 0 <= index < {weight.shape[0]}")
    return _embedding(weight, indices=i, padding_idx=padding_idx)


def one_hot(tensor, num_classes=-1):
    """(*) int64 -> (*, num_classes) int64: 1 at each value, else 0; by default max + 1 classes."""
    i = raw(tensor)
    if i.dtype != "int64":
        raise RuntimeError("one_hot is only applicable to index tensor of type LongTensor.")
    if num_classes == -1:
        if not i.size:
            raise RuntimeError("Can not infer total number of classes from empty tensor.")
        num_classes = int(i.max()) + 1
    if num_classes < 1:
        raise RuntimeError("num_classes should be positive")
    if i.size and i.min() < 0:
        raise RuntimeError("Class values must be non-negative.")
    if i.size and i.max() >= num_classes:
        raise RuntimeError("Class values must be smaller than num_classes.")
    return _one_hot(tensor, classes=num_classes)


@op(half="keep")
def _one_hot(xp, i, *, classes):
    return (i[..., None] == xp.arange(classes)).astype("int64")


IN_PLACE = {
    "scatter": scatter, "scatter_add": scatter_add, "scatter_reduce": scatter_reduce,
    "index_add": index_add, "index_copy": index_copy, "index_fill": index_fill,
    "index_put": index_put_of, "masked_fill": masked_fill, "masked_scatter": masked_scatter,
    "put": put,
}  # fmt: skip
FUNCTIONS = METHODS = IN_PLACE | {
    "gather": gather, "take_along_dim": take_along_dim, "index_select": index_select, "take": take,
    "masked_select": masked_select, "nonzero": nonzero, "argwhere": argwhere,
}  # fmt: skip
