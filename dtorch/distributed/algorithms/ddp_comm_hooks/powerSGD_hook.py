"""torch.distributed.algorithms.ddp_comm_hooks.powerSGD_hook"""

from ....parallel.power_sgd import PowerSGDState, batched_powerSGD_hook, powerSGD_hook

__all__ = ["PowerSGDState", "batched_powerSGD_hook", "powerSGD_hook"]
