"""Virtual shards: the same loss and weights, bit for bit, whatever the number of ranks.

An ordinary data-parallel run depends on the number of ranks in three ways: each rank computes on a
batch of another shape, draws other random numbers, and sums are taken in another order.  Here the
global batch is cut into V shards for good.  Each is computed on its own, at its own shape, with
random numbers by (seed, step, shard); and whatever the shards say is summed over one binary tree
whose leaves are the shards, wherever they were computed (docs/same-bits.md).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from dtorch.core.backend import cpu
from dtorch.core.backend import of as backend_of
from dtorch.core.backend.threads import hold_to_one_thread
from dtorch.core.graph import writes
from dtorch.core.random import Generator, default_generator, seed_at, use_generator
from dtorch.core.tensor import Tensor, wrap
from dtorch.nn.modules.module import Module
from dtorch.utils.data.distributed import shards_of

from .algorithms import slices
from .buckets import flatten, unflatten
from .group import Group
from .progress import PROGRESS
from .sync_batchnorm import SyncBatchNorm

if TYPE_CHECKING:
    from .ddp import DistributedDataParallel
    from .reducer import Reducer

# The last number of a place in seed_at; that of samples is another (utils/data/distributed.py).
_DRAWS = 1


class VirtualShards(Module):
    """What a DistributedDataParallel needs for them; a child of it, so that its state is saved.

    count: V, how many there are
    seed: of everything that is drawn in a shard: that of rank 0's default generator
    step: how many global batches have been computed
    """

    def __init__(self, count: int, module: Module, group: Group) -> None:
        super().__init__()
        if not isinstance(count, int) or count < 1 or count & (count - 1):
            raise ValueError(f"expected virtual_shards to be a power of two, got {count!r}")
        for name, part in module.named_modules():
            if isinstance(part, SyncBatchNorm):
                raise ValueError(
                    f"{name!r} is a SyncBatchNorm, whose statistics depend on the number of ranks: "
                    "use a BatchNorm, which takes those of one shard"
                )
        shards_of(group.rank(), group.size(), count)  # raises if there are too few
        told = group.all_gather_objects((count, default_generator().initial_seed()))
        counts = [other for other, _ in told]
        if len(set(counts)) > 1:
            raise ValueError(f"the ranks ask for different virtual_shards: {counts}")
        self.count, self.seed, self.step = count, told[0][1], 0
        hold_to_one_thread()

    def get_extra_state(self) -> dict[str, int]:
        return {"count": self.count, "seed": self.seed, "step": self.step}

    def set_extra_state(self, state: dict[str, int]) -> None:
        if state["count"] != self.count:
            raise RuntimeError(
                f"the state is of a run with virtual_shards={state['count']}, this one has "
                f"{self.count}: it would not go on with the same bits.  Use that number, or load "
                "the module's state alone"
            )
        self.seed, self.step = state["seed"], state["step"]

    def mine(self, group: Group) -> range:
        """The shards of this rank."""
        return shards_of(group.rank(), group.size(), self.count)

    def loop(self, ddp: DistributedDataParallel, batches: Iterable[Any] | None) -> Iterator[Any]:
        """See DistributedDataParallel.shards."""
        group, reducer = ddp.process_group, ddp.reducer
        mine = self.mine(group)
        given = list(mine if batches is None else batches)
        if len(given) != len(mine):
            raise ValueError(
                f"expected a batch for each of rank {group.rank()}'s {len(mine)} shards (numbers "
                f"{mine.start} to {mine.stop - 1} of {self.count}), got {len(given)}"
            )
        hold_to_one_thread()
        used = reducer.take()
        earlier = [grad.copy() for grad in reducer.grads] if any(used) else []
        sums = [Sum(mine.start) for _ in reducer.grads]
        buffers = _Buffers([b._a for _, b in ddp._shared_buffers()])
        with ddp.no_sync(), _undone_on_failure(reducer, used, earlier, buffers):
            for shard, batch in zip(mine, given):
                with use_generator(Generator(seed=seed_at(self.seed, self.step, shard, _DRAWS))):
                    yield batch
                news = reducer.take()
                if not any(news):
                    raise RuntimeError(
                        f"no parameter got a gradient in shard {shard}: the loop over ddp.shards() "
                        "is to compute a loss of the shard, and call its backward()"
                    )
                used = [a or b for a, b in zip(used, news)]
                for total, grad in zip(sums, reducer.grads):
                    total.add(grad)
                buffers.shard_done()
            for total, grad in zip(sums, reducer.grads):
                total.mean(group, self.count, grad)
            used, written = _anywhere(group, used, buffers.written())
            buffers.combine(group, self.count, mine, written)
        for grad, old in zip(reducer.grads, earlier):
            grad += old
        reducer.give(used)
        self.step += 1
        PROGRESS.steps += 1

    def mean(self, group: Group, values: Sequence[Tensor]) -> Tensor:
        """See DistributedDataParallel.mean."""
        mine = self.mine(group)
        arrays = [value._a for value in values]
        kinds = {(a.shape, a.dtype) for a in arrays}
        if len(arrays) != len(mine) or len(kinds) != 1 or values[0].dtype.category < 2:
            told = ", ".join(f"{value.dtype}{list(value.shape)}" for value in values)
            raise ValueError(
                f"expected {len(mine)} floating tensors of one shape, one for each of rank "
                f"{group.rank()}'s shards; got {told or 'none'}"
            )
        total, out = Sum(mine.start), backend_of(arrays[0]).empty_like(arrays[0])
        for a in arrays:
            total.add(a.reshape(-1))
        flat = out.reshape(-1)
        total.mean(group, self.count, flat)
        return wrap(flat.reshape(out.shape))


@contextmanager
def _undone_on_failure(
    reducer: Reducer, used: Sequence[bool], earlier: Sequence[Any], buffers: _Buffers
) -> Iterator[None]:
    """A global batch that raises, or is left, changes neither gradients nor buffers."""
    try:
        yield
    except BaseException:
        buffers.restore()
        reducer.take()
        for grad, old in zip(reducer.grads, earlier):
            grad[...] = old
        reducer.give(used)
        raise


def _anywhere(group: Group, *lists: Sequence[bool]) -> Iterator[list[bool]]:
    """For each list, which of its members are true on some rank.  A collective; waits."""
    together = cpu.array([flag for flags in lists for flag in flags], bool)
    if group.size() > 1:
        group.all_reduce(together, "bor", "what shards have changed").wait()
    members = iter(together.tolist())
    return ([next(members) for _ in flags] for flags in lists)


# ---- the tree ------------------------------------------------------------------------------------


class _Node(NamedTuple):
    """The sum over shards start to stop - 1, which are a whole subtree."""

    start: int
    stop: int
    total: Any

    def is_left_of(self, other: _Node) -> bool:
        """Whether the two are the halves of a larger subtree."""
        width = other.stop - other.start
        return self.stop - self.start == width and self.start % (2 * width) == 0


class Sum:
    """Sums vectors, one a shard, over the binary tree that has the shards as leaves.

    Shards 2i and 2i + 1 are added first, then those sums, and so on up.  A rank comes by its shards
    one after the other, and adds whatever two halves of a subtree it has (as a binary counter
    carries), so that it holds log2(V) vectors at most and copies every second one only.  With n
    ranks, n a power of two, a rank ends with one subtree, and the ranks' own tree is the upper part
    of this one; else with a few, which the ranks exchange.

    first: the number of the first shard to be added
    """

    def __init__(self, first: int) -> None:
        self._next = first
        self.nodes: list[_Node] = []

    def add(self, vector: Any) -> None:
        """The next shard's (n,), which the caller may change afterwards.  Halves in float32."""
        self._join(_Node(self._next, self._next + 1, vector), owned=False)
        self._next += 1

    def _join(self, node: _Node, owned: bool) -> None:
        while self.nodes and self.nodes[-1].is_left_of(node):
            left = self.nodes.pop()
            total = left.total
            total += node.total
            node, owned = _Node(left.start, node.stop, total), True
        if not owned:
            node = node._replace(total=node.total.astype(_wide(node.total)))
        self.nodes.append(node)

    def mean(self, group: Group, count: int, out: Any) -> None:
        """out: (n,), the mean over all `count` shards, on every rank.  A collective; waits."""
        n = group.size()
        if n & (n - 1):
            total = self._exchanged(group, count)
        else:
            total = self.nodes[0].total
            if n > 1:
                if out.dtype == total.dtype:
                    out[...] = total  # gradients lie where an all-reduce needs no copies
                    total = out
                group.all_reduce(total, "sum", "virtual shards").wait()
        total *= 1 / count  # a power of two: exact
        if out is not total:
            out[...] = total
        writes.stamp(out)

    def _exchanged(self, group: Group, count: int) -> Any:
        """The sum over all shards, where ranks have several subtrees each.

        Each rank adds up a slice of everybody's subtrees, then everybody gets everybody's slice.
        """
        n, rank = group.size(), group.rank()
        total = self.nodes[0].total
        xp = backend_of(total)
        spans = [_subtrees(shards_of(r, n, count)) for r in range(n)]
        sizes = slices(total.size, n)
        ends = [sum(sizes[: r + 1]) for r in range(n)]
        cuts = [slice(end - size, end) for end, size in zip(ends, sizes)]
        sent = xp.concatenate([node.total[cut] for cut in cuts for node in self.nodes])
        got = xp.empty(sizes[rank] * sum(map(len, spans)), total.dtype)
        group.all_to_all(
            sent, [size * len(self.nodes) for size in sizes],
            got, [sizes[rank] * len(span) for span in spans],
        ).wait()  # fmt: skip
        parts = iter(got.reshape(sum(map(len, spans)), sizes[rank]))
        tree = Sum(0)
        for start, stop in (subtree for span in spans for subtree in span):
            tree._join(_Node(start, stop, next(parts)), owned=True)
        everything = xp.empty(total.size, total.dtype)
        group.all_gather(tree.nodes[0].total, everything, sizes).wait()
        return everything


