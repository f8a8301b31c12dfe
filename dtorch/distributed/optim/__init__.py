"""torch.distributed.optim: optimizers that know of the ranks."""

from ...parallel.local_sgd import PostLocalSGDOptimizer
from ...parallel.zero import ZeroRedundancyOptimizer

__all__ = ["PostLocalSGDOptimizer", "ZeroRedundancyOptimizer"]
