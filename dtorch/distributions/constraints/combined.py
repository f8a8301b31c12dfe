"""Constraints made of other constraints."""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

from ...core.ops.join import cat, stack
from .base import Constraint


def _require(value, kind, name):
    if not isinstance(value, kind):
        raise AssertionError(f"{name} must be a {kind.__name__}, got {type(value).__name__}")


class _Wrapped(Constraint):
    """A set of events that are made of events of the base constraint."""

    def __init__(self, base_constraint):
        _require(base_constraint, Constraint, "base_constraint")
        self.base_constraint = base_constraint

    is_discrete = property(lambda self: self.base_constraint.is_discrete)  # type: ignore[assignment]
    event_dim = property(lambda self: self.base_constraint.event_dim)  # type: ignore[assignment]

    @staticmethod
    def _all(result, dims, needed, value):
        """Whether all are true along the last `dims` dimensions."""
        if value.dim() < needed:
            raise ValueError(f"Expected value.dim() >= {needed} but got {value.dim()}")
        return result.reshape(result.shape[: result.dim() - dims] + (-1,)).all(-1)


class _IndependentConstraint(_Wrapped):
    """The base constraint, of which the last batch dimensions count as dimensions of the event."""

    def __init__(self, base_constraint, reinterpreted_batch_ndims):
        super().__init__(base_constraint)
        _require(reinterpreted_batch_ndims, int, "reinterpreted_batch_ndims")
        if reinterpreted_batch_ndims < 0:
            raise AssertionError(
                f"reinterpreted_batch_ndims must be >= 0, got {reinterpreted_batch_ndims}"
            )
        self.reinterpreted_batch_ndims = reinterpreted_batch_ndims

    @property
    def event_dim(self):
        return self.base_constraint.event_dim + self.reinterpreted_batch_ndims

    def check(self, value):
        result = self.base_constraint.check(value)
        return self._all(result, self.reinterpreted_batch_ndims, self.event_dim, value)

    def __repr__(self):
        name = self.__class__.__name__[1:]
        return f"{name}({self.base_constraint!r}, {self.reinterpreted_batch_ndims})"


class MixtureSameFamilyConstraint(_Wrapped):
    """In the supports of all components, which are along the last dimension before the event."""

    def check(self, value):
        result = self.base_constraint.check(value.unsqueeze(-1 - self.event_dim))
        kept = value.dim() - self.event_dim
        return self._all(result, result.dim() - kept, self.event_dim, value)

    def __repr__(self):
        return f"{self.__class__.__name__}({self.base_constraint!r})"


class _Several(Constraint):
    """A constraint for each part of a tensor along `dim`."""

    def __init__(self, cseq, dim=0):
        if not all(isinstance(c, Constraint) for c in cseq):
            raise AssertionError("All elements of cseq must be Constraint instances")
        self.cseq, self.dim = list(cseq), dim

    @property
    def is_discrete(self):
        return any(c.is_discrete for c in self.cseq)

    @property
    def event_dim(self):
        return max(c.event_dim for c in self.cseq)

    def _check_dim(self, value):
        if not -value.dim() <= self.dim < value.dim():
            raise AssertionError(
                f"dim {self.dim} out of range for value with {value.dim()} dimensions"
            )


class _Cat(_Several):
    """The parts have these lengths (default: 1 each)."""

    def __init__(self, cseq, dim=0, lengths=None):
        super().__init__(cseq, dim)
        self.lengths = [1] * len(self.cseq) if lengths is None else list(lengths)
        if len(self.lengths) != len(self.cseq):
            raise AssertionError(
                f"lengths ({len(self.lengths)}) must match cseq ({len(self.cseq)})"
            )

    def check(self, value):
        self._check_dim(value)
        parts = value.split(self.lengths, self.dim)
        return cat([c.check(v) for c, v in zip(self.cseq, parts)], self.dim)


class _Stack(_Several):
    """The parts are one element each, and lack the dimension."""

    @property
    def event_dim(self):
        dim = max(c.event_dim for c in self.cseq)
        return dim + 1 if self.dim + dim < 0 else dim

    def check(self, value):
        self._check_dim(value)
        parts = value.unbind(self.dim)
        return stack([c.check(v) for c, v in zip(self.cseq, parts)], self.dim)
