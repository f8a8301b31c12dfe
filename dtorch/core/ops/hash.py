"""Hashes of a tensor's elements."""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

from ..backend import of
from ..tensor import wrap
from .reduce import axes
from .shape import raw


def hash_tensor(input, dim=(), *, keepdim=False, mode=0):
    """uint64: the elements over `dim` (default: all), by exclusive or of their bits.

    Floating point numbers are taken as float64 and others as int64, so that equal values of other
    dtypes have the same hash.  mode 0 is the only one there is.
    """
    if mode != 0:
        raise RuntimeError(f"Unknown hash_tensor mode: {mode}")
    a, dims = raw(input), axes(dim, input.ndim)
    if a.dtype.kind == "c":
        raise NotImplementedError(f"\"hash_tensor\" not implemented for '{input.dtype.name}'")
    if 0 in [input.shape[d] for d in dims]:
        error = IndexError if input.numel() or len(dims) < input.ndim else RuntimeError
        raise error(f"hash_tensor: Expected reduction dims {list(dims)} to have non-zero size.")
    wide = a.astype("int64" if a.dtype.kind in "iub" else "float64")
    kept = [d for d in range(a.ndim) if d not in dims]
    bits = wide.view("uint64").transpose(*kept, *dims).reshape(*[a.shape[d] for d in kept], -1)
    xor = of(a).accumulate("bitwise_xor", bits, -1)[..., -1]
    shape = [1 if d in dims else n for d, n in enumerate(a.shape) if keepdim or d in kept]
    return wrap(of(a).asarray(xor).reshape(shape))


FUNCTIONS = METHODS = {"hash_tensor": hash_tensor}
