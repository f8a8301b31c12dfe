"""What an image is: a PIL image, or a Tensor of shape (..., C, H, W)."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from enum import Enum
from typing import Any

from dtorch.core.tensor import Tensor


class InterpolationMode(Enum):
    """How values between pixels are found. Tensors have the first four."""

    NEAREST = "nearest"
    NEAREST_EXACT = "nearest-exact"
    BILINEAR = "bilinear"
    BICUBIC = "bicubic"
    BOX = "box"
    HAMMING = "hamming"
    LANCZOS = "lanczos"


def mode_of(interpolation: InterpolationMode | int) -> InterpolationMode:
    """An InterpolationMode, also from PIL's number of it."""
    if isinstance(interpolation, InterpolationMode):
        return interpolation
    numbers = ("NEAREST", "LANCZOS", "BILINEAR", "BICUBIC", "BOX", "HAMMING")
    if not isinstance(interpolation, int) or not 0 <= interpolation < len(numbers):
        raise TypeError(
            f"Argument interpolation should be a InterpolationMode, got {interpolation!r}"
        )
    return InterpolationMode[numbers[interpolation]]


def pil_filter(interpolation: InterpolationMode | int) -> Any:
    """PIL's constant for an InterpolationMode."""
    name = mode_of(interpolation).name.removesuffix("_EXACT")
    return sys.modules["PIL.Image"].Resampling[name]


def is_pil(image: Any) -> bool:
    # Whoever holds a PIL image has imported PIL already.
    module = sys.modules.get("PIL.Image")
    return module is not None and isinstance(image, module.Image)


def check(image: Any) -> Tensor:
    """The image, as a Tensor; TypeError if it is no Tensor (..., H, W)."""
    if not isinstance(image, Tensor) or image.ndim < 2:
        raise TypeError(
            f"expected a PIL Image or a Tensor of shape (..., H, W), got {type(image)}"
            + (f" of shape {tuple(image.shape)}" if isinstance(image, Tensor) else "")
        )
    return image


def get_dimensions(img: Any) -> list[int]:
    """Channels, height and width."""
    if is_pil(img):
        return [len(img.getbands()), img.height, img.width]
    check(img)
    return [1 if img.ndim == 2 else img.shape[-3], img.shape[-2], img.shape[-1]]


def get_image_size(img: Any) -> list[int]:
    """Width and height."""
    _, height, width = get_dimensions(img)
    return [width, height]


def get_image_num_channels(img: Any) -> int:
    return get_dimensions(img)[0]


def pair(size: int | Sequence[int]) -> tuple[int, int]:
    """(height, width) from one number for both, or from two."""
    sides = (size,) if isinstance(size, int) else tuple(size)
    if len(sides) not in (1, 2):
        raise ValueError(f"Please provide only two dimensions (h, w) for size, got {size}")
    return sides[0], sides[-1]


def bound(image: Tensor) -> float:
    """The value of white: 1 for floats, the largest of an integer dtype, True."""
    from dtorch.core.dtype import bool_, iinfo

    if image.is_floating_point():
        return 1.0
    return 1 if image.dtype is bool_ else iinfo(image.dtype).max


def as_float(image: Tensor) -> Tensor:
    """The values as floats, unscaled."""
    return image if image.is_floating_point() else image.float()


def like(values: Tensor, image: Tensor) -> Tensor:
    """Computed floats in the image's dtype, rounded if that holds integers."""
    return values.to(image.dtype) if image.is_floating_point() else values.round().to(image.dtype)
