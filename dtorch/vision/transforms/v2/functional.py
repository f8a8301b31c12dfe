"""Transforms as functions, under v2's names."""

from __future__ import annotations

from typing import Any

import dtorch
from dtorch.core.tensor import Tensor

from ..functional import *  # noqa: F403
from ..functional import convert_image_dtype, is_pil, pil_to_tensor
from ..functional import get_image_num_channels as get_num_channels  # noqa: F401
from ..functional import hflip as horizontal_flip  # noqa: F401
from ..functional import vflip as vertical_flip  # noqa: F401


def to_image(inpt: Any) -> Tensor:
    """A PIL image or an array (H, W[, C]) as a Tensor (C, H, W) with the same values."""
    if isinstance(inpt, Tensor):
        return inpt
    if is_pil(inpt):
        return pil_to_tensor(inpt)
    array = dtorch.as_tensor(inpt)
    return array[None] if array.ndim == 2 else array.permute(2, 0, 1).contiguous()


def to_dtype(inpt: Tensor, dtype: Any = dtorch.float, scale: bool = False) -> Tensor:
    """In another dtype.  scale: white stays white, else the numbers stay"""
    return convert_image_dtype(inpt, dtype) if scale else inpt.to(dtype)
