"""SyncBatchNorm: batch normalization with the statistics of the batches of all ranks."""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

from ..core import backend
from ..core.function import Function
from ..core.modes import no_grad
from ..core.ops.create import tensor
from ..core.ops.join import cat
from ..core.tensor import wrap
from ..nn.modules.batchnorm import _BatchNorm
from .world import default_group, is_initialized


class _AllGather(Function):
    """A vector (n,) of each rank to (ranks, n); back, what all ranks say of this rank's."""

    @staticmethod
    def forward(ctx, vector, group):
        ctx.group = group
        xp = backend.of(vector._a)
        out = xp.empty((group.size(), vector.numel()), vector._a.dtype)
        group.all_gather(xp.ascontiguousarray(vector._a), out).wait()
        return wrap(out)

    @staticmethod
    def backward(ctx, gradient):
        total = gradient.clone()
        ctx.group.all_reduce(total._a).wait()
        return total[ctx.group.rank()], None


def _statistics(x, group):
    """Mean and variance of each channel over all ranks, (C,) each, and the number of elements.

    They are put together from each rank's mean and sum of squares around it, which stays accurate
    where sums of squares do not (Chan et al., "Algorithms for computing the sample variance", 1983).
    """
    channels, dims = x.shape[1], [0, *range(2, x.ndim)]
    n = x.numel() // channels
    mean = x.sum(dims) / max(n, 1)
    squares = (x - _along(mean, x)).square().sum(dims)
    count = tensor([float(n)], dtype=x.dtype, device=x.device)
    rows = _AllGather.apply(cat([mean, squares, count]), group)
    means, squares, counts = rows[:, :channels], rows[:, channels:-1], rows[:, -1:]
    total = counts.detach().sum()
    mean = (means * counts).sum(0) / total
    var = (squares + counts * (means - mean) ** 2).sum(0) / total
    return mean, var, total


def _along(channels, x):
    """(C,) in a shape that meets the channels of x: (N, C, ...)"""
    return channels.reshape(-1, *[1] * (x.ndim - 2))


class SyncBatchNorm(_BatchNorm):
    """BatchNorm whose statistics are those of the batches of all ranks together.

    process_group: the ranks; None: all.  In evaluation, or with one rank, it is BatchNorm.  Every
    rank has to call it, and its backward, as often as the others; a batch may be empty.
    """

    def __init__(self, num_features, eps=1e-5, momentum=0.1, affine=True, track_running_stats=True,
                 process_group=None, device=None, dtype=None, *, bias=True):  # fmt: skip
        super().__init__(
            num_features, eps, momentum, affine, track_running_stats, device, dtype, bias=bias
        )
        self.process_group = process_group

    def _check_input_dim(self, input):
        if input.ndim < 2:
            raise ValueError(f"expected at least 2D input (got {input.ndim}D input)")
        if input.shape[1] == 0:
            raise ValueError("SyncBatchNorm number of input channels should be non-zero")

    def _normalized(self, input, mean, var, own, momentum):
        group = self.process_group or (default_group() if is_initialized() else None)
        if not self.training or group is None or group.size() == 1:
            return super()._normalized(input, mean, var, own, momentum)
        x = input.float() if input.dtype.itemsize < 4 else input
        batch_mean, batch_var, total = _statistics(x, group)
        if mean is not None:
            with no_grad():
                unbiased = batch_var * (total / (total - 1).clamp(min=1))
                mean.mul_(1 - momentum).add_((batch_mean * momentum).to(mean.dtype))
                var.mul_(1 - momentum).add_((unbiased * momentum).to(var.dtype))
        # Normalized by given statistics, which are differentiated like any other input.
        y = (x - _along(batch_mean, x)) / _along((batch_var + self.eps).sqrt(), x)
        if self.weight is not None:
            y = y * _along(self.weight, x)
        if self.bias is not None:
            y = y + _along(self.bias, x)
        return y.to(input.dtype)

    @classmethod
    def convert_sync_batchnorm(cls, module, process_group=None):
        """The module with all its BatchNorms, at any depth, as SyncBatchNorms with their tensors."""
        made = module
        if isinstance(module, _BatchNorm):
            made = SyncBatchNorm(
                module.num_features, module.eps, module.momentum, module.affine,
                module.track_running_stats, process_group, bias=module.bias is not None,
            )  # fmt: skip
            if module.affine:
                made.weight, made.bias = module.weight, module.bias
            made.running_mean, made.running_var = module.running_mean, module.running_var
            made.num_batches_tracked = module.num_batches_tracked
            made.training = module.training
        for name, child in module.named_children():
            made.add_module(name, cls.convert_sync_batchnorm(child, process_group))
        return made
