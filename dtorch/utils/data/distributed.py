"""Samplers for several ranks: each one's share of a dataset, whatever the number of ranks."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sized
from typing import Any, TypeVar

from dtorch.core.ops.random import randperm
from dtorch.core.random import Generator, seed_at

from .fetch import Shard, Shards
from .sampler import StatefulSampler

T_co = TypeVar("T_co", covariant=True)

_SAMPLES = 2  # the last number of a place in seed_at; a model's draws have another


def shards_of(rank: int, size: int, count: int) -> range:
    """Which of `count` shards rank `rank` of `size` computes: a run of them, about equally many.

    ValueError if there are not enough for each rank to have one.
    """
    if size > count:
        raise ValueError(
            f"expected at least as many virtual shards as ranks, got {count} shards and {size} "
            "ranks: take more shards, or fewer ranks"
        )
    return range(rank * count // size, (rank + 1) * count // size)


class _EpochSampler(StatefulSampler[T_co]):
    """What its passes have in common: an order by (seed, epoch), and a place in it.

    Its state is an epoch and a position: how many samples of its order all ranks together have
    taken.  So it can be loaded at another number of ranks, and the samples that are left are
    dealt out among those.

    _stride: how many samples of the order one item moves on by
    _start: the position at which the pass under way, or else the next one, begins
    _begun, _ended: whether a pass of this epoch has
    _given: items that this pass has yielded
    """

    _stride: int

    def __init__(self, dataset: Sized, num_replicas: int | None, rank: int | None, shuffle: bool,
                 seed: int, drop_last: bool) -> None:  # fmt: skip
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
        self.epoch = self._start = self._given = 0
        self._begun = self._ended = False

    def __iter__(self) -> Iterator[T_co]:
        if self._begun:
            self.set_epoch(self.epoch + 1)
        self._begun = True
        return self._counted(self._items(self._order(), self._start))

    def _order(self) -> list[int]:
        length = len(self.dataset)
        if not self.shuffle:
            return list(range(length))
        return randperm(length, generator=Generator().manual_seed(self.seed + self.epoch)).tolist()

    def _items(self, order: list[int], start: int) -> Iterator[T_co]:
        """What is dealt to this rank from the position `start` of the order on."""
        raise NotImplementedError

    def _counted(self, items: Iterator[T_co]) -> Iterator[T_co]:
        for item in items:
            self._given += 1
            yield item
        self._ended = True

    def set_epoch(self, epoch: int) -> None:
        """Sets the epoch, on which the order of a shuffled pass depends.

        Needed only to skip or repeat one: each pass after the first is of the next epoch by itself.
        """
        if epoch != self.epoch or self._begun:
            self.epoch, self._start, self._given = epoch, 0, 0
            self._begun = self._ended = False

    def deal_to(self, rank: int, num_replicas: int) -> None:
        """From the next pass on, deal to another number of ranks, of which this is `rank`."""
        if not 0 <= rank < num_replicas:
            raise ValueError(
                f"Invalid rank {rank}, rank should be in the interval [0, {num_replicas - 1}]"
            )
        self.rank, self.num_replicas = rank, num_replicas

    def state_dict(self, taken: int | None = None) -> dict[str, int]:
        """{"epoch", "position"}: see StatefulSampler."""
        if taken is None and self._ended:
            return {"epoch": self.epoch + 1, "position": 0}
        taken = self._given if taken is None else taken
        position = min(self._start + taken * self._stride, len(self.dataset))
        return {"epoch": self.epoch, "position": position}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """The next pass goes on from there; ValueError for a position behind the dataset's end."""
        epoch, position = state_dict["epoch"], state_dict["position"]
        if not 0 <= position <= len(self.dataset):
            raise ValueError(
                f"the state is at sample {position} of an epoch, but the dataset has "
                f"{len(self.dataset)}: it must be the one that the state was made with"
            )
        self.set_epoch(epoch)
        self._start, self._given, self._begun, self._ended = position, 0, False, False

    def _left(self) -> int:
        """Samples of the order that are left for the pass under way, or else for the next one."""
        return len(self.dataset) - (0 if self._ended else self._start)


