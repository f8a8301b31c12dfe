"""A stand-in for CuPy on NumPy, for tests of GPU code where there is no GPU.

It computes with NumPy, and is as strict as CuPy where that differs: only the names that CuPy has, with
its parameters and its dtypes (api.json, read from CuPy's wheel); no silent way from or to NumPy; arrays
of one device at a time, which must be the current one; results of reductions are 0-d arrays.  Beyond
CuPy, whatever makes the host wait is counted, and refused while a stream is capturing.

Not emulated: kernels from source, memory pools, asynchrony (each call is done when it returns).
"""

import functools
import json
from pathlib import Path

import numpy as np

from . import cuda
from .cuda import waits

_API = json.loads(Path(__file__).with_name("api.json").read_text())
__version__ = _API["version"]

# What these do depends on values: CuPy copies them to the host.
_WAITING = {
    "nonzero", "flatnonzero", "argwhere", "unique", "array_equal", "allclose", "intersect1d",
    "union1d", "setdiff1d", "setxor1d", "bincount", "histogram", "extract", "compress", "roots",
    "trim_zeros", "unique_values", "unique_counts", "unique_inverse", "unique_all",
}  # fmt: skip
_FROM_HOST = {"array", "asarray", "asanyarray", "ascontiguousarray", "asfortranarray"}
_PLAIN = {
    "result_type", "can_cast", "promote_types", "issubdtype", "shape", "ndim", "size",
    "min_scalar_type", "common_type", "finfo", "iinfo", "broadcast_shapes", "isscalar", "dtype",
}  # fmt: skip
# Ufuncs of CuPy that are functions in NumPy.
_AS_UFUNC = {"sinc", "i0", "real", "imag", "angle", "fix", "iscomplex", "isreal"}
_NO_WORK = {"view", "reshape", "transpose", "swapaxes", "squeeze", "ravel", "diagonal"}  # views
_REDUCING = {"add", "multiply"}
_AT = {"add", "subtract", "maximum", "minimum", "bitwise_and", "bitwise_or", "bitwise_xor"}


class ndarray:
    """An array on a GPU: NumPy's in `_a`, which only this package may read."""

    __array_priority__ = 100
    __slots__ = ("_a", "base", "device", "_mem", "__weakref__")

    def __new__(cls, shape, dtype=float, memptr=None, strides=None, order="C"):
        if memptr is None:
            made = _poisoned(np.empty(shape, dtype, order=order))
            return _new(made, None)
        dtype = np.dtype(dtype)
        raw = memptr.mem
        shape = (shape,) if isinstance(shape, int) else tuple(shape)
        made = np.ndarray(shape, dtype, raw, memptr.offset, strides)
        return _new(made, None, device=memptr.device)

    # ---- what it is ----

    shape = property(lambda self: self._a.shape)
    dtype = property(lambda self: self._a.dtype)
    ndim = property(lambda self: self._a.ndim)
    size = property(lambda self: self._a.size)
    itemsize = property(lambda self: self._a.itemsize)
    nbytes = property(lambda self: self._a.nbytes)
    strides = property(lambda self: self._a.strides)
    flags = property(lambda self: self._a.flags)

    @property
    def data(self):
        raw = _root(self._a)
        flat = np.lib.stride_tricks.as_strided(raw, (raw.size,), (raw.itemsize,)).view(np.uint8)
        start = self._a.__array_interface__["data"][0] - flat.__array_interface__["data"][0]
        return cuda.MemoryPointer(flat.data, start, self.device, flat)

    def __len__(self):
        return len(self._a)

    def __iter__(self):
        return (self[i] for i in range(len(self)))

    def __repr__(self):
        return repr(self.get())

    __hash__ = None

    # ---- to the host ----

    def __array__(self, *args, **kwargs):
        raise TypeError(
            "Implicit conversion to a NumPy array is not allowed. "
            "Please use `.get()` to construct a NumPy array explicitly."
        )

    def get(self, stream=None, order="C", out=None, blocking=True):
        waits("get")
        if out is not None:
            out[...] = self._a
            return out
        return self._a.copy(order)

    def set(self, array, stream=None):
        self._a[...] = array

    def item(self, *args):
        waits("item")
        return self._a.item(*args)

    def tolist(self):
        waits("tolist")
        return self._a.tolist()

    def tobytes(self, order="C"):
        waits("tobytes")
        return self._a.tobytes(order)

    def __bool__(self):
        waits("bool")
        return bool(self._a)

    def __int__(self):
        waits("int")
        return int(self._a)

    def __index__(self):
        waits("index")
        return self._a.__index__()

    def __float__(self):
        waits("float")
        return float(self._a)

    def __complex__(self):
        waits("complex")
        return complex(self._a)

    # ---- indexing ----

    def __getitem__(self, key):
        return _wrap(self._a[_key(key)], self)

    def __setitem__(self, key, value):
        if isinstance(value, np.ndarray) and value.ndim:
            raise TypeError("Unsupported type <class 'numpy.ndarray'>")
        value = _unwrap(value)
        _here(self)
        self._a[_key(key)] = value

    # ---- ufuncs and functions of NumPy's protocols ----

    def __array_ufunc__(self, ufunc, method, *inputs, **kwargs):
        mine = __getattr__(ufunc.__name__)
        return (mine if method == "__call__" else getattr(mine, method))(*inputs, **kwargs)

    def __array_function__(self, function, types, args, kwargs):
        return __getattr__(function.__name__)(*args, **kwargs)

    def scatter_add(self, index, value):
        _here(self)
        np.add.at(self._a, _key(index), _unwrap(value))


