"""Transforms of what pixels are worth."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from dtorch.core.ops.random import randn
from dtorch.core.tensor import Tensor

from . import functional as F
from .random import chance, integer, order, uniform
from .transforms import Transform


class ColorJitter(Transform):
    """Brightness, contrast, saturation and hue changed at random, in any order.

    Each is (least, most), or a number a: for (max(0, 1 - a), 1 + a), of hue for (-a, a), at most 0.5.
    """

    shown = ("brightness", "contrast", "saturation", "hue")

    def __init__(
        self,
        brightness: float | Sequence[float] = 0,
        contrast: float | Sequence[float] = 0,
        saturation: float | Sequence[float] = 0,
        hue: float | Sequence[float] = 0,
    ) -> None:
        super().__init__()
        self.brightness = _limits(brightness, "brightness", 1.0, 0.0, math.inf)
        self.contrast = _limits(contrast, "contrast", 1.0, 0.0, math.inf)
        self.saturation = _limits(saturation, "saturation", 1.0, 0.0, math.inf)
        self.hue = _limits(hue, "hue", 0.0, -0.5, 0.5)

    @staticmethod
    def get_params(*limits: Sequence[float] | None) -> tuple[Any, ...]:
        """(order, brightness, contrast, saturation, hue); None for what stays as it is."""
        factors = [None if limit is None else uniform(*limit) for limit in limits]
        return (order(4), *factors)

    def make_params(self, flat_inputs: list[Any]) -> Any:
        return self.get_params(self.brightness, self.contrast, self.saturation, self.hue)

    def transform(self, image: Any, params: Any) -> Any:
        turn, *factors = params
        steps = (F.adjust_brightness, F.adjust_contrast, F.adjust_saturation, F.adjust_hue)
        for i in turn:
            if factors[i] is not None:
                image = steps[i](image, factors[i])
        return image


def _limits(
    value: float | Sequence[float], name: str, center: float, least: float, most: float
) -> tuple[float, float] | None:
    if isinstance(value, (int, float)):
        if value < 0:
            raise ValueError(f"If {name} is a single number, it must be non negative.")
        low, high = center - value, center + value
        low = max(low, 0.0) if center else low
    else:
        low, high = value
    if not least <= low <= high <= most:
        raise ValueError(
            f"{name} values should be between ({least}, {most}), but got {(low, high)}."
        )
    return None if low == high == center else (float(low), float(high))


class Grayscale(Transform):
    """Grey, in 1 or 3 channels."""

    shown = ("num_output_channels",)

    def __init__(self, num_output_channels: int = 1) -> None:
        super().__init__()
        self.num_output_channels = num_output_channels

    def transform(self, image: Any, params: Any) -> Any:
        return F.rgb_to_grayscale(image, self.num_output_channels)


class _Sometimes(Transform):
    """With probability p."""

    shown: tuple[str, ...] = ("p",)

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        self.p = p

    def make_params(self, flat_inputs: list[Any]) -> bool:
        return chance(self.p)

    def change(self, image: Any) -> Any:
        raise NotImplementedError

    def transform(self, image: Any, params: Any) -> Any:
        return self.change(image) if params else image


class RandomGrayscale(_Sometimes):
    """Grey with probability p, in as many channels as before."""

    def __init__(self, p: float = 0.1) -> None:
        super().__init__(p)

    def change(self, image: Any) -> Any:
        return F.rgb_to_grayscale(image, F.get_dimensions(image)[0])


class RandomInvert(_Sometimes):
    """Inverted with probability p."""

    def change(self, image: Any) -> Any:
        return F.invert(image)


class RandomPosterize(_Sometimes):
    """Only the upper bits, with probability p."""

    shown = ("bits", "p")

    def __init__(self, bits: int, p: float = 0.5) -> None:
        super().__init__(p)
        self.bits = bits

    def change(self, image: Any) -> Any:
        return F.posterize(image, self.bits)


class RandomSolarize(_Sometimes):
    """Inverted above a threshold, with probability p."""

    shown = ("threshold", "p")

    def __init__(self, threshold: float, p: float = 0.5) -> None:
        super().__init__(p)
        self.threshold = threshold

    def change(self, image: Any) -> Any:
        return F.solarize(image, self.threshold)


class RandomAdjustSharpness(_Sometimes):
    """Sharper or smoother, with probability p."""

    shown = ("sharpness_factor", "p")

    def __init__(self, sharpness_factor: float, p: float = 0.5) -> None:
        super().__init__(p)
        self.sharpness_factor = sharpness_factor

    def change(self, image: Any) -> Any:
        return F.adjust_sharpness(image, self.sharpness_factor)


class RandomAutocontrast(_Sometimes):
    """Stretched over all values, with probability p."""

    def change(self, image: Any) -> Any:
        return F.autocontrast(image)


class RandomEqualize(_Sometimes):
    """With an even histogram, with probability p."""

    def change(self, image: Any) -> Any:
        return F.equalize(image)


class GaussianBlur(Transform):
    """Blurred.  sigma: in pixels, or limits of a random one"""

    shown = ("kernel_size", "sigma")

    def __init__(
        self, kernel_size: int | Sequence[int], sigma: float | Sequence[float] = (0.1, 2.0)
    ) -> None:
        super().__init__()
        self.kernel_size = F.pair(kernel_size)
        if any(size <= 0 or size % 2 == 0 for size in self.kernel_size):
            raise ValueError(
                f"Kernel size value should be an odd and positive number: {kernel_size}"
            )
        low, high = (sigma, sigma) if isinstance(sigma, (int, float)) else sigma
        if not 0 < low <= high:
            raise ValueError(f"sigma values should be positive and of the form (min, max): {sigma}")
        self.sigma = (float(low), float(high))

    @staticmethod
    def get_params(sigma_min: float, sigma_max: float) -> float:
        return uniform(sigma_min, sigma_max)

    def make_params(self, flat_inputs: list[Any]) -> float:
        return self.get_params(*self.sigma)

    def transform(self, image: Any, params: Any) -> Any:
        return F.gaussian_blur(image, self.kernel_size, params)


class RandomErasing(Transform):
    """A random rectangle of a Tensor image erased, with probability p (Zhong et al., 2020).

    scale: limits of its part of the area; ratio: of its height / width
    value: a number, one a channel, or "random" for normal noise
    """

    shown = ("p", "scale", "ratio", "value", "inplace")

    def __init__(
        self,
        p: float = 0.5,
        scale: Sequence[float] = (0.02, 0.33),
        ratio: Sequence[float] = (0.3, 3.3),
        value: Any = 0,
        inplace: bool = False,
    ) -> None:
        super().__init__()
        if not 0 <= scale[0] <= scale[1] <= 1:
            raise ValueError(f"Scale should be (min, max) between 0 and 1, got {scale}")
        if ratio[0] > ratio[1]:
            raise ValueError(f"Ratio should be of kind (min, max), got {ratio}")
        if not 0 <= p <= 1:
            raise ValueError("Random erasing probability should be between 0 and 1")
        if isinstance(value, str) and value != "random":
            raise ValueError("If value is str, it should be 'random'")
        self.p = p
        self.scale = scale
        self.ratio = ratio
        self.value = value
        self.inplace = inplace

    @staticmethod
    def get_params(
        img: Tensor,
        scale: Sequence[float],
        ratio: Sequence[float],
        value: Sequence[float] | None = None,
    ) -> tuple[int, int, int, int, Any]:
        """A random (top, left, height, width, values); after ten that don't fit, all as it is."""
        channels, h, w = F.get_dimensions(img)
        for _ in range(10):
            area = h * w * uniform(*scale)
            shape = math.exp(uniform(math.log(ratio[0]), math.log(ratio[1])))
            height, width = round(math.sqrt(area * shape)), round(math.sqrt(area / shape))
            if height >= h or width >= w:
                continue
            if value is None:
                values = randn((channels, height, width), dtype=img.dtype, device=img.device)
            else:
                values = img.new_tensor(value).view(-1, 1, 1)
            top, left = integer(0, h - height + 1), integer(0, w - width + 1)
            return top, left, height, width, values
        return 0, 0, h, w, img

    def make_params(self, flat_inputs: list[Any]) -> Any:
        if not chance(self.p):
            return None
        if self.value == "random":
            value = None
        elif isinstance(self.value, (int, float)):
            value = [float(self.value)]
        else:
            value = [float(v) for v in self.value]
            if len(value) not in (1, F.get_dimensions(flat_inputs[0])[0]):
                raise ValueError(
                    "If value is a sequence, it should have either a single value or "
                    f"{F.get_dimensions(flat_inputs[0])[0]} (number of input channels)"
                )
        return self.get_params(flat_inputs[0], self.scale, self.ratio, value)

    def transform(self, image: Any, params: Any) -> Any:
        if params is None:
            return image
        top, left, height, width, values = params
        return F.erase(image, top, left, height, width, values, self.inplace)
