"""torch.distributed.algorithms.model_averaging.averagers, and two that torch doesn't have."""

from ....parallel.averagers import (
    DiLoCo,
    EMAModelAverager,
    ModelAverager,
    PeriodicModelAverager,
)

__all__ = ["DiLoCo", "EMAModelAverager", "ModelAverager", "PeriodicModelAverager"]
