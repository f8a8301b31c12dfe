"""Where the elements of an array lie in the memory that it is a view of, and the way back."""

from __future__ import annotations

import operator
from math import prod
from typing import Any

from . import backend


def geometry(a: Any) -> tuple[tuple[int, ...], tuple[int, ...], int]:
    """The shape and strides of an array and its offset in its storage, in elements."""
    xp, k = backend.of(a), a.itemsize
    offset = (xp.address(a) - xp.address(xp.root(a))) // k
    return a.shape, tuple(s // k for s in a.strides), offset


def strided(memory: Any, dtype: Any, shape: Any, strides: Any, offset: int) -> Any:
    """The array of this NumPy dtype, shape, strides and offset (in elements) in flat memory.

    RuntimeError where it would reach outside of the memory.
    """
    whole = len(memory) * memory.itemsize // dtype.itemsize
    shape, strides = tuple(map(operator.index, shape)), tuple(map(operator.index, strides))
    if len(shape) != len(strides) or min((*shape, *strides, operator.index(offset)), default=0) < 0:
        raise RuntimeError(
            f"setStorage: sizes {list(shape)}, strides {list(strides)} and storage offset {offset} "
            "have to be as many as dimensions, and none negative"
        )
    end = 0 if 0 in shape else offset + 1 + sum((n - 1) * s for n, s in zip(shape, strides))
    if end > whole:
        raise RuntimeError(
            f"setStorage: sizes {list(shape)}, strides {list(strides)}, storage offset {offset} "
            f"require {end} elements, and are out of bounds for storage of size {whole}"
        )
    xp = backend.of(memory)
    used = memory[: whole * dtype.itemsize // memory.itemsize]
    typed = used if used.dtype == dtype else used.view(dtype)
    return xp.as_strided(typed[offset:], shape, [s * dtype.itemsize for s in strides])


def storable(a: Any) -> Any:
    """The array, or a copy of it where a storage can't hold it as it is.

    So it is when its elements go backwards, or lie in foreign memory that has gaps.
    """
    xp, k = backend.of(a), a.itemsize
    owner = xp.root(a)
    fits = (
        (owner.flags.c_contiguous or owner.flags.f_contiguous)
        and owner.nbytes % k == (xp.address(a) - xp.address(owner)) % k == 0
        and all(s >= 0 and s % k == 0 for s in a.strides)
    )
    return a if fits else a.copy(order="C")


def contiguous_strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(prod(shape[i + 1 :]) for i in range(len(shape)))
