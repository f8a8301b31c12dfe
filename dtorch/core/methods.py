"""The table that hangs ops on Tensor, and on the package, under torch's names.

Each file of core/ops ends with FUNCTIONS (dtorch.name), METHODS (Tensor.name) and IN_PLACE
(Tensor.name_), dicts from a name to a function.  This module collects them and adds the operators.
"""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

import functools
import importlib
import pkgutil

from . import device as devices
from . import dtype as dtypes
from . import ops, storage
from .backend import of as backend_of
from .backend.cpu import ndarray
from .graph import ALIAS, Node, next_seq
from .ops import arithmetic as ar
from .ops import compare, index, linalg, pointwise, shape
from .tensor import Tensor, edge, wrap
from .views import in_place, write

FAMILIES = [
    importlib.import_module(f"{ops.__name__}.{m.name}") for m in pkgutil.iter_modules(ops.__path__)
]
UFUNCS = {"add": "add", "mul": "multiply", "sub": "subtract", "div": "true_divide"}


def _collect(table):
    return {name: fn for family in FAMILIES for name, fn in getattr(family, table, {}).items()}


def reverse(fn):
    """fn with its operands swapped, for __rsub__ and its kin."""
    return lambda a, b: fn(b, a)


# ---- the package's functions -------------------------------------------------------------------

TAKE_ARRAYS = {"tensor", "as_tensor", "from_numpy"}


def public(fn):
    """A function as users call it: raw arrays are refused, and out= takes the result."""

    @functools.wraps(fn)
    def function(*args, out=None, **kwargs):
        if args and type(args[0]) is ndarray and fn.__name__ not in TAKE_ARRAYS:
            raise TypeError(
                f"{fn.__name__}(): argument must be Tensor, got numpy.ndarray; wrap it with "
                "dtorch.from_numpy"
            )
        result = fn(*args, **kwargs)
        return result if out is None else into(out, result)

    return function


def into(out, result):
    """Store a result, or each of several, in the tensors given as out=."""
    if isinstance(result, tuple):
        given = tuple(map(into, out, result))
        return type(result)(*given) if hasattr(result, "_fields") else given
    if not isinstance(out, Tensor):
        raise TypeError(f"out= must be a Tensor, got {type(out).__name__}")
    if out._rg or result._rg:
        raise RuntimeError(
            "functions with out=... arguments don't support automatic differentiation, but one of "
            "the arguments requires grad."
        )
    if out.shape != result.shape:
        out.resize_(result.shape)
    return write(out, result, "out=")


# ---- moving and casting --------------------------------------------------------------------------


def to(self, *args, dtype=None, device=None, non_blocking=False, copy=False, memory_format=None):
    """to(dtype), to(device), to(device, dtype), to(other): itself if nothing changes."""
    given = list(args)
    if given and isinstance(given[0], Tensor):
        other = given.pop(0)
        device, dtype = other.device, other.dtype
    elif given and isinstance(given[0], (str, int, devices.device)) or given and given[0] is None:
        device = given.pop(0)
    if given and isinstance(given[0], dtypes.dtype) or given and given[0] is None:
        dtype = given.pop(0)
    if given:
        non_blocking, copy = (*given, copy)[:2]
    if not isinstance(dtype, (dtypes.dtype, type(None))):
        raise TypeError(f"to(): expected a dtorch.dtype, got {dtype!r}")
    if not isinstance(non_blocking, bool):
        raise TypeError(f"to() received an invalid combination of arguments: {non_blocking!r}")
    result = self
    if device is not None and devices.device(device) != self.device:
        result = move(result, device)
    if dtype is not None:
        result = shape.cast(result, dtype.np)
    return result.clone() if copy and result is self else result


def move(t, device):
    """The tensor on another device; the gradient comes back to the device of `t`."""
    where = devices.device(device)
    devices.namespace(where)
    return shape.moved(t, device=str(where), source=str(t.device))


def _cast_method(d):
    def method(self, memory_format=None):
        return shape.cast(self, d.np)

    return method


def type_(self, dtype=None, non_blocking=False):
    """The name of the tensor's type, or the tensor as another dtype."""
    if dtype is None:
        where = "dtorch.cuda." if self.is_cuda else "dtorch."
        return f"{where}{TYPE_NAMES[self.dtype]}Tensor"
    return to(self, dtype)


def type_as(self, other):
    """self.to(other.dtype), on the device of `other`."""
    return to(self, other)


TYPE_NAMES = {
    dtypes.float32: "Float", dtypes.float64: "Double", dtypes.float16: "Half",
    dtypes.bfloat16: "BFloat16", dtypes.int32: "Int", dtypes.int64: "Long", dtypes.int16: "Short",
    dtypes.int8: "Char", dtypes.uint8: "Byte", dtypes.bool_: "Bool",
    dtypes.complex64: "ComplexFloat", dtypes.complex128: "ComplexDouble",
}  # fmt: skip


def copy_(self, src, non_blocking=False):
    """Copy the values of `src`, broadcast and cast, into this tensor."""
    if not isinstance(src, Tensor):
        raise TypeError(f"copy_(): argument 'other' must be Tensor, not {type(src).__name__}")
    value = shape.cast(src if src.device == self.device else move(src, self.device), self._a.dtype)
    if value.shape != self.shape:
        value = shape.expand(value, self.shape)
    if value is src and src._rg:  # a node of its own: hooks on self are not hooks on src
        value = wrap(src._a, Node(ALIAS, (edge(src),), None, None, None, None, next_seq()))
    return write(self, value, "copy_")


