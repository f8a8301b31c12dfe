"""torch.distributed.nn: collectives that gradients flow through."""

from .functional import *  # noqa: F403
