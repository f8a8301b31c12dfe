"""Rearranging elements: repeating, flipping, rolling, triangles, diagonals, windows."""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

from math import prod
from numbers import Integral

from ..op import op
from ..views import region_add
from .index import take_rows
from .shape import _in_place, axis, expand, raw, reshape, sizes, transpose

# ---- repeating -------------------------------------------------------------------------------


def repeat(input, *args, repeats=None):
    """The tensor laid out so many times along each dimension; leading ones may be new."""
    times = sizes(args, repeats)
    lead = len(times) - input.ndim
    if lead < 0:
        raise RuntimeError(
            "Number of dimensions of repeat dims can not be smaller than number of dimensions of "
            "tensor"
        )
    if min(times, default=0) < 0:
        raise RuntimeError(f"Trying to create tensor with negative dimension: {list(times)}")
    shape = (1,) * lead + tuple(input.shape)
    apart = [n for pair in zip((1,) * len(shape), shape) for n in pair]
    wide = [n for pair in zip(times, shape) for n in pair]
    return reshape(
        expand(reshape(input, apart), wide), [k * n for k, n in zip(times, shape)]
    ).clone()


def tile(input, *args, dims=()):
    """As repeat, but where there are fewer numbers than dimensions the last ones are meant."""
    times = sizes(args or (dims,))
    return repeat(input, (1,) * (input.ndim - len(times)) + times)


def repeat_interleave(input, repeats=None, dim=None, *, output_size=None):
    """Each element, or slice along `dim`, `repeats` times in a row; repeats may be a tensor."""
    if repeats is None:  # of the repeats alone, the indices
        from .create import arange

        return repeat_interleave(arange(len(input), dtype=input.dtype), input, 0)
    if dim is None:
        input, dim = reshape(input, (-1,)), 0
    d = axis(dim, input.ndim)
    from ..backend import of

    n = input.shape[d]
    counts = raw(repeats)
    if hasattr(counts, "ndim"):
        if counts.dtype.name not in ("int64", "int32"):
            raise NotImplementedError(
                f"repeats has to be Long or Int tensor, but got {repeats.dtype.name}"
            )
        if counts.ndim > 1 or counts.size not in (1, n):
            raise RuntimeError(
                f"repeats must have the same size as input along dim, but got repeats.size(0) = "
                f"{counts.size} and input.size({d}) = {n}"
            )
        if counts.size == 1:
            counts = int(counts.reshape(()))
    if (counts < 0).any() if hasattr(counts, "ndim") else counts < 0:
        raise RuntimeError("repeats can not be negative")
    xp = of(raw(input))
    index = xp.repeat(xp.arange(n), counts)
    if output_size is not None and output_size != len(index):
        raise RuntimeError(
            f"allocated size does not match required size: output_size is {output_size}, and the "
            f"repeats add up to {len(index)}"
        )
    return take_rows(input, index=index, dim=d)


# ---- flipping and rolling --------------------------------------------------------------------


@op(half="keep")
def _flip(xp, x, *, dims):
    return xp.flip(x, dims).copy()


_flip.vjp(lambda g, y, x, dims: _flip(g, dims=dims))


def flip(input, *args, dims=()):
    """A copy with the order along each of `dims` reversed."""
    from .reduce import axes

    given = sizes(args or (dims,))
    return _flip(input, dims=axes(given, input.ndim) if given else ())


def fliplr(input):
    """flip along dimension 1"""
    if input.ndim < 2:
        raise RuntimeError(f"Input must be >= 2-d, got {input.ndim}-d")
    return flip(input, 1)


def flipud(input):
    """flip along dimension 0"""
    if input.ndim < 1:
        raise RuntimeError("Input must be >= 1-d, got 0-d")
    return flip(input, 0)


@op(half="keep")
def _roll(xp, x, *, shifts, dims):
    return xp.roll(x, shifts, dims)


def _roll_back(g, y, x, shifts, dims):
    back = -shifts if isinstance(shifts, int) else tuple(-s for s in shifts)
    return _roll(g, shifts=back, dims=dims)


_roll.vjp(_roll_back)


def roll(input, shifts, dims=None):
    """A copy with the elements moved along `dims`, those beyond the end to the start."""
    shifts = tuple(map(int, (shifts,) if isinstance(shifts, Integral) else shifts))
    if dims is None or (not isinstance(dims, Integral) and not len(dims)):
        if len(shifts) != 1:
            raise RuntimeError(f"shifts and dimensions must align. shifts: {len(shifts)}, dims:0")
        return _roll(input, shifts=shifts[0], dims=None)
    dims = (dims,) if isinstance(dims, Integral) else tuple(dims)
    if len(shifts) != len(dims):
        raise RuntimeError(
            f"shifts and dimensions must align. shifts: {len(shifts)}, dims:{len(dims)}"
        )
    if not input.ndim:
        raise IndexError(f"Dimension specified as {dims[0]} but tensor has no dimensions")
    return _roll(input, shifts=shifts, dims=tuple(axis(d, input.ndim) for d in dims))


