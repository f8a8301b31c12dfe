"""Data types, torch's rules of type promotion, and the default dtype."""

from __future__ import annotations

import math
from typing import Any

from .backend.cpu import bfloat16 as np_bfloat16
from .backend.cpu import dtype as np_dtype
from .backend.cpu import finfo_of as np_finfo

package = "dtorch"  # as it prints; dtorch.as_torch makes it "torch"


class dtype:
    """A data type, such as dtorch.float32.  There is one object for each."""

    __slots__ = ("name", "np", "category", "itemsize")

    def __init__(self, name: str, np: Any, category: int) -> None:
        self.name = name
        self.np = np
        self.category = category  # 0 bool, 1 integer, 2 floating point, 3 complex
        self.itemsize = np.itemsize

    @property
    def is_floating_point(self) -> bool:
        return self.category == 2

    @property
    def is_complex(self) -> bool:
        return self.category == 3

    @property
    def is_signed(self) -> bool:
        return self.category >= 2 or self.np.kind == "i"

    def to_complex(self) -> dtype:
        return {"float32": complex64, "float64": complex128}.get(self.name, complex64)

    def to_real(self) -> dtype:
        return {"complex64": float32, "complex128": float64}.get(self.name, self)

    def __repr__(self) -> str:
        return f"{package}.{self.name}"

    def __reduce__(self) -> tuple[Any, ...]:
        return dtype_named, (self.name,)


def dtype_named(name: str) -> dtype:
    return ALL[name]


class layout:
    """How a tensor's elements lie in memory: dtorch.strided, or one of the sparse layouts."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"{package}.{self.name}"

    def __reduce__(self) -> str:
        return self.name  # of this module


strided = layout("strided")
sparse_coo = layout("sparse_coo")
sparse_csr = layout("sparse_csr")
sparse_csc = layout("sparse_csc")
sparse_bsr = layout("sparse_bsr")
sparse_bsc = layout("sparse_bsc")
LAYOUTS = {x.name: x for x in (strided, sparse_coo, sparse_csr, sparse_csc, sparse_bsr, sparse_bsc)}


class memory_format(layout):
    """An order of a tensor's memory: accepted where torch takes one, values never depend on it."""


contiguous_format = memory_format("contiguous_format")
preserve_format = memory_format("preserve_format")
channels_last = memory_format("channels_last")
channels_last_3d = memory_format("channels_last_3d")


uint8 = dtype("uint8", np_dtype("uint8"), 1)
uint16 = dtype("uint16", np_dtype("uint16"), 1)
uint32 = dtype("uint32", np_dtype("uint32"), 1)
uint64 = dtype("uint64", np_dtype("uint64"), 1)
int8 = dtype("int8", np_dtype("int8"), 1)
int16 = short = dtype("int16", np_dtype("int16"), 1)
int32 = int_ = dtype("int32", np_dtype("int32"), 1)
int64 = long = dtype("int64", np_dtype("int64"), 1)
float16 = half = dtype("float16", np_dtype("float16"), 2)
bfloat16 = dtype("bfloat16", np_bfloat16, 2)
float32 = float_ = dtype("float32", np_dtype("float32"), 2)
float64 = double = dtype("float64", np_dtype("float64"), 2)
complex64 = cfloat = dtype("complex64", np_dtype("complex64"), 3)
complex128 = cdouble = dtype("complex128", np_dtype("complex128"), 3)
bool_ = dtype("bool", np_dtype("bool"), 0)

ALL = {d.name: d for d in list(globals().values()) if isinstance(d, dtype)}
OF_NUMPY = {d.np: d for d in ALL.values()}

LEGACY_NAMES = {
    float32: "Float", float64: "Double", float16: "Half", bfloat16: "BFloat16", int32: "Int",
    int64: "Long", int16: "Short", int8: "Char", uint8: "Byte", bool_: "Bool",
    uint16: "UInt16", uint32: "UInt32", uint64: "UInt64",
    complex64: "ComplexFloat", complex128: "ComplexDouble",
}  # fmt: skip


