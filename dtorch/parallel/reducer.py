"""Reducer: averages gradients over the ranks while backward is still under way."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dtorch.core.graph import leaf_extras, queue_callback
from dtorch.core.tensor import Tensor, wrap

from .buckets import Bucket, assign
from .group import Group
from .work import Work


class Reducer:
    """After a backward, p.grad is on every rank the average over the ranks of their p.grad.

    That is the whole contract: a rank on which p.grad is None counts as zeros; where it is None on
    all ranks it stays None.  So unused, conditional and frozen parameters need no flag.

    Gradients live in buckets: backward writes each into its place there (LeafExtras.home), and
    p.grad is a view of it.  A bucket is on its way as soon as it is full; the rest follow when the
    backward ends.  Buckets go in one fixed order, the same on all ranks, whichever is full first.
    They are first laid out in reverse order of the parameters, and after the first backward in the
    order in which rank 0's gradients were ready.  With the last bucket travels a number for each
    parameter: the share of the ranks on which it has a gradient.
    """

    def __init__(
        self, names: Sequence[str], params: Sequence[Tensor], group: Group, cap: int, first: int
    ) -> None:
        self.sync = True  # whether the next backward averages
        self._names, self._params, self._group = names, params, group
        self._cap, self._first = cap, first
        self._laid_out: list[list[int]] = []
        self._buckets: list[Bucket] = []
        self._works: list[Work] = []
        self._running = False
        self._ready: list[int] = []  # in the order of this backward
        self._settled = False  # whether the buckets are in the order of a backward
        self._lay_out(range(len(params) - 1, -1, -1))
        for i, p in enumerate(params):
            p.register_post_accumulate_grad_hook(self._hook(i))

    def begin(self, sync: bool) -> None:
        """Before a forward: what is left of a backward that raised is given up."""
        self.sync = sync
        if self._running:
            self._end()

    def _lay_out(self, order: Sequence[int]) -> None:
        """Make the buckets, and move the gradients into them."""
        params = self._params
        layout = assign(order, [p._a for p in params], self._cap, self._first)
        if layout == self._laid_out:
            return
        self._laid_out = layout
        last = len(layout) - 1
        self._buckets = [
            Bucket(indices, params, len(params) if k == last else 0)
            for k, indices in enumerate(layout)
        ]
        self._bucket_of = {i: b for b in self._buckets for i in b.views}
        for bucket in self._buckets:
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
        def ready(p: Tensor) -> None:
            if not self.sync:
                return
            if not self._running:
                self._running = True
                queue_callback(self._finish)
            bucket = self._bucket_of[i]
            if i not in bucket.pending:
                raise RuntimeError(
                    f"the gradient of parameter {self._names[i]!r} was computed twice in one "
                    "backward, and the first may be on its way to the other ranks already; a "
                    "backward inside of a backward must not share parameters with it"
                )
            if p._a.dtype != bucket.flat.dtype:
                raise RuntimeError(
                    f"parameter {self._names[i]!r} is {p.dtype} now, but was {bucket.flat.dtype} "
                    "when DistributedDataParallel was made; change the module's dtype before that"
                )
            self._ready.append(i)
            bucket.pending.remove(i)
            if not bucket.pending:
                self._launch(only_full=True)
            elif self._works:
                self._group.poll()

        return ready

    def _launch(self, only_full: bool) -> None:
        """Send off buckets in their order, up to the first one that is not full."""
        for bucket in self._buckets[len(self._works) :]:
            if only_full and bucket.pending:
                return
            for i, view in bucket.views.items():
                self._adopt(self._params[i], view)
            if bucket.used.size:  # the last one: all gradients that will come have come
                for i, p in enumerate(self._params):
                    bucket.used[i] = p._grad is not None
            names = [self._names[i] for i in bucket.views]
            name = names[0] if len(names) == 1 else f"{names[0]} ... {names[-1]}"
            self._works.append(self._group.all_reduce(bucket.flat, "avg", f"gradients of {name}"))

    # ---- at its end ------------------------------------------------------------------------------

    def _finish(self) -> None:
        self._launch(only_full=False)
        ready = self._ready
        self._end()
        used = (self._buckets[-1].used != 0).tolist()
        for bucket in self._buckets:
            for i, view in bucket.views.items():
                if used[i] and self._params[i]._grad is None:
                    self._params[i]._grad = wrap(view)
        if not self._settled:
            self._settled = True
            seen = set(ready)
            order = [ready + [i for i in range(len(self._params)) if i not in seen]]
            self._group.broadcast_objects(order, 0)
            self._lay_out(order[0])

    def _end(self) -> None:
        """Wait for the buckets under way, and make ready for the next backward."""
        works, self._works = self._works, []
        self._running, self._ready = False, []
        for bucket in self._buckets:
            bucket.reset()
        for work in works:
            work.wait()