def rot90(input, k=1, dims=(0, 1)):
    """A copy turned k times by 90 degrees in the plane of two dims, first to second."""
    if len(dims) != 2:
        raise RuntimeError(f"expected total rotation dims == 2, but got dims = {len(dims)}")
    if input.ndim < 2:
        raise RuntimeError(f"expected total dims >= 2, but got total dims = {input.ndim}")
    i, j = (axis(d, input.ndim) for d in dims)
    if i == j:
        raise RuntimeError("expected rotation dims to be different, but got the same twice")
    k %= 4
    if k == 2:
        return flip(input, i, j)
    if k == 0:
        return input.clone()
    return transpose(flip(input, j), i, j) if k == 1 else flip(transpose(input, i, j), j)


# ---- triangles and diagonals -----------------------------------------------------------------


def _triangle(name):
    @op(half="keep", name=name)
    def kernel(xp, x, *, diagonal=0):
        if x.ndim < 2:
            raise RuntimeError(f"{name}: input tensor must have at least 2 dimensions")
        return getattr(xp, name)(x, diagonal)

    kernel.vjp(lambda g, y, x, diagonal=0: kernel(g, diagonal=diagonal))

    def function(input, diagonal=0):
        return kernel(input, diagonal=diagonal)

    function.__name__ = function.__qualname__ = name
    side = "below" if name == "tril" else "above"
    function.__doc__ = f"The matrices' elements on and {side} a diagonal; zeros elsewhere."
    return function


tril, triu = _triangle("tril"), _triangle("triu")


def _diagonal_of(xp, a, offset, dim1, dim2):
    """A writable view of a diagonal, as the last dimension (that of xp.diagonal is read-only)."""
    rest = [i for i in range(a.ndim) if i not in (dim1, dim2)]
    a = a.transpose(*rest, dim1, dim2)
    a = a[..., max(-offset, 0) :, max(offset, 0) :]
    n = min(a.shape[-2:])
    return xp.as_strided(a, (*a.shape[:-2], n), (*a.strides[:-2], a.strides[-2] + a.strides[-1]))


@op(saves="s", half="keep", view=True)
def _diagonal(xp, x, *, offset, dim1, dim2):
    return _diagonal_of(xp, x, offset, dim1, dim2)


@op(half="keep")
def _diagonal_put(xp, x, *, shape, offset, dim1, dim2):
    """Zeros of `shape` with x on a diagonal."""
    out = xp.zeros(shape, x.dtype)
    _diagonal_of(xp, out, offset, dim1, dim2)[...] = x
    return out


_diagonal.vjp(lambda g, y, shape, **where: _diagonal_put(g, shape=shape, **where))
_diagonal_put.vjp(lambda g, y, x, shape, **where: _diagonal(g, **where))


def _two_dims(dim1, dim2, ndim):
    i, j = axis(dim1, ndim), axis(dim2, ndim)
    if i == j:
        raise RuntimeError(f"diagonal dimensions cannot be identical {dim1}, {dim2}")
    return i, j


def diagonal(input, offset=0, dim1=0, dim2=1):
    """A view of a diagonal of dim1 and dim2, as the last dimension."""
    i, j = _two_dims(dim1, dim2, input.ndim)
    return _diagonal(input, offset=offset, dim1=i, dim2=j)


def diag_embed(input, offset=0, dim1=-2, dim2=-1):
    """Matrices in dim1 and dim2 with the last dimension of the input on a diagonal."""
    i, j = _two_dims(dim1, dim2, input.ndim + 1)
    n = input.shape[-1] + abs(offset)
    shape = list(input.shape[:-1])
    for d in sorted((i, j)):
        shape.insert(d, n)
    return _diagonal_put(input, shape=tuple(shape), offset=offset, dim1=i, dim2=j)


def diag(input, diagonal=0):
    """The matrix with a vector on its diagonal, or the diagonal of a matrix."""
    if input.ndim not in (1, 2):
        raise RuntimeError(f"diag(): Supports 1D or 2D tensors. Got {input.ndim}D")
    if input.ndim == 1:
        return diag_embed(input, diagonal)
    return _diagonal(input, offset=diagonal, dim1=0, dim2=1).clone()


def diagflat(input, offset=0):
    """The matrix with the elements of the input on a diagonal."""
    return diag_embed(reshape(input, (-1,)), offset)


