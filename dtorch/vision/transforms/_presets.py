"""How images are prepared for published weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dtorch.core.tensor import Tensor

from . import functional as F


class ImageClassification:
    """Resize, center crop, floats from 0 to 1, normalize.

    A PIL image or a Tensor (..., 3, H, W) -> a Tensor (..., 3, crop_size, crop_size)
    """

    def __init__(
        self,
        *,
        crop_size: int,
        resize_size: int = 256,
        mean: Sequence[float] = (0.485, 0.456, 0.406),
        std: Sequence[float] = (0.229, 0.224, 0.225),
        interpolation: str | F.InterpolationMode = F.InterpolationMode.BILINEAR,
        antialias: bool | None = True,
    ) -> None:
        self.crop_size = [crop_size]
        self.resize_size = [resize_size]
        self.mean = list(mean)
        self.std = list(std)
        self.interpolation = F.InterpolationMode(interpolation)
        self.antialias = antialias

    def __call__(self, img: Any) -> Tensor:
        img = F.resize(img, self.resize_size, self.interpolation, antialias=self.antialias)
        img = F.center_crop(img, self.crop_size)
        img = F.pil_to_tensor(img) if F.is_pil(img) else img
        return F.normalize(F.convert_image_dtype(img), self.mean, self.std)

    def __repr__(self) -> str:
        return (
            f"ImageClassification(crop_size={self.crop_size}, resize_size={self.resize_size}, "
            f"mean={self.mean}, std={self.std}, interpolation={self.interpolation})"
        )
