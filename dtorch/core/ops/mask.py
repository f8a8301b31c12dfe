"""Elements by a mask; where elements are not 0; flat indices as coordinates."""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

from .. import dtype as dtypes
from ..op import op
from ..tensor import Tensor
from .index import index_put
from .join import cat
from .pointwise import where
from .shape import broadcast_tensors, raw, reshape


def _mask(name, mask):
    if raw(mask).dtype != bool:
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
    if not isinstance(value, Tensor):
        value = dtypes.as_held(value, input.dtype)
    elif value.dtype.is_complex and not input.dtype.is_complex:
        raise RuntimeError(
            f"value cannot be converted to type {input.dtype.name} without overflow: {value}"
        )
    else:
        value = value.to(input.dtype)
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
    m = raw(mask)
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


def nonzero_static(input, *, size, fill_value=-1):
    """(size, D) int64: the first rows of nonzero(), filled up with fill_value."""
    if size < 0:
        raise RuntimeError(f"nonzero_static: 'size' must be an non-negative integer, got {size}")
    found = nonzero(input)[:size]
    return cat([found, found.new_full((size - len(found), input.ndim), fill_value)])


def unravel_index(indices, shape):
    """Indices into a flattened tensor of this shape as a tensor of indices for each dimension."""
    if indices.dtype.category != 1:
        raise TypeError(f"expected 'indices' to be integer dtype, but got {indices.dtype}")
    shape = (shape,) if isinstance(shape, int) else tuple(shape)
    for n in shape:
        if not isinstance(n, int):
            raise TypeError(f"expected 'shape' sequence to only contain ints, but got {type(n)}")
        if n < 0:
            raise ValueError(f"'shape' cannot have negative values, but got {shape}")
    found, indices = [], indices.long()
    for n in shape[::-1]:
        found.append(indices % n)
        indices = indices // n
    return tuple(found[::-1])


IN_PLACE = {"masked_fill": masked_fill, "masked_scatter": masked_scatter}
FUNCTIONS = METHODS = IN_PLACE | {
    "masked_select": masked_select, "nonzero": nonzero, "argwhere": argwhere,
    "nonzero_static": nonzero_static,
}  # fmt: skip
FUNCTIONS = FUNCTIONS | {"unravel_index": unravel_index}
