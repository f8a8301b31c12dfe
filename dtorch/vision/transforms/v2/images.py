"""Transforms that only v2 has."""

from __future__ import annotations

from typing import Any

import dtorch
from dtorch.core.tensor import Tensor

from .. import functional as F
from ..functional import InterpolationMode
from ..random import integer
from ..transforms import Transform
from .functional import to_dtype, to_image


class Identity(Transform):
    """Nothing."""

    def transform(self, image: Any, params: Any) -> Any:
        return image


class ToImage(Transform):
    """A PIL image or an array (H, W[, C]) as a Tensor (C, H, W) with the same values."""

    def transform(self, image: Any, params: Any) -> Tensor:
        return to_image(image)


class ToPureTensor(Identity):
    """Nothing: there are no other tensors here."""


class ToDtype(Transform):
    """In another dtype.  scale: white stays white, else the numbers stay"""

    shown = ("dtype", "scale")

    def __init__(self, dtype: Any, scale: bool = False) -> None:
        super().__init__()
        if isinstance(dtype, dict):
            raise TypeError("one dtype expected: there are no tv_tensors to tell apart")
        self.dtype = dtype
        self.scale = scale

    def transform(self, image: Any, params: Any) -> Tensor:
        return to_dtype(image, self.dtype, self.scale)


class RGB(Transform):
    """Grey images in three channels."""

    def transform(self, image: Any, params: Any) -> Any:
        return image.convert("RGB") if F.is_pil(image) else F.rgb_to_grayscale(image, 3) if (
            F.get_dimensions(image)[0] == 1) else image  # fmt: skip


class RandomResize(Transform):
    """The shorter side at a random length from min_size to max_size, max_size excluded."""

    shown = ("min_size", "max_size")

    def __init__(
        self,
        min_size: int,
        max_size: int,
        interpolation: InterpolationMode | int = InterpolationMode.BILINEAR,
        antialias: bool | None = True,
    ) -> None:
        super().__init__()
        self.min_size = min_size
        self.max_size = max_size
        self.interpolation = interpolation
        self.antialias = antialias

    def make_params(self, flat_inputs: list[Any]) -> int:
        return integer(self.min_size, self.max_size)

    def transform(self, image: Any, params: Any) -> Any:
        return F.resize(image, params, self.interpolation, antialias=self.antialias)


class GaussianNoise(Transform):
    """Normal noise added to float tensors.  clip: keep values within 0 and 1"""

    shown = ("mean", "sigma", "clip")

    def __init__(self, mean: float = 0.0, sigma: float = 0.1, clip: bool = True) -> None:
        super().__init__()
        self.mean = mean
        self.sigma = sigma
        self.clip = clip

    def transform(self, image: Any, params: Any) -> Tensor:
        if not isinstance(image, Tensor) or not image.is_floating_point():
            raise ValueError(f"Input tensor is expected to be float, got {type(image)}")
        noisy = image + self.mean + dtorch.randn_like(image) * self.sigma
        return noisy.clamp(0, 1) if self.clip else noisy
