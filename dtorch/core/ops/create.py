"""Making tensors: from values, filled, ranges."""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

import math
import numbers
import warnings
from collections.abc import Sequence

from .. import backend
from .. import device as devices
from .. import dtype as dtypes
from ..backend.cpu import ndarray
from ..tensor import Size, Tensor, wrap
from .shape import number, sizes

_PLAIN = {bool, int, float, complex}  # a long list of these is looked at by type only


def _dtype_of(values):
    """The dtype that nested sequences of Python numbers, arrays and tensors stand for."""
    if isinstance(values, Tensor):
        return values.dtype
    if hasattr(values, "dtype"):
        return dtypes.of_numpy(values.dtype)
    if isinstance(values, (list, tuple, range)):
        found = None
        kinds = set(map(type, values))
        for v in [kind() for kind in kinds] if kinds <= _PLAIN else values:
            d = _dtype_of(v)
            found = d if found is None else dtypes.promote_types(found, d)
        return found
    if isinstance(values, numbers.Number):
        return dtypes.of_scalar(values)
    if isinstance(values, Sequence) and not isinstance(values, (str, bytes)):
        return _dtype_of(list(values))
    raise TypeError(f"expected numbers or (nested) sequences of them, got {type(values).__name__}")


def _arrays(values):
    """Nested sequences with tensors as arrays."""
    if isinstance(values, Tensor):
        return values.detach().cpu()._a
    if isinstance(values, (list, tuple)) and not set(map(type, values)) <= _PLAIN:
        return [_arrays(v) for v in values]
    return values


def tensor(data, *, dtype=None, device=None, requires_grad=False, pin_memory=False):
    """A new tensor with a copy of the data: numbers, nested sequences, an array or a tensor."""
    cpu, dtype = backend.cpu, dtypes.as_dtype(dtype)
    if isinstance(data, Tensor):
        a = devices.move(data._a, device if device is not None else data.device)
        a = a.astype(dtype.np if dtype else a.dtype, copy=True)
    elif type(data) is ndarray:
        a = cpu.array(data, dtypes.of_numpy(data.dtype).np if dtype is None else dtype.np)
    else:
        d = dtype or _dtype_of(data) or dtypes.get_default_dtype()
        try:
            a = cpu.array(_arrays(data), d.np)
        except ValueError as error:
            raise ValueError(
                f"expected a sequence of equal lengths at each level: {error}"
            ) from None
        except OverflowError as error:
            raise RuntimeError(
                f"value cannot be converted to type {d.name} without overflow: {error}"
            ) from None
    if device is None:
        device = (not isinstance(data, Tensor) and devices.default()) or devices.of(a)
    t = wrap(devices.move(a, device))
    return t.requires_grad_() if requires_grad else t


def as_tensor(data, dtype=None, device=None):
    """The data as a tensor, without a copy where dtype and device are right already."""
    if isinstance(data, Tensor):
        return data.to(device=device, dtype=dtype)
    if type(data) is ndarray:
        return from_numpy(data).to(device=device, dtype=dtype)
    return tensor(data, dtype=dtype, device=device)


def asarray(obj, *, dtype=None, device=None, copy=None, requires_grad=None):
    """The object as a tensor: a tensor, an array, a buffer, or (nested) numbers.

    copy: None to share memory where that is possible, False to refuse where it is not
    requires_grad: by default, whether obj does
    """
    shared = isinstance(obj, Tensor) or type(obj) is ndarray
    if isinstance(obj, (bytes, bytearray, memoryview)):
        from ..memory import frombuffer

        t, shared = frombuffer(obj, dtype=dtype or dtypes.get_default_dtype()), True
    else:
        t = as_tensor(obj)
    made = t.to(device=device, dtype=dtype)
    if copy is False and (not shared or made is not t):
        what = f"tensor with dtype '{t.dtype}' into dtype '{made.dtype}'" if shared else (
            "arbitrary sequence into a tensor")  # fmt: skip
        raise ValueError(f"can't alias {what}; leave copy=False out")
    made = made.clone() if copy and made is t else made
    if requires_grad is None or requires_grad == made.requires_grad:
        return made
    return made.detach().requires_grad_(requires_grad)


def from_numpy(array):
    """A tensor that shares memory with a NumPy array.  One that is read-only can't be written to."""
    if not isinstance(array, ndarray):
        raise TypeError(f"expected np.ndarray (got {type(array).__name__})")
    dtypes.of_numpy(array.dtype)
    if min(array.strides, default=0) < 0:
        raise ValueError(
            "At least one of the strides in the given numpy array is negative, and tensors with "
            "negative strides are not supported. (You can make a copy of your array with "
            "array.copy().)"
        )
    return wrap(array.view(ndarray))  # of a subclass, such as memmap, the plain array


