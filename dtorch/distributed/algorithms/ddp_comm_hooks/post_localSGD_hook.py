"""torch.distributed.algorithms.ddp_comm_hooks.post_localSGD_hook"""

from ....parallel.local_sgd import PostLocalSGDState, post_localSGD_hook

__all__ = ["PostLocalSGDState", "post_localSGD_hook"]
