"""Looking up rows, one by one or summed up in bags."""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

from ..backend import of
from ..tensor import wrap
from .gather import embedding as lookup
from .join import cat
from .pointwise import where
from .pool import max_pool1d
from .resample import _take_along_add, take_along
from .shape import permute, raw, reshape, squeeze, unsqueeze


def _padding_row(padding_idx, v):
    """padding_idx as an index from the front."""
    if padding_idx is None:
        return None
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
    in place.  scale_grad_by_freq and sparse gradients are not supported.
    """
    if scale_grad_by_freq or sparse:
        raise NotImplementedError("embedding: scale_grad_by_freq and sparse are not supported")
    padding_idx = _padding_row(padding_idx, weight.shape[0])
    if max_norm is not None:
        _shorten(weight, input, max_norm, norm_type)
    return lookup(weight, input, padding_idx)


def embedding_bag(input, weight, offsets=None, max_norm=None, norm_type=2, scale_grad_by_freq=False,
                  mode="mean", sparse=False, per_sample_weights=None, include_last_offset=False,
                  padding_idx=None):  # fmt: skip
    """Sums, means or maxima of rows of weight (V, D): one of each bag of indices -> (bags, D)

    input: (bags, n), or (n,) with offsets, where each bag begins.  Empty bags give zeros.
    per_sample_weights: a factor for each row, with mode="sum".
    """
    if scale_grad_by_freq or sparse:
        raise NotImplementedError("embedding_bag: scale_grad_by_freq and sparse are not supported")
    if mode not in ("sum", "mean", "max"):
        raise ValueError("mode has to be one of sum, mean or max")
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
    xp, indices = of(raw(input)), raw(input)
    if input.ndim == 2:
        if offsets is not None:
            raise ValueError("if input is 2D, then offsets has to be None, as input is treated is "
                             "a "
                             "mini-batch of fixed length sequences.")  # fmt: skip
        bags, n = input.shape
        bag = xp.repeat(xp.arange(bags), n)
    elif input.ndim == 1:
        if offsets is None:
            raise ValueError("offsets has to be a 1D Tensor but got None")
        if offsets.ndim != 1:
            raise ValueError("offsets has to be a 1D Tensor")
        starts = raw(offsets)
        if include_last_offset:
            starts = starts[:-1]
        bags = len(starts)
        if bags and starts[0] != 0:
            raise ValueError("offsets[0] has to be 0, i.e., the first sequence in the mini-batch "
                             "has to "
                             f"start from position 0. However, got {int(starts[0])}")  # fmt: skip
        bag = xp.searchsorted(starts, xp.arange(len(indices)), side="right") - 1
    else:
        raise ValueError(
            f"input has to be 1D or 2D Tensor, but got Tensor of dimension {input.ndim}"
        )
    if max_norm is not None:
        _shorten(weight, input, max_norm, norm_type)
    indices = indices.reshape(-1)
    keep = xp.arange(len(indices))
    padding_idx = _padding_row(padding_idx, weight.shape[0])
    if padding_idx is not None:
        keep = xp.flatnonzero(indices != padding_idx)
        indices, bag = indices[keep], bag[keep]
    rows = lookup(weight, wrap(indices))
    if mode == "max":
        return _maxima(xp, rows, bag, bags)
    if per_sample_weights is not None:
        factors = take_along(reshape(per_sample_weights, (-1,)), index=keep, dim=0)
        rows = rows * unsqueeze(factors, 1)
    total = _take_along_add(rows, index=bag, dim=0, size=bags)
    if mode == "sum":
        return total
    counts = xp.maximum(xp.bincount(bag, minlength=bags), 1)
    return total / wrap(counts[:, None].astype(raw(total).dtype))


def _maxima(xp, rows, bag, bags):
    """The maximum of each bag's rows, as a pooling over bags filled up to the longest."""
    counts = xp.bincount(bag, minlength=bags)
    longest = max(int(counts.max()) if bags else 0, 1)
    n = len(bag)
    index = xp.full((bags, longest), n)  # row n is added below, lower than all
    index[bag, xp.arange(n) - (xp.cumsum(counts) - counts)[bag]] = xp.arange(n)
    lowest = wrap(xp.full((1, rows.shape[1]), -xp.inf, raw(rows).dtype))
    filled = take_along(cat([rows, lowest]), index=index.reshape(-1), dim=0)
    filled = permute(reshape(filled, (bags, longest, -1)), (0, 2, 1))
    return where(wrap(counts[:, None] == 0), 0.0, squeeze(max_pool1d(filled, longest), 2))
