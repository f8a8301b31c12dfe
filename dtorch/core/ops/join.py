"""Joining and splitting along a dimension."""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

from numbers import Integral

from .. import dtype as dtypes
from ..op import op
from ..tensor import Tensor, several_views
from .index import narrow
from .shape import atleast_1d, atleast_2d, atleast_3d, axis, cast, raw, reshape, unsqueeze


@op(saves="s", half="keep")
def _cat(xp, *arrays, dim):
    return xp.concatenate(arrays, axis=dim)


def _cat_vjp(needs, g, y, *shapes, dim):
    grads, start = [], 0
    for need, shape in zip(needs, shapes):
        grads.append(narrow(g, dim, start, shape[dim]) if need else None)
        start += shape[dim]
    return grads


_cat.vjp_joint(_cat_vjp)


def cat(tensors, dim=0):
    """The tensors one after another along `dim`; other sizes must agree."""
    tensors = _listed("cat", tensors)
    if not tensors:
        raise ValueError("torch.cat(): expected a non-empty list of Tensors")
    arrays = list(map(raw, tensors))
    if len({a.dtype for a in arrays}) > 1:
        d = dtypes.result_dtype(arrays).np
        tensors = [cast(x, d) for x in tensors]
    # torch lets an empty vector join anything
    tensors = [x for x, a in zip(tensors, arrays) if a.shape != (0,)] or tensors[:1]
    shapes = [raw(x).shape for x in tensors]
    _check_joinable(shapes, dim)
    return _cat(*tensors, dim=axis(dim, len(shapes[0])))


def _listed(name, tensors):
    """The tensors as a list; a TypeError if anything else is among them."""
    if isinstance(tensors, Tensor) or not hasattr(tensors, "__iter__"):
        raise TypeError(
            f"{name}(): argument 'tensors' must be a sequence of Tensors, not "
            f"{type(tensors).__name__}"
        )
    tensors = list(tensors)
    for i, x in enumerate(tensors):
        if not hasattr(x, "dtype"):
            raise TypeError(
                f"{name}(): expected Tensor as element {i} in argument 0, but got "
                f"{type(x).__name__}"
            )
    return tensors


def _check_joinable(shapes, dim):
    first = shapes[0]
    for i, shape in enumerate(shapes):
        if not shape:
            raise RuntimeError(f"zero-dimensional tensor (at position {i}) cannot be concatenated")
        if len(shape) != len(first):
            raise RuntimeError(
                f"Tensors must have same number of dimensions: got {len(first)} and {len(shape)}"
            )
        d = axis(dim, len(first))
        if shape[:d] != first[:d] or shape[d + 1 :] != first[d + 1 :]:
            raise RuntimeError(
                f"Sizes of tensors must match except in dimension {d}. Expected size "
                f"{list(first)} but got size {list(shape)} for tensor number {i} in the list."
            )


def stack(tensors, dim=0):
    """The tensors, of equal size, along a new dimension `dim`."""
    tensors = _listed("stack", tensors)
    if not tensors:
        raise RuntimeError("stack expects a non-empty TensorList")
    for i, x in enumerate(tensors):
        if x.shape != tensors[0].shape:
            raise RuntimeError(
                f"stack expects each tensor to be equal size, but got {list(tensors[0].shape)} at "
                f"entry 0 and {list(x.shape)} at entry {i}"
            )
    dim = axis(dim, tensors[0].ndim + 1)
    return cat([unsqueeze(x, dim) for x in tensors], dim)


def hstack(tensors):
    """The tensors side by side: along dimension 1, vectors along their only one."""
    tensors = atleast_1d(_listed("hstack", tensors))
    return cat(tensors, 0 if tensors and tensors[0].ndim == 1 else 1)


def vstack(tensors):
    """The tensors on top of each other: along dimension 0, vectors as rows."""
    return cat(atleast_2d(_listed("vstack", tensors)), 0)


def dstack(tensors):
    """The tensors along the third dimension."""
    return cat(atleast_3d(_listed("dstack", tensors)), 2)


def column_stack(tensors):
    """The tensors side by side, vectors as columns."""
    tensors = _listed("column_stack", tensors)
    return cat([x if x.ndim > 1 else reshape(x, (-1, 1)) for x in tensors], 1)


# ---- splitting -------------------------------------------------------------------------------


