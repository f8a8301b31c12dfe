"""dtorch.utils.checkpoint_manager: see CheckpointManager."""

from ..parallel.checkpoint_manager import CheckpointManager

__all__ = ["CheckpointManager"]
