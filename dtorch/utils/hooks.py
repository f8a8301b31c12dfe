"""torch.utils.hooks: what registering a hook returns."""

from ..core.graph import Handle as RemovableHandle

__all__ = ["RemovableHandle"]
