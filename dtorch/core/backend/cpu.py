"""The CPU backend: NumPy under its own names, and what NumPy lacks."""

import contextlib
import functools
import importlib
import warnings
from typing import Any

import ml_dtypes
import numpy as np

from . import onednn
from .allocator import keep_freed_memory

keep_freed_memory()
# IEEE results without warnings, as in torch.  NumPy keeps the first setting by context: a thread that
# a user starts has a new one, and needs the second.
np.seterr(all="ignore")
warnings.filterwarnings("ignore", category=RuntimeWarning, module=r"dtorch\.(core|optim)\.")

name = "cpu"
# Elements that a chain of elementwise kernels takes at a time, to find them in the cache again.
slice_size = 1 << 18
ndarray = np.ndarray
bfloat16 = np.dtype(ml_dtypes.bfloat16)


def __getattr__(attr: str) -> Any:
    """Everything that NumPy has, kept here after the first look."""
    value = getattr(np, attr)
    globals()[attr] = value
    return value


def finfo_of(d: Any) -> Any:
    """NumPy's finfo, of bfloat16 too."""
    return ml_dtypes.finfo(d) if d == bfloat16 else np.finfo(d)


@functools.cache
def special(function: str) -> Any:
    """A function of scipy.special, which is imported on first use only."""
    return getattr(importlib.import_module("scipy.special"), function)


def scipy_linalg(function: str) -> Any:
    """A function of scipy.linalg, which is imported on first use only."""
    return getattr(importlib.import_module("scipy.linalg"), function)


def lapack(routine: str, a: Any) -> Any:
    """The routine of BLAS or LAPACK for a's dtype: "getrf" is dgetrf for float64."""
    find = "get_blas_funcs" if routine == "trsm" else "get_lapack_funcs"
    return scipy_linalg(find)(routine, (a,))


def erf(x: Any) -> Any:
    return special("erf")(x)


# With a 0 of an array's own dtype NumPy has nothing to convert, which takes as long as small arrays do.
_ZERO = {np.dtype(kind): np.zeros((), kind) for kind in "fd"}


def relu(x: Any) -> Any:
    y = onednn.relu(x) if x.size >= onednn.CHAINED else None
    return np.maximum(x, _ZERO.get(x.dtype, 0)) if y is None else y


def add_scaled(target: Any, x: Any, factor: Any) -> None:
    """target += factor * x, in place."""
    if target.size < onednn.CHAINED or not onednn.add_scaled(target, x, factor):
        target += factor * x


def matmul(a: Any, b: Any) -> Any:
    """a @ b, with broadcasting of stacks of matrices."""
    y = onednn.matmul(a, b) if a.ndim > 1 and b.ndim > 1 else None
    return np.matmul(a, b) if y is None else y


def dot(a: Any, b: Any) -> Any:
    """a @ b of two matrices, or vectors: copies what BLAS can't read."""
    y = onednn.matmul(a, b) if a.ndim == b.ndim == 2 else None
    return np.dot(a, b) if y is None else y


def as_strided(a: Any, shape: Any, strides: Any) -> Any:
    """A view of `a` with these shape and strides (in bytes)."""
    try:
        return np.ndarray(shape, a.dtype, a, 0, strides)  # quick, for what has a buffer
    except (TypeError, ValueError):
        return np.lib.stride_tricks.as_strided(a, shape, strides)


def reshaped(a: Any, shape: Any) -> Any:
    """A view of `a` with this shape; ValueError where only a copy could have it."""
    return a.reshape(shape, copy=False)


def memory(a: Any) -> Any:
    """All of the memory that `a` lies in, as elements of its dtype.  (n,)"""
    owner = root(a)
    flat = as_strided(owner, (owner.size,), (owner.itemsize,))  # an owner has no gaps
    return flat if owner.dtype == a.dtype else flat.view(a.dtype)


