"""The multinomial distribution."""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

from ..core.ops.create import ones_like
from ..core.ops.pointwise import where
from ..core.tensor import Size
from . import constraints
from .binomial import Binomial
from .categorical import Categorical
from .odds import ByCategorical
from .utils import broadcast_all


class Multinomial(ByCategorical):
    """How often each index is drawn in `total_count` (an int) draws with the probabilities `probs`."""

    arg_constraints = {"probs": constraints.simplex, "logits": constraints.real_vector}

    def __init__(self, total_count=1, probs=None, logits=None, validate_args=None):
        if not isinstance(total_count, int):
            raise NotImplementedError("inhomogeneous total_count is not supported")
        self.total_count = total_count
        self._categorical = Categorical(probs=probs, logits=logits)
        self._binomial = Binomial(total_count, probs=self.probs)  # of each count
        shape = self.param_shape
        super().__init__(shape[:-1], shape[-1:], validate_args=validate_args)

    @constraints.dependent_property(is_discrete=True, event_dim=1)
    def support(self):
        return constraints.multinomial(self.total_count)

    @property
    def mean(self):
        return self.probs * self.total_count

    @property
    def variance(self):
        return self.total_count * self.probs * (1 - self.probs)

    def sample(self, sample_shape=()):
        drawn = self._categorical.sample(Size((self.total_count, *sample_shape))).movedim(0, -1)
        counts = self.probs.new_zeros(self._extended_shape(sample_shape))
        return counts.scatter_add(-1, drawn, ones_like(drawn, dtype=counts.dtype))

    def entropy(self):
        # n H - log n! + the sum over the categories of E log(count!)
        values = self._binomial.enumerate_support(expand=False)
        log_factorial = (values + 1).lgamma()
        expected = (self._binomial.log_prob(values).exp() * log_factorial).sum([0, -1])
        n = self.total_count
        return n * self._categorical.entropy() - log_factorial[-1].sum() + expected

    def log_prob(self, value):
        self._check_value(value)
        logits, value = broadcast_all(self.logits, value)
        logits = where((value == 0) & (logits == float("-inf")), 0, logits)
        log_ways = (value.sum(-1) + 1).lgamma() - (value + 1).lgamma().sum(-1)
        return log_ways + (logits * value).sum(-1)
