"""The CPU backend: NumPy under its own names, and what NumPy lacks."""

import importlib
import warnings
from typing import Any

import ml_dtypes
import numpy as np

from .allocator import keep_freed_memory

keep_freed_memory()
# IEEE results without warnings, as in torch.  NumPy keeps the first setting by context: a thread that
# a user starts has a new one, and needs the second.
np.seterr(all="ignore")
warnings.filterwarnings("ignore", category=RuntimeWarning, module=r"dtorch\.core\.")

name = "cpu"
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


def special(function: str) -> Any:
    """A function of scipy.special, which is imported on first use only."""
    return getattr(importlib.import_module("scipy.special"), function)


def erf(x: Any) -> Any:
    return special("erf")(x)


def relu(x: Any) -> Any:
    return np.maximum(x, 0)


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
    while True:
        base = a.base
        if type(base) is not ndarray:
            base = getattr(base, "base", None)  # as_strided puts an object between the two
            if type(base) is not ndarray:
                return a
        a = base


def address(a: Any) -> int:
    return a.__array_interface__["data"][0]


def scatter_add(target: Any, index: Any, value: Any) -> None:
    """target[index] += value, where an index that comes twice adds twice."""
    np.add.at(target, index, value)


def index_rows_add(target: Any, rows: Any, value: Any) -> None:
    """target[rows[i]] += value[i]; sorts instead of `add.at`, which is slow for whole rows.

    target: (V, ...), rows: (N,) integers, value: (N, ...)
    """
    if not rows.size:
        return
    order = np.argsort(rows, kind="stable")
    rows = rows[order]
    starts = np.flatnonzero(np.concatenate(([True], rows[1:] != rows[:-1])))
    target[rows[starts]] += np.add.reduceat(value[order], starts, axis=0)


def to_numpy(a: Any) -> Any:
    return a


def synchronize() -> None:
    """The CPU has nothing in flight."""
