"""Constraints in general: their interface, and those that are known only for an instance."""

# mypy: disallow-untyped-defs=False
from __future__ import annotations


class Constraint:
    """A set of events, each of `event_dim` dimensions; `is_discrete` if they can be counted."""

    is_discrete = False
    event_dim = 0

    def check(self, value):
        """bool tensor: which events of the value are in the set."""
        raise NotImplementedError

    def __repr__(self):
        return self.__class__.__name__[1:] + "()"


class _Dependent(Constraint):
    """Stands for a set that depends on other values; calling it says what is known of the set."""

    def __init__(self, *, is_discrete=NotImplemented, event_dim=NotImplemented):
        self._is_discrete, self._event_dim = is_discrete, event_dim

    def _known(self, name):
        value = getattr(self, f"_{name}")
        if value is NotImplemented:
            raise NotImplementedError(f".{name} cannot be determined statically")
        return value

    is_discrete = property(lambda self: self._known("is_discrete"))  # type: ignore[assignment]
    event_dim = property(lambda self: self._known("event_dim"))  # type: ignore[assignment]

    def __call__(self, *, is_discrete=NotImplemented, event_dim=NotImplemented):
        return _Dependent(
            is_discrete=self._is_discrete if is_discrete is NotImplemented else is_discrete,
            event_dim=self._event_dim if event_dim is NotImplemented else event_dim,
        )

    def check(self, value):
        raise ValueError("Cannot determine validity of dependent constraint")


class _DependentProperty(property, _Dependent):
    """A property that is a constraint: of the class a dependent one, of an instance the real one.

    @dependent_property(is_discrete=False, event_dim=0)
    def support(self): ...
    """

    def __init__(self, fn=None, *, is_discrete=NotImplemented, event_dim=NotImplemented):
        property.__init__(self, fn)
        _Dependent.__init__(self, is_discrete=is_discrete, event_dim=event_dim)

    def __call__(self, fn):  # type: ignore[override]
        return _DependentProperty(fn, is_discrete=self._is_discrete, event_dim=self._event_dim)


def is_dependent(constraint):
    """Whether the constraint only stands for one that is not known yet."""
    return isinstance(constraint, _Dependent)
