"""Shape and layout: views, joining, splitting, casting."""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

from math import prod

from .. import dtype as dtypes
from ..op import op
from .. import device as devices
from ..backend import of as backend_of
from ..tensor import Tensor, _dim_error


def axis(dim, ndim):
    """`dim` as an index into the shape; IndexError if there is none such."""
    n = max(ndim, 1)
    if not -n <= dim < n:
        raise _dim_error(dim, ndim)
    return dim % n


def sizes(args):
    """The shape given as separate ints, or as one tuple or list."""
    if len(args) == 1 and not isinstance(args[0], int) and hasattr(args[0], "__iter__"):
        args = args[0]
    return tuple(int(n) for n in args)


# ---- casting ---------------------------------------------------------------------------------


@op(saves="s", half="keep", holomorphic=False)
def _cast(xp, x, *, dtype, source):
    if x.dtype.kind == "c" and dtype.kind != "c":
        x = x.real
    return x.astype(dtype)


_cast.vjp(lambda g, y, shape, dtype, source: cast(g, source))


def cast(x, dtype):
    """x as an array dtype; complex to real drops the imaginary part."""
    source = x._a.dtype if isinstance(x, Tensor) else x.dtype
    return x if source == dtype else _cast(x, dtype=dtype, source=source)


@op(half="keep")
def clone(xp, x):
    return x.copy(order="K")


clone.vjp(lambda g, y, x: g)


@op(half="keep")
def _contiguous(xp, x):
    return x.copy(order="C")


_contiguous.vjp(lambda g, y, x: g)


def contiguous(input, memory_format=None):
    """The tensor itself if its memory is in order, else a copy that is."""
    return input if input.is_contiguous() else _contiguous(input)


@op(half="keep", holomorphic=False)
def moved(xp, x, *, device, source):
    """x on another device."""
    return devices.move(x, device)


moved.vjp(lambda g, y, x, device, source: moved(g, device=source, source=device))


# ---- views -----------------------------------------------------------------------------------


