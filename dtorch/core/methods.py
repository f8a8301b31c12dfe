"""The table that hangs ops on Tensor, and on the package, under torch's names.

Each file of core/ops ends with FUNCTIONS (dtorch.name), METHODS (Tensor.name) and IN_PLACE
(Tensor.name_), dicts from a name to a function.  This module collects them and adds the operators.
"""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

import importlib
import numbers
import pkgutil

from . import autograd, dlpack, memory, ops, surface
from . import device as devices
from . import dtype as dtypes
from .backend import of as backend_of
from .backend.cpu import ndarray
from .calling import method, public
from .graph import ALIAS, Node, next_seq
from .modes import grad_on
from .ops import arithmetic as ar
from .ops import compare, create, index, linalg, pointwise, shape
from .tensor import Tensor, edge, wrap
from .views import check_writable, in_place, write

FAMILIES = [
    importlib.import_module(f"{ops.__name__}.{m.name}") for m in pkgutil.iter_modules(ops.__path__)
]
UFUNCS = {"add": "add", "mul": "multiply", "sub": "subtract", "div": "true_divide"}


def collect(table):
    """The entries of every family's table of this name."""
    return {name: fn for family in FAMILIES for name, fn in getattr(family, table, {}).items()}


def equality(fn):
    """== and != leave it to Python to compare with what is no tensor and no number, such as None."""

    def compare(self, other):
        if isinstance(other, (Tensor, numbers.Number, ndarray)):
            return fn(self, other)
        return NotImplemented

    compare.__name__ = compare.__qualname__ = fn.__name__
    return compare


def reverse(fn):
    """fn with its operands swapped, for __rsub__ and its kin."""
    return lambda a, b: fn(b, a)


# ---- moving and casting --------------------------------------------------------------------------


def to(self, *args, dtype=None, device=None, non_blocking=False, copy=False, memory_format=None):
    """to(dtype), to(device), to(device, dtype), to(other): itself if nothing changes."""
    given = list(args)
    if given and isinstance(given[0], Tensor):
        other = given.pop(0)
        device, dtype = other.device, other.dtype
    elif given and isinstance(given[0], (str, int, devices.device)) or given and given[0] is None:
        device = given.pop(0)
    if given and (given[0] is None or isinstance(given[0], (dtypes.dtype, type))):
        dtype = given.pop(0)
    if given:
        non_blocking, copy = (*given, copy)[:2]
    dtype = dtypes.as_dtype(dtype)
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
        where = ".cuda" * self.is_cuda + ".sparse" * self.is_sparse
        return f"{dtypes.package}{where}.{dtypes.LEGACY_NAMES[self.dtype]}Tensor"
    wanted = surface.of_type(dtype)
    return to(self, "cuda", wanted) if surface.is_cuda_type(dtype) else to(self, wanted)


def type_as(self, other):
    """self.to(other.dtype), on the device of `other`."""
    return to(self, other)


def _matched(src, self):
    """`src` on the device of `self`, in its dtype and its shape."""
    value = shape.cast(src if src.device == self.device else move(src, self.device), self._a.dtype)
    if value.shape != self.shape:
        value = shape.expand(value, self.shape)
    if value is src and src._rg:  # a node of its own: hooks on self are not hooks on src
        value = wrap(src._a, Node(ALIAS, (edge(src),), None, None, None, None, next_seq()))
    return value


def copy_(self, src, non_blocking=False):
    """Copy the values of `src`, broadcast and cast, into this tensor."""
    if not isinstance(src, Tensor):
        raise TypeError(f"copy_(): argument 'other' must be Tensor, not {type(src).__name__}")
    check_writable(self, grad_on() and (self._rg or src._rg), (src,))
    return write(self, _matched(src, self), "copy_")


def fill_(self, value):
    """Set every element to a number, or to a 0-d tensor."""
    if isinstance(value, Tensor):
        if value.ndim:
            raise RuntimeError(
                f"fill_ only supports 0-dimension value tensor but got tensor with {value.ndim} "
                "dimensions."
            )
    else:
        value = dtypes.as_held(value, self.dtype)
        value = wrap(backend_of(self._a).asarray(value, dtype=self._a.dtype))
    return write(self, _matched(value, self), "fill_", alike=True)


def zero_(self):
    """Fill the tensor with 0."""
    if self.layout is not dtypes.strided:
        return write(self, create.zeros_like(self), "zero_")
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
    "is_same_size": lambda self, other: self.shape == other.shape,
}  # fmt: skip


def result_type(tensor1, tensor2):
    """The dtype that an operator on these two, tensors or numbers, gives."""
    operands = (tensor1, tensor2)
    return dtypes.result_dtype([x._a if isinstance(x, Tensor) else x for x in operands])


# methods that the package has as functions too: these in place,
WRITES = [
    "abs", "acos", "acosh", "addmv", "arccos", "arccosh", "arcsin", "arcsinh", "arctan", "arctanh",
    "asin", "asinh", "as_strided", "atan", "atanh", "ceil", "clamp", "clamp_max", "clamp_min",
    "clip", "conj_physical", "cos", "cosh", "deg2rad", "detach", "erf", "erfc", "exp", "exp2",
    "expm1", "fill", "fix", "floor", "frac", "gcd", "i0", "index_put", "lcm", "ldexp", "log",
    "log10", "log1p", "log2", "logit", "nan_to_num", "neg", "negative", "rad2deg", "reciprocal",
    "relu", "resize_as", "round", "rsqrt", "sigmoid", "sin", "sinc", "sinh", "sqrt", "square",
    "tan", "tanh", "trunc", "xlogy", "zero",
]  # fmt: skip
QUERIES = [
    "detach", "is_complex", "is_floating_point", "is_inference", "is_nonzero", "is_same_size",
    "is_signed", "numel",
]  # fmt: skip

