"""Values that will be there: torch.futures."""

from .parallel.future import Future, collect_all, wait_all

__all__ = ["Future", "collect_all", "wait_all"]
