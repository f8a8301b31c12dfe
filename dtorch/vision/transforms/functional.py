"""Image transforms as functions. An image is a PIL image or a Tensor of shape (..., H, W)."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from enum import Enum
from typing import Any

import numpy as np

from dtorch.core.dtype import get_default_dtype, uint8
from dtorch.core.ops.create import as_tensor, from_numpy, full
from dtorch.core.tensor import Tensor


class InterpolationMode(Enum):
    """How ``resize`` finds the values between pixels."""

    NEAREST = "nearest"
    BILINEAR = "bilinear"
    BICUBIC = "bicubic"
    LANCZOS = "lanczos"
    BOX = "box"
    HAMMING = "hamming"


def is_pil(image: Any) -> bool:
    # Whoever holds a PIL image has imported PIL already.
    module = sys.modules.get("PIL.Image")
    return module is not None and isinstance(image, module.Image)


def get_dimensions(image: Any) -> list[int]:
    """Channels, height and width."""
    if is_pil(image):
        return [len(image.getbands()), image.height, image.width]
    _check(image)
    return [1 if image.ndim == 2 else image.shape[-3], image.shape[-2], image.shape[-1]]


def pil_to_tensor(image: Any) -> Tensor:
    """A PIL image's values as they are, (C, H, W): uint8, or int32, int16, float32 of its mode."""
    if not is_pil(image):
        raise TypeError(f"pic should be PIL Image. Got {type(image)}")
    values = np.array(image)  # (H, W) or (H, W, C); a copy
    if image.mode == "1":
        values = values.astype(np.uint8) * 255
    elif image.mode == "I;16":
        values = values.astype(np.int16)
    return _channels_first(values)


def to_tensor(image: Any) -> Tensor:
    """A PIL image or an array (H, W) or (H, W, C) as a Tensor (C, H, W).

    8-bit values are scaled from [0, 255] to [0, 1], in the default dtype; others are kept.
    """
    if is_pil(image):
        result = pil_to_tensor(image)
    elif not isinstance(image, np.ndarray):
        raise TypeError(f"pic should be PIL Image or ndarray. Got {type(image)}")
    elif image.ndim not in (2, 3):
        raise ValueError(f"pic should be 2/3 dimensional. Got {image.ndim} dimensions.")
    else:
        result = _channels_first(image)
    return result.to(get_default_dtype()).div(255) if result.dtype is uint8 else result


def _channels_first(values: np.ndarray) -> Tensor:
    values = values[:, :, None] if values.ndim == 2 else values
    return from_numpy(np.ascontiguousarray(values.transpose(2, 0, 1)))


def normalize(
    tensor: Tensor, mean: Sequence[float], std: Sequence[float], inplace: bool = False
) -> Tensor:
    """(tensor - mean) / std, channel by channel.

    Args:
        tensor: (..., C, H, W), floating point.
        mean, std: C numbers each; no std may be zero.
    """
    if not isinstance(tensor, Tensor):
        raise TypeError(f"img should be Tensor Image. Got {type(tensor)}; use ToTensor() before")
    if not tensor.is_floating_point():
        raise TypeError(
            f"Input tensor should be a float tensor. Got {tensor.dtype}; use ToTensor() before"
        )
    if tensor.ndim < 3:
        raise ValueError(
            "Expected tensor to be a tensor image of size (..., C, H, W). Got "
            f"tensor.size() = {tuple(tensor.shape)}"
        )
    means, stds = (
        as_tensor(v, dtype=tensor.dtype, device=tensor.device).reshape(-1, 1, 1)
        for v in (mean, std)
    )
    if (stds == 0).any():
        raise ValueError(
            f"std evaluated to zero after conversion to {tensor.dtype}, leading to division by zero"
        )
    if inplace:
        return tensor.sub_(means).div_(stds)
    return tensor.sub(means).div(stds)


def hflip(image: Any) -> Any:
    """Left and right changed about."""
    if is_pil(image):
        return image.transpose(sys.modules["PIL.Image"].Transpose.FLIP_LEFT_RIGHT)
    return _check(image).flip(-1)