def fill_(self, value):
    """Set every element to a number, or to a 0-d tensor."""
    if isinstance(value, Tensor):
        if value.ndim:
            raise RuntimeError(
                f"fill_ only supports 0-dimension value tensor but got tensor with {value.ndim} "
                "dimensions."
            )
        return copy_(self, value)
    return copy_(self, wrap(backend_of(self._a).asarray(value, dtype=self._a.dtype)))


def zero_(self):
    return fill_(self, 0)


METHODS = {
    "to": to, "type": type_, "type_as": type_as, "copy_": copy_, "fill_": fill_, "zero_": zero_,
    "float": _cast_method(dtypes.float32), "double": _cast_method(dtypes.float64),
    "half": _cast_method(dtypes.float16), "bfloat16": _cast_method(dtypes.bfloat16),
    "int": _cast_method(dtypes.int32), "long": _cast_method(dtypes.int64),
    "short": _cast_method(dtypes.int16), "char": _cast_method(dtypes.int8),
    "cfloat": _cast_method(dtypes.complex64), "cdouble": _cast_method(dtypes.complex128),
    "byte": _cast_method(dtypes.uint8), "bool": _cast_method(dtypes.bool_),
    "cpu": lambda self, memory_format=None: to(self, "cpu"),
    "cuda": lambda self, device=None, non_blocking=False: to(
        self, devices.device("cuda" if device is None else device)
    ),
    "is_floating_point": lambda self: self.dtype.is_floating_point,
    "is_complex": lambda self: self.dtype.is_complex,
    "is_signed": lambda self: self.dtype.is_signed,
}  # fmt: skip


def result_type(tensor1, tensor2):
    """The dtype that an operator on these two, tensors or numbers, gives."""
    operands = (tensor1, tensor2)
    return dtypes.result_dtype([x._a if isinstance(x, Tensor) else x for x in operands])


_WRITES = {"zero_": zero_, "fill_": fill_}

OPERATORS = {
    "__add__": ar.add.fn, "__radd__": ar.add.fn,
    "__sub__": ar.sub.fn, "__rsub__": reverse(ar.sub.fn),
    "__mul__": ar.mul.fn, "__rmul__": ar.mul.fn, "__truediv__": ar.div.fn,
    "__rtruediv__": reverse(ar.div.fn), "__rdiv__": reverse(ar.div.fn),
    "__pow__": ar.pow.fn, "__rpow__": reverse(ar.pow.fn),
    "__floordiv__": ar.floor_divide.fn, "__rfloordiv__": reverse(ar.floor_divide.fn),
    "__mod__": ar.remainder.fn, "__rmod__": reverse(ar.remainder.fn),
    "__neg__": ar.neg.fn, "__pos__": pointwise.positive.fn, "__abs__": pointwise.abs.fn,
    "__invert__": ar.bitwise_not.fn, "__and__": ar.bitwise_and.fn, "__or__": ar.bitwise_or.fn,
    "__xor__": ar.bitwise_xor.fn, "__rand__": ar.bitwise_and.fn, "__ror__": ar.bitwise_or.fn,
    "__rxor__": ar.bitwise_xor.fn, "__lshift__": ar.bitwise_left_shift.fn,
    "__rshift__": ar.bitwise_right_shift.fn,
    "__matmul__": linalg.matmul, "__rmatmul__": reverse(linalg.matmul),
    "__getitem__": index.getitem, "__setitem__": index.setitem,
    "__gt__": compare.gt.fn, "__ge__": compare.ge.fn, "__lt__": compare.lt.fn,
    "__le__": compare.le.fn, "__eq__": compare.eq.fn, "__ne__": compare.ne.fn,
}  # fmt: skip


AUGMENTED = {
    "iadd": "add_", "isub": "sub_", "imul": "mul_", "itruediv": "div_", "ipow": "pow_",
    "ifloordiv": "floor_divide_", "imod": "remainder_", "iand": "bitwise_and_",
    "ior": "bitwise_or_", "ixor": "bitwise_xor_",
}  # fmt: skip


def _attach():
    """Hang everything on Tensor; an operator on an operand that it does not know is left to it."""
    for name, fn in (_collect("METHODS") | storage.METHODS | METHODS).items():
        setattr(Tensor, name, fn)
    for name, fn in _collect("IN_PLACE").items():
        setattr(Tensor, name + "_", in_place(fn, UFUNCS.get(name)))
    for name, fn in OPERATORS.items():
        setattr(Tensor, name, fn)
    for name, method in AUGMENTED.items():
        setattr(Tensor, f"__{name}__", getattr(Tensor, method))
    Tensor.T = property(lambda self: self.permute(*range(self.ndim)[::-1]))
    Tensor.mT = property(lambda self: self.transpose(-2, -1))
    Tensor.H = property(lambda self: self.t().conj() if self.is_complex() else self.t())
    Tensor.mH = property(lambda self: self.adjoint())


_attach()
FUNCTIONS = {name: public(fn) for name, fn in (_collect("FUNCTIONS") | _WRITES).items()} | {
    "result_type": result_type, "is_tensor": lambda obj: isinstance(obj, Tensor),
    "is_storage": storage.is_storage, "from_dlpack": storage.from_dlpack,
    "is_floating_point": METHODS["is_floating_point"], "is_complex": METHODS["is_complex"],
}  # fmt: skip
__all__ = ["FUNCTIONS", "public"]
