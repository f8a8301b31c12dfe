"""From a request (indices, or just "more") to a batch; the same here and in a worker process."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from dtorch.core.random import Generator, manual_seed, use_generator

from .dataset import IterableDataset, fetch_samples


class Exhausted(Exception):
    """An iterable dataset has no further batch. (StopIteration could be the dataset's own bug.)"""


class Shard(NamedTuple):
    """Samples that are collated together, and the seed of what is drawn for them."""

    indices: list[int]
    seed: int


class Shards(list[Shard]):
    """The request for a list of batches."""


def seed_everything(seed: int) -> None:
    """Seeds dtorch's, Python's and NumPy's default generators."""
    random.seed(seed)
    manual_seed(seed)
    # One word more than Python's has: of the same two, the two would draw the same numbers.
    np.random.seed([seed & 0xFFFFFFFF, seed >> 32, 1])


@contextmanager
def _drawing_by(seed: int) -> Iterator[None]:
    """The default generators are seeded in here, and go on afterwards as if nothing had been."""
    python, numpys = random.getstate(), np.random.get_state()
    try:
        with use_generator(Generator()):
            seed_everything(seed)
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpys)


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
        if isinstance(request, Shards):
            return [self._shard(shard) for shard in request]
        if self.batched:
            return self.collate_fn(fetch_samples(self.dataset, request))
        return self.collate_fn(self.dataset[request])

    def _shard(self, shard: Shard) -> Any:
        with _drawing_by(shard.seed):
            return self.collate_fn(fetch_samples(self.dataset, shard.indices))

    def _from_stream(self) -> Callable[[Any], Any]:
        stream = iter(self.dataset)
        size = self.batch_size if self.batched else 1

        def more(_request: Any) -> Any:
            samples = list(itertools.islice(stream, size))
            if not samples or (self.drop_last and len(samples) < (size or 1)):
                raise Exhausted
            return self.collate_fn(samples if self.batched else samples[0])

        return more
