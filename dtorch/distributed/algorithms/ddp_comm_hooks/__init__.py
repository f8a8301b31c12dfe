"""torch.distributed.algorithms.ddp_comm_hooks: by module, and by name in DDPCommHookType."""

from ....parallel.comm_hooks import DDPCommHookType, register_ddp_comm_hook
from . import (
    debugging_hooks,
    default_hooks,
    post_localSGD_hook,
    powerSGD_hook,
    quantization_hooks,
)

__all__ = [
    "DDPCommHookType", "debugging_hooks", "default_hooks", "post_localSGD_hook", "powerSGD_hook",
    "quantization_hooks", "register_ddp_comm_hook",
]  # fmt: skip
