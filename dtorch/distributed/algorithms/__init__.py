"""torch.distributed.algorithms: uneven inputs, how DDP communicates gradients, averages of models."""
