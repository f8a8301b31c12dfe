"""torch.nn.parallel.scatter_gather"""

from dtorch.parallel.scatter_gather import gather, scatter, scatter_kwargs

__all__ = ["gather", "scatter", "scatter_kwargs"]
