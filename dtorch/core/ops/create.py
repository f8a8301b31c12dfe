"""Making tensors: from values, filled, ranges."""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

import numbers
from collections.abc import Sequence

from .. import backend
from .. import device as devices
from .. import dtype as dtypes
from ..backend.cpu import ndarray
from ..tensor import Tensor, wrap
from .shape import sizes


def _dtype_of(values):
    """The dtype that nested sequences of Python numbers, arrays and tensors stand for."""
    if isinstance(values, Tensor):
        return values.dtype
    if hasattr(values, "dtype"):
        return dtypes.of_numpy(values.dtype)
    if isinstance(values, (list, tuple, range)):
        found = None
        for v in values:
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
    if isinstance(values, (list, tuple)):
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
            raise ValueError(f"expected a sequence of equal lengths at each level: {error}") from None
        except OverflowError as error:
            raise RuntimeError(f"value cannot be converted to type {d.name} without overflow: {error}") from None
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


def _filled(value):
    def make(*size, out=None, dtype=None, layout=None, device=None, requires_grad=False,
             pin_memory=False, memory_format=None, **size_keyword):  # fmt: skip
        shape = sizes(size or (size_keyword["size"],))
        check_sizes(shape)
        xp = devices.namespace(device)
        a = xp.full(shape, value, (dtype or dtypes.get_default_dtype()).np)
        t = wrap(devices.move(a, device) if device is not None else a)
        return t.requires_grad_() if requires_grad else t

    return make


def check_sizes(shape):
    if any(n < 0 for n in shape):
        raise RuntimeError(f"Trying to create tensor with negative dimension: {list(shape)}")


zeros, ones = _filled(0), _filled(1)


def legacy_tensor(*args, device=None):
    """Tensor(2, 3), Tensor(size), Tensor(values): always of the default dtype."""
    d = dtypes.get_default_dtype()
    if not args:
        return zeros(0, dtype=d, device=device)
    if all(isinstance(n, int) for n in args):
        return zeros(*args, dtype=d, device=device)
    if len(args) != 1:
        raise TypeError(f"new(): expected sizes or one sequence of values, got {len(args)} arguments")
    if isinstance(args[0], Tensor):
        return args[0].detach()
    from ..tensor import Size

    if isinstance(args[0], Size):
        return zeros(args[0], dtype=d, device=device)
    return tensor(args[0], dtype=d, device=device)


FUNCTIONS = {
    "tensor": tensor, "as_tensor": as_tensor, "asarray": as_tensor, "from_numpy": from_numpy,
    "zeros": zeros, "ones": ones,
}  # fmt: skip
