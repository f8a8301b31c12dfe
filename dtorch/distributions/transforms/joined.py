"""Different transforms for the parts of a tensor along one dimension."""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

from ...core.ops.join import cat, stack
from .. import constraints
from ..utils import _sum_rightmost, lazy_property
from .base import Transform


class _JoinedTransform(Transform):
    """Splits tensors along `dim`, transforms the parts, and joins them again."""

    def __init__(self, tseq, dim=0, cache_size=0):
        if not all(isinstance(t, Transform) for t in tseq):
            raise AssertionError("All elements of tseq must be Transform instances")
        super().__init__(cache_size=cache_size)
        self.transforms = [t.with_cache(cache_size) for t in tseq] if cache_size else list(tseq)
        self.dim = dim

    def with_cache(self, cache_size=1):
        if self._cache_size == cache_size:
            return self
        new = super().with_cache(cache_size)
        new.transforms = [t.with_cache(cache_size) for t in self.transforms]
        return new

    @property
    def bijective(self):
        return all(t.bijective for t in self.transforms)

    def _check(self, z, size, what):
        if not -z.dim() <= self.dim < z.dim():
            raise AssertionError(
                f"dim {self.dim} out of range for tensor with {z.dim()} dimensions"
            )
        if z.shape[self.dim] != size:
            raise AssertionError(f"size({self.dim}) = {z.shape[self.dim]} must equal {what} {size}")


class CatTransform(_JoinedTransform):
    """A transform for each slice along `dim`; the slices have these lengths (default: 1 each)."""

    def __init__(self, tseq, dim=0, lengths=None, cache_size=0):
        super().__init__(tseq, dim, cache_size)
        self.lengths = [1] * len(self.transforms) if lengths is None else list(lengths)
        if len(self.lengths) != len(self.transforms):
            raise AssertionError(
                f"lengths ({len(self.lengths)}) must match transforms ({len(self.transforms)})"
            )

    @lazy_property
    def event_dim(self):
        return max(t.event_dim for t in self.transforms)

    @lazy_property
    def length(self):
        """The length of all slices together."""
        return sum(self.lengths)

    def _slices(self, z):
        self._check(z, self.length, "length")
        return z.split(self.lengths, self.dim)

    def _call(self, x):
        return cat([t(s) for t, s in zip(self.transforms, self._slices(x))], self.dim)

    def _inverse(self, y):
        return cat([t.inv(s) for t, s in zip(self.transforms, self._slices(y))], self.dim)

    def log_abs_det_jacobian(self, x, y):
        parts = []
        for t, s, u in zip(self.transforms, self._slices(x), self._slices(y)):
            log_det = t.log_abs_det_jacobian(s, u)
            parts.append(_sum_rightmost(log_det, self.event_dim - t.event_dim))
        dim = (self.dim - x.dim() if self.dim >= 0 else self.dim) + self.event_dim
        return cat(parts, dim) if dim < 0 else sum(parts)  # dim may be one of the event's

    @constraints.dependent_property
    def domain(self):
        return constraints.cat([t.domain for t in self.transforms], self.dim, self.lengths)

    @constraints.dependent_property
    def codomain(self):
        return constraints.cat([t.codomain for t in self.transforms], self.dim, self.lengths)


class StackTransform(_JoinedTransform):
    """A transform for each element along `dim`."""

    def _slices(self, z):
        self._check(z, len(self.transforms), "len(transforms)")
        return z.unbind(self.dim)

    def _call(self, x):
        return stack([t(s) for t, s in zip(self.transforms, self._slices(x))], self.dim)

    def _inverse(self, y):
        return stack([t.inv(s) for t, s in zip(self.transforms, self._slices(y))], self.dim)

    def log_abs_det_jacobian(self, x, y):
        slices = zip(self.transforms, self._slices(x), self._slices(y))
        return stack([t.log_abs_det_jacobian(s, u) for t, s, u in slices], self.dim)

    @constraints.dependent_property
    def domain(self):
        return constraints.stack([t.domain for t in self.transforms], self.dim)

    @constraints.dependent_property
    def codomain(self):
        return constraints.stack([t.codomain for t in self.transforms], self.dim)
