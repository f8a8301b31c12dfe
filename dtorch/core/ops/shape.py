"""Casting, moving, and views: the same elements in another shape."""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

from math import prod
from operator import index

from .. import device as devices
from .. import dtype as dtypes
from ..graph import writes
from ..op import op
from ..tensor import Size, Tensor, _dim_error, settled


def axis(dim, ndim):
    """`dim` as an index into the shape; IndexError if there is none such."""
    n = ndim or 1
    if not -n <= dim < n:
        raise _dim_error(dim, ndim)
    return dim % n


def raw(x):
    """The array of a tensor; anything else as it is.  For what rules pass on as a parameter."""
    return x._a if isinstance(x, Tensor) else x


def number(x):
    """A Python number from one, from NumPy's, or from a tensor of one element."""
    return x.item() if hasattr(x, "item") else x


def sizes(args, named=None):
    """The shape given as separate ints, as one tuple or list, or as one under its name."""
    if named is not None:
        if args or isinstance(named, int):
            raise TypeError(
                f"expected sizes as separate ints or as one tuple by name, got {args} and {named}"
            )
        args = (named,)
    if len(args) == 1 and not isinstance(args[0], int) and hasattr(args[0], "__iter__"):
        args = args[0] if getattr(args[0], "ndim", 1) else args  # a 0-d tensor is one size
    try:
        return tuple(map(index, args))
    except TypeError:
        wrong = next(
            (type(n).__name__ for n in args if not hasattr(n, "__index__")), "float Tensor"
        )
        raise TypeError(f"argument 'size' must be tuple of ints, but found a {wrong}") from None


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
def clone(xp, x, *, memory_format=None):
    """A copy.  memory_format: contiguous_format puts its memory in order; else it stays as it is."""
    if memory_format is None:
        return x.copy(order="K")
    if not isinstance(memory_format, dtypes.memory_format):
        raise TypeError(
            "clone(): argument 'memory_format' must be dtorch.memory_format, not "
            f"{type(memory_format).__name__}"
        )
    return x.copy(order="C" if memory_format is dtypes.contiguous_format else "K")


clone.vjp(lambda g, y, x, memory_format=None: g)


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
    if prod(shape) != size or min(shape, default=0) < 0:
        raise RuntimeError(f"shape '{list(shape)}' is invalid for input of size {size}")
    return shape


@op(saves="s", half="keep", view=True)
def _view(xp, x, *, shape):
    # Contiguous memory is never copied, and a call costs as much as the view.
    return x.reshape(shape) if x.flags.c_contiguous else xp.reshaped(x, shape)


_view.vjp(lambda g, y, was, shape: reshape(g, was))


def reshape(input, *args, shape=()):
    """The same elements in another shape: a view where the strides allow it, else a copy."""
    a = raw(input)
    if a is input:  # in a rule
        return a.reshape(*args)
    shape = infer(sizes(args or (shape,)), a.size)
    a = settled(input)
    if not a.flags.c_contiguous:
        try:
            return _view.fn(input, shape=shape)
        except ValueError:
            input = _contiguous(input)
    return _view.fn(input, shape=shape)


def view(input, *shape, size=None, dtype=None):
    """A view of another shape; RuntimeError where only a copy could have it.  Also view(dtype)."""
    if size is not None:
        shape = sizes(shape, size)
    elif dtype is not None:
        shape = (*shape, dtype)
    if len(shape) == 1 and type(shape[0]) is not int:
        if isinstance(shape[0], (dtypes.dtype, type)):
            return view_dtype(input, dtypes.as_dtype(shape[0]))
        shape = sizes(shape)
    for n in shape:
        if n < -1:  # which NumPy would take for -1
            infer(shape, input._a.size)
    try:
        return _view.fn(input, shape=shape)
    except ValueError:
        infer(shape, input._a.size)
        raise RuntimeError(
            "view size is not compatible with input tensor's size and stride (at least one "
            "dimension spans across two contiguous subspaces). Use .reshape(...) instead."
        ) from None


@op(half="keep", view=True)
def _view_dtype(xp, x, *, dtype):
    return x.view(dtype)


def view_dtype(input, dtype):
    """The same memory read as another dtype; its last dimension grows or shrinks with the size."""
    if input.dtype is dtype:
        return input
    if input.dtype.itemsize != dtype.itemsize and input.stride()[-1:] != (1,):
        raise RuntimeError(
            f"self.stride(-1) must be 1 to view {input.dtype} as {dtype} (different element sizes), "
            f"but got the strides {list(input.stride())}"
        )
    ratio = dtype.itemsize // input.dtype.itemsize
    if ratio > 1 and input.shape[-1] % ratio:
        raise RuntimeError(
            f"self.size(-1) must be divisible by {ratio} to view {input.dtype} as {dtype} "
            f"(different element sizes), but got {input.shape[-1]}"
        )
    return _view_dtype(input, dtype=dtype.np)


