"""Signal processing under torch.signal's names: its windows."""

from . import windows

__all__ = ["windows"]