def of_numpy(np_type: Any) -> dtype:
    """The dtype of arrays of a NumPy dtype; TypeError when there is none (strings, objects)."""
    found = OF_NUMPY.get(np_type)
    if found is None:
        raise TypeError(
            f"can't convert a numpy array of dtype {np_type}. The only supported types are: "
            f"{', '.join(ALL)}."
        )
    return found


_OF_PYTHON: dict[Any, dtype] = {bool: bool_, int: int64, float: float64, complex: complex128}


def as_dtype(d: Any) -> Any:
    """A dtype, or None, as it is; the dtype that a Python type names: float is float64."""
    if d is None or type(d) is dtype:
        return d
    if isinstance(d, type) and d in _OF_PYTHON:
        return _OF_PYTHON[d]
    raise TypeError(f"dtype must be a dtorch.dtype, or one of bool, int, float, complex; got {d!r}")


def check_kind(op: str, kinds: str, *arrays: Any) -> None:
    """NotImplementedError unless the arrays (not numbers) are of these kinds: NumPy's letters."""
    for a in arrays:
        if hasattr(a, "dtype") and a.dtype.kind.replace("V", "f") not in kinds:  # V: bfloat16's
            name = LEGACY_NAMES[of_numpy(a.dtype)]
            raise NotImplementedError(f"\"{op.strip('_')}_cpu\" not implemented for '{name}'")


# ---- limits ----------------------------------------------------------------------------------


class finfo:
    """The limits of a floating point dtype: bits, eps, min, max, tiny, smallest_normal, resolution."""

    def __init__(self, type: dtype | None = None) -> None:
        d = _default if type is None else as_dtype(type)
        if d.category < 2:
            raise TypeError(
                f"dtorch.finfo() requires a floating point input type, got {d}. Use dtorch.iinfo."
            )
        limits = np_finfo(d.to_real().np)
        self.dtype = d.to_real().name
        self.bits = limits.bits
        self.eps, self.min, self.max = map(float, (limits.eps, limits.min, limits.max))
        self.tiny = self.smallest_normal = float(limits.smallest_normal)
        self.resolution = float(f"{float(limits.resolution):.0e}")

    def __repr__(self) -> str:
        return (
            f"finfo(resolution={self.resolution:g}, min={self.min:g}, max={self.max:g}, "
            f"eps={self.eps:g}, smallest_normal={self.smallest_normal:g}, tiny={self.tiny:g}, "
            f"dtype={self.dtype})"
        )


class iinfo:
    """The limits of an integer dtype: bits, min, max."""

    def __init__(self, type: dtype) -> None:
        type = as_dtype(type)
        if type.category != 1:
            raise TypeError(
                f"dtorch.iinfo() requires an integer input type, got {type}. Use dtorch.finfo."
            )
        self.dtype = type.name
        self.bits = 8 * type.itemsize
        low = -(2 ** (self.bits - 1)) if type.is_signed else 0
        self.min, self.max = low, low + 2**self.bits - 1

    def __repr__(self) -> str:
        return f"iinfo(min={self.min}, max={self.max}, dtype={self.dtype})"


# ---- the default -----------------------------------------------------------------------------

_default = float32


def get_default_dtype() -> dtype:
    """The dtype of new floating-point tensors: float32 unless set_default_dtype() has changed it."""
    return _default


def set_default_dtype(d: dtype) -> None:
    """Set what Python floats become; TypeError unless `d` is a floating point dtype."""
    global _default
    if not isinstance(d, dtype) or not d.is_floating_point:
        raise TypeError(f"only floating-point types are supported as the default type, got {d}")
    _default = d


# ---- promotion -------------------------------------------------------------------------------

_INTS = [uint8, int8, int16, int32, int64]
_WIDE_UNSIGNED = {uint16, uint32, uint64}
_FLOATS = [float16, bfloat16, float32, float64]


