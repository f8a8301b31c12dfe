"""Mixtures of distributions of one family."""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

from ..core.modes import no_grad
from . import constraints
from .categorical import Categorical
from .distribution import Distribution


class MixtureSameFamily(Distribution):
    """Draws of a component, which a Categorical picks along the last batch dimension.

    ValueError unless the mixture is a Categorical with as many events as there are components.
    """

    arg_constraints: dict[str, constraints.Constraint] = {}

    def __init__(self, mixture_distribution, component_distribution, validate_args=None):
        if not isinstance(mixture_distribution, Categorical):
            raise ValueError(
                " The Mixture distribution needs to be an  instance of "
                "torch.distributions.Categorical"
            )
        if not isinstance(component_distribution, Distribution):
            raise ValueError(
                "The Component distribution needs to be an instance of "
                "torch.distributions.Distribution"
            )
        batch, picked = component_distribution.batch_shape[:-1], mixture_distribution.batch_shape
        for i, j in zip(reversed(picked), reversed(batch)):
            if i != 1 and j != 1 and i != j:
                raise ValueError(
                    f"`mixture_distribution.batch_shape` ({picked}) is not compatible with "
                    f"`component_distribution.batch_shape`({batch})"
                )
        events, components = (
            mixture_distribution._num_events,
            component_distribution.batch_shape[-1],
        )
        if events != components:
            raise ValueError(
                f"`mixture_distribution component` ({events}) does not equal "
                f"`component_distribution.batch_shape[-1]` ({components})"
            )
        self._mixture_distribution = mixture_distribution
        self._component_distribution = component_distribution
        super().__init__(batch, component_distribution.event_shape, validate_args=validate_args)

    @constraints.dependent_property
    def support(self):
        return constraints.MixtureSameFamilyConstraint(self._component_distribution.support)

    @property
    def mixture_distribution(self):
        return self._mixture_distribution

    @property
    def component_distribution(self):
        return self._component_distribution

    @property
    def _dim(self):
        """The dimension of the components in tensors that have events."""
        return -1 - len(self._event_shape)

    def _mixed(self, values):
        """The mean over the components of values, one for each element of their events."""
        probs = self._mixture_distribution.probs
        probs = probs.reshape(probs.shape + (1,) * len(self._event_shape))
        return (probs * values).sum(self._dim)

    @property
    def mean(self):
        return self._mixed(self._component_distribution.mean)

    @property
    def variance(self):
        component = self._component_distribution
        apart = (component.mean - self.mean.unsqueeze(self._dim)) ** 2
        return self._mixed(component.variance) + self._mixed(apart)

    def cdf(self, x):
        each = self._component_distribution.cdf(x.unsqueeze(self._dim))
        return (each * self._mixture_distribution.probs).sum(-1)

    def log_prob(self, x):
        self._check_value(x)
        each = self._component_distribution.log_prob(x.unsqueeze(self._dim))
        return (each + self._mixture_distribution.logits.log_softmax(-1)).logsumexp(-1)

    def sample(self, sample_shape=()):
        with no_grad():
            drawn = self._component_distribution.sample(sample_shape)
            dim = drawn.dim() + self._dim
            index = self._mixture_distribution.expand(self._batch_shape).sample(sample_shape)
            index = index.reshape(index.shape + (1,) * (1 + len(self._event_shape)))
            index = index.expand(index.shape[: dim + 1] + self._event_shape)
            return drawn.gather(dim, index).squeeze(dim)

    def __repr__(self):
        parts = f"\n  {self._mixture_distribution},\n  {self._component_distribution}"
        return f"MixtureSameFamily({parts})"