def _binary(symbol, name):
    def forward(self, other):
        if not _operand(other):
            return NotImplemented
        return __getattr__(name)(self, other)

    def reverse(self, other):
        if not _operand(other):
            return NotImplemented
        return __getattr__(name)(other, self)

    def inplace(self, other):
        return __getattr__(name)(self, other, out=self)

    setattr(ndarray, f"__{symbol}__", forward)
    setattr(ndarray, f"__r{symbol}__", reverse)
    setattr(ndarray, f"__i{symbol}__", inplace)


for _symbol, _name in {
    "add": "add", "sub": "subtract", "mul": "multiply", "truediv": "true_divide",
    "floordiv": "floor_divide", "mod": "remainder", "pow": "power", "and": "bitwise_and",
    "or": "bitwise_or", "xor": "bitwise_xor", "lshift": "left_shift", "rshift": "right_shift",
    "matmul": "matmul",
}.items():  # fmt: skip
    _binary(_symbol, _name)


def _comparison(symbol, name):
    def compare(self, other):
        return __getattr__(name)(self, other) if _operand(other) else NotImplemented

    setattr(ndarray, f"__{symbol}__", compare)


for _symbol, _name in {
    "eq": "equal", "ne": "not_equal", "lt": "less", "le": "less_equal", "gt": "greater",
    "ge": "greater_equal",
}.items():  # fmt: skip
    _comparison(_symbol, _name)
for _symbol, _name in {
    "neg": "negative", "pos": "positive", "abs": "absolute", "invert": "invert",
}.items():  # fmt: skip
    setattr(ndarray, f"__{_symbol}__", lambda self, name=_name: __getattr__(name)(self))


def _method(name):
    def method(self, *args, **kwargs):
        if name not in _NO_WORK:
            _here(self)
        if name in ("nonzero", "compress", "dump", "dumps", "tofile"):
            waits(name)
        if name == "sort" and kwargs.get("kind") not in (None, "stable"):
            raise ValueError("kind can only be None or 'stable'")
        _no_bfloat16(name, self)
        return _wrap(getattr(self._a, name)(*_unwrap(args), **_unwrap(kwargs)), self)

    return method


def _attribute(name):
    def write(self, value):
        setattr(self._a, name, _unwrap(value))

    return property(lambda self: _wrap(getattr(self._a, name), self), write)


for _name in _API["methods"]:
    if not hasattr(ndarray, _name) and hasattr(np.ndarray, _name):
        if callable(getattr(np.ndarray, _name)):
            setattr(ndarray, _name, _method(_name))
        else:  # T, real, imag, flat
            setattr(ndarray, _name, _attribute(_name))


# ---- in and out of this package ------------------------------------------------------------------


def _new(array, base, device=None):
    new = object.__new__(ndarray)
    new._a, new.base = array, base
    new.device = cuda.Device() if device is None else device
    return new


def _root(a):
    while isinstance(a.base, np.ndarray):
        a = a.base
    return a


