"""torch.nn.parallel.distributed"""

from dtorch.parallel.ddp import DistributedDataParallel
from dtorch.parallel.mixed_precision import _MixedPrecision

__all__ = ["DistributedDataParallel", "_MixedPrecision"]
