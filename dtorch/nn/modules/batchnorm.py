"""Batch and instance normalization."""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

from ...core import dtype as dtypes
from ...core.ops import create
from .. import functional as F
from .. import init
from .module import Module
from .utils import parameter, shown


class _NormBase(Module):
    """What both have: affine parameters and running statistics of each channel.

    weight, bias, running_mean, running_var: (num_features,)
    momentum: how much a new value counts in the running statistics; None: all count the same
    """

    _version = 2
    dims = ()  # how many dimensions an input may have

    def __init__(self, num_features, eps, momentum, affine, track_running_stats, device, dtype,
                 bias):  # fmt: skip
        super().__init__()
        self.num_features = num_features
        self.eps = eps
        self.momentum = momentum
        self.affine = affine
        self.track_running_stats = track_running_stats
        made = {"device": device, "dtype": dtype}
        self.weight = parameter(num_features, **made) if affine else None
        self.bias = parameter(num_features, **made) if affine and bias else None
        mean = var = count = None
        if track_running_stats:
            mean, var = create.zeros(num_features, **made), create.ones(num_features, **made)
            count = create.tensor(0, dtype=dtypes.int64, device=device)
        self.register_buffer("running_mean", mean)
        self.register_buffer("running_var", var)
        self.register_buffer("num_batches_tracked", count)
        self.reset_parameters()

    def reset_running_stats(self):
        if self.track_running_stats:
            self.running_mean.zero_()
            self.running_var.fill_(1)
            self.num_batches_tracked.zero_()

    def reset_parameters(self):
        """Draw the parameters anew, as at construction."""
        self.reset_running_stats()
        if self.weight is not None:
            init.ones_(self.weight)
        if self.bias is not None:
            init.zeros_(self.bias)

    def _check_input_dim(self, input):
        if input.ndim not in self.dims:
            words = " or ".join(f"{n}D" for n in self.dims)
            raise ValueError(f"expected {words} input (got {input.ndim}D input)")

    def extra_repr(self):
        return f"{self.num_features}, " + shown(
            eps=self.eps, momentum=self.momentum, affine=self.affine, bias=self.bias is not None,
            track_running_stats=self.track_running_stats,
        )  # fmt: skip

    def _load_from_state_dict(self, state_dict, prefix, local_metadata, *rest):
        key = prefix + "num_batches_tracked"
        if (local_metadata.get("version") or 1) < 2 and self.track_running_stats:
            state_dict.setdefault(key, self.num_batches_tracked)  # older states lack it
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *rest)


class _BatchNorm(_NormBase):
    """(x - mean) / sqrt(var + eps) weight + bias, statistics over all but the channels.

    x: (N, C, ...).  In evaluation the statistics are the running ones.  Ioffe and Szegedy, "Batch
    normalization" (2015).
    """

    def __init__(self, num_features, eps=1e-5, momentum=0.1, affine=True, track_running_stats=True,
                 device=None, dtype=None, *, bias=True):  # fmt: skip
        super().__init__(
            num_features, eps, momentum, affine, track_running_stats, device, dtype, bias
        )

    def forward(self, input):
        self._check_input_dim(input)
        momentum = 0.0 if self.momentum is None else self.momentum
        counted = self.training and self.track_running_stats
        count = self.num_batches_tracked if counted else None
        if count is not None and self.momentum is None:
            momentum = 1.0 / (float(count) + 1)
        own = self.training or (self.running_mean is None and self.running_var is None)
        used = not self.training or self.track_running_stats
        mean, var = (self.running_mean, self.running_var) if used else (None, None)
        out = self._normalized(input, mean, var, own, momentum)
        if count is not None:
            count.add_(1)
        return out

    def _normalized(self, input, mean, var, own, momentum):
        """mean, var: the running ones, or None; own: whether the batch's statistics are used."""
        return F.batch_norm(input, mean, var, self.weight, self.bias, own, momentum, self.eps)


class BatchNorm1d(_BatchNorm):
    __doc__ = _BatchNorm.__doc__
    dims = (2, 3)


class BatchNorm2d(_BatchNorm):
    __doc__ = _BatchNorm.__doc__
    dims = (4,)


class BatchNorm3d(_BatchNorm):
    __doc__ = _BatchNorm.__doc__
    dims = (5,)


class _InstanceNorm(_NormBase):
    """(x - mean) / sqrt(var + eps) weight + bias, statistics of each channel of each sample.

    x: (N, C, *size) or (C, *size).  Ulyanov et al., "Instance normalization" (2016).
    """

    def __init__(self, num_features, eps=1e-5, momentum=0.1, affine=False,
                 track_running_stats=False, device=None, dtype=None, *, bias=True):  # fmt: skip
        super().__init__(
            num_features, eps, momentum, affine, track_running_stats, device, dtype, bias
        )

    def forward(self, input):
        self._check_input_dim(input)
        single = input.ndim == self.dims[0]
        channels = input.shape[0 if single else 1]
        if channels != self.num_features and self.affine:
            raise ValueError(
                f"expected input's size at dim={0 if single else 1} to match num_features "
                f"({self.num_features}), but got: {channels}."
            )
        out = F.instance_norm(
            input.unsqueeze(0) if single else input, self.running_mean, self.running_var,
            self.weight, self.bias, self.training or not self.track_running_stats,
            0.0 if self.momentum is None else self.momentum, self.eps,
        )  # fmt: skip
        return out.squeeze(0) if single else out


class InstanceNorm1d(_InstanceNorm):
    __doc__ = _InstanceNorm.__doc__
    dims = (2, 3)


class InstanceNorm2d(_InstanceNorm):
    __doc__ = _InstanceNorm.__doc__
    dims = (3, 4)


class InstanceNorm3d(_InstanceNorm):
    __doc__ = _InstanceNorm.__doc__
    dims = (4, 5)
