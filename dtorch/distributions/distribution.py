"""The base class of distributions."""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

import warnings

from ..core.modes import no_grad
from ..core.tensor import Size, Tensor
from . import constraints
from .utils import lazy_property


class Distribution:
    """A batch of independent distributions of one family.

    A sample has the shape sample_shape + batch_shape + event_shape: an event is what the density is
    one number of, a batch has parameters of its own for each distribution.

    A family sets its parameters, which are named in `arg_constraints`, as attributes before it calls
    this constructor, which checks them: ValueError if one violates its constraint, where
    `validate_args` is on (the default, as for `assert`).
    """

    has_rsample = False
    has_enumerate_support = False
    _validate_args = __debug__

    @staticmethod
    def set_default_validate_args(value):
        """Whether distributions check their arguments if not told otherwise."""
        if value not in (True, False):
            raise ValueError(f"expected True or False, got {value!r}")
        Distribution._validate_args = value

    def __init__(self, batch_shape=(), event_shape=(), validate_args=None):
        self._batch_shape, self._event_shape = Size(batch_shape), Size(event_shape)
        if validate_args is not None:
            self._validate_args = validate_args
        if self._validate_args:
            self._check_parameters()
        super().__init__()

    def _check_parameters(self):
        try:
            known = self.arg_constraints
        except NotImplementedError:
            known = {}
            warnings.warn(
                f"{self.__class__} does not define `arg_constraints`. "
                "Please set `arg_constraints = {}` or initialize the distribution "
                "with `validate_args=False` to turn off validation.",
                stacklevel=3,
            )
        for param, constraint in known.items():
            lazy = isinstance(getattr(type(self), param, None), lazy_property)
            if constraints.is_dependent(constraint) or (lazy and param not in self.__dict__):
                continue
            value = getattr(self, param)
            if not constraint.check(value).all():
                raise ValueError(
                    f"Expected parameter {param} "
                    f"({type(value).__name__} of shape {tuple(value.shape)}) "
                    f"of distribution {self!r} "
                    f"to satisfy the constraint {constraint!r}, "
                    f"but found invalid values:\n{value}"
                )

    # ---- shapes ----------------------------------------------------------------------------------

    @property
    def batch_shape(self):
        """The shape that the parameters are batched over."""
        return self._batch_shape

    @property
    def event_shape(self):
        """The shape of one event."""
        return self._event_shape

    def _extended_shape(self, sample_shape=()):
        """The shape of a sample."""
        return Size((*sample_shape, *self._batch_shape, *self._event_shape))

    def expand(self, batch_shape, _instance=None):
        """The same distributions for a batch shape that this one broadcasts to; nothing is copied.

        Parameters and the distributions that this one is made of are expanded; what was computed
        from them on demand will be computed anew.
        """
        family = next(c for c in type(self).__mro__ if c.__module__.startswith(__package__))
        if family is Distribution:
            raise NotImplementedError(f"{type(self).__name__} does not implement expand")
        new = self._get_checked_instance(family, _instance)
        batch_shape = Size(batch_shape)
        parameters = self.arg_constraints
        for name, value in self.__dict__.items():
            if name in parameters:
                event = value.shape[value.dim() - parameters[name].event_dim :]
                value = value.expand(batch_shape + event)
            elif isinstance(value, Distribution):
                value = value.expand(batch_shape + value.batch_shape[len(self._batch_shape) :])
            elif isinstance(getattr(type(self), name, None), lazy_property):
                continue
            new.__dict__[name] = value
        new._batch_shape = batch_shape
        return new

    def _get_checked_instance(self, cls, _instance=None):
        if _instance is None and type(self).__init__ != cls.__init__:
            raise NotImplementedError(
                f"Subclass {self.__class__.__name__} of {cls.__name__} that defines a custom "
                "__init__ method must also define a custom .expand() method."
            )
        return type(self).__new__(type(self)) if _instance is None else _instance

    # ---- what a family says of itself ------------------------------------------------------------

    @property
    def arg_constraints(self):
        """{name of a parameter: its constraint}"""
        raise NotImplementedError

    @property
    def support(self):
        """The constraint that samples satisfy."""
        raise NotImplementedError

    @property
    def mean(self):
        """The mean: batch_shape + event_shape."""
        raise NotImplementedError

    @property
    def mode(self):
        """The point of the greatest density: batch_shape + event_shape."""
        raise NotImplementedError(f"{self.__class__} does not implement mode")

    @property
    def variance(self):
        """The variance of each element: batch_shape + event_shape."""
        raise NotImplementedError

    @property
    def stddev(self):
        """The standard deviation: the root of the variance."""
        return self.variance.sqrt()

    def sample(self, sample_shape=()):
        """A sample without gradients: sample_shape + batch_shape + event_shape."""
        with no_grad():
            return self.rsample(sample_shape)

    def rsample(self, sample_shape=()):
        """A sample that is differentiable by the parameters (only if has_rsample)."""
        raise NotImplementedError

    def sample_n(self, n):
        """n samples; deprecated in favour of sample((n,))."""
        warnings.warn(
            "`sample_n(n)` will be deprecated. Use `sample((n,))` instead.",
            FutureWarning,
            stacklevel=2,
        )
        return self.sample(Size((n,)))

    def log_prob(self, value):
        """The logarithm of the density, or of the probability: value's shape without the event's."""
        raise NotImplementedError

    def cdf(self, value):
        """The probability of at most `value`."""
        raise NotImplementedError

    def icdf(self, value):
        """The quantiles: the inverse of cdf."""
        raise NotImplementedError

    def enumerate_support(self, expand=True):
        """All values, along a new first dimension (only if has_enumerate_support).

        expand: False leaves the batch dimensions 1
        """
        raise NotImplementedError

    def entropy(self):
        """The entropy, in nats: batch_shape."""
        raise NotImplementedError

    def perplexity(self):
        """exp of the entropy."""
        return self.entropy().exp()

    # ---- checks ----------------------------------------------------------------------------------

    def _check_value(self, value):
        if self._validate_args:
            self._validate_sample(value)

    def _validate_sample(self, value):
        """ValueError unless value is a tensor of events, broadcasts with the batch, and is possible."""
        if not isinstance(value, Tensor):
            raise ValueError("The value argument to log_prob must be a Tensor")
        actual, expected = value.shape, self._batch_shape + self._event_shape
        if actual[len(actual) - len(self._event_shape) :] != self._event_shape:
            raise ValueError(
                "The right-most size of value must match event_shape: "
                f"{actual} vs {self._event_shape}."
            )
        for i, j in zip(reversed(actual), reversed(expected)):
            if i != 1 and j != 1 and i != j:
                raise ValueError(
                    "Value is not broadcastable with batch_shape+event_shape: "
                    f"{actual} vs {expected}."
                )
        try:
            support = self.support
        except NotImplementedError:
            warnings.warn(
                f"{self.__class__} does not define `support` to enable "
                "sample validation. Please initialize the distribution with "
                "`validate_args=False` to turn off validation.",
                stacklevel=3,
            )
            return
        if not support.check(value).all():
            raise ValueError(
                "Expected value argument "
                f"({type(value).__name__} of shape {tuple(value.shape)}) "
                f"to be within the support ({support!r}) "
                f"of the distribution {self!r}, "
                f"but found invalid values:\n{value}"
            )

    def __repr__(self):
        parameters = {k: self.__dict__[k] for k in self.arg_constraints if k in self.__dict__}
        parts = [f"{k}: {v if v.numel() == 1 else v.size()}" for k, v in parameters.items()]
        return f"{self.__class__.__name__}({', '.join(parts)})"
