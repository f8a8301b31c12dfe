"""From a request (indices, or just "more") to a batch; the same here and in a worker process."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .dataset import IterableDataset, fetch_samples


class Exhausted(Exception):
    """An iterable dataset has no further batch. (StopIteration could be the dataset's own bug.)"""


@dataclass(frozen=True)
class Recipe:
    """How a DataLoader makes its batches.

    ``batched`` tells whether a request stands for a list of samples or for a single one;
    ``batch_size`` and ``drop_last`` only matter to an IterableDataset, whose requests carry no
    indices.
    """

    dataset: Any
    collate_fn: Callable[[Any], Any]
    batched: bool
    batch_size: int | None
    drop_last: bool

    def begin(self) -> Callable[[Any], Any]:
        """Starts a pass over the dataset: the function that answers its requests in turn."""
        if isinstance(self.dataset, IterableDataset):
            return self._from_stream()
        return self._from_index

    def _from_index(self, request: Any) -> Any:
        if self.batched:
            return self.collate_fn(fetch_samples(self.dataset, request))
        return self.collate_fn(self.dataset[request])

    def _from_stream(self) -> Callable[[Any], Any]:
        stream = iter(self.dataset)
        size = self.batch_size if self.batched else 1

        def more(_request: Any) -> Any:
            samples = list(itertools.islice(stream, size))
            if not samples or (self.drop_last and len(samples) < (size or 1)):
                raise Exhausted
            return self.collate_fn(samples if self.batched else samples[0])

        return more
