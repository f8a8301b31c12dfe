"""Transforms of where pixels lie."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from . import functional as F
from .functional import InterpolationMode
from .random import chance, integer, uniform
from .transforms import Transform

NEAREST, BILINEAR = InterpolationMode.NEAREST, InterpolationMode.BILINEAR


class Resize(Transform):
    """Another size: (height, width), or one number for the shorter side, which keeps proportions.

    max_size: of the longer side, where size is one number
    antialias: of tensors, in bilinear and bicubic mode; PIL always does
    """

    def __init__(
        self,
        size: int | Sequence[int] | None,
        interpolation: InterpolationMode | int = BILINEAR,
        max_size: int | None = None,
        antialias: bool | None = True,
    ) -> None:
        super().__init__()
        if not isinstance(size, int) and size is not None and len(size) not in (1, 2):
            raise ValueError("If size is a sequence, it should have 1 or 2 values")
        self.size = size
        self.interpolation = interpolation
        self.max_size = max_size
        self.antialias = antialias

    def transform(self, image: Any, params: Any) -> Any:
        return F.resize(image, self.size, self.interpolation, self.max_size, self.antialias)

    def extra_repr(self) -> str:
        mode = getattr(self.interpolation, "value", self.interpolation)
        return (f"size={self.size}, interpolation={mode}, max_size={self.max_size}, "
                f"antialias={self.antialias}")  # fmt: skip


class CenterCrop(Transform):
    """The middle part of the given size."""

    shown = ("size",)

    def __init__(self, size: int | Sequence[int]) -> None:
        super().__init__()
        self.size = F.pair(size)

    def transform(self, image: Any, params: Any) -> Any:
        return F.center_crop(image, self.size)


class Pad(Transform):
    """A border: one width, (left/right, top/bottom) or (left, top, right, bottom)."""

    shown = ("padding", "fill", "padding_mode")

    def __init__(
        self, padding: int | Sequence[int], fill: Any = 0, padding_mode: str = "constant"
    ) -> None:
        super().__init__()
        self.padding = padding
        self.fill = fill
        self.padding_mode = padding_mode

    def transform(self, image: Any, params: Any) -> Any:
        return F.pad(image, self.padding, self.fill, self.padding_mode)


class RandomCrop(Transform):
    """A part of the given size from a random place.

    padding: a border added before (as for ``Pad``)
    pad_if_needed: add a border too where the image is smaller than ``size``
    """

    shown = ("size", "padding")

    def __init__(
        self,
        size: int | Sequence[int],
        padding: int | Sequence[int] | None = None,
        pad_if_needed: bool = False,
        fill: Any = 0,
        padding_mode: str = "constant",
    ) -> None:
        super().__init__()
        self.size = F.pair(size)
        self.padding = padding
        self.pad_if_needed = pad_if_needed
        self.fill = fill
        self.padding_mode = padding_mode

    @staticmethod
    def get_params(img: Any, output_size: Sequence[int]) -> tuple[int, int, int, int]:
        """A random (top, left, height, width)."""
        _, h, w = F.get_dimensions(img)
        height, width = output_size
        if h < height or w < width:
            raise ValueError(
                f"Required crop size {(height, width)} is larger than input image size {(h, w)}; "
                "pass padding or pad_if_needed=True"
            )
        return integer(0, h - height + 1), integer(0, w - width + 1), height, width

    def _padded(self, image: Any) -> Any:
        height, width = self.size
        if self.padding is not None:
            image = F.pad(image, self.padding, self.fill, self.padding_mode)
        _, h, w = F.get_dimensions(image)
        if self.pad_if_needed and (w < width or h < height):
            missing = [max(width - w, 0), max(height - h, 0)]
            image = F.pad(image, missing, self.fill, self.padding_mode)
        return image

    def make_params(self, flat_inputs: list[Any]) -> Any:
        return self.get_params(self._padded(flat_inputs[0]), self.size)

    def transform(self, image: Any, params: Any) -> Any:
        return F.crop(self._padded(image), *params)


class RandomResizedCrop(Transform):
    """A part of random area and shape, at a fixed size.

    scale: limits of its part of the area; ratio: limits of width / height
    """

    shown = ("size", "scale", "ratio", "interpolation", "antialias")

    def __init__(
        self,
        size: int | Sequence[int],
        scale: Sequence[float] = (0.08, 1.0),
        ratio: Sequence[float] = (3.0 / 4.0, 4.0 / 3.0),
        interpolation: InterpolationMode | int = BILINEAR,
        antialias: bool | None = True,
    ) -> None:
        super().__init__()
        if scale[0] > scale[1] or ratio[0] > ratio[1]:
            raise ValueError(f"Scale and ratio should be of kind (min, max), got {scale}, {ratio}")
        self.size = F.pair(size)
        self.scale = scale
        self.ratio = ratio
        self.interpolation = interpolation
        self.antialias = antialias

    @staticmethod
    def get_params(
        img: Any, scale: Sequence[float], ratio: Sequence[float]
    ) -> tuple[int, int, int, int]:
        """A random (top, left, height, width); after ten that don't fit, the largest in the middle."""
        _, h, w = F.get_dimensions(img)
        for _ in range(10):
            area = h * w * uniform(*scale)
            shape = math.exp(uniform(math.log(ratio[0]), math.log(ratio[1])))
            width, height = round(math.sqrt(area * shape)), round(math.sqrt(area / shape))
            if 0 < width <= w and 0 < height <= h:
                return integer(0, h - height + 1), integer(0, w - width + 1), height, width
        width, height = w, h
        if w / h < min(ratio):
            height = round(w / min(ratio))
        elif w / h > max(ratio):
            width = round(h * max(ratio))
        return (h - height) // 2, (w - width) // 2, height, width

    def make_params(self, flat_inputs: list[Any]) -> Any:
        return self.get_params(flat_inputs[0], self.scale, self.ratio)

    def transform(self, image: Any, params: Any) -> Any:
        part = F.crop(image, *params)
        return F.resize(part, self.size, self.interpolation, antialias=self.antialias)