def check_sizes(shape):
    if any(n < 0 for n in shape):
        raise RuntimeError(f"Trying to create tensor with negative dimension: {list(shape)}")


# ---- filled, and ranges ----------------------------------------------------------------------
# What torch's factories share: dtype, device, requires_grad; layout, pin_memory and memory_format
# are accepted where there is one choice.


def made(make, dtype=None, device=None, requires_grad=False, *, like=None, layout=None,
         pin_memory=False, memory_format=None):  # fmt: skip
    """The tensor of make(xp, np_dtype), on a device; dtype and device default to `like`'s."""
    dtype = dtypes.as_dtype(dtype)
    if dtype is None:
        dtype = dtypes.get_default_dtype() if like is None else like.dtype
    if device is None:
        device = devices.default() if like is None else like.device
    with devices.entered(device):
        a = make(devices.namespace(device), dtype.np)
    t = wrap(a if device is None else devices.move(a, device))
    return t.requires_grad_() if requires_grad else t


def _sparse(name, shape, like=None, *, layout=None, dtype=None, device=None, requires_grad=False,
            pin_memory=False, memory_format=None):  # fmt: skip
    """What zeros and empty make in a sparse layout: a tensor that stores nothing."""
    from .sparse_create import empty_sparse

    layout = layout or like.layout
    if not name.startswith(("zeros", "empty")):
        raise RuntimeError(f"{name}: no tensor of layout {layout} is filled with other than zeros")
    dtype = dtypes.as_dtype(dtype) or (dtypes.get_default_dtype() if like is None else like.dtype)
    device = device or (None if like is None else like.device)
    sparse_dim = like.sparse_dim() if like is not None and like.layout is layout else None
    return empty_sparse(shape, layout, dtype, device, requires_grad, sparse_dim)


def _is_sparse(options, like=None):
    layout = options.get("layout") or (dtypes.strided if like is None else like.layout)
    return layout is not dtypes.strided


def size_of(size, keywords):
    """The shape from positional sizes or size=; RuntimeError if one is negative."""
    shape = sizes(size or (keywords.pop("size", ()),))
    check_sizes(shape)
    return shape


def _filled(name, value):
    """zeros, ones and empty, each with its _like and new_ form."""

    def filled(*size, **options):
        shape = size_of(size, options)
        if _is_sparse(options):
            return _sparse(name, shape, **options)
        return made(lambda xp, d: getattr(xp, name)(shape, d), **options)

    def filled_like(input, **options):
        if _is_sparse(options, input):
            return _sparse(name, input._a.shape, input, **options)
        if input.layout is not dtypes.strided:  # a dense one like a sparse one
            return new_filled(input, input._a.shape, **options)
        return made(lambda xp, d: xp.full_like(input._a, value, d), like=input, **options)

    def new_filled(self, *size, **options):
        return filled(*size, **{"dtype": self.dtype, "device": self.device} | options)

    words = f"filled with {value}"
    for function, called, doc in (
        (filled, name, f"A tensor of the size, {words}."),
        (
            filled_like,
            f"{name}_like",
            f"A tensor of the input's size, dtype, device and layout, {words}.",
        ),
        (
            new_filled,
            f"new_{name}",
            f"A tensor of the size, of this one's dtype and device, {words}.",
        ),
    ):
        function.__name__ = function.__qualname__ = called
        function.__doc__ = doc
    return filled, filled_like, new_filled


zeros, zeros_like, new_zeros = _filled("zeros", 0)
ones, ones_like, new_ones = _filled("ones", 1)


def empty(*size, **options):
    """A tensor of the size whose values are whatever the memory held."""
    shape = size_of(size, options)
    if _is_sparse(options):
        return _sparse("empty", shape, **options)
    return made(lambda xp, d: xp.empty(shape, d), **options)


def empty_like(input, **options):
    """A tensor of the input's size, dtype, device and layout, with any values."""
    if _is_sparse(options, input):
        return _sparse("empty", input._a.shape, input, **options)
    return made(lambda xp, d: xp.empty_like(input._a, d), like=input, **options)


def new_empty(self, *size, **options):
    """A tensor of the size, of this one's dtype and device, with any values."""
    return empty(*size, **{"dtype": self.dtype, "device": self.device} | options)


def empty_strided(size, stride, **options):
    """A tensor of the size whose elements lie `stride` apart in memory, with any values."""
    shape, stride = size_of((size,), {}), tuple(map(int, stride))
    if len(shape) != len(stride):
        raise RuntimeError(
            f"dimensionality of sizes ({len(shape)}) must match dimensionality of strides "
            f"({len(stride)})"
        )

    if min(stride, default=0) < 0:
        raise RuntimeError(f"empty_strided: negative strides are not supported, got {list(stride)}")

    def make(xp, d):
        n = 1 + sum((k - 1) * s for k, s in zip(shape, stride)) if 0 not in shape else 0
        return xp.as_strided(xp.empty(n, d), shape, [s * d.itemsize for s in stride])

    return made(make, **options)


