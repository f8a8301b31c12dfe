"""Special functions under torch.special's names."""

from __future__ import annotations

from .core.calling import public
from .core.ops.polynomials import POLYNOMIALS
from .core.ops.special import SPECIAL

globals().update({name: public(fn, name) for name, fn in (SPECIAL | POLYNOMIALS).items()})

__all__ = [*SPECIAL, *POLYNOMIALS]