class FiveCrop(Transform):
    """The four corners and the middle, as a tuple of images."""

    shown = ("size",)

    def __init__(self, size: int | Sequence[int]) -> None:
        super().__init__()
        self.size = F.pair(size)

    def transform(self, image: Any, params: Any) -> Any:
        return F.five_crop(image, self.size)


class TenCrop(Transform):
    """Those of FiveCrop, and the same of the flipped image."""

    shown = ("size", "vertical_flip")

    def __init__(self, size: int | Sequence[int], vertical_flip: bool = False) -> None:
        super().__init__()
        self.size = F.pair(size)
        self.vertical_flip = vertical_flip

    def transform(self, image: Any, params: Any) -> Any:
        return F.ten_crop(image, self.size, self.vertical_flip)


class RandomHorizontalFlip(Transform):
    """Left and right changed about, with probability ``p``."""

    shown = ("p",)

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        self.p = p

    def make_params(self, flat_inputs: list[Any]) -> bool:
        return chance(self.p)

    def transform(self, image: Any, params: Any) -> Any:
        return F.hflip(image) if params else image


class RandomVerticalFlip(RandomHorizontalFlip):
    """Top and bottom changed about, with probability ``p``."""

    def transform(self, image: Any, params: Any) -> Any:
        return F.vflip(image) if params else image


def _range(value: float | Sequence[float], name: str) -> tuple[float, float]:
    """(low, high), from a number a for (-a, a)."""
    if isinstance(value, (int, float)):
        if value < 0:
            raise ValueError(f"If {name} is a single number, it must be positive, got {value}")
        return -float(value), float(value)
    if len(value) != 2:
        raise ValueError(f"{name} should be a number or a sequence of length 2, got {value}")
    return float(value[0]), float(value[1])


class RandomRotation(Transform):
    """Turned by a random angle.  degrees: the limits, or d for (-d, d); the rest is F.rotate's"""

    shown = ("degrees", "interpolation", "expand")

    def __init__(
        self,
        degrees: float | Sequence[float],
        interpolation: InterpolationMode | int = NEAREST,
        expand: bool = False,
        center: Sequence[int] | None = None,
        fill: Any = 0,
    ) -> None:
        super().__init__()
        self.degrees = _range(degrees, "degrees")
        self.interpolation = interpolation
        self.expand = expand
        self.center = center
        self.fill = fill

    @staticmethod
    def get_params(degrees: Sequence[float]) -> float:
        return uniform(*degrees)

    def make_params(self, flat_inputs: list[Any]) -> float:
        return self.get_params(self.degrees)

    def transform(self, image: Any, params: Any) -> Any:
        return F.rotate(image, params, self.interpolation, self.expand, self.center, self.fill)


