"""Distributions of transformed random variables."""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

from ..core.modes import no_grad
from ..core.tensor import Size
from . import constraints
from .distribution import Distribution
from .independent import Independent
from .transforms import ComposeTransform, Transform
from .utils import _sum_rightmost


class TransformedDistribution(Distribution):
    """The distribution of t(x), for a transform t (or a list, one after the other) and a base's x.

    Densities are those of the base, over the Jacobian determinants.  ValueError if `transforms` is
    not a transform or a list of them, or if the base has fewer dimensions than an event of theirs.
    """

    arg_constraints: dict[str, constraints.Constraint] = {}

    def __init__(self, base_distribution, transforms, validate_args=None):
        if isinstance(transforms, Transform):
            transforms = [transforms]
        elif not isinstance(transforms, list):
            raise ValueError(f"transforms must be a Transform or list, but was {transforms}")
        elif not all(isinstance(t, Transform) for t in transforms):
            raise ValueError("transforms must be a Transform or a list of Transforms")
        self.transforms = transforms
        transform = ComposeTransform(transforms)
        domain_dim, codomain_dim = transform.domain.event_dim, transform.codomain.event_dim

        shape = base_distribution.batch_shape + base_distribution.event_shape
        event_dim = len(base_distribution.event_shape)
        if len(shape) < domain_dim:
            raise ValueError(
                "base_distribution needs to have shape with size at least "
                f"{domain_dim}, but got {shape}."
            )
        output_shape = Size(transform.forward_shape(shape))
        full_shape = Size(transform.inverse_shape(output_shape))  # broadcast with parameters
        if shape != full_shape:
            base_distribution = base_distribution.expand(full_shape[: len(full_shape) - event_dim])
        if domain_dim > event_dim:
            base_distribution = Independent(base_distribution, domain_dim - event_dim)
        self.base_dist = base_distribution

        cut = len(output_shape) - max(codomain_dim, event_dim + codomain_dim - domain_dim)
        super().__init__(output_shape[:cut], output_shape[cut:], validate_args=validate_args)

    @constraints.dependent_property(is_discrete=False)
    def support(self):
        if not self.transforms:
            return self.base_dist.support
        support = self.transforms[-1].codomain
        more = len(self.event_shape) - support.event_dim
        return constraints.independent(support, more) if more > 0 else support

    @property
    def has_rsample(self):
        return self.base_dist.has_rsample

    def _forward(self, x):
        for transform in self.transforms:
            x = transform(x)
        return x

    def sample(self, sample_shape=()):
        with no_grad():
            return self._forward(self.base_dist.sample(sample_shape))

    def rsample(self, sample_shape=()):
        return self._forward(self.base_dist.rsample(sample_shape))

    def log_prob(self, value):
        self._check_value(value)
        event_dim, log_prob, y = len(self.event_shape), 0, value
        for t in reversed(self.transforms):
            x = t.inv(y)
            event_dim += t.domain.event_dim - t.codomain.event_dim
            log_det = t.log_abs_det_jacobian(x, y)
            log_prob = log_prob - _sum_rightmost(log_det, event_dim - t.domain.event_dim)
            y = x
        base = self.base_dist
        return log_prob + _sum_rightmost(base.log_prob(y), event_dim - len(base.event_shape))

    def _mirrored(self, probability):
        """p, or 1 - p where the transforms together decrease."""
        sign = 1
        for transform in self.transforms:
            sign = sign * transform.sign
        if isinstance(sign, int) and sign == 1:
            return probability
        return sign * (probability - 0.5) + 0.5

    def cdf(self, value):
        for transform in reversed(self.transforms):
            value = transform.inv(value)
        if self._validate_args:
            self.base_dist._validate_sample(value)
        return self._mirrored(self.base_dist.cdf(value))

    def icdf(self, value):
        return self._forward(self.base_dist.icdf(self._mirrored(value)))