def _promote(a: dtype, b: dtype) -> dtype | None:
    if a is b:
        return a
    if max(a.category, b.category) < 2 and _WIDE_UNSIGNED & {a, b}:
        return None
    low, high = sorted((a, b), key=lambda d: d.category)
    if low.category < high.category:
        if high.is_complex and low.is_floating_point:
            return complex128 if float64 in (low, high) or high is complex128 else complex64
        return high
    if a.category == 1:
        if uint8 in (a, b):  # uint8 needs one size up from int8 to hold both
            other = b if a is uint8 else a
            return int16 if other is int8 else other
        return max(a, b, key=lambda d: d.itemsize)
    if {a, b} == {float16, bfloat16}:
        return float32
    return max(a, b, key=lambda d: d.itemsize)


class _Table(dict[tuple[dtype, dtype], dtype]):
    def __missing__(self, pair: tuple[dtype, dtype]) -> dtype:
        raise RuntimeError(
            "Promotion for uint16, uint32, uint64 types is not supported, attempted to promote "
            f"{pair[0].name} and {pair[1].name}; convert one with .to(dtype)"
        )


_TABLE = _Table(
    {(a, b): d for a in ALL.values() for b in ALL.values() if (d := _promote(a, b)) is not None}
)


def promote_types(type1: dtype, type2: dtype) -> dtype:
    """The smallest dtype that holds both: torch's table, in which no integer widens a float."""
    return _TABLE[as_dtype(type1), as_dtype(type2)]


def of_scalar(x: object) -> dtype:
    """The dtype that a Python number stands for."""
    if isinstance(x, bool):
        return bool_
    if isinstance(x, int):
        return int64
    if isinstance(x, float):
        return _default
    if isinstance(x, complex):
        return _default.to_complex()
    raise TypeError(f"expected a Tensor or a number, got {type(x).__name__}")


def as_held(x: Any, d: dtype) -> Any:
    """A Python number as an element of dtype `d` is made of it: RuntimeError if it does not fit.

    Fractions are cut off for integers; a negative number counts from the top of an unsigned dtype.
    """
    fits, given = True, x
    if d.category < 3 and isinstance(x, complex):
        fits, x = not x.imag, x.real
    if d.category == 0:
        x = bool(x)
    elif d.category == 1:
        info = iinfo(d)
        fits = fits and math.isfinite(x)
        x = int(x) if fits else 0
        if info.min == 0 and -info.max <= x < 0:
            x += info.max + 1
        fits = fits and info.min <= x <= info.max
    elif d.category == 2:
        fits = fits and not finfo(d).max < abs(x) < math.inf
    if not fits:
        raise RuntimeError(f"value cannot be converted to type {d.name} without overflow: {given}")
    return x


def result_dtype(operands: Any) -> dtype:
    """The dtype of an op on these arrays and Python numbers.

    Arrays with dimensions decide; 0-d arrays, then numbers, only when their category (bool,
    integer, floating point, complex) is a higher one.
    """
    dims = zeros = numbers = None
    for x in operands:
        d = of_numpy(x.dtype) if hasattr(x, "dtype") else of_scalar(x)
        if not hasattr(x, "dtype"):
            numbers = d if numbers is None else _TABLE[numbers, d]
        elif x.ndim:
            dims = d if dims is None else _TABLE[dims, d]
        else:
            zeros = d if zeros is None else _TABLE[zeros, d]
    result = None
    for kind in (dims, zeros, numbers):
        if kind is not None and (result is None or kind.category > result.category):
            result = kind if result is None else _raise_category(result, kind)
    assert result is not None
    return result


def _raise_category(result: dtype, d: dtype) -> dtype:
    """`result` in the category of `d`: a float64 tensor and a complex number make complex128."""
    if d.is_complex:
        return _TABLE[result, complex64] if result.category == 2 else d
    return d


def can_cast(from_: dtype, to: dtype) -> bool:
    """Whether an in-place op may store a result of dtype `from_` into a tensor of dtype `to`."""
    from_, to = as_dtype(from_), as_dtype(to)
    return from_.category <= to.category or (from_.category == 1 and to.category == 1)