def empty_permuted(size, physical_layout, **options):
    """A tensor of the size without gaps, any values; physical_layout: its dims, outermost first."""
    shape, order = size_of((size,), {}), tuple(map(int, physical_layout))
    if len(shape) != len(order):
        raise RuntimeError(
            "Number of dimensions in size does not match the length of the physical_layout; i.e. "
            f"len(size) = {len(shape)} is not equal to len(physical_layout) = {len(order)}"
        )
    for i, d in enumerate(order):
        if not 0 <= d < len(shape):
            raise RuntimeError(
                f"Dimension out of range (expected to be between 0 and {len(shape) - 1}, but got "
                f"{d} at index {i}): negative dims are not supported"
            )
    if len(set(order)) < len(order):
        raise RuntimeError(f"Duplicate dim not allowed, got {list(order)}")
    inverse = sorted(range(len(order)), key=order.__getitem__)
    return empty([shape[d] for d in order], **options).permute(inverse)


def new_empty_strided(self, size, stride, **options):
    """empty_strided with this tensor's dtype and device."""
    return empty_strided(size, stride, **{"dtype": self.dtype, "device": self.device} | options)


def full(size, fill_value, *, dtype=None, **options):
    """A tensor of the size, filled with a number, whose kind decides the dtype."""
    value = number(fill_value)
    shape = size_of((size,), {})
    if dtype is None:
        dtype = dtypes.of_scalar(value)
    return made(lambda xp, d: xp.full(shape, _held(value, d), d), dtype, **options)


def _held(value, d):
    return dtypes.as_held(value, dtypes.of_numpy(d))


def full_like(input, fill_value, **options):
    """A tensor of the input's size, dtype, device and layout, filled with a number."""
    value = number(fill_value)
    return made(lambda xp, d: xp.full_like(input._a, _held(value, d), d), like=input, **options)


def new_full(self, size, fill_value, **options):
    """A tensor of the size, of this one's dtype and device, filled with a number."""
    return full(size, fill_value, **{"dtype": self.dtype, "device": self.device} | options)


def new_tensor(self, data, *, dtype=None, device=None, requires_grad=False, **options):
    """A tensor with a copy of the data, of this one's dtype and device."""
    return tensor(data, dtype=dtype or self.dtype, device=device or self.device,
                  requires_grad=requires_grad)  # fmt: skip


def scalar_tensor(s, **options):
    """A 0-d tensor of a number, of the default dtype."""
    return made(lambda xp, d: xp.full((), _held(number(s), d), d), **options)


