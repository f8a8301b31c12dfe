"""Windows under torch.signal.windows' names."""

from ..core.ops.signal_windows import WINDOWS

globals().update(WINDOWS)
__all__ = [*WINDOWS]