OPERATORS = {
    "__add__": ar.add.fn, "__radd__": ar.add.fn,
    "__sub__": ar.sub.fn, "__rsub__": reverse(ar.sub.fn),
    "__mul__": ar.mul.fn, "__rmul__": ar.mul.fn, "__truediv__": ar.div.fn,
    "__rtruediv__": reverse(ar.div.fn), "__rdiv__": reverse(ar.div.fn),
    "__pow__": ar.pow.fn, "__rpow__": reverse(ar.pow.fn),
    "__floordiv__": ar.floor_divide.fn, "__rfloordiv__": reverse(ar.floor_divide.fn),
    "__mod__": ar.remainder.fn, "__rmod__": reverse(ar.remainder.fn),
    "__neg__": ar.neg.fn, "__pos__": pointwise.positive, "__abs__": pointwise.abs.fn,
    "__invert__": ar.invert, "__and__": ar.bitwise_and.fn, "__or__": ar.bitwise_or.fn,
    "__xor__": ar.bitwise_xor.fn, "__rand__": ar.bitwise_and.fn, "__ror__": ar.bitwise_or.fn,
    "__rxor__": ar.bitwise_xor.fn, "__lshift__": ar.bitwise_left_shift.fn,
    "__rshift__": ar.bitwise_right_shift.fn, "__rlshift__": reverse(ar.bitwise_left_shift.fn),
    "__rrshift__": reverse(ar.bitwise_right_shift.fn),
    "__matmul__": linalg.matmul, "__rmatmul__": reverse(linalg.matmul),
    "__getitem__": index.getitem, "__setitem__": index.setitem,
    "__gt__": compare.gt.fn, "__ge__": compare.ge.fn, "__lt__": compare.lt.fn,
    "__le__": compare.le.fn, "__eq__": equality(compare.eq.fn), "__ne__": equality(compare.ne.fn),
}  # fmt: skip


AUGMENTED = {
    "iadd": "add_", "isub": "sub_", "imul": "mul_", "itruediv": "div_", "ipow": "pow_",
    "ifloordiv": "floor_divide_", "imod": "remainder_", "iand": "bitwise_and_",
    "ior": "bitwise_or_", "ixor": "bitwise_xor_", "ilshift": "bitwise_left_shift_",
    "irshift": "bitwise_right_shift_",
}  # fmt: skip


def _matrices(name, transposed):
    """A property of matrices, or of batches of them."""

    def attribute(self):
        if self.ndim == 1:
            raise RuntimeError(
                f"tensor.{name} is only supported on matrices or batches of matrices. Got "
                f"{self.ndim}-D tensor."
            )
        return transposed(self) if self.ndim else self

    return attribute


def _adjoint(self):
    if self.ndim not in (0, 2):
        raise RuntimeError(
            f"tensor.H is only supported on matrices (2-D tensors). Got {self.ndim}-D tensor."
            + (" For batches of matrices, consider using tensor.mH" if self.ndim > 2 else "")
        )
    return self.t().conj() if self.is_complex() else self.t()


TRANSPOSED = {
    "T": lambda self: self.permute(*range(self.ndim)[::-1]), "H": _adjoint,
    "mT": _matrices("mT", lambda self: self.transpose(-2, -1)),
    "mH": _matrices("mH", lambda self: self.adjoint()),
}  # fmt: skip


def _attach():
    """Hang everything on Tensor."""
    shared = autograd.METHODS | memory.METHODS | dlpack.METHODS | surface.METHODS
    for name, fn in (collect("METHODS") | shared | METHODS).items():
        setattr(Tensor, name, method(fn))
    for name, fn in collect("IN_PLACE").items():
        setattr(Tensor, name + "_", in_place(fn, name + "_", UFUNCS.get(name)))
    for name, fn in OPERATORS.items():
        setattr(Tensor, name, fn)
    for name, in_place_name in AUGMENTED.items():
        setattr(Tensor, f"__{name}__", getattr(Tensor, in_place_name))
    for name, attribute in (TRANSPOSED | surface.PROPERTIES).items():
        setattr(Tensor, name, property(attribute))


_attach()
# What a subclass of Tensor gets of its own (subclasses.py): all that makes tensors.
ATTACHED = {
    *collect("METHODS"), *(f"{name}_" for name in collect("IN_PLACE")), *METHODS, *OPERATORS,
    *(f"__{name}__" for name in AUGMENTED), *TRANSPOSED, "detach",
}  # fmt: skip
_SHARED = {name: getattr(Tensor, name) for name in QUERIES + [f"{n}_" for n in WRITES]}
FUNCTIONS = {name: public(fn, name) for name, fn in (collect("FUNCTIONS") | _SHARED).items()} | {
    "result_type": result_type, "is_tensor": lambda obj: isinstance(obj, Tensor),
} | memory.FUNCTIONS | dlpack.FUNCTIONS | surface.FUNCTIONS  # fmt: skip
__all__ = ["FUNCTIONS"]
