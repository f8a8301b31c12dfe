"""Communication hooks that send gradients as 8-bit numbers: a scale and a zero point for each rank.

A value x is sent as round(x / scale) + zero_point, of 0 to 255.  Ranks exchange their numbers, not
sums of them, so that what is received grows with the number of ranks.  `state` is the group, the
default one if None.
"""

from __future__ import annotations

from typing import Any

import dtorch
from dtorch.core.tensor import Tensor
from dtorch.nn.functional import pad

from .arguments import the_group
from .buckets import GradBucket
from .collectives import all_gather_into_tensor
from .future import Future

_LEVELS = 255


def quantization_pertensor_hook(process_group: Any, bucket: GradBucket) -> Future[Tensor]:
    """The average of the ranks' gradients, each bucket with one scale and one zero point."""
    return _average(process_group, bucket, bucket.buffer().numel())


def quantization_perchannel_hook(
    process_group: Any, bucket: GradBucket, bucket_size: int = 512
) -> Future[Tensor]:
    """The average of the ranks' gradients, each bucket_size of them with a scale of their own."""
    return _average(process_group, bucket, bucket_size)


@dtorch.no_grad()
def _average(process_group: Any, bucket: GradBucket, channel: int) -> Future[Tensor]:
    group = the_group(process_group)
    x = bucket.buffer()
    channels = pad(x.float(), (0, -x.numel() % max(channel, 1))).view(-1, max(channel, 1))
    codes, scales = _quantize(channels)
    # codes: (channels, channel) uint8, scales: (channels, 2); of all ranks: one dimension more
    all_codes = codes.new_empty(group.size(), *codes.shape)
    all_scales = scales.new_empty(group.size(), *scales.shape)
    all_gather_into_tensor(all_scales, scales, group)
    all_gather_into_tensor(all_codes, codes, group)
    values = (all_codes - all_scales[..., 1:]) * all_scales[..., :1]
    future: Future[Tensor] = Future()
    future.set_result(values.mean(0).view(-1)[: x.numel()].to(x.dtype))
    return future


def _quantize(rows: Tensor) -> tuple[Tensor, Tensor]:
    """(channels, n) float32 to numbers of 0 to 255, and (scale, zero point) of each row.

    The range of a row is from its smallest to its largest value, and takes 0 in, which is exact.
    """
    low, high = rows.amin(1, keepdim=True).clamp(max=0), rows.amax(1, keepdim=True).clamp(min=0)
    scale = ((high - low) / _LEVELS).clamp(min=dtorch.finfo(dtorch.float32).eps)
    zero = (-(low / scale).round()).clamp(0, _LEVELS)
    codes = ((rows / scale).round() + zero).clamp(0, _LEVELS).to(dtorch.uint8)
    return codes, dtorch.cat([scale, zero], 1)
