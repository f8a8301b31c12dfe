"""What convolution and pooling share: a kernel's windows over the last dimensions of an array.

Sizes, strides and the like are tuples with one entry for each of these dimensions.
"""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

from itertools import product
from numbers import Integral
from typing import NamedTuple


def ntuple(value, n, name="argument"):
    """An int, or a sequence of 1 or n ints, as a tuple of n."""
    if isinstance(value, Integral):
        return (int(value),) * n
    value = tuple(int(v) for v in value)
    if len(value) == 1:
        return value * n
    if len(value) != n:
        raise RuntimeError(f"expected {name} to be a single integer value or a list of {n} values, "
                           f"but got {name}={list(value)}")  # fmt: skip
    return value


class Geometry(NamedTuple):
    """How windows lie: of `kernel` over an input of `size`, `out` many of them."""

    size: tuple[int, ...]
    kernel: tuple[int, ...]
    out: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]

    @property
    def pads(self):
        """(before, after) for each dimension; a last window that hangs over needs more after."""
        return [
            (p, max(p, (o - 1) * s + r - n - p))
            for n, o, s, p, r in zip(
                self.size, self.out, self.stride, self.padding, reach(self.kernel, self.dilation)
            )
        ]

    @property
    def padded_size(self):
        return tuple(b + n + a for n, (b, a) in zip(self.size, self.pads))


def out_size(size, kernel, stride, padding, dilation, ceil_mode=False):
    """How many windows there are; with ceil_mode also one that hangs over, if it starts inside."""
    result = []
    for n, p, s, r in zip(size, padding, stride, reach(kernel, dilation)):
        free = n + 2 * p - r
        out = (-(-free // s) if ceil_mode else free // s) + 1
        result.append(out - (ceil_mode and (out - 1) * s >= n + p))
    return tuple(result)


def reach(kernel, dilation):
    """How many elements a dilated kernel spans."""
    return tuple(d * (k - 1) + 1 for k, d in zip(kernel, dilation))


def padded(xp, x, pads, value=0):
    """x with (before, after) elements of `value` around each of its last dimensions."""
    if not any(map(any, pads)):
        return x
    lead = x.ndim - len(pads)
    shape = x.shape[:lead] + tuple(b + n + a for n, (b, a) in zip(x.shape[lead:], pads))
    out = xp.full(shape, value, x.dtype) if value else xp.zeros(shape, x.dtype)
    out[inner(x.shape[lead:], pads)] = x
    return out


def inner(sizes, pads):
    """The index of what lies within the padding."""
    return (..., *(slice(b, b + n) for n, (b, _) in zip(sizes, pads)))


def windows(xp, x, kernel, stride, dilation, out):
    """The view (..., *kernel, *out) of x (..., *size): each window's elements."""
    n = len(kernel)
    steps = x.strides[-n:]
    return xp.as_strided(
        x,
        (*x.shape[:-n], *kernel, *out),
        (
            *x.strides[:-n],
            *(s * d for s, d in zip(steps, dilation)),
            *(s * t for s, t in zip(steps, stride)),
        ),
    )


def taps(x, kernel, stride, dilation, out):
    """For each position in the kernel, the view (..., *out) of x (..., *size) that it sees."""
    for position in product(*map(range, kernel)):
        yield x[(..., *(slice(i * d, i * d + (o - 1) * s + 1, s)
                        for i, s, d, o in zip(position, stride, dilation, out)))]  # fmt: skip
