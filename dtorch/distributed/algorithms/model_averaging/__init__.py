"""torch.distributed.algorithms.model_averaging: averages of the ranks' models."""
