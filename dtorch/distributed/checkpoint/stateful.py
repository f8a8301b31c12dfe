"""torch.distributed.checkpoint.stateful"""

from ...parallel.checkpoint import Stateful

__all__ = ["Stateful"]