def split(tensor, split_size_or_sections, dim=0):
    """Views along `dim`: each of one size but for a smaller last, or of the sizes in a list."""
    if not isinstance(split_size_or_sections, Integral):
        return split_with_sizes(tensor, split_size_or_sections, dim)
    size, d = split_size_or_sections, _splittable("split", tensor, dim)
    n = tensor.shape[d]
    if size < 0 or (not size and n):
        raise RuntimeError(
            f"split expects split_size be non-negative and positive for a dimension of size {n}, "
            "but "
            f"got split_size={size}"
        )
    starts = range(0, n, size) if n else (0,)
    return several_views(tuple(narrow(tensor, d, i, min(size, n - i)) for i in starts))


def split_with_sizes(input, split_sizes, dim=0):
    """Views along `dim` of these sizes, which must add up to the whole."""
    d = _splittable("split", input, dim)
    parts, n = list(map(int, split_sizes)), input.shape[d]
    if min(parts, default=0) < 0 or sum(parts) != n:
        raise RuntimeError(
            f"split_with_sizes expects split_sizes to sum exactly to {n} (input tensor's size at "
            f"dimension {d}), but got split_sizes={parts}"
        )
    cuts = [sum(parts[:i]) for i in range(1, len(parts))]
    return several_views(_between(input, d, cuts)) if parts else ()


def chunk(input, chunks, dim=0):
    """At most `chunks` views of equal size along `dim`; the last may be smaller."""
    d = _splittable("chunk", input, dim)
    if chunks < 1:
        raise RuntimeError(f"chunk expects `chunks` to be greater than 0, got: {chunks}")
    n = input.shape[d]
    return split(input, -(-n // chunks), d) if n else (input,) * chunks


def tensor_split(input, indices_or_sections, dim=0):
    """Views along `dim`: so many of nearly equal size, or cut at the indices given."""
    d = _splittable("tensor_split", input, dim)
    cuts, n = indices_or_sections, input.shape[d]
    if isinstance(cuts, Tensor):
        if cuts.dtype.name != "int64" or cuts.ndim > 1:
            raise RuntimeError(
                "tensor_split expected tensor_indices_or_sections to be a zero-dimensional or "
                f"one-dimensional tensor of dtype long, but got {cuts.ndim} dimensions and "
                f"{cuts.dtype.name}"
            )
        cuts = cuts.tolist()
    if not isinstance(cuts, Integral):
        return _between(input, d, [min(max(i + n if i < 0 else i, 0), n) for i in cuts])
    if cuts < 1:
        raise RuntimeError(f"number of sections must be larger than 0, got {cuts}")
    size, larger = divmod(n, cuts)
    return _between(input, d, [size * i + min(i, larger) for i in range(1, cuts)])


def _between(x, dim, cuts):
    """The slices of x between 0, the cuts and the end; an interval that runs backwards is empty."""
    edges = [0, *cuts, x.shape[dim]]
    return tuple(narrow(x, dim, a, max(b - a, 0)) for a, b in zip(edges, edges[1:]))


def _splittable(name, x, dim):
    if not x.ndim:
        raise RuntimeError(f"{name} expects at least a 1-dimensional tensor")
    return axis(dim, x.ndim)


def _split_at(name, needs, dim):
    def function(input, indices_or_sections):
        if input.ndim < needs:
            raise RuntimeError(
                f"torch.{name} requires a tensor with at least {needs} dimension, but got a tensor "
                f"with {input.ndim} dimensions!"
            )
        d = 0 if input.ndim == 1 else dim
        k = indices_or_sections
        if isinstance(k, Integral) and (k < 1 or input.shape[d] % k):
            raise RuntimeError(
                f"torch.{name} attempted to split along dimension {d}, but the size of the "
                "dimension "
                f"{input.shape[d]} is not divisible by the split_size {k}!"
            )
        return tensor_split(input, k, d)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"tensor_split along dimension {dim}; sections must divide it."
    return function


hsplit, vsplit, dsplit = (
    _split_at("hsplit", 1, 1),
    _split_at("vsplit", 2, 0),
    _split_at("dsplit", 3, 2),
)

METHODS = {
    "unsafe_chunk": chunk, "unsafe_split": split, "unsafe_split_with_sizes": split_with_sizes,
    "split": split, "split_with_sizes": split_with_sizes, "chunk": chunk,
    "tensor_split": tensor_split, "hsplit": hsplit, "vsplit": vsplit, "dsplit": dsplit,
}  # fmt: skip
FUNCTIONS = METHODS | {
    "cat": cat, "concat": cat, "concatenate": cat, "stack": stack, "hstack": hstack,
    "vstack": vstack, "row_stack": vstack, "dstack": dstack, "column_stack": column_stack,
}  # fmt: skip
