"""DistributedSampler: each rank's share of a dataset."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sized

from dtorch.core.ops.random import randperm
from dtorch.core.random import Generator

from .sampler import Sampler


class DistributedSampler(Sampler[int]):
    """Deals a dataset's indices out to ``num_replicas`` ranks: rank r gets r, r + n, r + 2n, ...

    Every rank gets equally many. If the dataset doesn't divide evenly, its first samples are
    dealt a second time, or, with ``drop_last``, its last ones not at all.

    Args:
        dataset: anything with a length.
        num_replicas: how many ranks; those of the running process group if None.
        rank: which of them this is, 0 to ``num_replicas - 1``; this process's if None.
        shuffle: deal a permutation, a function of ``seed + epoch`` alone. Call ``set_epoch``
            before each epoch, or every epoch has the same order.
        seed: must be the same on every rank.

    Raises:
        ValueError: ``rank`` lies outside [0, num_replicas - 1].
    """

    def __init__(
        self,
        dataset: Sized,
        num_replicas: int | None = None,
        rank: int | None = None,
        shuffle: bool = True,
        seed: int = 0,
        drop_last: bool = False,
    ) -> None:
        if num_replicas is None or rank is None:
            from dtorch import parallel  # one floor up, so only when asked

            num_replicas = parallel.get_world_size() if num_replicas is None else num_replicas
            rank = parallel.get_rank() if rank is None else rank
        if not 0 <= rank < num_replicas:
            raise ValueError(
                f"Invalid rank {rank}, rank should be in the interval [0, {num_replicas - 1}]"
            )
        self.dataset = dataset
        self.num_replicas = num_replicas
        self.rank = rank
        self.shuffle = shuffle
        self.seed = seed
        self.drop_last = drop_last
        self.epoch = 0
        length = len(dataset)
        self.num_samples = length // num_replicas if drop_last else math.ceil(length / num_replicas)
        self.total_size = self.num_samples * num_replicas

    def __iter__(self) -> Iterator[int]:
        length = len(self.dataset)
        if self.shuffle:
            generator = Generator().manual_seed(self.seed + self.epoch)
            order = randperm(length, generator=generator).tolist()
        else:
            order = list(range(length))
        # Positions past the end start over; with drop_last total_size stays short of the end.
        positions = range(self.rank, self.total_size, self.num_replicas)
        return iter([order[p % length] for p in positions])

    def __len__(self) -> int:
        return self.num_samples

    def set_epoch(self, epoch: int) -> None:
        """Sets the epoch, on which the order of a shuffled pass depends."""
        self.epoch = epoch
