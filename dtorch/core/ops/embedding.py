"""Looking up rows, one by one or summed up in bags."""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

from ..backend import of
from ..backend.sparse import Coo
from ..device import check_same
from ..op import op
from ..tensor import Tensor, wrap
from .arithmetic import div
from .index import take_rows
from .join import cat
from .pointwise import where
from .pool import max_pool1d
from .resample import _take_along_add, take_along
from .shape import permute, raw, reshape, squeeze, unsqueeze
from .sparse import assembled


@op(saves="s", half="keep")
def _embedding(xp, weight, *, indices, padding_idx=None, by_frequency=False, sparse=False):
    if not xp.in_range(indices, len(weight)):
        raise IndexError(f"index out of range in self: expected 0 <= index < {len(weight)}")
    return xp.take(weight, indices, axis=0)


@op(half="keep")
def _embedding_add(xp, g, *, indices, shape, padding_idx, by_frequency):
    """(V, D): g added to the rows that were looked up, but for padding_idx."""
    out = xp.zeros(shape, g.dtype)
    rows = g.reshape(indices.size, *shape[1:])
    indices = indices.reshape(-1)
    if by_frequency:
        rows = rows / xp.bincount(indices)[indices].astype(g.dtype)[:, None]
    xp.index_rows_add(out, indices, rows)
    if padding_idx is not None:
        out[padding_idx] = 0
    return out


def _embedding_again(g, y, x, indices, shape, padding_idx, by_frequency):
    g = _embedding(g, indices=indices)
    if by_frequency:
        counts = of(indices).bincount(indices.reshape(-1))[indices][..., None]
        g = div(g, wrap(counts) if isinstance(g, Tensor) else counts)
    if padding_idx is None:
        return g
    return where((indices == padding_idx)[..., None], 0, g)


def _sparse_rows(g, shape, indices, padding_idx):
    """The gradient as coordinates: a row of g for each index, but for padding_idx."""
    g, indices = reshape(g, (indices.size, shape[1])), indices.reshape(-1)
    if padding_idx is not None:
        kept = of(indices).flatnonzero(indices != padding_idx)
        g, indices = take_rows(g, index=kept, dim=0), indices[kept]
    return assembled(g, like=Coo(indices[None].astype("int64"), raw(g), shape))


def _embedding_vjp(g, y, shape, sparse, **params):
    if not sparse:
        return _embedding_add(g, shape=shape, **params)
    if params.pop("by_frequency"):
        raise RuntimeError(
            "embedding_backward: scale_grad_by_freq not supported with sparse gradients"
        )
    return _sparse_rows(g, shape, **params)


_embedding.vjp(_embedding_vjp)
_embedding_add.vjp(_embedding_again)


def lookup(weight, indices, padding_idx=-1, scale_grad_by_freq=False, sparse=False):
    """The rows of weight that indices name: (V, D), (*) -> (*, D): torch.embedding

    padding_idx: a row that gets no gradient; a negative number is none.
    scale_grad_by_freq: the gradient of a row is divided by how often it is looked up here.
    sparse: the gradient is a sparse_coo tensor of the rows that are looked up.
    IndexError if an index is out of range.
    """
    if weight.ndim != 2:
        raise RuntimeError(f"'weight' must be 2-D, got {weight.ndim} dimensions")
    i = raw(indices)
    check_same("embedding", (raw(weight), i))
    if i.dtype.kind != "i" or i.dtype.itemsize < 4:
        raise RuntimeError(
            "Expected tensor for argument #1 'indices' to have one of the following scalar types: "
            f"Long, Int; but got {indices.dtype} instead (while checking arguments for embedding)"
        )
    row = None if padding_idx < 0 else padding_idx
    return _embedding(
        weight, indices=i, padding_idx=row, by_frequency=scale_grad_by_freq, sparse=sparse
    )


def _padding_row(padding_idx, v):
    """padding_idx as an index from the front, -1 for none."""
    if padding_idx is None:
        return -1
    if not -v <= padding_idx < v:
        raise AssertionError("Padding_idx must be within num_embeddings")
    return padding_idx % v


def _shorten(weight, indices, max_norm, norm_type):
    """Scale the rows in use down to max_norm, in place."""
    used = indices.reshape(-1).unique()
    rows = weight.detach()[used]
    norm = rows.norm(norm_type, -1, True)
    # 1e-7 keeps the scaled row within the bound, as the reference does
    weight.detach()[used] = where(norm > max_norm, rows * (max_norm / (norm + 1e-7)), rows)


def embedding(input, weight, padding_idx=None, max_norm=None, norm_type=2.0,
              scale_grad_by_freq=False, sparse=False):  # fmt: skip
    """The rows of weight (V, D) that the indices name: (*) -> (*, D)

    padding_idx: a row that gets no gradient.  max_norm: rows that are longer are shortened first,
    in place.  scale_grad_by_freq: gradients are divided by how often a row is looked up here.
    sparse: weight.grad is a sparse_coo tensor.
    """
    padding_idx = _padding_row(padding_idx, weight.shape[0])
    if max_norm is not None:
        _shorten(weight, input, max_norm, norm_type)
    return lookup(weight, input, padding_idx, scale_grad_by_freq, sparse)


