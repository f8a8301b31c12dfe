"""Samplers: the order in which a DataLoader takes a dataset's samples."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence, Sized
from typing import Any, Generic, TypeVar

from dtorch.core.dtype import float64
from dtorch.core.ops.create import as_tensor
from dtorch.core.ops.random import multinomial, randint, randperm
from dtorch.core.random import Generator
from dtorch.core.tensor import Tensor

T_co = TypeVar("T_co", covariant=True)


class Sampler(Generic[T_co]):
    """Yields indices (or lists of them): a subclass defines ``__iter__``, and ``__len__``."""

    def __iter__(self) -> Iterator[T_co]:
        raise NotImplementedError(f"{type(self).__name__} must define __iter__")


class StatefulSampler(Sampler[T_co]):
    """A sampler that can tell how far it is, and go on from there.

    A DataLoader asks it, and not how often it was called: batches are ordered ahead of time.
    """

    def state_dict(self, taken: int | None = None) -> dict[str, Any]:
        """The state after ``taken`` items of the pass under way; after all it has yielded if None."""
        raise NotImplementedError(f"{type(self).__name__} must define state_dict")

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on from there in the next pass."""
        raise NotImplementedError(f"{type(self).__name__} must define load_state_dict")


def draw_seed(generator: Generator | None) -> int:
    """A seed in [0, 2**63 - 1), from ``generator`` or the default one."""
    return int(randint(0, 2**63 - 1, (), generator=generator).item())


class SequentialSampler(Sampler[int]):
    """0, 1, 2, ... in order."""

    def __init__(self, data_source: Sized) -> None:
        self.data_source = data_source

    def __iter__(self) -> Iterator[int]:
        return iter(range(len(self.data_source)))

    def __len__(self) -> int:
        return len(self.data_source)


class RandomSampler(Sampler[int]):
    """Shuffled indices; independent draws with ``replacement``.

    Args:
        num_samples: how many to draw, ``len(data_source)`` if None. Without replacement, more
            than there are start over with a new permutation.
        generator: where each pass takes the seed of its order; the default one if None. Drawing
            from it while a pass is under way doesn't change that pass.
    """

    def __init__(
        self,
        data_source: Sized,
        replacement: bool = False,
        num_samples: int | None = None,
        generator: Generator | None = None,
    ) -> None:
        if not isinstance(replacement, bool):
            raise TypeError(f"replacement should be a boolean value, but got {replacement!r}")
        if num_samples is not None and (not isinstance(num_samples, int) or num_samples <= 0):
            raise ValueError(
                f"num_samples should be a positive integer value, but got num_samples={num_samples}"
            )
        self.data_source = data_source
        self.replacement = replacement
        self._num_samples = num_samples
        self.generator = generator

    @property
    def num_samples(self) -> int:
        """How many indices a pass has: that of the data source, if none was given."""
        # Asked anew each time: the size of the data source may change between epochs.
        return len(self.data_source) if self._num_samples is None else self._num_samples

    def __iter__(self) -> Iterator[int]:
        n = len(self.data_source)
        generator = Generator().manual_seed(draw_seed(self.generator))
        return itertools.islice(self._draws(n, generator), self.num_samples if n else 0)

    def _draws(self, n: int, generator: Generator) -> Iterator[int]:
        while True:
            if self.replacement:
                yield from randint(0, n, (n,), generator=generator).tolist()
            else:
                yield from randperm(n, generator=generator).tolist()

    def __len__(self) -> int:
        return self.num_samples


class SubsetRandomSampler(Sampler[int]):
    """The given indices in random order, without replacement."""

    def __init__(self, indices: Sequence[int], generator: Generator | None = None) -> None:
        self.indices = indices
        self.generator = generator

    def __iter__(self) -> Iterator[int]:
        order = randperm(len(self.indices), generator=self.generator).tolist()
        return iter([self.indices[i] for i in order])

    def __len__(self) -> int:
        return len(self.indices)


class WeightedRandomSampler(Sampler[int]):
    """Draws index i with a probability proportional to ``weights[i]``.

    Args:
        weights: N non-negative numbers, not necessarily summing to 1.
        num_samples: how many indices to draw.
        replacement: if False, an index is drawn at most once.
    """

    def __init__(
        self,
        weights: Sequence[float] | Tensor,
        num_samples: int,
        replacement: bool = True,
        generator: Generator | None = None,
    ) -> None:
        if not isinstance(num_samples, int) or isinstance(num_samples, bool) or num_samples <= 0:
            raise ValueError(
                f"num_samples should be a positive integer value, but got num_samples={num_samples}"
            )
        if not isinstance(replacement, bool):
            raise ValueError(
                f"replacement should be a boolean value, but got replacement={replacement!r}"
            )
        self.weights = as_tensor(weights, dtype=float64)
        if self.weights.ndim != 1:
            raise ValueError(
                "weights should be a 1d sequence but given weights have shape "
                f"{tuple(self.weights.shape)}"
            )
        self.num_samples = num_samples
        self.replacement = replacement
        self.generator = generator

    def __iter__(self) -> Iterator[int]:
        drawn = multinomial(
            self.weights, self.num_samples, self.replacement, generator=self.generator
        )
        return iter(drawn.tolist())

    def __len__(self) -> int:
        return self.num_samples


class BatchSampler(Sampler[list[int]]):
    """Groups another sampler's indices into lists of ``batch_size``.

    Args:
        drop_last: leave out the last list if it would be shorter than the rest.
    """

    def __init__(
        self, sampler: Sampler[int] | Iterable[int], batch_size: int, drop_last: bool
    ) -> None:
        if not isinstance(batch_size, int) or isinstance(batch_size, bool) or batch_size <= 0:
            raise ValueError(
                f"batch_size should be a positive integer value, but got batch_size={batch_size}"
            )
        if not isinstance(drop_last, bool):
            raise ValueError(
                f"drop_last should be a boolean value, but got drop_last={drop_last!r}"
            )
        self.sampler = sampler
        self.batch_size = batch_size
        self.drop_last = drop_last

    def __iter__(self) -> Iterator[list[int]]:
        indices = iter(self.sampler)  # now, not at the first batch: a sampler may draw numbers here
        batches = iter(lambda: list(itertools.islice(indices, self.batch_size)), [])
        return (b for b in batches if len(b) == self.batch_size or not self.drop_last)

    def __len__(self) -> int:
        whole, rest = divmod(len(self.sampler), self.batch_size)  # type: ignore[arg-type]
        return whole + (rest > 0 and not self.drop_last)
