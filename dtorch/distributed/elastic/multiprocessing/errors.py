"""torch.distributed.elastic.multiprocessing.errors"""

from ....parallel.error_file import record

__all__ = ["record"]