@op(saves="s", half="keep", view=True)
def _expand(xp, x, *, shape):
    return xp.broadcast_to(x, shape)


@_expand.override("cpu")
def _expand_cpu(xp, x, *, shape):
    lead = len(shape) - x.ndim
    strides = [0] * lead
    strides += [s if n == m else 0 for s, n, m in zip(x.strides, x.shape, shape[lead:])]
    return xp.as_strided(x, shape, strides)  # writable, unlike broadcast_to's


def _expand_vjp(g, y, was, shape):
    from .reduce import sum_to

    return sum_to(g, was)


_expand.vjp(_expand_vjp)


def expand(input, *shape, size=None, implicit=False):
    """A view in which dimensions of size 1 are repeated; -1 leaves one as it is."""
    shape, was = sizes(shape, size), input.shape
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
                f"non-singleton dimension {i}. Target sizes: {list(shape)}. Tensor sizes: "
                f"{list(was)}"
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


def permute(input, *args, dims=()):
    """A view with its dimensions in another order."""
    dims = sizes(args or (dims,))
    if len(dims) != input.ndim:
        raise RuntimeError(
            "permute(sparse_coo): number of dimensions in the tensor input does not match the "
            "length "
            f"of the desired ordering of dimensions i.e. input.dim() = {input.ndim} is not equal "
            "to "
            f"len(dims) = {len(dims)}"
        )
    order = tuple(axis(d, input.ndim) for d in dims)
    if len(set(order)) != len(order):
        raise RuntimeError("permute(): duplicate dims are not allowed.")
    return _permute(input, dims=order)


def transpose(input, dim0, dim1):
    """A view with two dimensions swapped."""
    n = raw(input).ndim
    i, j = axis(dim0, n), axis(dim1, n)
    order = list(range(n))
    if n:
        order[i], order[j] = j, i
    run = _permute.fn if isinstance(input, Tensor) else _permute
    return run(input, dims=tuple(order))


def swapaxes(input, axis0, axis1):
    """A view with two dimensions swapped."""
    return transpose(input, axis0, axis1)


def t(input):
    """The transpose of a matrix; a vector or a scalar as it is."""
    if input.ndim > 2:
        raise RuntimeError(f"t() expects a tensor with <= 2 dimensions, but self is {input.ndim}D")
    return _permute(input, dims=tuple(range(input.ndim))[::-1])


def squeeze(input, dim=None):
    """A view without its dimensions of size 1, or without those among `dim`."""
    n = input.ndim
    dims = range(n) if dim is None else ((dim,) if isinstance(dim, int) else dim)
    drop = {axis(d, n) for d in dims}
    shape = tuple(k for i, k in enumerate(input.shape) if k != 1 or i not in drop)
    return _view(input, shape=shape)


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
    if i == j:
        return input
    return reshape(input, (*shape[:i], prod(shape[i : j + 1]), *shape[j + 1 :]))


def unflatten(input, dim, sizes):
    """Dimension `dim` as several of the given sizes, one of which may be -1."""
    d = axis(dim, input.ndim)
    if not len(sizes):
        raise RuntimeError("unflatten: sizes must be non-empty")
    shape, n = tuple(input.shape), input.shape[d] if input.ndim else 1
    try:
        split = infer(tuple(map(int, sizes)), n)
    except RuntimeError:
        raise RuntimeError(
            f"unflatten: Provided sizes {list(sizes)} don't multiply up to the size of dim {d} "
            f"({n}) in "
            "the input tensor"
        ) from None
    return view(input, (*shape[:d], *split, *shape[d + 1 :]))


def broadcast_shapes(*shapes):
    """The shape that tensors of these shapes broadcast to; RuntimeError if they do not."""
    shapes = [(s,) if isinstance(s, int) else tuple(s) for s in shapes]
    result = [1] * max(map(len, shapes), default=0)
    for s in shapes:
        for i in range(1, len(s) + 1):
            if s[-i] != 1 and result[-i] not in (1, s[-i]):
                raise RuntimeError(
                    f"The size of tensor a ({result[-i]}) must match the size of tensor b "
                    f"({s[-i]}) "
                    f"at non-singleton dimension {len(result) - i}"
                )
            result[-i] = s[-i] if s[-i] != 1 else result[-i]
    return Size(result)