class RandomAffine(Transform):
    """A random turn, move, scale and shear, about the center.

    degrees: limits of the angle, or d for (-d, d)
    translate: the largest moves along x and y, as parts of width and height
    scale: limits; shear: limits in degrees along x, or along x and then y, or s for (-s, s) along x
    """

    shown = ("degrees", "translate", "scale", "shear")

    def __init__(
        self,
        degrees: float | Sequence[float],
        translate: Sequence[float] | None = None,
        scale: Sequence[float] | None = None,
        shear: float | Sequence[float] | None = None,
        interpolation: InterpolationMode | int = NEAREST,
        fill: Any = 0,
        center: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        self.degrees = _range(degrees, "degrees")
        if translate is not None and not all(0 <= t <= 1 for t in translate):
            raise ValueError(f"translation values should be between 0 and 1, got {translate}")
        if scale is not None and not all(s > 0 for s in scale):
            raise ValueError(f"scale values should be positive, got {scale}")
        self.translate = translate
        self.scale = scale
        self.shear: tuple[float, ...] | None = None
        if shear is not None:
            four = not isinstance(shear, (int, float)) and len(shear) == 4
            self.shear = tuple(shear) if four else _range(shear, "shear")  # type: ignore[arg-type]
        self.interpolation = interpolation
        self.fill = fill
        self.center = center

    @staticmethod
    def get_params(
        degrees: Sequence[float],
        translate: Sequence[float] | None,
        scale_ranges: Sequence[float] | None,
        shears: Sequence[float] | None,
        img_size: Sequence[int],
    ) -> tuple[float, tuple[int, int], float, tuple[float, float]]:
        """A random (angle, (x, y), scale, (shear x, shear y)).  img_size: (width, height)"""
        angle, move = uniform(*degrees), (0, 0)
        if translate is not None:
            most = [part * side for part, side in zip(translate, img_size)]
            move = (round(uniform(-most[0], most[0])), round(uniform(-most[1], most[1])))
        scale = 1.0 if scale_ranges is None else uniform(*scale_ranges)
        shear_x = shear_y = 0.0
        if shears is not None:
            shear_x = uniform(shears[0], shears[1])
            shear_y = uniform(shears[2], shears[3]) if len(shears) == 4 else 0.0
        return angle, move, scale, (shear_x, shear_y)

    def make_params(self, flat_inputs: list[Any]) -> Any:
        _, h, w = F.get_dimensions(flat_inputs[0])
        return self.get_params(self.degrees, self.translate, self.scale, self.shear, (w, h))

    def transform(self, image: Any, params: Any) -> Any:
        angle, move, scale, shear = params
        return F.affine(
            image, angle, move, scale, shear, self.interpolation, self.fill, self.center
        )


class RandomPerspective(Transform):
    """Seen from elsewhere, with probability p.  distortion_scale: how far corners move, to 1"""

    shown = ("p",)

    def __init__(
        self,
        distortion_scale: float = 0.5,
        p: float = 0.5,
        interpolation: InterpolationMode | int = BILINEAR,
        fill: Any = 0,
    ) -> None:
        super().__init__()
        if not 0 <= distortion_scale <= 1:
            raise ValueError(
                f"Argument distortion_scale should be between 0 and 1, got {distortion_scale}"
            )
        self.distortion_scale = distortion_scale
        self.p = p
        self.interpolation = interpolation
        self.fill = fill

    @staticmethod
    def get_params(width: int, height: int, distortion_scale: float) -> tuple[Any, Any]:
        """The corners, and where they come to lie: (x, y) each, clockwise from the top left."""
        dx, dy = int(distortion_scale * (width // 2)), int(distortion_scale * (height // 2))
        start = [[0, 0], [width - 1, 0], [width - 1, height - 1], [0, height - 1]]
        left, top = lambda: integer(0, dx + 1), lambda: integer(0, dy + 1)
        right = lambda: integer(width - dx - 1, width)  # noqa: E731
        bottom = lambda: integer(height - dy - 1, height)  # noqa: E731
        return start, [[left(), top()], [right(), top()], [right(), bottom()], [left(), bottom()]]

    def make_params(self, flat_inputs: list[Any]) -> Any:
        if not chance(self.p):
            return None
        _, h, w = F.get_dimensions(flat_inputs[0])
        return self.get_params(w, h, self.distortion_scale)

    def transform(self, image: Any, params: Any) -> Any:
        if params is None:
            return image
        start, end = params
        return F.perspective(image, start, end, self.interpolation, self.fill)