def _wrap(x, *sources):
    """NumPy's results as arrays on the GPU; those that lie in a source's memory as its views."""
    if type(x) in (tuple, list):
        return type(x)(_wrap(y, *sources) for y in x)
    if isinstance(x, tuple) and hasattr(x, "_fields"):
        return type(x)(*[_wrap(y, *sources) for y in x])
    if isinstance(x, np.generic):
        return _new(np.array(x), None)
    if not isinstance(x, np.ndarray):
        return x
    for s in sources:
        if isinstance(s, ndarray) and (x is s._a or _root(x) is _root(s._a)):
            if x is s._a:
                return s
            return _new(x, s if s.base is None else s.base, s.device)
    return _new(x, None)


def _unwrap(x, host=False):
    """Arrays on the GPU as NumPy's; NumPy's own are refused, as CuPy does."""
    if isinstance(x, ndarray):
        _here(x)
        return x._a
    if isinstance(x, np.ndarray) and not host:
        raise TypeError(f"Unsupported type {type(x)}")
    if type(x) in (tuple, list):
        return type(x)(_unwrap(y, host) for y in x)
    if type(x) is dict:
        return {k: _unwrap(y, host) for k, y in x.items()}
    return x


def _key(key):
    """An index; a mask makes the host wait for the number of its elements."""
    for k in key if type(key) is tuple else (key,):
        if isinstance(k, ndarray) and k.dtype == bool:
            waits("a mask as an index")
    return _unwrap(key, host=True)


def _here(a):
    if a.device.id != cuda.Device().id:
        raise ValueError(
            f"Array device must be same as the current device: array device = {a.device.id} "
            f"while current = {cuda.Device().id}"
        )


def _operand(x):
    """Whether CuPy computes with it; what remains is left to the other's reflected method."""
    if isinstance(x, np.ndarray):
        raise TypeError(f"Unsupported type {type(x)}")
    return isinstance(x, (ndarray, bool, int, float, complex, np.generic))


def _poisoned(a):
    """What an array holds that nobody has written to."""
    if a.dtype.kind in "fcV":
        a[...] = np.nan
    elif a.dtype.kind in "iu":
        a[...] = 77
    return a


def _no_bfloat16(name, *args):
    found = any(isinstance(a, ndarray) and a.dtype.name == "bfloat16" for a in args)
    if found and name in ("sort", "argsort", "lexsort", "partition", "argpartition"):
        raise NotImplementedError(f"{name} is not supported for bfloat16")


class ufunc:
    """NumPy's, for the dtypes, and with the methods, that CuPy's has."""

    def __init__(self, name):
        self.name = self.__name__ = name
        self._np = getattr(np, name)
        self._kinds = {c for t in _API["ufuncs"][name].split() for c in t.partition("->")[0]}

    def _checked(self, args):
        for a in args:
            if isinstance(a, ndarray):
                char = "E" if a.dtype.name == "bfloat16" else a.dtype.char
                wide = {"E": "E", "F": "FD", "D": "D", "f": "fd", "d": "d"}.get(char)
                if wide and not self._kinds.intersection(wide):
                    raise TypeError(f"ufunc 'cupy_{self.name}' not supported for {a.dtype}")

    def __call__(self, *args, out=None, dtype=None, casting="same_kind"):
        self._checked(args)
        outs = out if isinstance(out, tuple) or out is None else (out,)
        given = {"dtype": dtype} if dtype is not None else {}
        if outs is not None:
            given["out"] = tuple(_unwrap(o) for o in outs)
        if self.name not in _AS_UFUNC:
            given["casting"] = casting
        result = self._np(*_unwrap(args), **given)
        return _wrap(result, *(outs or ()))

    def reduce(self, array, axis=0, dtype=None, out=None, keepdims=False):
        if self.name not in _REDUCING:
            raise NotImplementedError(f"`cupy.{self.name}.reduce` is not supported yet")
        self._checked([array])
        into = {} if out is None else {"out": _unwrap(out)}
        return _wrap(self._np.reduce(_unwrap(array), axis, dtype, keepdims=keepdims, **into), out)

    def accumulate(self, array, axis=0, dtype=None, out=None):
        if self.name not in _REDUCING:
            raise NotImplementedError(f"`cupy.{self.name}.accumulate` is not supported yet")
        return _wrap(self._np.accumulate(_unwrap(array), axis, dtype), out)

    def at(self, a, indices, b=None):
        if self.name not in _AT:
            raise NotImplementedError(f"`cupy.{self.name}.at` is not supported yet")
        self._np.at(_unwrap(a), _key(indices), *([] if b is None else [_unwrap(b)]))

    def outer(self, a, b):
        return _wrap(self._np.outer(_unwrap(a), _unwrap(b)))


