"""Gradients that are not finite: which parameter's, and on which rank, before averages hide it."""

from __future__ import annotations

from collections.abc import Sequence

from dtorch.core import backend

from .buckets import Bucket
from .group import Group


class FiniteCheck:
    """Looks at each rank's own gradients on their way; one pass over memory a step."""

    def __init__(self, group: Group, names: Sequence[str]) -> None:
        self._group, self._names = group, names
        self._found: list[str] = []

    def look(self, bucket: Bucket) -> None:
        """Note what is wrong in a bucket that holds this rank's gradients still."""
        xp = backend.of(bucket.grads)
        if xp.isfinite(bucket.grads).all():
            return
        for i, view in bucket.views.items():
            nans, infs = int(xp.isnan(view).sum()), int(xp.isinf(view).sum())
            if nans or infs:
                self._found.append(
                    f"the gradient of {self._names[i]!r} holds {nans} NaN and {infs} infinite "
                    f"values among {view.size}"
                )

    def agree(self) -> None:
        """RuntimeError on every rank if any has found something.  A collective."""
        found, self._found = self._found, []
        wrong = [
            f"  rank {rank}: {text}"
            for rank, texts in enumerate(self._group.all_gather_objects(found))
            for text in texts
        ]
        if wrong:
            told = "\n".join(wrong)
            raise RuntimeError(
                f"gradients are not finite, before they were averaged:\n{told}\nThe averages in "
                "p.grad are not, either: skip this step, or look for the cause on these ranks, as "
                "with dtorch.autograd.detect_anomaly()."
            )
