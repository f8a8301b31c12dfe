"""Sets of numbers."""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

from .base import Constraint


class _Bounded(Constraint):
    def __repr__(self):
        bounds = ", ".join(f"{name}={bound}" for name, bound in vars(self).items())
        return f"{self.__class__.__name__[1:]}({bounds})"


class _From(_Bounded):
    def __init__(self, lower_bound):
        self.lower_bound = lower_bound


class _UpTo(_Bounded):
    def __init__(self, upper_bound):
        self.upper_bound = upper_bound


class _Between(_Bounded):
    def __init__(self, lower_bound, upper_bound):
        self.lower_bound, self.upper_bound = lower_bound, upper_bound


class _Real(Constraint):
    def check(self, value):
        return value == value  # not NaN


class _GreaterThan(_From):
    def check(self, value):
        return value > self.lower_bound


class _GreaterThanEq(_From):
    def check(self, value):
        return value >= self.lower_bound


class _LessThan(_UpTo):
    def check(self, value):
        return value < self.upper_bound


class _Interval(_Between):
    def check(self, value):
        return (value >= self.lower_bound) & (value <= self.upper_bound)


class _HalfOpenInterval(_Between):
    def check(self, value):
        return (value >= self.lower_bound) & (value < self.upper_bound)


class _Boolean(Constraint):
    is_discrete = True

    def check(self, value):
        return (value == 0) | (value == 1)


class _IntegerInterval(_Between):
    is_discrete = True

    def check(self, value):
        return (value % 1 == 0) & (value >= self.lower_bound) & (value <= self.upper_bound)


class _IntegerGreaterThan(_From):
    is_discrete = True

    def check(self, value):
        return (value % 1 == 0) & (value >= self.lower_bound)