def _function(name, of, parameters):
    """NumPy's function with CuPy's parameters."""
    numpy_s = getattr(of, name)
    names = None if parameters is None else parameters.split()

    def call(*args, **kwargs):
        if names is not None:
            many = any(n.startswith("*") and n[1] != "*" for n in names)
            free = any(n.startswith("**") for n in names)
            unknown = [k for k in kwargs if k not in names]
            if (unknown and not free) or (len(args) > len(names) and not many):
                raise TypeError(f"cupy.{name}(): {unknown or args[len(names) :]}")
        if kwargs.get("kind") not in (None, "stable"):
            raise ValueError("kind can only be None or 'stable'")
        if name in _WAITING or (name == "where" and len(args) == 1):
            waits(name)
        if name == "repeat" and isinstance(args[1], ndarray):
            waits("repeat by an array")
        _no_bfloat16(name, *args)
        if name == "argsort" or name == "sort":
            kwargs = {**kwargs, "kind": "stable"}
        if name == "bincount" and kwargs.get("minlength") is None:
            kwargs.pop("minlength", None)
        host = name in _FROM_HOST
        kwargs.pop("blocking", None)
        out = kwargs.get("out")
        if host and isinstance(args[0], ndarray) and args[0].device.id != cuda.Device().id:
            args = (_new(args[0]._a.copy(), None), *args[1:])  # from another device
        result = numpy_s(*_unwrap(args, host), **_unwrap(kwargs))
        if host and isinstance(args[0], np.ndarray) and result is args[0]:
            result = result.copy()
        if name in ("empty", "empty_like"):
            _poisoned(result)
        if name in _PLAIN:
            return result
        return _wrap(result, out, *_flat(args))

    call.__name__ = name
    return call


def _flat(args):
    for a in args:
        if type(a) in (list, tuple):
            yield from _flat(a)
        else:
            yield a


def asnumpy(a, stream=None, order="C", out=None, *, blocking=True):
    return a.get(order=order, out=out) if isinstance(a, ndarray) else np.asarray(a, order=order)


def get_array_module(*args):
    import cupy

    return cupy if any(isinstance(a, ndarray) for a in args) else np


def copyto(dst, src, casting="same_kind", where=None):
    np.copyto(
        _unwrap(dst), _unwrap(src), casting, **({} if where is None else {"where": _unwrap(where)})
    )


def get_default_memory_pool():
    return cuda.pool


raising = False  # cupyx.errstate(linalg="raise")


class _Module:
    """A module of functions: linalg, fft."""

    def __init__(self, name):
        self._name = name
        self.LinAlgError = np.linalg.LinAlgError

    def __getattr__(self, name):
        if name not in _API[self._name]:
            raise AttributeError(f"module 'cupy.{self._name}' has no attribute {name!r}")
        function = _function(name, getattr(np, self._name), _API[self._name][name])
        return function if self._name == "fft" else functools.partial(self._call, function)

    @staticmethod
    def _call(function, *args, **kwargs):
        """CuPy goes on with NaN, and does not look whether it should, which would be waiting."""
        if raising:
            waits("errstate(linalg='raise')")
            return function(*args, **kwargs)
        try:
            return function(*args, **kwargs)
        except np.linalg.LinAlgError:
            raise AssertionError("CuPy would have gone on with NaN") from None


class _Strides:
    class stride_tricks:  # noqa: N801 (as NumPy)
        @staticmethod
        def as_strided(x, shape=None, strides=None):
            view = np.lib.stride_tricks.as_strided(x._a, shape, strides)
            return _new(view, x if x.base is None else x.base, x.device)


linalg, fft, lib = _Module("linalg"), _Module("fft"), _Strides
_TYPES = (
    "float16", "float32", "float64", "complex64", "complex128", "int8", "int16", "int32", "int64",
    "uint8", "uint16", "uint32", "uint64", "bool_", "dtype", "generic", "floating", "integer",
    "inf", "nan", "pi", "e", "newaxis", "finfo", "iinfo", "intp", "number", "inexact",
    "complexfloating", "signedinteger", "unsignedinteger",
)  # fmt: skip


@functools.cache
def __getattr__(name):
    if name in _API["ufuncs"] and (
        name in _AS_UFUNC or isinstance(getattr(np, name, None), np.ufunc)
    ):
        return ufunc(name)
    if name in _API["functions"]:
        return _function(name, np, _API["functions"][name])
    if name in _TYPES:
        return getattr(np, name)
    raise AttributeError(f"module 'cupy' has no attribute {name!r}")