def strided_storage(a: Any, shape: Any, strides: Any, offset: int) -> Any:
    """A view of the whole buffer that `a` lies in; strides and offset in elements."""
    flat, step = memory(a), a.itemsize
    if not flat.size or 0 in shape:
        return np.ndarray(shape, a.dtype)
    return as_strided(flat[offset:], shape, [s * step for s in strides])


def root(a: Any) -> Any:
    """The array that owns the memory which `a` is a view of."""
    return _owner(a, None)


def _owner(a: Any, until: Any) -> Any:
    """`root`, or an array of type `until` on the way there."""
    while True:
        base = a.base
        if type(base) is until:
            return base
        if type(base) is not ndarray and type(base) is not _Apart:
            base = getattr(base, "base", None)  # as_strided puts an object between the two
            if type(base) is not ndarray:
                return a
        a = base


class _Apart(np.ndarray):
    """Lies between an array and its base where writes to the array are counted apart."""


def apart(a: Any) -> Any:
    """The same memory as an array that has a `counter` of its own."""
    # NumPy makes the base of a view the base's own, unless that is of another type: hence two.
    return a.view(_Apart).view(_Apart).view(np.ndarray)


def counter(a: Any) -> Any:
    """The array by which in-place writes to `a` are counted: the same for `a` and its views."""
    return _owner(a, _Apart)


def address(a: Any) -> int:
    return a.__array_interface__["data"][0]


def scatter_add(target: Any, index: Any, value: Any) -> None:
    """target[index] += value, where an index that comes twice adds twice."""
    np.add.at(target, index, value)


def combine_at(ufunc: str, target: Any, index: Any, value: Any) -> None:
    """target[index] = ufunc(target[index], value), where an index that comes twice counts twice."""
    getattr(np, ufunc).at(target, index, value)


def accumulate(ufunc: str, x: Any, axis: int) -> Any:
    """The results of a ufunc, one that is associative, over the first 1, 2, ... elements."""
    return getattr(np, ufunc).accumulate(x, axis=axis)


def index_rows_add(target: Any, rows: Any, value: Any) -> None:
    """target[rows[i]] += value[i]; sorts instead of `add.at`, which is slow for whole rows.

    target: (V, ...), rows: (N,) integers, value: (N, ...)
    """
    if not rows.size:
        return
    order = np.argsort(rows, kind="stable")
    rows = rows[order]
    starts = np.flatnonzero(np.concatenate(([True], rows[1:] != rows[:-1])))
    if value.size < 1 << 12 or value.dtype.char not in "fdFD":
        target[rows[starts]] += np.add.reduceat(value[order], starts, axis=0)
        return
    # As the product with a matrix of ones, a row for each sum: five times as fast as reduceat.
    sparse = importlib.import_module("scipy.sparse")
    ends = np.append(starts, rows.size)
    ones = np.ones(rows.size, value.dtype)
    sums = sparse.csr_array((ones, order, ends), (starts.size, rows.size)) @ value.reshape(
        rows.size, -1
    )
    target[rows[starts]] += sums.reshape(-1, *value.shape[1:])


def coo_matmul(values: Any, rows: Any, cols: Any, shape: tuple[int, int], dense: Any) -> Any:
    """The matrix of `shape` with values[i] at (rows[i], cols[i]), times a dense one.

    values, rows, cols: (nnz,), dense: (shape[1], M) -> (shape[0], M)
    """
    sparse = importlib.import_module("scipy.sparse")
    return sparse.csr_array((values, (rows, cols)), shape) @ dense


def in_range(index: Any, n: int) -> bool:
    """Whether 0 <= index < n for all of an array of integers."""
    return not index.size or bool(index.min() >= 0 and index.max() < n)


_THERE = contextlib.nullcontext()


def on(*arrays: Any) -> Any:
    """A context in which the arrays' device is the current one."""
    return _THERE


def to_numpy(a: Any) -> Any:
    return a


def synchronize() -> None:
    """The CPU has nothing in flight."""