def fill_diagonal_(self, fill_value, wrap=False):
    """Fill the main diagonal of a matrix, or of a tensor whose dimensions have one size.

    wrap: in a tall matrix the diagonal begins anew one row below its end
    """
    if self.ndim < 2:
        raise RuntimeError("dimensions must larger than 1")
    if self.ndim > 2 and len(set(self.shape)) > 1:
        raise RuntimeError("all dimensions of input must be of equal length")
    if wrap and self.ndim == 2:
        width = self.shape[1]
        for start in range(0, self.shape[0], width + 1):
            diagonal(self[start : start + width]).fill_(fill_value)
        return self
    part = diagonal(self)
    while part.ndim > 1:
        part = diagonal(part, 0, 0, -1)
    part.fill_(fill_value)
    return self


# ---- windows and strides ---------------------------------------------------------------------


def _windows(xp, a, dim, size, step):
    n = (a.shape[dim] - size) // step + 1 if a.ndim else 1
    if not a.ndim:
        a = a.reshape(1)
    shape = (*a.shape[:dim], n, *a.shape[dim + 1 :], size)
    strides = (*a.strides[:dim], a.strides[dim] * step, *a.strides[dim + 1 :], a.strides[dim])
    out = xp.as_strided(a, shape, strides)
    return out


@op(saves="s", half="keep", view=True)
def _unfold(xp, x, *, dim, size, step):
    out = _windows(xp, x, dim, size, step)
    return out if x.ndim else out.reshape(size)


@op(half="keep")
def _fold(xp, g, *, shape, dim, size, step):
    """Zeros of `shape` with g added window by window: the gradient of _unfold."""
    if not shape:
        return g.sum()
    out = xp.zeros(shape, g.dtype)
    lead, n = (slice(None),) * dim, g.shape[dim]
    for i in range(size):
        out[(*lead, slice(i, i + step * (n - 1) + 1, step))] += g[..., i]
    return out


_unfold.vjp(lambda g, y, shape, **window: _fold(g, shape=shape, **window))
_fold.vjp(lambda g, y, x, shape, **window: _unfold(g, **window))


def unfold(input, dimension, size, step):
    """A view of the windows of `size` along a dimension, `step` apart, as a new last dimension."""
    d = axis(dimension, input.ndim)
    most = input.shape[d] if input.ndim else 1
    if not 0 <= size <= most:
        raise RuntimeError(f"maximum size for tensor at dimension {d} is {most} but size is {size}")
    if step <= 0:
        raise RuntimeError(f"step is {step} but must be > 0")
    return _unfold(input, dim=d, size=size, step=step)


@op(half="keep", view=True)
def _as_strided(xp, x, *, base, view, offset):
    shape, strides, _ = view
    return xp.strided_storage(x, shape, strides, offset)


_as_strided.vjp(lambda g, y, x, base, view, offset: region_add(g, base=base, view=view))


def as_strided(input, size, stride, storage_offset=None):
    """A view of the input's storage of any shape and strides, in elements.

    Its gradient reaches the elements of the input, as far as the view shows them.
    """
    size, stride = tuple(map(int, size)), tuple(map(int, stride))
    if len(size) != len(stride):
        raise RuntimeError("mismatch in length of strides and shape")
    if min(stride, default=0) < 0:
        raise RuntimeError(
            "as_strided: Negative strides are not supported at the moment, got strides: "
            f"{list(stride)}"
        )
    start = input.storage_offset()
    offset = start if storage_offset is None else int(storage_offset)
    if offset < 0:
        raise RuntimeError(f"as_strided: invalid storage offset {offset}")
    last = offset + sum((n - 1) * s for n, s in zip(size, stride))
    from ..backend import of

    room = of(input._a).root(input._a).size
    if prod(size) and last >= room:
        raise RuntimeError(
            f"setStorage: sizes {list(size)}, strides {list(stride)}, storage offset {offset}, and "
            f"itemsize {input.element_size()} requiring a storage size of "
            f"{(last + 1) * input.element_size()} are out of bounds for storage of size "
            f"{room * input.element_size()}"
        )
    base = (tuple(input.shape), tuple(input.stride()), 0)
    return _as_strided(input, base=base, view=(size, stride, offset - start), offset=offset)


IN_PLACE = {"tril": tril, "triu": triu}
METHODS = {
    "tril": tril, "triu": triu, "diagonal": diagonal, "diag": diag, "diag_embed": diag_embed,
    "diagflat": diagflat, "flip": flip, "fliplr": fliplr,
    "flipud": flipud, "roll": roll, "rot90": rot90, "tile": tile,
    "repeat_interleave": repeat_interleave, "as_strided": as_strided,
}  # fmt: skip
FUNCTIONS = METHODS
METHODS = METHODS | {
    "repeat": repeat, "fill_diagonal_": fill_diagonal_, "unfold": unfold,
    "as_strided_": _in_place(as_strided),
}  # fmt: skip
