"""Linear algebra under torch.linalg's names: the LINALG tables of core/ops."""

from __future__ import annotations

from .core.calling import public
from .core.errors import LinAlgError
from .core.methods import collect

_FUNCTIONS = {name: public(fn, name) for name, fn in collect("LINALG").items()}
globals().update(_FUNCTIONS)
__all__ = [*_FUNCTIONS, "LinAlgError"]
