"""DataLoader: a dataset, an order and a batch size make an iterable of batches."""

from __future__ import annotations

import collections
import itertools
import multiprocessing
import os
import warnings
import weakref
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.context import BaseContext
from typing import Any, Generic, TypeVar

from dtorch.core.random import Generator, default_generator

from .collate import default_collate, default_convert
from .dataset import IterableDataset
from .fetch import Exhausted, Recipe
from .sampler import (
    BatchSampler,
    RandomSampler,
    SequentialSampler,
    StatefulSampler,
    draw_seed,
)
from .worker import Worker, WorkerInfo, stop_workers, wait_for

T_co = TypeVar("T_co", covariant=True)

# What these say is built into the samplers when the loader is made; a later change would be lost.
_FIXED = {"batch_size", "batch_sampler", "sampler", "drop_last", "dataset", "persistent_workers"}


class DataLoader(Generic[T_co]):
    """Iterates over a dataset in batches, made here or by worker processes.

    The order of the batches depends on the samplers alone, never on the number of workers. Big arrays
    of a worker's batch lie in memory that is shared with the worker; it is used again when nothing
    of the batch is left. Keep as many batches as you like: more than a few are copied.

    Args:
        dataset: map-style (``Dataset``, or anything with ``__getitem__`` and ``__len__``) or an
            ``IterableDataset``.
        batch_size: samples a batch; None turns batching off, so that each sample goes through
            ``collate_fn`` alone.
        shuffle: a new random order at each pass.
        sampler: the order, an iterable of indices. Excludes ``shuffle``.
        batch_sampler: an iterable of index lists. Excludes ``batch_size``, ``shuffle``,
            ``sampler`` and ``drop_last``.
        num_workers: how many processes make batches; 0 makes them in this one.
        collate_fn: joins a list of samples into a batch (``default_collate``).
        pin_memory: accepted; it has no effect yet and says so.
        drop_last: leave out the last batch if it is short.
        timeout: seconds to wait for a worker's batch; 0 waits for as long as the worker lives.
        worker_init_fn: called in each worker with its id, after it has been seeded.
        multiprocessing_context: "fork" (None), "spawn", "forkserver", or a context.
        generator: where the shuffling and the workers' seeds come from.
        prefetch_factor: batches asked of each worker ahead of time (2).
        persistent_workers: keep the workers from one pass to the next.
        pin_memory_device: accepted, as pin_memory is.
        in_order: False gives batches as workers finish them; a pass then can't be saved in its
            middle.

    Raises:
        ValueError: arguments that exclude each other or are out of range.

    Iterating raises what a worker raised, with the worker's traceback in the message, and
    RuntimeError if a worker dies or is silent for ``timeout`` seconds.
    """

    _iterator: WorkerIterator | None = None

    def __init__(
        self,
        dataset: Any,
        batch_size: int | None = 1,
        shuffle: bool | None = None,
        sampler: Iterable[Any] | None = None,
        batch_sampler: Iterable[Any] | None = None,
        num_workers: int = 0,
        collate_fn: Callable[[list[Any]], Any] | None = None,
        pin_memory: bool = False,
        drop_last: bool = False,
        timeout: float = 0,
        worker_init_fn: Callable[[int], None] | None = None,
        multiprocessing_context: str | BaseContext | None = None,
        generator: Generator | None = None,
        *,
        prefetch_factor: int | None = None,
        persistent_workers: bool = False,
        pin_memory_device: str = "",
        in_order: bool = True,
    ) -> None:
        _check_workers(num_workers, timeout, prefetch_factor, persistent_workers)
        _check_order(dataset, batch_size, shuffle, sampler, batch_sampler, drop_last)

        self.dataset = dataset
        self.num_workers = num_workers
        self.prefetch_factor = 2 if num_workers and prefetch_factor is None else prefetch_factor
        self.pin_memory = pin_memory
        self.timeout = timeout
        self.worker_init_fn = worker_init_fn
        self.multiprocessing_context = _context(multiprocessing_context, num_workers)
        self.generator = generator
        self.persistent_workers = persistent_workers
        self.pin_memory_device = pin_memory_device
        self.in_order = in_order

        self._streams = isinstance(dataset, IterableDataset)
        if sampler is None and not self._streams:
            sampler = (
                RandomSampler(dataset, generator=generator)
                if shuffle
                else SequentialSampler(dataset)
            )
        if batch_sampler is not None:
            batch_size = None  # the batch sampler's affair
        elif batch_size is not None and sampler is not None:
            batch_sampler = BatchSampler(sampler, batch_size, drop_last)
        self.batch_size = batch_size
        self.drop_last = drop_last
        self.sampler = sampler
        self.batch_sampler = batch_sampler
        self._batched = batch_sampler is not None or batch_size is not None
        self.collate_fn = collate_fn or (default_collate if self._batched else default_convert)
        # What to ask for, batch by batch: indices, or of a stream just "more".
        self._order: Any = batch_sampler if batch_sampler is not None else sampler
        if self._streams:
            self._order = itertools.repeat(None)
        # The sampler that keeps the state, if one does, and how many of its items are a batch.
        self._stateful: tuple[StatefulSampler[Any], int] | None = None
        if isinstance(self._order, StatefulSampler):
            self._stateful = self._order, 1
        elif isinstance(self._order, BatchSampler):
            inner = self._order.sampler
            if isinstance(inner, StatefulSampler):
                self._stateful = inner, self._order.batch_size
        self._progress = Progress(ended=True)
        self._made = True

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _FIXED and "_made" in self.__dict__:
            raise ValueError(
                f"{name} attribute should not be set after {type(self).__name__} is initialized; "
                "make a new one"
            )
        super().__setattr__(name, value)

    def __len__(self) -> int:
        """Batches in a pass. For an IterableDataset an estimate, from the length it claims."""
        if not self._streams:
            return len(self._order)
        samples = len(self.dataset)
        if self.batch_size is None:
            return samples
        whole, rest = divmod(samples, self.batch_size)
        return whole + (rest > 0 and not self.drop_last)

    def __iter__(self) -> Iterator[Any]:
        if self.pin_memory:
            warnings.warn(
                "pin_memory=True has no effect yet: batches lie in ordinary memory", stacklevel=2
            )
        # Drawn also without workers, so that the order doesn't depend on their number.
        seed, requests = self._begin()
        progress, skipped = self._progress, self._progress.taken if self._streams else 0
        if self.num_workers == 0:
            batches = _batches_here(self._recipe().begin(), requests, progress)
        else:
            batches = self._batches_of_workers(seed, requests, progress)
        if skipped:  # a stream has no other way to get there
            progress.taken = 0
            collections.deque(itertools.islice(batches, skipped), maxlen=0)
        return batches

    def _batches_of_workers(
        self, seed: int, requests: Iterator[Any], progress: Progress
    ) -> WorkerIterator:
        iterator = self._iterator
        if iterator is None or not iterator.alive:
            iterator = WorkerIterator(self, seed)
        if self.persistent_workers:
            self._iterator = iterator
        iterator.begin(requests, progress)
        return iterator

    # ---- state -----------------------------------------------------------------------------------

    def _begin(self) -> tuple[int, Iterator[Any]]:
        """Begins a pass, or goes on with one: its seed, and its requests still to be made."""
        source = self.generator or default_generator()
        loaded = self._progress if self._progress.loaded else None
        now = source.get_state()
        if loaded is not None and loaded.began is not None:
            source.set_state(loaded.began)
        self._progress = Progress(began=source.get_state(), taken=loaded.taken if loaded else 0)
        seed, requests = draw_seed(self.generator), iter(self._order)
        if not self._streams:
            collections.deque(itertools.islice(requests, self._progress.taken), maxlen=0)
        if loaded is not None:  # in a run that was never stopped, this pass has drawn already
            source.set_state(now)
        return seed, requests

    def state_dict(self) -> dict[str, Any]:
        """How far this pass is: after the last batch that it has yielded; or that none is under way.

        What was fetched ahead of time doesn't count. With a StatefulSampler (DistributedSampler,
        ShardSampler) this holds its state, and may be loaded at another number of ranks. Otherwise
        the order is had again from the generator's state at the begin of the pass; the default
        generator's state now is for the user to save, where it is drawn from.
        """
        progress = self._progress
        under_way = None if progress.ended else progress
        if under_way is not None and not self.in_order:
            raise RuntimeError(
                "state_dict: with in_order=False the batches taken are not the first of the pass, so "
                "that it can't be gone on with; save at its end, or use in_order=True"
            )
        state: dict[str, Any] = {"under_way": under_way is not None, "taken": 0, "began": None,
                                 "sampler": None, "generator": None}  # fmt: skip
        if self._stateful is not None:
            sampler, items = self._stateful
            taken = None if under_way is None else under_way.taken * items
            state["sampler"] = sampler.state_dict(taken)
        elif under_way is not None:
            state.update(taken=under_way.taken, began=under_way.began)
        if self.generator is not None:
            state["generator"] = self.generator.get_state()
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The next pass yields exactly the batches that were left when the state was made.

        Without a StatefulSampler the loader must be made with the same arguments; a stream
        (IterableDataset) is fetched from its begin for this. What samples draw at random is the
        same again only with a ShardSampler.
        """
        if self._stateful is not None:
            if state_dict["sampler"] is None:
                raise ValueError("the state is of a DataLoader without a StatefulSampler")
            self._stateful[0].load_state_dict(state_dict["sampler"])
        elif state_dict["sampler"] is not None:
            raise ValueError("the state is of a DataLoader with a StatefulSampler")
        if self.generator is not None and state_dict["generator"] is not None:
            self.generator.set_state(state_dict["generator"])
        under_way = state_dict["under_way"]
        self._progress = Progress(
            state_dict["began"], state_dict["taken"], ended=not under_way, loaded=under_way
        )

    def _recipe(self) -> Recipe:
        return Recipe(self.dataset, self.collate_fn, self._batched, self.batch_size, self.drop_last)


@dataclass
class Progress:
    """How far a pass is: shared by the loader, whose state it is, and the pass's iterator.

    began: the generator's state before the pass
    taken: batches that were yielded
    ended: there are no more
    loaded: it was read from a state of a pass under way; the next pass goes on from there
    """

    began: Any = None
    taken: int = 0
    ended: bool = False
    loaded: bool = False


def _batches_here(
    fetch: Callable[[Any], Any], requests: Iterator[Any], progress: Progress
) -> Iterator[Any]:
    for request in requests:
        try:
            batch = fetch(request)
        except Exhausted:
            break
        progress.taken += 1
        yield batch
    progress.ended = True


class WorkerIterator(Iterator[Any]):
    """One pass over a DataLoader (or, with persistent workers, one pass after the other).

    Holds no reference to the loader, so that dropping the last reference to either ends the
    workers at once, without waiting for the garbage collector.
    """

    def __init__(self, loader: DataLoader[Any], seed: int) -> None:
        if multiprocessing.current_process().daemon:
            raise RuntimeError(
                "a DataLoader inside a DataLoader's worker (or another daemonic process) can't "
                "have workers of its own; give it num_workers=0"
            )
        self._timeout = loader.timeout or None
        self._ahead = (loader.prefetch_factor or 0) * loader.num_workers
        self._persistent, self._in_order = loader.persistent_workers, loader.in_order
        self._pending: collections.deque[Worker] = collections.deque()  # one entry a request
        self._workers: list[Worker] = []
        self._stop = weakref.finalize(self, stop_workers, self._workers, os.getpid())
        recipe = loader._recipe()
        for i in range(loader.num_workers):
            info = WorkerInfo(i, loader.num_workers, seed + i, loader.dataset)
            self._workers.append(
                Worker(info, recipe, loader.worker_init_fn, loader.multiprocessing_context)
            )

    def begin(self, requests: Iterator[Any], progress: Progress) -> None:
        """Starts a pass, after what an abandoned one has left in the pipes."""
        while self._pending:
            self._receive()
        self._requests, self._progress = requests, progress
        self._active = list(self._workers)
        self._turn = itertools.cycle(self._workers)
        for worker in self._workers:
            worker.begin()
        for _ in range(self._ahead):
            self._ask_for_one()

    def __next__(self) -> Any:
        while self._pending:
            worker, kind, content = self._receive()
            if kind == "exhausted" and worker not in self._active:
                continue
            if kind == "exhausted":
                self._active.remove(worker)
            self._ask_for_one()
            if kind == "batch":
                self._progress.taken += 1
                return content
            if kind == "error":
                try:
                    raise content
                finally:
                    del content  # else it and this frame would keep each other, and the workers
        self._progress.ended = True
        if not self._persistent:
            self._stop()
        raise StopIteration

    @property
    def alive(self) -> bool:
        """Whether the workers can be asked for another pass."""
        return self._stop.alive

    def _ask_for_one(self) -> None:
        """Sends the next request, if there is one, to the next worker that still has batches."""
        if not self._active:
            return
        worker = next(w for w in self._turn if w in self._active)
        for request in itertools.islice(self._requests, 1):
            worker.request(request)
            self._pending.append(worker)

    def _receive(self) -> tuple[Worker, str, Any]:
        # In the order of the requests it is always the oldest one's turn.
        wanted = [self._pending[0]] if self._in_order else list(self._pending)
        try:
            worker = wait_for(wanted, set(self._pending), self._timeout)
            self._pending.remove(worker)
            kind, content = worker.receive()
        except RuntimeError:
            self._pending.clear()
            self._stop()
            raise
        return worker, kind, content


def _context(context: str | BaseContext | None, num_workers: int) -> BaseContext:
    if context is not None and num_workers == 0:
        raise ValueError(
            "multiprocessing_context can only be used with multi-process loading "
            f"(num_workers > 0), but got num_workers={num_workers}"
        )
    if isinstance(context, BaseContext):
        return context
    methods = multiprocessing.get_all_start_methods()
    if context is not None and context not in methods:
        raise ValueError(
            "multiprocessing_context option should specify a valid start method in "
            f"{methods!r}, but got multiprocessing_context={context!r}"
        )
    return multiprocessing.get_context(context or "fork")


def _check_workers(
    num_workers: int, timeout: float, prefetch_factor: int | None, persistent_workers: bool
) -> None:
    if num_workers < 0:
        raise ValueError(
            f"num_workers option should be non-negative, got {num_workers}; use num_workers=0 to "
            "disable multiprocessing"
        )
    if timeout < 0:
        raise ValueError(f"timeout option should be non-negative, got {timeout}")
    if num_workers == 0 and timeout:
        raise ValueError(f"timeout option needs num_workers > 0, got timeout={timeout}")
    if num_workers == 0 and prefetch_factor is not None:
        raise ValueError(
            "prefetch_factor option could only be specified in multiprocessing; let num_workers "
            "be > 0, or leave prefetch_factor out"
        )
    if prefetch_factor is not None and prefetch_factor <= 0:
        raise ValueError(f"prefetch_factor option should be positive, got {prefetch_factor}")
    if num_workers == 0 and persistent_workers:
        raise ValueError("persistent_workers option needs num_workers > 0")


def _check_order(
    dataset: Any,
    batch_size: int | None,
    shuffle: bool | None,
    sampler: Any,
    batch_sampler: Any,
    drop_last: bool,
) -> None:
    if isinstance(dataset, IterableDataset):
        for name, value in (
            ("shuffle", shuffle or None),
            ("sampler", sampler),
            ("batch_sampler", batch_sampler),
        ):
            if value is not None:
                raise ValueError(
                    f"DataLoader with IterableDataset: expected unspecified {name} option, but "
                    f"got {name}={value}; the dataset's __iter__ sets the order"
                )
    if sampler is not None and shuffle:
        raise ValueError("sampler option is mutually exclusive with shuffle")
    if batch_sampler is not None and (
        batch_size != 1 or shuffle or sampler is not None or drop_last
    ):
        raise ValueError(
            "batch_sampler option is mutually exclusive with batch_size, shuffle, sampler, and "
            "drop_last"
        )
    if batch_sampler is None and batch_size is None and drop_last:
        raise ValueError(
            "batch_size=None option disables auto-batching and is mutually exclusive with drop_last"
        )
