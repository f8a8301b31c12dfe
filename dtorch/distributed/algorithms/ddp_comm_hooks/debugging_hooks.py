"""torch.distributed.algorithms.ddp_comm_hooks.debugging_hooks"""

from ....parallel.comm_hooks import noop_hook

__all__ = ["noop_hook"]
