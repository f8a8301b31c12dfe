"""torch.distributed.algorithms.model_averaging.hierarchical_model_averager"""

from ....parallel.averagers import HierarchicalModelAverager

__all__ = ["HierarchicalModelAverager"]