class DistributedSampler(_EpochSampler[int]):
    """Deals a dataset's indices out to ``num_replicas`` ranks: rank r gets r, r + n, r + 2n, ...

    A pass in order (``shuffle=False``, as for evaluation) takes each sample exactly once, so that
    some ranks may get one sample fewer than others. A shuffled one, as for training, gives every
    rank equally many, since ranks that train together wait for each other: its first samples are
    dealt a second time, as in torch, or, with ``drop_last``, its last ones not at all. ``pad``
    says which of the two it is to be, where that isn't right: ranks that train in order need
    ``pad=True``.

    Args:
        dataset: anything with a length.
        num_replicas: how many ranks; those of the running process group if None.
        rank: which of them this is, 0 to ``num_replicas - 1``; this process's if None.
        shuffle: deal a permutation, a function of ``seed + epoch`` alone.
        seed: must be the same on every rank.
        pad: whether to fill up with samples from the front; ``shuffle`` if None.

    Unlike torch's, each pass after the first is of the next epoch by itself.

    Raises:
        ValueError: ``rank`` lies outside [0, num_replicas - 1], or ``pad`` beside ``drop_last``.
    """

    def __init__(
        self,
        dataset: Sized,
        num_replicas: int | None = None,
        rank: int | None = None,
        shuffle: bool = True,
        seed: int = 0,
        drop_last: bool = False,
        *,
        pad: bool | None = None,
    ) -> None:
        super().__init__(dataset, num_replicas, rank, shuffle, seed, drop_last)
        if pad and drop_last:
            raise ValueError("pad and drop_last exclude each other: fill up, or leave out")
        self.pad = not drop_last and (shuffle if pad is None else pad)
        self._stride = self.num_replicas
        self.num_samples = len(self._positions(0))
        self.total_size = self._end(0)

    def _end(self, start: int) -> int:
        """Where the last position dealt ends; past the dataset's end they start over."""
        length, n = len(self.dataset), self.num_replicas
        if self.drop_last:
            return start + (length - start) // n * n
        return start + math.ceil((length - start) / n) * n if self.pad else length

    def _positions(self, start: int) -> range:
        return range(start + self.rank, self._end(start), self.num_replicas)

    def _items(self, order: list[int], start: int) -> Iterator[int]:
        return iter([order[p % len(order)] for p in self._positions(start)])

    def __len__(self) -> int:
        """Indices in the pass under way, or else in the next one."""
        return len(self._positions(len(self.dataset) - self._left()))


class ShardSampler(_EpochSampler[Any]):
    """Cuts batches into virtual shards, the same ones whatever the number of ranks.

    For ``DataLoader(dataset, batch_sampler=ShardSampler(...))``, which then yields for each global
    batch a list of this rank's shards, each collated by itself: what ``ddp.shards()`` takes. What
    the dataset draws at random for a shard (from dtorch, ``random`` or ``numpy.random``) depends on
    ``seed``, the epoch and the shard's place in it alone; not on who loads it, or how many workers.

    Args:
        dataset: anything with a length.
        batch_size: samples in a global batch.
        virtual_shards: how many shards a batch is cut into, as in DistributedDataParallel.
        num_replicas, rank, shuffle, seed: as in DistributedSampler.
        drop_last: leave out the last batch if it is short; else it is filled up with samples from
            the front, since all shards are of one size.

    Raises:
        ValueError: ``batch_size`` is no multiple of ``virtual_shards``, or these are fewer than
            the ranks.
    """

    def __init__(
        self,
        dataset: Sized,
        batch_size: int,
        virtual_shards: int,
        num_replicas: int | None = None,
        rank: int | None = None,
        shuffle: bool = True,
        seed: int = 0,
        drop_last: bool = False,
    ) -> None:
        super().__init__(dataset, num_replicas, rank, shuffle, seed, drop_last)
        if batch_size <= 0 or batch_size % virtual_shards:
            raise ValueError(
                f"expected batch_size to be a positive multiple of virtual_shards="
                f"{virtual_shards}, got {batch_size}"
            )
        self.batch_size = self._stride = batch_size
        self.virtual_shards = virtual_shards
        self._mine()  # raises if there are too few

    def _items(self, order: list[int], start: int) -> Iterator[Any]:
        size = self.batch_size // self.virtual_shards
        for k in range(self._batches(len(order) - start)):
            batch = start + k * self.batch_size
            yield Shards(
                Shard(
                    [order[p % len(order)] for p in range(first, first + size)],
                    seed_at(self.seed, self.epoch, first, _SAMPLES),
                )
                for first in (batch + shard * size for shard in self._mine())
            )

    def _mine(self) -> range:
        return shards_of(self.rank, self.num_replicas, self.virtual_shards)

    def _batches(self, samples: int) -> int:
        whole, rest = divmod(samples, self.batch_size)
        return whole + (rest > 0 and not self.drop_last)

    def __len__(self) -> int:
        """Batches in the pass under way, or else in the next one."""
        return self._batches(self._left())
