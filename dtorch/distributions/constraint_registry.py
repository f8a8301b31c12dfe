"""Transforms from unconstrained tensors to those that satisfy a constraint.

`biject_to(constraint)` is a bijection; `transform_to(constraint)` need not be one, but is cheap and
well behaved, for optimizers.  Others are added by `biject_to.register` and `transform_to.register`.
"""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

import numbers

from . import constraints
from .transforms import (
    AffineTransform,
    CatTransform,
    ComposeTransform,
    CorrCholeskyTransform,
    ExpTransform,
    IndependentTransform,
    LowerCholeskyTransform,
    PositiveDefiniteTransform,
    SigmoidTransform,
    SoftmaxTransform,
    StackTransform,
    StickBreakingTransform,
    identity_transform,
)

__all__ = ["ConstraintRegistry", "biject_to", "transform_to"]


class ConstraintRegistry:
    """{class of constraints: function(constraint) -> transform}, to be called with a constraint."""

    def __init__(self):
        self._registry = {}

    def register(self, constraint, factory=None):
        """Set the function of a class of constraints (or of an instance's); also as a decorator.

        TypeError if it is no constraint.
        """
        if factory is None:
            return lambda factory: self.register(constraint, factory)
        if isinstance(constraint, constraints.Constraint):
            constraint = type(constraint)
        if not isinstance(constraint, type) or not issubclass(constraint, constraints.Constraint):
            raise TypeError(
                "Expected constraint to be either a Constraint subclass or instance, "
                f"but got {constraint}"
            )
        self._registry[constraint] = factory
        return factory

    def __call__(self, constraint):
        """The transform; NotImplementedError if none is registered for this class."""
        factory = self._registry.get(type(constraint))
        if factory is None:
            raise NotImplementedError(f"Cannot transform {type(constraint).__name__} constraints")
        return factory(constraint)


biject_to = ConstraintRegistry()
transform_to = ConstraintRegistry()


def _interval(c):
    low, high = c.lower_bound, c.upper_bound
    if all(isinstance(bound, numbers.Number) for bound in (low, high)) and (low, high) == (0, 1):
        return SigmoidTransform()
    return ComposeTransform([SigmoidTransform(), AffineTransform(low, high - low)])


def _above(c):
    return ComposeTransform([ExpTransform(), AffineTransform(c.lower_bound, 1)])


def _below(c):
    return ComposeTransform([ExpTransform(), AffineTransform(c.upper_bound, -1)])


def _combined(to):
    """The transforms of constraints that are made of others."""
    return {
        constraints.independent: lambda c: IndependentTransform(
            to(c.base_constraint), c.reinterpreted_batch_ndims
        ),
        constraints.cat: lambda c: CatTransform([to(p) for p in c.cseq], c.dim, c.lengths),
        constraints.stack: lambda c: StackTransform([to(p) for p in c.cseq], c.dim),
    }


_BOTH = {
    constraints.real: lambda c: identity_transform,
    constraints.positive: lambda c: ExpTransform(),
    constraints.nonnegative: lambda c: ExpTransform(),
    constraints.greater_than: _above,
    constraints.greater_than_eq: _above,
    constraints.less_than: _below,
    constraints.interval: _interval,
    constraints.half_open_interval: _interval,
    constraints.corr_cholesky: lambda c: CorrCholeskyTransform(),
}
_BIJECT = {constraints.simplex: lambda c: StickBreakingTransform()}
_TRANSFORM = {
    constraints.simplex: lambda c: SoftmaxTransform(),
    constraints.lower_cholesky: lambda c: LowerCholeskyTransform(),
    constraints.positive_definite: lambda c: PositiveDefiniteTransform(),
    constraints.positive_semidefinite: lambda c: PositiveDefiniteTransform(),
}
for _registry, _own in ((biject_to, _BIJECT), (transform_to, _TRANSFORM)):
    for _constraint, _factory in (_BOTH | _combined(_registry) | _own).items():
        _registry.register(_constraint, _factory)
