"""Transforms in general, and their inverses."""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

import copy

from .. import constraints

TOO_FEW = "Too few dimensions on input"


class Transform:
    """A differentiable map of events, from `domain` to `codomain`.

    A subclass has _call, _inverse and log_abs_det_jacobian.

    cache_size: 1 keeps the last pair (x, y), so that the inverse of a y that the transform itself
        has made is the very x, without loss of precision or of gradients
    """

    bijective = False

    def __init__(self, cache_size=0):
        if cache_size not in (0, 1):
            raise ValueError("cache_size must be 0 or 1")
        self._cache_size, self._cached_x_y = cache_size, (None, None)
        self._inv = None

    def __getstate__(self):
        return {**self.__dict__, "_inv": None}

    @property
    def event_dim(self):
        """The dimensions of an event, where those of the domain and of the codomain are the same."""
        if self.domain.event_dim == self.codomain.event_dim:
            return self.domain.event_dim
        raise ValueError("Please use either .domain.event_dim or .codomain.event_dim")

    @property
    def inv(self):
        """The inverse transform."""
        if self._inv is None:
            self._inv = _InverseTransform(self)
        return self._inv

    @property
    def sign(self):
        """1 where the transform increases and -1 where it decreases: of maps of numbers only."""
        raise NotImplementedError

    def with_cache(self, cache_size=1):
        """The same transform with this size of cache."""
        if self._cache_size == cache_size:
            return self
        new = copy.copy(self)
        Transform.__init__(new, cache_size)
        return new

    def __eq__(self, other):
        return self is other

    def __call__(self, x):
        x_old, y_old = self._cached_x_y
        if x_old is not None and x is x_old:
            return y_old
        return self._cached(x, self._call(x))[1]

    def _inv_call(self, y):
        x_old, y_old = self._cached_x_y
        if y_old is not None and y is y_old:
            return x_old
        return self._cached(self._inverse(y), y)[0]

    def _cached(self, x, y):
        if self._cache_size:
            self._cached_x_y = x, y
        return x, y

    def _call(self, x):
        raise NotImplementedError

    def _inverse(self, y):
        raise NotImplementedError

    def log_abs_det_jacobian(self, x, y):
        """log |det dy/dx|, one number for each event."""
        raise NotImplementedError

    def forward_shape(self, shape):
        """The shape of the output for an input of this shape."""
        return shape

    def inverse_shape(self, shape):
        """The shape of the input for an output of this shape."""
        return shape

    def __repr__(self):
        return f"{self.__class__.__name__}()"


class FixedTransform(Transform):
    """A transform without parameters: all of one class are equal."""

    def __eq__(self, other):
        return isinstance(other, type(self))


class _InverseTransform(Transform):
    """Another transform the other way round; the cache is that transform's."""

    def __init__(self, transform):
        super().__init__(cache_size=transform._cache_size)
        self._inv = transform

    def __getstate__(self):
        return self.__dict__

    @constraints.dependent_property(is_discrete=False)
    def domain(self):
        return self._inv.codomain

    @constraints.dependent_property(is_discrete=False)
    def codomain(self):
        return self._inv.domain

    @property
    def bijective(self):
        return self._inv.bijective

    @property
    def sign(self):
        return self._inv.sign

    @property
    def inv(self):
        return self._inv

    def with_cache(self, cache_size=1):
        return self._inv.with_cache(cache_size).inv

    def __eq__(self, other):
        return isinstance(other, _InverseTransform) and self._inv == other._inv

    def __call__(self, x):
        return self._inv._inv_call(x)

    def log_abs_det_jacobian(self, x, y):
        return -self._inv.log_abs_det_jacobian(y, x)

    def forward_shape(self, shape):
        return self._inv.inverse_shape(shape)

    def inverse_shape(self, shape):
        return self._inv.forward_shape(shape)

    def __repr__(self):
        return f"{self.__class__.__name__}({self._inv!r})"
