"""Image transforms as objects, to be composed. Random ones draw from the default generator."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from dtorch.core.ops.random import rand, randint
from dtorch.core.tensor import Tensor

from . import functional as F
from .functional import InterpolationMode


class Compose:
    """One transform after the other."""

    def __init__(self, transforms: Sequence[Callable[[Any], Any]]) -> None:
        self.transforms = transforms

    def __call__(self, image: Any) -> Any:
        for transform in self.transforms:
            image = transform(image)
        return image

    def __repr__(self) -> str:
        return "\n    ".join(["Compose(", *map(repr, self.transforms)]) + "\n)"


class Lambda:
    """A function as a transform. (A lambda can't be sent to workers started by "spawn".)"""

    def __init__(self, lambd: Callable[[Any], Any]) -> None:
        if not callable(lambd):
            raise TypeError(f"Argument lambd should be callable, got {type(lambd).__name__!r}")
        self.lambd = lambd

    def __call__(self, image: Any) -> Any:
        return self.lambd(image)

    def __repr__(self) -> str:
        return "Lambda()"


class ToTensor:
    """A PIL image or array (H, W[, C]) becomes a Tensor (C, H, W); 8-bit values become 0 to 1."""

    def __call__(self, image: Any) -> Tensor:
        return F.to_tensor(image)

    def __repr__(self) -> str:
        return "ToTensor()"


class PILToTensor:
    """A PIL image becomes a Tensor (C, H, W) with the same values."""

    def __call__(self, image: Any) -> Tensor:
        return F.pil_to_tensor(image)

    def __repr__(self) -> str:
        return "PILToTensor()"


class Normalize:
    """(x - mean) / std on a float Tensor (..., C, H, W), with C means and stds."""

    def __init__(self, mean: Sequence[float], std: Sequence[float], inplace: bool = False) -> None:
        self.mean = mean
        self.std = std
        self.inplace = inplace

    def __call__(self, tensor: Tensor) -> Tensor:
        return F.normalize(tensor, self.mean, self.std, self.inplace)

    def __repr__(self) -> str:
        return f"Normalize(mean={self.mean}, std={self.std})"


class Resize:
    """Another size: (height, width), or one number for the shorter side. PIL images only, yet."""

    def __init__(
        self,
        size: int | Sequence[int],
        interpolation: InterpolationMode = InterpolationMode.BILINEAR,
    ) -> None:
        self.size = size
        self.interpolation = interpolation

    def __call__(self, image: Any) -> Any:
        return F.resize(image, self.size, self.interpolation)

    def __repr__(self) -> str:
        return f"Resize(size={self.size}, interpolation={self.interpolation.value})"


class CenterCrop:
    """The middle part of the given size."""

    def __init__(self, size: int | Sequence[int]) -> None:
        self.size = F.pair(size)

    def __call__(self, image: Any) -> Any:
        return F.center_crop(image, self.size)

    def __repr__(self) -> str:
        return f"CenterCrop(size={self.size})"


class Pad:
    """A border of ``fill``: one width, (left/right, top/bottom) or (left, top, right, bottom)."""

    def __init__(self, padding: int | Sequence[int], fill: int = 0) -> None:
        self.padding = padding
        self.fill = fill

    def __call__(self, image: Any) -> Any:
        return F.pad(image, self.padding, self.fill)

    def __repr__(self) -> str:
        return f"Pad(padding={self.padding}, fill={self.fill})"


class RandomCrop:
    """A part of the given size from a random place.

    Args:
        padding: a border added before (as for ``Pad``).
        pad_if_needed: add a border too where the image is smaller than ``size``.
    """

    def __init__(
        self,
        size: int | Sequence[int],
        padding: int | Sequence[int] | None = None,
        pad_if_needed: bool = False,
        fill: int = 0,
    ) -> None:
        self.size = F.pair(size)
        self.padding = padding
        self.pad_if_needed = pad_if_needed
        self.fill = fill

    def __call__(self, image: Any) -> Any:
        height, width = self.size
        if self.padding is not None:
            image = F.pad(image, self.padding, self.fill)
        _, image_height, image_width = F.get_dimensions(image)
        if self.pad_if_needed and image_width < width:
            image = F.pad(image, [width - image_width, 0], self.fill)
        if self.pad_if_needed and image_height < height:
            image = F.pad(image, [0, height - image_height], self.fill)
        _, image_height, image_width = F.get_dimensions(image)
        if image_height < height or image_width < width:
            raise ValueError(
                f"Required crop size {(height, width)} is larger than input image size "
                f"{(image_height, image_width)}; pass padding or pad_if_needed=True"
            )
        top = int(randint(0, image_height - height + 1, ()))
        left = int(randint(0, image_width - width + 1, ()))
        return F.crop(image, top, left, height, width)

    def __repr__(self) -> str:
        return f"RandomCrop(size={self.size}, padding={self.padding})"


class RandomHorizontalFlip:
    """Left and right changed about, with probability ``p``."""

    def __init__(self, p: float = 0.5) -> None:
        self.p = p

    def __call__(self, image: Any) -> Any:
        return F.hflip(image) if float(rand(())) < self.p else image

    def __repr__(self) -> str:
        return f"RandomHorizontalFlip(p={self.p})"


class RandomVerticalFlip:
    """Top and bottom changed about, with probability ``p``."""

    def __init__(self, p: float = 0.5) -> None:
        self.p = p

    def __call__(self, image: Any) -> Any:
        return F.vflip(image) if float(rand(())) < self.p else image

    def __repr__(self) -> str:
        return f"RandomVerticalFlip(p={self.p})"