def infer(shape, size):
    """`shape` with its -1 replaced; RuntimeError unless it holds `size` elements."""
    if -1 in shape:
        rest = -prod(shape)
        if shape.count(-1) > 1:
            raise RuntimeError("only one dimension can be inferred")
        if rest == 0:
            raise RuntimeError(
                f"cannot reshape tensor of 0 elements into shape {list(shape)} because the "
                "unspecified dimension size -1 can be any value and is ambiguous"
            )
        if not size % rest:
            return tuple(size // rest if n == -1 else n for n in shape)
    if any(n < 0 for n in shape) or prod(shape) != size:
        raise RuntimeError(f"shape '{list(shape)}' is invalid for input of size {size}")
    return shape


@op(saves="s", half="keep", view=True)
def _view(xp, x, *, shape):
    return x.reshape(shape)


_view.vjp(lambda g, y, was, shape: reshape(g, was))


def is_viewable(x, shape):
    """Whether an array can get this shape without a copy."""
    try:
        return x.reshape(shape, copy=False) is not None
    except ValueError:
        return False


def reshape(input, *shape):
    """The same elements in another shape: a view where the strides allow it, else a copy."""
    shape = infer(sizes(shape), prod(input.shape))
    if not isinstance(input, Tensor):
        return input.reshape(shape)
    if input._a.flags.c_contiguous or is_viewable(input._a, shape):
        return _view(input, shape=shape)
    return _view(_contiguous(input), shape=shape)


def view(input, *shape):
    """A view of another shape; RuntimeError where only a copy could have it.  Also view(dtype)."""
    if len(shape) == 1 and isinstance(shape[0], dtypes.dtype):
        return view_dtype(input, shape[0])
    shape = infer(sizes(shape), prod(input.shape))
    if not (input._a.flags.c_contiguous or is_viewable(input._a, shape)):
        raise RuntimeError(
            "view size is not compatible with input tensor's size and stride (at least one dimension "
            "spans across two contiguous subspaces). Use .reshape(...) instead."
        )
    return _view(input, shape=shape)


@op(half="keep", view=True)
def _view_dtype(xp, x, *, dtype):
    return x.view(dtype)


def view_dtype(input, dtype):
    """The same memory read as another dtype."""
    return input if input.dtype is dtype else _view_dtype(input, dtype=dtype.np)


@op(saves="s", half="keep", view=True)
def _expand(xp, x, *, shape):
    return xp.broadcast_to(x, shape)


@_expand.override("cpu")
def _expand_cpu(xp, x, *, shape):
    lead = len(shape) - x.ndim
    strides = (0,) * lead + tuple(
        s if n == m else 0 for s, n, m in zip(x.strides, x.shape, shape[lead:])
    )
    return xp.as_strided(x, shape, strides)  # writable, unlike broadcast_to's


def _expand_vjp(g, y, was, shape):
    from .reduce import sum_to

    return sum_to(g, was)


_expand.vjp(_expand_vjp)


def expand(input, *shape, implicit=False):
    """A view in which dimensions of size 1 are repeated; -1 leaves one as it is."""
    shape, was = sizes(shape), input.shape
    lead = len(shape) - len(was)
    if lead < 0:
        raise RuntimeError(
            f"expand({list(was)}, size={list(shape)}): the number of sizes provided ({len(shape)}) "
            f"must be greater or equal to the number of dimensions in the tensor ({len(was)})"
        )
    full = []
    for i, n in enumerate(shape):
        have = was[i - lead] if i >= lead else 1
        if n == -1 and i < lead:
            raise RuntimeError(
                "The expanded size of the tensor (-1) isn't allowed in a leading, non-existing "
                f"dimension {i}"
            )
        if n != -1 and have not in (1, n):
            raise RuntimeError(
                f"The expanded size of the tensor ({n}) must match the existing size ({have}) at "
                f"non-singleton dimension {i}. Target sizes: {list(shape)}. Tensor sizes: {list(was)}"
            )
        full.append(have if n == -1 else n)
    return _expand(input, shape=tuple(full))


@op(half="keep", view=True)
def _permute(xp, x, *, dims):
    return x.transpose(dims)


def _permute_vjp(g, y, x, dims):
    inverse = [0] * len(dims)
    for i, d in enumerate(dims):
        inverse[d] = i
    return _permute(g, dims=tuple(inverse))


_permute.vjp(_permute_vjp)


def permute(input, *dims):
    """A view with its dimensions in another order."""
    dims = sizes(dims)
    if len(dims) != input.ndim:
        raise RuntimeError(
            "permute(sparse_coo): number of dimensions in the tensor input does not match the length "
            f"of the desired ordering of dimensions i.e. input.dim() = {input.ndim} is not equal to "
            f"len(dims) = {len(dims)}"
        )
    order = tuple(axis(d, input.ndim) for d in dims)
    if len(set(order)) != len(order):
        raise RuntimeError("permute(): duplicate dims are not allowed.")
    return _permute(input, dims=order)


def transpose(input, dim0, dim1):
    """A view with two dimensions swapped."""
    n = input.ndim
    i, j = axis(dim0, n), axis(dim1, n)
    order = list(range(n))
    if n:
        order[i], order[j] = j, i
    return _permute(input, dims=tuple(order))


def t(input):
    """The transpose of a matrix; a vector or a scalar as it is."""
    if input.ndim > 2:
        raise RuntimeError(f"t() expects a tensor with <= 2 dimensions, but self is {input.ndim}D")
    return transpose(input, 0, 1) if input.ndim == 2 else _permute(input, dims=tuple(range(input.ndim)))


def squeeze(input, dim=None):
    """A view without its dimensions of size 1, or without those among `dim`."""
    n = input.ndim
    dims = range(n) if dim is None else ((dim,) if isinstance(dim, int) else dim)
    drop = {axis(d, n) for d in dims}
    return _view(input, shape=tuple(k for i, k in enumerate(input.shape) if k != 1 or i not in drop))


def unsqueeze(input, dim):
    """A view with a dimension of size 1 at `dim`."""
    d = axis(dim, input.ndim + 1)
    shape = tuple(input.shape)
    return _view(input, shape=(*shape[:d], 1, *shape[d:]))


def flatten(input, start_dim=0, end_dim=-1):
    """The dimensions from start_dim to end_dim as one."""
    if not input.ndim:
        return reshape(input, (1,))
    i, j = axis(start_dim, input.ndim), axis(end_dim, input.ndim)
    if i > j:
        raise RuntimeError("flatten() has invalid args: start_dim cannot come after end_dim")
    shape = tuple(input.shape)
    return input if i == j else reshape(input, (*shape[:i], prod(shape[i : j + 1]), *shape[j + 1 :]))


# ---- joining ---------------------------------------------------------------------------------


@op(saves="s", half="keep")
def _cat(xp, *arrays, dim):
    return xp.concatenate(arrays, axis=dim)


def _cat_vjp(needs, g, y, *shapes, dim):
    from .index import narrow

    grads, start = [], 0
    for need, shape in zip(needs, shapes):
        grads.append(narrow(g, dim, start, shape[dim]) if need else None)
        start += shape[dim]
    return grads


_cat.vjp_joint(_cat_vjp)


def cat(tensors, dim=0):
    """The tensors one after another along `dim`; other sizes must agree."""
    tensors = list(tensors)
    if not tensors:
        raise RuntimeError("torch.cat(): expected a non-empty list of Tensors")
    d = dtypes.result_dtype([x._a if isinstance(x, Tensor) else x for x in tensors])
    tensors = [cast(x, d.np) for x in tensors if tuple(x.shape) != (0,)] or tensors[:1]
    first = tensors[0]
    if not first.ndim:
        raise RuntimeError("zero-dimensional tensor (at position 0) cannot be concatenated")
    dim = axis(dim, first.ndim)
    for i, x in enumerate(tensors):
        same = x.ndim == first.ndim and all(
            a == b for k, (a, b) in enumerate(zip(x.shape, first.shape)) if k != dim
        )
        if not same:
            raise RuntimeError(
                f"Sizes of tensors must match except in dimension {dim}. Expected size "
                f"{list(first.shape)} but got size {list(x.shape)} for tensor number {i} in the list."
            )
    return _cat(*tensors, dim=dim)


def stack(tensors, dim=0):
    """The tensors, of equal size, along a new dimension `dim`."""
    tensors = list(tensors)
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


FUNCTIONS = METHODS = {
    "clone": clone.fn, "reshape": reshape, "permute": permute, "transpose": transpose, "t": t,
    "squeeze": squeeze, "unsqueeze": unsqueeze, "flatten": flatten,
    "swapaxes": transpose, "swapdims": transpose,
}  # fmt: skip
METHODS = METHODS | {"contiguous": contiguous, "view": view, "expand": expand}
FUNCTIONS = FUNCTIONS | {"cat": cat, "concat": cat, "concatenate": cat, "stack": stack}
