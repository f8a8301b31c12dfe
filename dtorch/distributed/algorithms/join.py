"""torch.distributed.algorithms.join"""

from ...parallel.join import Join, Joinable, JoinHook

__all__ = ["Join", "JoinHook", "Joinable"]
