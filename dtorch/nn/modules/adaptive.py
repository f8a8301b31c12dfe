"""The softmax over very many classes, the rare ones in clusters."""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

from collections import namedtuple

from ...core.ops.join import cat
from .. import functional as F
from .container import ModuleList, Sequential
from .linear import Linear
from .module import Module

_ASMoutput = namedtuple("_ASMoutput", ("output", "loss"))


class AdaptiveLogSoftmaxWithLoss(Module):
    """The log probability of each target and its negative mean, cheap for very many classes.

    Classes are numbered by falling frequency.  Those below cutoffs[0] have outputs in `head`, with
    one more output for each cluster; the classes of cluster i, cutoffs[i] .. cutoffs[i + 1], have
    outputs in tail[i], behind a projection to in_features / div_value^(i + 1) features.
    Grave et al., "Efficient softmax approximation for GPUs" (2017).

    input: (N, in_features) or (in_features,), target: (N,) or () -> output of target's shape, loss ()
    """

    def __init__(self, in_features, n_classes, cutoffs, div_value=4.0, head_bias=False, device=None,
                 dtype=None):  # fmt: skip
        super().__init__()
        cutoffs = list(cutoffs)
        if not cutoffs:
            raise ValueError("cutoffs should be a sequence of length larger than 0")
        if (
            any(int(c) != c for c in cutoffs)
            or cutoffs != sorted(set(cutoffs))
            or not 0 < cutoffs[0] <= cutoffs[-1] < n_classes
        ):
            raise ValueError(
                "cutoffs should be a sequence of unique, positive integers sorted in an increasing "
                "order, where each value is between 1 and n_classes-1"
            )
        self.in_features = in_features
        self.n_classes = n_classes
        self.cutoffs = [*cutoffs, n_classes]
        self.div_value = div_value
        self.head_bias = head_bias
        self.shortlist_size = cutoffs[0]
        self.n_clusters = len(cutoffs)
        self.head_size = self.shortlist_size + self.n_clusters
        made = {"device": device, "dtype": dtype}
        self.head = Linear(in_features, self.head_size, bias=head_bias, **made)
        self.tail = ModuleList()
        for i, (first, end) in enumerate(zip(self.cutoffs, self.cutoffs[1:])):
            hidden = int(in_features // div_value ** (i + 1))
            self.tail.append(
                Sequential(
                    Linear(in_features, hidden, bias=False, **made),
                    Linear(hidden, end - first, bias=False, **made),
                )
            )

    def reset_parameters(self):
        """Draw the parameters anew, as at construction."""
        self.head.reset_parameters()
        for projection, output in self.tail:
            projection.reset_parameters()
            output.reset_parameters()

    def forward(self, input_, target_):
        self._check(input_, target_)
        if target_.ndim == 0:
            output, loss = self(input_.unsqueeze(0), target_.unsqueeze(0))
            return _ASMoutput(output.squeeze(0), loss)
        head = F.log_softmax(self.head(input_), dim=1)
        column = target_.clone()  # where in `head` the class, or its cluster, is
        within = head.new_zeros(target_.shape)
        for i, (first, end) in enumerate(zip(self.cutoffs, self.cutoffs[1:])):
            rows = ((target_ >= first) & (target_ < end)).nonzero().squeeze(1)
            if rows.numel():
                column[rows] = self.shortlist_size + i
                logs = F.log_softmax(self.tail[i](input_[rows]), dim=1)
                own = logs.gather(1, (target_[rows] - first).unsqueeze(1)).squeeze(1)
                within = within.index_copy(0, rows, own)
        output = within + head.gather(1, column.unsqueeze(1)).squeeze(1)
        return _ASMoutput(output, -output.mean())

    def _check(self, input, target):
        if target.ndim > 1:
            raise RuntimeError("0D or 1D target tensor expected, multi-target not supported")
        if target.ndim == 1 and input.shape[:1] != target.shape:
            raise RuntimeError("Input and target should have the same size in the batch dimension.")
        if input.ndim != target.ndim + 1:
            raise RuntimeError(
                f"{target.ndim}D target tensor expects {target.ndim + 1}D input tensors, but found "
                f"inputs with size {input.shape}"
            )
        if target.numel():
            low, high = target.min().item(), target.max().item()
            if low < 0 or high >= self.n_classes:
                raise RuntimeError(
                    f"Target values should be in [0, {self.n_classes - 1}], but values in range "
                    f"[{low}, {high}] were found. "
                )

    def log_prob(self, input):
        """The log probabilities of all classes.  input: (N, in_features) -> (N, n_classes)"""
        head = F.log_softmax(self.head(input), dim=1)
        clusters = [
            F.log_softmax(tail(input), dim=1) + head[:, self.shortlist_size + i].unsqueeze(1)
            for i, tail in enumerate(self.tail)
        ]
        return cat([head[:, : self.shortlist_size], *clusters], 1)

    def predict(self, input):
        """The most probable class of each row, without the tails of those in the shortlist.

        input: (N, in_features) -> (N,)
        """
        best = self.head(input).argmax(dim=1)
        rare = (best >= self.shortlist_size).nonzero().squeeze(1)
        if rare.numel():
            best[rare] = self.log_prob(input[rare]).argmax(dim=1)
        return best