def broadcast_tensors(*tensors):
    """The tensors as views of the one shape that they broadcast to, in a tuple."""
    if len(tensors) == 1 and isinstance(tensors[0], (tuple, list)):
        tensors = tensors[0]
    shape = broadcast_shapes(*[t.shape for t in tensors])
    return tuple(expand(t, shape) for t in tensors)


def broadcast_to(input, size):
    """A view of the tensor as `size`: expand with one argument."""
    return expand(input, size)


def movedim(input, source, destination):
    """A view with the dimensions `source` at the places `destination`; others keep their order."""
    n = input.ndim
    source, destination = [(d,) if isinstance(d, int) else tuple(d) for d in (source, destination)]
    if len(source) != len(destination):
        raise RuntimeError(
            f"movedim: Invalid source or destination dims: source ({list(source)} dims) should "
            "contain "
            f"the same number of dims as destination ({list(destination)} dims)"
        )
    source, destination = [[axis(d, n) for d in dims] for dims in (source, destination)]
    for name, dims in (("source", source), ("destination", destination)):
        if len(set(dims)) != len(dims):
            raise RuntimeError(f"movedim: repeated dim in `{name}` ({dims})")
    order = [d for d in range(n) if d not in source]
    for to, d in sorted(zip(destination, source)):
        order.insert(to, d)
    return _permute(input, dims=tuple(order[:n]))


def adjoint(input):
    """The conjugate of the transpose of the last two dimensions."""
    from .complex import conj_any

    return conj_any(transpose(input, -2, -1))


def _at_least(ndim, place):
    def atleast(*tensors):
        if len(tensors) == 1 and isinstance(tensors[0], (tuple, list)):
            return tuple(map(place, tensors[0]))
        return place(tensors[0]) if len(tensors) == 1 else tuple(map(place, tensors))

    atleast.__name__ = atleast.__qualname__ = f"atleast_{ndim}d"
    atleast.__doc__ = f"Each tensor with at least {ndim} dimensions."
    return atleast


def _as_3d(x):
    """(), (N,), (M, N) as (1, 1, 1), (1, N, 1), (M, N, 1)"""
    if x.ndim >= 3:
        return x
    return unsqueeze(x, 2) if x.ndim == 2 else reshape(x, (1, -1, 1))


atleast_1d = _at_least(1, lambda x: x if x.ndim else reshape(x, (1,)))
atleast_2d = _at_least(2, lambda x: x if x.ndim >= 2 else reshape(x, (1, -1)))
atleast_3d = _at_least(3, _as_3d)


def expand_as(input, other):
    """A view of the tensor in the shape of `other`."""
    return expand(input, other.shape)


def view_as(input, other):
    """A view in the shape of `other`."""
    return view(input, other.shape)


def reshape_as(input, other):
    """The same elements in the shape of `other`."""
    return reshape(input, other.shape)


def ravel(input):
    """The same elements in one dimension."""
    return reshape(input, (-1,)) if prod(input.shape) else reshape(input, (0,))


def _in_place(function):
    """The form of a view function that changes the tensor itself: t.unsqueeze_(0)"""

    def method(self, *args, **kwargs):
        from ..views import check_history

        check_history(self)
        result = function(self, *args, **kwargs)
        self._a, self._node, self._rg = result._a, result._node, result._rg
        writes.stamp(self._a)
        return self

    method.__name__ = method.__qualname__ = f"{function.__name__}_"
    method.__doc__ = f"{function.__name__}, of the tensor itself."
    return method


FUNCTIONS = METHODS = {
    "clone": clone.fn, "reshape": reshape, "permute": permute, "transpose": transpose, "t": t,
    "squeeze": squeeze, "unsqueeze": unsqueeze, "flatten": flatten, "ravel": ravel,
    "swapaxes": swapaxes, "swapdims": transpose, "unflatten": unflatten, "movedim": movedim,
    "moveaxis": movedim, "broadcast_to": broadcast_to, "adjoint": adjoint,
}  # fmt: skip
METHODS = METHODS | {
    f"{name}_": _in_place(METHODS[name])
    for name in ("squeeze", "unsqueeze", "transpose", "t", "swapaxes", "swapdims")
}
METHODS = METHODS | {
    "contiguous": contiguous, "view": view, "expand": expand, "expand_as": expand_as,
    "view_as": view_as, "reshape_as": reshape_as,
}  # fmt: skip
FUNCTIONS = FUNCTIONS | {
    "broadcast_tensors": broadcast_tensors, "broadcast_shapes": broadcast_shapes,
    "atleast_1d": atleast_1d, "atleast_2d": atleast_2d, "atleast_3d": atleast_3d,
}  # fmt: skip