def arange(start, end=None, step=1, *, dtype=None, **options):
    """The numbers from `start` (0) up to, not including, `end`, `step` apart."""
    if end is None:
        start, end = 0, start
    start, end, step = map(number, (start, end, step))
    if step == 0:
        raise RuntimeError("step must be nonzero")
    if not all(math.isfinite(v) for v in (start, end)):
        raise RuntimeError(f"unsupported range: {start} -> {end}")
    if (end - start) * step < 0:
        raise RuntimeError("upper bound and lower bound inconsistent with step sign")
    whole = all(isinstance(v, int) for v in (start, end, step))
    dtype = dtypes.as_dtype(dtype)
    if dtype is None:
        dtype = dtypes.int64 if whole else dtypes.get_default_dtype()
    if dtype.category == 0:
        raise NotImplementedError("\"arange\" not implemented for 'bool'")
    n = -((start - end) // step) if whole else math.ceil((end - start) / step)

    def make(xp, d):
        if d.kind in "iu":
            return (int(start) + int(step) * xp.arange(n, dtype="int64")).astype(d)
        return (start + step * xp.arange(n, dtype="float64")).astype(d)

    return made(make, dtype, **options)


def range_(start, end, step=1, *, dtype=None, **options):
    """The numbers from `start` to `end` inclusive, `step` apart.  Deprecated: see arange."""
    warnings.warn(
        "torch.range is deprecated: its end is inclusive, unlike that of Python's range; use "
        "torch.arange",
        UserWarning,
        stacklevel=3,
    )
    start, end, step = map(number, (start, end, step))
    if step == 0:
        raise RuntimeError("step must be nonzero")
    if (end - start) * step < 0:
        raise RuntimeError("upper bound and lower bound inconsistent with step sign")
    stop = start + step * (math.floor((end - start) / step) + 0.5)
    return arange(start, stop, step, dtype=dtype or dtypes.get_default_dtype(), **options)


def linspace(start, end, steps, *, dtype=None, **options):
    """`steps` evenly spaced numbers, from `start` to `end` inclusive."""
    start, end, steps = map(number, (start, end, steps))
    if steps < 0:
        raise RuntimeError("number of steps must be non-negative")
    dtype = _spaced_dtype(dtype, start, end)
    return made(lambda xp, d: _spaced(xp, start, end, steps, d).astype(d), dtype, **options)


def logspace(start, end, steps, base=10.0, *, dtype=None, **options):
    """base ** x for `steps` evenly spaced x, from `start` to `end` inclusive."""
    start, end, steps = map(number, (start, end, steps))
    if steps < 0:
        raise RuntimeError("number of steps must be non-negative")
    dtype = _spaced_dtype(dtype, start, end)
    return made(
        lambda xp, d: xp.power(float(base), _spaced(xp, start, end, steps, d)).astype(d),
        dtype, **options,
    )  # fmt: skip


def _spaced_dtype(dtype, start, end):
    if dtype is None and (isinstance(start, complex) or isinstance(end, complex)):
        return dtypes.get_default_dtype().to_complex()
    return dtype


def _spaced(xp, start, end, steps, d):
    if d.kind in "iu":  # from both ends, as torch: truncation is symmetric
        i = xp.arange(steps)
        step = (end - start) / max(steps - 1, 1)
        return xp.where(i < max(steps // 2, 1), start + step * i, end - step * (steps - 1 - i))
    return xp.linspace(start, end, steps)


def eye(n, m=None, **options):
    """The n x m matrix (m = n by default) with ones on its diagonal."""
    m = n if m is None else m
    for name, k in (("n", n), ("m", m)):
        if k < 0:
            raise RuntimeError(f"{name} must be greater or equal to 0, got {k}")
    return made(lambda xp, d: xp.eye(n, m, dtype=d), **options)


def _triangle_indices(name):
    def indices(row, col, offset=0, *, dtype=dtypes.int64, **options):
        for side, n in (("row", row), ("col", col)):
            if n < 0:
                raise RuntimeError(f"{side} must be non-negative, got {n}")
        return made(
            lambda xp, d: xp.stack(getattr(xp, name)(row, offset, col)).astype(d), dtype, **options
        )

    indices.__name__ = indices.__qualname__ = name
    indices.__doc__ = "(2, N): the row and the column of each element of the triangle, row by row."
    return indices


tril_indices, triu_indices = _triangle_indices("tril_indices"), _triangle_indices("triu_indices")


def legacy_tensor(*args, device=None, dtype=None):
    """Tensor(2, 3), Tensor(size), Tensor(values), Tensor(tensor); values of the default dtype.

    dtype: of FloatTensor and its kin, and of Tensor.new
    """
    options = {"dtype": dtype or dtypes.get_default_dtype(), "device": device}
    if all(isinstance(n, int) for n in args):
        return zeros(*(args or (0,)), **options)
    if len(args) != 1:
        raise TypeError(
            f"new(): expected sizes or one sequence of values, got {len(args)} arguments"
        )
    (data,) = args
    if isinstance(data, Tensor):
        if dtype is not None and data.dtype is not dtype:
            raise TypeError(f"expected a tensor of {dtype}, got {data.dtype}; use .to(dtype)")
        return data.detach()
    if isinstance(data, Size):
        return zeros(data, **options)
    if isinstance(data, str):
        raise TypeError(f"new(): invalid data type {type(data).__name__!r}")
    if isinstance(data, numbers.Number):
        raise TypeError(f"new(): data must be a sequence (got {type(data).__name__})")
    return tensor(data, **options)


_LIKE = {
    "zeros_like": zeros_like, "ones_like": ones_like, "empty_like": empty_like,
    "full_like": full_like,
}  # fmt: skip
FUNCTIONS = _LIKE | {
    "tensor": tensor, "as_tensor": as_tensor, "asarray": asarray, "from_numpy": from_numpy,
    "zeros": zeros, "ones": ones, "empty": empty, "full": full, "empty_strided": empty_strided,
    "scalar_tensor": scalar_tensor, "arange": arange, "linspace": linspace, "logspace": logspace,
    "empty_permuted": empty_permuted, "range": range_, "eye": eye,
    "tril_indices": tril_indices, "triu_indices": triu_indices,
}  # fmt: skip
METHODS = {
    "new_zeros": new_zeros, "new_ones": new_ones, "new_empty": new_empty, "new_full": new_full,
    "new_tensor": new_tensor, "new_empty_strided": new_empty_strided,
}  # fmt: skip