def _wide(array: Any) -> Any:
    """The dtype that arrays like this are summed in."""
    half = array.dtype.itemsize == 2
    return backend_of(array).float32 if half else array.dtype


def _subtrees(shards: range) -> list[tuple[int, int]]:
    """The largest whole subtrees that some neighbouring shards are made of, as (start, stop)."""
    found, start = [], shards.start
    while start < shards.stop:
        width = 1
        while start % (2 * width) == 0 and start + 2 * width <= shards.stop:
            width *= 2
        found.append((start, start + width))
        start += width
    return found


# ---- buffers -------------------------------------------------------------------------------------


class _Buffers:
    """A model's buffers (batch norm's running statistics) over the shards of one global batch.

    Each shard starts with the same ones.  After the last, what some shard has written to is the
    mean over all shards where it is floating, else as shard 0 left it.
    """

    def __init__(self, arrays: Sequence[Any]) -> None:
        self._arrays = arrays
        self._start = [a.copy() for a in arrays]
        self._versions = [writes.version(a) for a in arrays]
        self._left: list[
            dict[int, Any]
        ] = []  # for each shard, what it has written: index to values

    def shard_done(self) -> None:
        written = [i for i, a in enumerate(self._arrays) if writes.version(a) != self._versions[i]]
        self._left.append({i: self._arrays[i].copy() for i in written})
        self.restore()

    def restore(self) -> None:
        for i, a in enumerate(self._arrays):
            if writes.version(a) != self._versions[i]:
                a[...] = self._start[i]
                writes.stamp(a)
                self._versions[i] = writes.version(a)

    def written(self) -> list[bool]:
        return [any(i in left for left in self._left) for i in range(len(self._arrays))]

    def combine(self, group: Group, count: int, mine: range, written: Sequence[bool]) -> None:
        """Put together those that some shard of some rank has written.  A collective; waits."""
        changed = [i for i, flag in enumerate(written) if flag]
        floats = [i for i in changed if self._start[i].dtype.kind in "fV"]
        if floats:
            self._average(floats, group, count, mine)
        for i in (i for i in changed if i not in floats):
            a = self._arrays[i]
            a[...] = self._left[0].get(i, self._start[i])
            group.broadcast(a, 0, "buffers").wait()

    def _average(self, indices: Sequence[int], group: Group, count: int, mine: range) -> None:
        total = Sum(mine.start)
        for left in self._left:
            values = [left.get(i, self._start[i]).astype("float64") for i in indices]
            total.add(flatten(values))
        mean = backend_of(self._arrays[0]).empty(
            sum(self._start[i].size for i in indices), "float64"
        )
        total.mean(group, count, mean)
        unflatten(mean, [self._arrays[i] for i in indices])
