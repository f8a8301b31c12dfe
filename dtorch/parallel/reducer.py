"""Reducer: averages gradients over the ranks while backward is still under way."""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from dtorch.core.graph import leaf_extras
from dtorch.core.tensor import Tensor, wrap
from dtorch.core.walk import queue_callback

from .buckets import Bucket, GradBucket, assign
from .finite import FiniteCheck
from .future import Future
from .group import Group
from .progress import PROGRESS
from .work import Work


class Reducer:
    """After a backward, p.grad is on every rank the average over the ranks of their p.grad.

    That is the whole contract: a rank on which p.grad is None counts as zeros; where it is None on
    all ranks it stays None.  So unused, conditional and frozen parameters need no flag.

    Gradients live in buckets: backward writes each into its place there (LeafExtras.home), and
    p.grad is a view of it.  A bucket is on its way as soon as it is full; the rest follow when the
    backward ends.  (Over common memory all do: there a reduction is the work of the same cores.)
    Buckets go in one fixed order, the same on all ranks, whichever is full first.
    They are first laid out in reverse order of the parameters, and after the first backward in the
    order in which rank 0's gradients were ready.  With the last bucket travel further numbers: for
    each parameter the share of the ranks on which it has a gradient, the mean weight of the ranks,
    and the share of those that have given none.

    sync: whether the next backward averages, as its forward has said
    held: no backward averages, whatever its forward has said
    every: of so many backwards the last one averages; done: how many there were since the last one
    weight: what this rank's gradients since the last average count for, if they were given weights
    weighing: whether the backward under way is one with a weight
    by_active: averages are over the ranks that have inputs, not over all
    leader: the rank whose order of gradients counts
    rounds: how many backwards have been averaged
    times: of the last one that was averaged, when its first bucket was sent, its last gradient was
        there, and its last average was; in seconds since 1970
    """

    def __init__(
        self, names: Sequence[str], params: Sequence[Tensor], group: Group, cap: int, first: int
    ) -> None:
        self.sync, self.held = True, False
        self.every, self.done = 1, 0
        self.weight: float | None = None
        self.weighing = False
        self.by_active = False
        self.leader = 0
        self.rounds = 0
        self.times = (0.0, 0.0, 0.0)
        self._comm_hook: tuple[Any, Callable[..., Future[Tensor]]] | None = None
        self.names, self._params, self._group = names, params, group
        self.finite: FiniteCheck | None = None
        self._cap, self._first = cap, first
        self._laid_out: list[list[int]] = []
        self.buckets: list[Bucket] = []
        self._sent = 0  # buckets whose averaging has begun
        self._works: list[Work] = []
        self._futures: list[tuple[Bucket, Future[Tensor]]] = []  # what a communication hook gave
        self.overlaps = not group.transport.common_memory
        self._running = self._counting = False
        self._ready: list[int] = []  # in the order of this backward
        self._settled = False  # whether the buckets are in the order of a backward
        self._lay_out(range(len(params) - 1, -1, -1))
        PROGRESS.device = str(params[0].device)
        for i, p in enumerate(params):
            p.register_post_accumulate_grad_hook(self._hook(i))

    @property
    def averages_next(self) -> bool:
        """Whether the next backward is the last one of those that are accumulated."""
        return self.done + 1 == self.every

    def holds(self, params: Iterable[Tensor]) -> bool:
        """Whether some of these are among its parameters."""
        own = set(map(id, self._params))
        return any(id(p) in own for p in params)

    def begin(self, sync: bool) -> None:
        """Before a forward: what is left of a backward that raised is given up."""
        self.sync, self._counting = sync, False
        if self._running:
            self._end()
        if self.weight is not None and not self.has_gradients():
            self.weight = None  # the user has dropped what had it

    def has_gradients(self) -> bool:
        """Whether something other than zeros has been accumulated, or is left of the last step."""
        return any(p._grad is not None and p._grad._a.any() for p in self._params)

    def register_comm_hook(self, state: Any, hook: Callable[..., Future[Tensor]]) -> None:
        if self._comm_hook is not None:
            raise RuntimeError(
                "register_comm_hook or register_builtin_comm_hook can only be called once."
            )
        self._comm_hook = state, hook

    def _lay_out(self, order: Sequence[int]) -> None:
        """Make the buckets, and move the gradients into them."""
        params = self._params
        layout = assign(order, [p._a for p in params], self._cap, self._first)
        if layout == self._laid_out:
            return
        self._laid_out = layout
        last = len(layout) - 1
        self.buckets = [
            Bucket(indices, params, len(params) + 2 if k == last else 0, self._group.zeros)
            for k, indices in enumerate(layout)
        ]
        self._bucket_of = {i: b for b in self.buckets for i in b.views}
        for bucket in self.buckets:
            for i, view in bucket.views.items():
                leaf_extras(params[i]).home = view
                self._adopt(params[i], view)

    def _adopt(self, p: Tensor, view: object) -> None:
        """Make p.grad the view, with its values; zeros in the view where it is None."""
        grad = p._grad
        if grad is None:
            view[...] = 0  # type: ignore[index]
        elif grad._a is not view:
            view[...] = grad._a  # type: ignore[index]
            p._grad = wrap(view)

    # ---- during backward -------------------------------------------------------------------------

    def _hook(self, i: int) -> Callable[[Tensor], None]:
        reducer = weakref.ref(self)  # parameters outlive it

        def ready(p: Tensor) -> None:
            this = reducer()
            if this is not None and (this._running or this._begins(i, p)):
                this._gradient_ready(i, p)

        return ready

    def _begins(self, i: int, p: Tensor) -> bool:
        """At the first gradient of a backward: whether it is one that averages."""
        if leaf_extras(p).home is not self._bucket_of[i].views[i]:
            return False  # another reducer's now
        if self.weight is not None and not self.weighing:
            raise RuntimeError(
                "gradients were accumulated by ddp.backward(loss, weight=...) and this backward has "
                "no weight: give one to all, or call zero_grad() before"
            )
        if not self.sync or self.held:
            return False
        if self.averages_next:
            self._running = True
            queue_callback(self._finish)
        elif not self._counting:
            self._counting = True
            queue_callback(self._count)
        return self._running

    def _count(self) -> None:
        self._counting = False
        self.done += 1

    def pass_by(self) -> None:
        """What a backward does, for one that would add nothing."""
        if not self.sync or self.held:
            return
        if self.averages_next:
            self._finish()
        else:
            self._count()

    def average_now(self) -> None:
        """Average what has been accumulated; every rank calls it, or its backward does the same."""
        if not self.done:
            self.weight = 0.0  # it has seen nothing, so its zeros must not count
        self._finish()

    def _gradient_ready(self, i: int, p: Tensor) -> None:
        bucket = self._bucket_of[i]
        if leaf_extras(p).home is not bucket.views[i]:
            return  # another reducer's now
        if i not in bucket.pending:
            raise RuntimeError(
                f"the gradient of parameter {self.names[i]!r} was computed twice in one backward, "
                "and the first may be on its way to the other ranks already; a backward inside of a "
                "backward must not share parameters with it"
            )
        if p._a.dtype != bucket.flat.dtype:
            raise RuntimeError(
                f"parameter {self.names[i]!r} is {p.dtype} now, but was {bucket.flat.dtype} when "
                "DistributedDataParallel was made; change the module's dtype before that"
            )
        self._ready.append(i)
        bucket.pending.remove(i)
        if not bucket.pending and self.overlaps:
            self._launch(only_full=True)
        elif self._works:
            self._group.poll()

    def _launch(self, only_full: bool) -> None:
        """Send off buckets in their order, up to the first one that is not full."""
        for bucket in self.buckets[self._sent :]:
            if only_full and bucket.pending:
                return
            for i, view in bucket.views.items():
                self._adopt(self._params[i], view)
            if bucket.numbers.size:  # the last one: all gradients that will come have come
                for i, p in enumerate(self._params):
                    bucket.numbers[i] = p._grad is not None
                bucket.numbers[-2] = 1 if self.weight is None else self.weight
                bucket.numbers[-1] = self.weight is None
            if self.finite is not None:
                self.finite.look(bucket)
            self._average(bucket)

    def _average(self, bucket: Bucket) -> None:
        """Begin to average a bucket over the ranks."""
        flat, numbers = bucket.flat, bucket.numbers
        index, self._sent = self._sent, self._sent + 1
        if index == 0:
            self._began = time.time()
        names = [self.names[i] for i in bucket.views]
        name = names[0] if len(names) == 1 else f"{names[0]} ... {names[-1]}"
        size = bucket.grads.size
        apart = numbers.size and (self._comm_hook is not None or flat.size == size)
        if apart:
            self._works.append(self._group.all_reduce(numbers, "avg", "used parameters"))
        if self._comm_hook is None:
            self._works.append(self._group.all_reduce(flat, "avg", f"gradients of {name}"))
            return
        state, hook = self._comm_hook
        last = bucket is self.buckets[-1]
        params = [self._params[i] for i in bucket.views]
        self._group.hold()  # a hook may communicate again when its first exchange is done
        future = hook(state, GradBucket(index, last, flat[:size], params))
        self._futures.append((bucket, future))

    # ---- at its end ------------------------------------------------------------------------------

    def _finish(self) -> None:
        there = time.time()
        self._launch(only_full=False)
        ready = self._ready
        self._end()
        self.times = self._began, there, time.time()
        PROGRESS.steps += 1
        *used, weight, plain = self.buckets[-1].numbers.real.tolist()
        self.done, self.weight = 0, None
        if plain not in (0, weight):
            raise RuntimeError(
                "some ranks call ddp.backward(loss, weight=...), others loss.backward(): all must "
                "do the same"
            )
        divisor = 1 if plain and not self.by_active else weight
        for bucket in self.buckets:
            if divisor not in (0, 1):
                bucket.grads /= divisor
            for i, view in bucket.views.items():
                if used[i] and self._params[i]._grad is None:
                    self._params[i]._grad = wrap(view)
        self._settle(ready)
        if self.finite is not None:
            self.finite.agree()

    # ---- for virtual shards, which are averaged in an order of their own -------------------------

    @property
    def grads(self) -> list[Any]:
        """The buckets' gradients, as few vectors."""
        return [bucket.grads for bucket in self.buckets]

    def take(self) -> list[bool]:
        """Complete `grads`, and make p.grad None; returns which parameters had a gradient.

        Without any, `grads` are left as they are.
        """
        used = [p._grad is not None for p in self._params]
        if not any(used):
            return used
        for bucket in self.buckets:
            for i, view in bucket.views.items():
                self._adopt(self._params[i], view)
        for p in self._params:
            p._grad = None
        return used

    def give(self, used: Sequence[bool]) -> None:
        """Make p.grad of these parameters what is in `grads`."""
        for bucket in self.buckets:
            for i, view in bucket.views.items():
                if used[i]:
                    self._params[i]._grad = wrap(view)

    def shadow(self) -> None:
        """Take part in the others' backward as one that counts as nothing; its gradients are theirs."""
        for p in self._params:
            p._grad = None
        self.done = 0
        self.average_now()

    def _settle(self, ready: Sequence[int]) -> None:
        """After the first time, lay out the buckets as the leader's gradients became ready."""
        self.rounds += 1
        if self._settled:
            return
        self._settled = True
        seen = set(ready)
        order = [[*ready, *(i for i in range(len(self._params)) if i not in seen)]]
        self._group.broadcast_objects(order, self.leader)
        self._lay_out(order[0])

    def _end(self) -> None:
        """Wait for the buckets under way, and make ready for the next backward."""
        works, self._works = self._works, []
        futures, self._futures = self._futures, []
        self._running, self._ready, self._sent = False, [], 0
        for bucket in self.buckets:
            bucket.reset()
        self._group.release()
        for work in works:
            work.wait()
        for bucket, future in futures:
            _take(future.wait(), bucket.grads)


def _take(result: Any, grads: Any) -> None:
    """What a communication hook gave, as a bucket's gradients."""
    if not isinstance(result, Tensor) or result.numel() != grads.size:
        raise RuntimeError(
            f"a communication hook must give a tensor of the bucket's {grads.size} elements, got "
            f"{list(result.shape) if isinstance(result, Tensor) else type(result)}"
        )
    grads[...] = result._a.reshape(-1)
