"""The categorical distribution."""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

from math import nan

from ..core.dtype import finfo, int64
from ..core.ops.random import multinomial
from ..core.ops.shape import broadcast_tensors
from ..core.tensor import Size
from . import constraints
from .odds import ByOdds, check_one
from .utils import full_like_batch


class Categorical(ByOdds):
    """An index into the last dimension of `probs`, with these probabilities (once normalized)."""

    arg_constraints = {"probs": constraints.simplex, "logits": constraints.real_vector}
    has_enumerate_support = True
    _binary = False

    def __init__(self, probs=None, logits=None, validate_args=None):
        check_one(probs, logits)
        name, given = ("probs", probs) if logits is None else ("logits", logits)
        if given.dim() < 1:
            raise ValueError(f"`{name}` parameter must be at least one-dimensional.")
        if logits is None:
            self.probs = probs / probs.sum(-1, keepdim=True)
        else:
            self.logits = logits - logits.logsumexp(-1, keepdim=True)
        self._num_events = given.shape[-1]
        super().__init__(given.shape[:-1], validate_args=validate_args)

    @constraints.dependent_property(is_discrete=True, event_dim=0)
    def support(self):
        return constraints.integer_interval(0, self._num_events - 1)

    @property
    def mean(self):
        return full_like_batch(self, nan, self.probs)

    @property
    def mode(self):
        return self.probs.argmax(dim=-1)

    variance = mean

    def sample(self, sample_shape=()):
        rows = self.probs.detach().reshape(-1, self._num_events)
        indices = multinomial(rows, Size(sample_shape).numel(), True)
        return indices.T.reshape(self._extended_shape(sample_shape))

    def log_prob(self, value):
        self._check_value(value)
        index, log_probs = broadcast_tensors(value.long().unsqueeze(-1), self.logits)
        return log_probs.gather(-1, index[..., :1]).squeeze(-1)

    def entropy(self):
        logits = self.logits.clamp(min=finfo(self.logits.dtype).min)  # -inf * 0 is to be 0
        return -(logits * self.probs).sum(-1)

    def enumerate_support(self, expand=True):
        return self._counted(self._num_events, expand, int64)
