"""torch.distributed.elastic: what scripts use of it; and run(), for `dtorch-run --elastic`"""

from ...parallel.elastic import run