def embedding_bag(input, weight, offsets=None, max_norm=None, norm_type=2, scale_grad_by_freq=False,
                  mode="mean", sparse=False, per_sample_weights=None, include_last_offset=False,
                  padding_idx=None):  # fmt: skip
    """Sums, means or maxima of rows of weight (V, D): one of each bag of indices -> (bags, D)

    input: (bags, n), or (n,) with offsets, where each bag begins.  Empty bags give zeros.
    per_sample_weights: a factor for each row, with mode="sum".  scale_grad_by_freq: as embedding's.
    """
    if mode not in ("sum", "mean", "max"):
        raise ValueError("mode has to be one of sum, mean or max")
    if mode == "max" and sparse:
        raise ValueError("max mode does not support sparse weights")
    if per_sample_weights is not None and mode != "sum":
        raise NotImplementedError(
            "embedding_bag: per_sample_weights was not None. per_sample_weights is only supported "
            f"for mode='sum' (got mode='{mode}')."
        )
    if per_sample_weights is not None and per_sample_weights.shape != input.shape:
        raise ValueError(
            f"embedding_bag: If per_sample_weights ({list(per_sample_weights.shape)}) is not None, "
            f"then it must have the same shape as the input ({list(input.shape)})"
        )
    if max_norm is not None:
        _shorten(weight, input, max_norm, norm_type)
    bag, bags = _bags(input, offsets, include_last_offset)
    row = _padding_row(padding_idx, weight.shape[0])
    return _bagged(weight, input, bag, bags, mode, per_sample_weights, row, scale_grad_by_freq,
                   sparse)[0]  # fmt: skip


def _bags(input, offsets, include_last_offset):
    """The number of the bag that each of the indices is in, (n,), and how many bags there are."""
    xp = of(raw(input))
    if input.ndim == 2:
        if offsets is not None:
            raise ValueError(
                "if input is 2D, then offsets has to be None, as input is treated is a mini-batch "
                "of fixed length sequences."
            )
        bags, n = input.shape
        return xp.repeat(xp.arange(bags), n), bags
    if input.ndim != 1:
        raise ValueError(
            f"input has to be 1D or 2D Tensor, but got Tensor of dimension {input.ndim}"
        )
    if offsets is None:
        raise ValueError("offsets has to be a 1D Tensor but got None")
    if offsets.ndim != 1:
        raise ValueError("offsets has to be a 1D Tensor")
    starts = raw(offsets)[:-1] if include_last_offset else raw(offsets)
    if len(starts) and starts[0] != 0:
        raise RuntimeError(
            "offsets[0] has to be 0, i.e., the first sequence in the mini-batch has to start from "
            f"position 0. However, got {int(starts[0])}"
        )
    return xp.searchsorted(starts, xp.arange(input.shape[0]), side="right") - 1, len(starts)


def _bagged(weight, input, bag, bags, mode, factors, padding_idx, by_frequency, sparse):
    """Each bag's sum, mean or maxima of rows (bags, D); the bags' sizes (bags,), and for maxima the
    indices of the rows that they are from (bags, D).  Index padding_idx is left out."""
    indices, xp = raw(input).reshape(-1), of(raw(input))
    keep = xp.flatnonzero(indices != padding_idx)
    indices, bag = indices[keep], bag[keep]
    rows = lookup(weight, wrap(indices), -1, by_frequency, sparse)
    counts = xp.bincount(bag, minlength=bags)
    if mode == "max":
        return _maxima(xp, rows, indices, bag, counts)
    if factors is not None:
        factors = take_along(reshape(factors, (-1,)), index=keep, dim=0)
        rows = rows * unsqueeze(factors, 1)
    total = _take_along_add(rows, index=bag, dim=0, size=bags)
    if mode == "mean":
        total = total / wrap(xp.maximum(counts, 1)[:, None].astype(raw(total).dtype))
    return total, wrap(counts), wrap(counts)


def _maxima(xp, rows, indices, bag, counts):
    """_bagged's results of mode max: a pooling over bags filled up to the longest."""
    bags, n = len(counts), len(bag)
    longest = max(int(counts.max()) if bags else 0, 1)
    places = xp.full((bags, longest), n)  # row n is added below, lower than all
    places[bag, xp.arange(n) - (xp.cumsum(counts) - counts)[bag]] = xp.arange(n)
    lowest = wrap(xp.full((1, rows.shape[1]), -xp.inf, raw(rows).dtype))
    filled = take_along(cat([rows, lowest]), index=places.reshape(-1), dim=0)
    filled = permute(reshape(filled, (bags, longest, -1)), (0, 2, 1))
    values, found = max_pool1d(filled, longest, return_indices=True)
    empty = wrap(counts[:, None] == 0)
    where_from = xp.append(indices, 0)[xp.take_along_axis(places, raw(found)[..., 0], 1)]
    return where(empty, 0.0, squeeze(values, 2)), wrap(counts), wrap(where_from)


def _embedding_bag(weight, indices, offsets, scale_grad_by_freq=False, mode=0, sparse=False,
                   per_sample_weights=None, include_last_offset=False, padding_idx=None):  # fmt: skip
    """torch.embedding_bag: modes 0 "sum", 1 "mean", 2 "max"

    (the bags' results, the bag of each index, the bags' sizes, the indices of the maxima): the last
    are the sizes again where there are no maxima.
    """
    if mode not in (0, 1, 2):
        raise RuntimeError(f"embedding_bag: mode must be 0, 1 or 2, got {mode}")
    given = offsets if indices.ndim == 1 else None
    bag, bags = _bags(indices, given, include_last_offset)
    row = _padding_row(padding_idx, weight.shape[0])
    y, counts, where_from = _bagged(weight, indices, bag, bags, ("sum", "mean", "max")[mode],
                                    per_sample_weights, row, scale_grad_by_freq, sparse)  # fmt: skip
    return y, wrap(bag), counts, where_from


def embedding_renorm_(input, indices, max_norm, norm_type):
    """Shorten the rows that the indices name to max_norm, in place."""
    _shorten(input, indices, max_norm, norm_type)
    return input


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


FUNCTIONS = {
    "embedding": lookup, "embedding_bag": _embedding_bag, "embedding_renorm_": embedding_renorm_,
}  # fmt: skip
