"""What several families of layers share."""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

import functools

from ...core.ops import create
from ..parameter import Parameter


def ntuple(x, n):
    """A number for each of n dimensions; a tuple is left as it is."""
    return tuple(x) if hasattr(x, "__iter__") else (x,) * n


def _ntuple(n):
    """torch's name for it, which layers elsewhere import."""
    return functools.partial(ntuple, n=n)


_single, _pair, _triple, _quadruple = map(_ntuple, (1, 2, 3, 4))


def parameter(*shape, device=None, dtype=None):
    """A Parameter whose values are still to be set."""
    return Parameter(create.zeros(*shape, device=device, dtype=dtype))


def shown(**options):
    """name=value, name=value"""
    return ", ".join(f"{k}={v}" for k, v in options.items())
