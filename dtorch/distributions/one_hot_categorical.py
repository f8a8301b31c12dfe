"""The categorical distribution, of one-hot vectors."""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

from ..core.ops.create import eye
from ..core.ops.embedding import one_hot
from . import constraints
from .categorical import Categorical
from .odds import ByCategorical


class OneHotCategorical(ByCategorical):
    """Vectors with a 1 at an index that is drawn with the probabilities `probs`, else 0."""

    arg_constraints = {"probs": constraints.simplex, "logits": constraints.real_vector}
    support = constraints.one_hot
    has_enumerate_support = True

    def __init__(self, probs=None, logits=None, validate_args=None):
        self._categorical = Categorical(probs, logits)
        shape = self.param_shape
        super().__init__(shape[:-1], shape[-1:], validate_args=validate_args)

    @property
    def mean(self):
        return self.probs

    @property
    def mode(self):
        return one_hot(self._categorical.mode, self.event_shape[0]).to(self.probs)

    @property
    def variance(self):
        return self.probs * (1 - self.probs)

    def sample(self, sample_shape=()):
        indices = self._categorical.sample(sample_shape)
        return one_hot(indices, self.event_shape[0]).to(self.probs.dtype)

    def log_prob(self, value):
        self._check_value(value)
        return self._categorical.log_prob(value.argmax(-1))

    def entropy(self):
        return self._categorical.entropy()

    def enumerate_support(self, expand=True):
        n, batch = self.event_shape[0], self.batch_shape
        values = eye(n, dtype=self._param.dtype, device=self._param.device)
        values = values.reshape((n,) + (1,) * len(batch) + (n,))
        return values.expand((n, *batch, n)) if expand else values


class OneHotCategoricalStraightThrough(OneHotCategorical):
    """OneHotCategorical, with the gradients of the probabilities for those of the sample.

    Bengio, Léonard, Courville, "Estimating or propagating gradients through stochastic neurons for
    conditional computation" (2013).
    """

    has_rsample = True

    def rsample(self, sample_shape=()):
        return self.sample(sample_shape) + (self.probs - self.probs.detach())
