"""Making tensors: from values, filled, ranges."""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

import math
import numbers
from collections.abc import Sequence

from .. import backend
from .. import device as devices
from .. import dtype as dtypes
from ..backend.cpu import ndarray
from ..tensor import Tensor, wrap
from .shape import sizes

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
    cpu = backend.cpu
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
    t = wrap(devices.move(a, device if device is not None else devices.of(a)))
    return t.requires_grad_() if requires_grad else t


def as_tensor(data, dtype=None, device=None):
    """The data as a tensor, without a copy where dtype and device are right already."""
    if isinstance(data, Tensor):
        return data.to(device=device, dtype=dtype)
    if type(data) is ndarray:
        return from_numpy(data).to(device=device, dtype=dtype)
    return tensor(data, dtype=dtype, device=device)


def from_numpy(array):
    """A tensor that shares memory with a NumPy array."""
    if type(array) is not ndarray:
        raise TypeError(f"expected np.ndarray (got {type(array).__name__})")
    dtypes.of_numpy(array.dtype)
    return wrap(array)


def check_sizes(shape):
    if any(n < 0 for n in shape):
        raise RuntimeError(f"Trying to create tensor with negative dimension: {list(shape)}")


# ---- filled, and ranges ----------------------------------------------------------------------
# What torch's factories share: dtype, device, requires_grad; layout, pin_memory and memory_format
# are accepted where there is one choice.


def made(make, dtype=None, device=None, requires_grad=False, *, like=None, layout=None,
         pin_memory=False, memory_format=None):  # fmt: skip
    """The tensor of make(xp, np_dtype), on a device; dtype and device default to `like`'s."""
    if not isinstance(dtype, (dtypes.dtype, type(None))):
        raise TypeError(f"dtype must be a dtorch.dtype, got {dtype!r}")
    if dtype is None:
        dtype = dtypes.get_default_dtype() if like is None else like.dtype
    if device is None and like is not None:
        device = like.device
    a = make(devices.namespace(device), dtype.np)
    t = wrap(a if device is None else devices.move(a, device))
    return t.requires_grad_() if requires_grad else t


def size_of(size, keywords):
    """The shape from positional sizes or size=; RuntimeError if one is negative."""
    shape = sizes(size or (keywords.pop("size", ()),))
    check_sizes(shape)
    return shape


def number(x):
    """A Python number from one, or from a tensor of one element."""
    return x.item() if isinstance(x, Tensor) else x


def _filled(name, value):
    """zeros, ones and empty, each with its _like and new_ form."""

    def filled(*size, **options):
        shape = size_of(size, options)
        return made(lambda xp, d: xp.full(shape, value, d), **options)

    def filled_like(input, **options):
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
    return made(lambda xp, d: xp.empty(shape, d), **options)


def empty_like(input, **options):
    """A tensor of the input's size, dtype, device and layout, with any values."""
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

    def make(xp, d):
        n = 1 + sum((k - 1) * s for k, s in zip(shape, stride)) if 0 not in shape else 0
        return xp.as_strided(xp.empty(n, d), shape, [s * d.itemsize for s in stride])

    return made(make, **options)


def new_empty_strided(self, size, stride, **options):
    """empty_strided with this tensor's dtype and device."""
    return empty_strided(size, stride, **{"dtype": self.dtype, "device": self.device} | options)


def full(size, fill_value, *, dtype=None, **options):
    """A tensor of the size, filled with a number, whose kind decides the dtype."""
    value = number(fill_value)
    shape = size_of((size,), {})
    if dtype is None:
        dtype = dtypes.of_scalar(value)
    return made(lambda xp, d: xp.full(shape, value, d), dtype, **options)


def full_like(input, fill_value, **options):
    """A tensor of the input's size, dtype, device and layout, filled with a number."""
    value = number(fill_value)
    return made(lambda xp, d: xp.full_like(input._a, value, d), like=input, **options)


def new_full(self, size, fill_value, **options):
    """A tensor of the size, of this one's dtype and device, filled with a number."""
    return full(size, fill_value, **{"dtype": self.dtype, "device": self.device} | options)


def new_tensor(self, data, *, dtype=None, device=None, requires_grad=False, **options):
    """A tensor with a copy of the data, of this one's dtype and device."""
    return tensor(data, dtype=dtype or self.dtype, device=device or self.device,
                  requires_grad=requires_grad)  # fmt: skip


def scalar_tensor(s, **options):
    """A 0-d tensor of a number, of the default dtype."""
    return made(lambda xp, d: xp.full((), number(s), d), **options)


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
    if dtype is None:
        dtype = dtypes.int64 if whole else dtypes.get_default_dtype()
    n = -((start - end) // step) if whole else math.ceil((end - start) / step)

    def make(xp, d):
        if d.kind in "iu":
            return (int(start) + int(step) * xp.arange(n, dtype="int64")).astype(d)
        return (start + step * xp.arange(n, dtype="float64")).astype(d)

    return made(make, dtype, **options)


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
        return made(
            lambda xp, d: xp.stack(getattr(xp, name)(row, offset, col)).astype(d), dtype, **options
        )

    indices.__name__ = indices.__qualname__ = name
    indices.__doc__ = "(2, N): the row and the column of each element of the triangle, row by row."
    return indices


tril_indices, triu_indices = _triangle_indices("tril_indices"), _triangle_indices("triu_indices")


def legacy_tensor(*args, device=None):
    """Tensor(2, 3), Tensor(size), Tensor(values): always of the default dtype."""
    d = dtypes.get_default_dtype()
    if not args:
        return zeros(0, dtype=d, device=device)
    if all(isinstance(n, int) for n in args):
        return zeros(*args, dtype=d, device=device)
    if len(args) != 1:
        raise TypeError(
            f"new(): expected sizes or one sequence of values, got {len(args)} arguments"
        )
    if isinstance(args[0], Tensor):
        return args[0].detach()
    from ..tensor import Size

    if isinstance(args[0], Size):
        return zeros(args[0], dtype=d, device=device)
    return tensor(args[0], dtype=d, device=device)


_LIKE = {
    "zeros_like": zeros_like, "ones_like": ones_like, "empty_like": empty_like,
    "full_like": full_like,
}  # fmt: skip
FUNCTIONS = _LIKE | {
    "tensor": tensor, "as_tensor": as_tensor, "asarray": as_tensor, "from_numpy": from_numpy,
    "zeros": zeros, "ones": ones, "empty": empty, "full": full, "empty_strided": empty_strided,
    "scalar_tensor": scalar_tensor, "arange": arange, "linspace": linspace, "logspace": logspace,
    "eye": eye, "tril_indices": tril_indices, "triu_indices": triu_indices,
}  # fmt: skip
METHODS = {
    "new_zeros": new_zeros, "new_ones": new_ones, "new_empty": new_empty, "new_full": new_full,
    "new_tensor": new_tensor, "new_empty_strided": new_empty_strided,
}  # fmt: skip