def vflip(image: Any) -> Any:
    """Top and bottom changed about."""
    if is_pil(image):
        return image.transpose(sys.modules["PIL.Image"].Transpose.FLIP_TOP_BOTTOM)
    return _check(image).flip(-2)


def pad(image: Any, padding: int | Sequence[int], fill: int = 0) -> Any:
    """Adds a border of ``fill``.

    Args:
        padding: for all sides; or (left and right, top and bottom); or (left, top, right, bottom).
    """
    left, top, right, bottom = _borders(padding)
    if is_pil(image):
        from PIL import ImageOps

        return ImageOps.expand(image, (left, top, right, bottom), fill)
    *lead, height, width = _check(image).shape
    shape = (*lead, top + height + bottom, left + width + right)
    padded = full(shape, fill, dtype=image.dtype, device=image.device)
    padded[..., top : top + height, left : left + width] = image
    return padded


def _borders(padding: int | Sequence[int]) -> tuple[int, int, int, int]:
    sides = (padding,) if isinstance(padding, int) else tuple(padding)
    if len(sides) not in (1, 2, 4) or any(side < 0 for side in sides):
        raise ValueError(
            "Padding must be an int or a 1, 2, or 4 element tuple of non-negative ints, got "
            f"{padding}"
        )
    left, top, right, bottom = (sides * 4)[:4]
    return left, top, right, bottom


def crop(image: Any, top: int, left: int, height: int, width: int) -> Any:
    """The part of the given size at (top, left); what reaches past the image's edge is zero."""
    if is_pil(image):
        return image.crop((left, top, left + width, top + height))
    *_, image_height, image_width = _check(image).shape
    inside = image[..., max(top, 0) : max(top + height, 0), max(left, 0) : max(left + width, 0)]
    outside = (
        max(-left, 0),
        max(-top, 0),
        max(left + width - image_width, 0),
        max(top + height - image_height, 0),
    )
    return pad(inside, outside) if any(outside) else inside


def center_crop(image: Any, output_size: int | Sequence[int]) -> Any:
    """The middle part; a smaller image gets a border of zeros."""
    height, width = pair(output_size)
    _, image_height, image_width = get_dimensions(image)
    if image_height < height or image_width < width:
        missing_h, missing_w = max(height - image_height, 0), max(width - image_width, 0)
        borders = (missing_w // 2, missing_h // 2, (missing_w + 1) // 2, (missing_h + 1) // 2)
        image = pad(image, borders)
        _, image_height, image_width = get_dimensions(image)
    top, left = round((image_height - height) / 2), round((image_width - width) / 2)
    return crop(image, top, left, height, width)


def resize(
    image: Any,
    size: int | Sequence[int],
    interpolation: InterpolationMode = InterpolationMode.BILINEAR,
) -> Any:
    """A PIL image at another size (tensors can't be resized here yet; do it before ToTensor).

    Args:
        size: (height, width), or one number for the shorter side, which keeps the proportions.
    """
    if not is_pil(image):
        raise TypeError(f"img should be PIL Image. Got {type(image)}; put Resize before ToTensor")
    if isinstance(size, int) or len(size) == 1:
        short = size if isinstance(size, int) else size[0]
        long = int(short * max(image.size) / min(image.size))
        height, width = (long, short) if image.height > image.width else (short, long)
    else:
        height, width = size
    filters = sys.modules["PIL.Image"].Resampling
    return image.resize((width, height), filters[interpolation.name])


def pair(size: int | Sequence[int]) -> tuple[int, int]:
    """(height, width) from one number for both, or from two."""
    sides = (size,) if isinstance(size, int) else tuple(size)
    if len(sides) not in (1, 2):
        raise ValueError(f"Please provide only two dimensions (h, w) for size, got {size}")
    return sides[0], sides[-1]


def _check(image: Any) -> Tensor:
    if not isinstance(image, Tensor) or image.ndim < 2:
        raise TypeError(
            f"expected a PIL Image or a Tensor of shape (..., H, W), got {type(image)}"
            + (f" of shape {tuple(image.shape)}" if isinstance(image, Tensor) else "")
        )
    return image
