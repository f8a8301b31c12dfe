"""Noise as images, for trying things out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dtorch.core.ops.random import randint, randn
from dtorch.core.random import Generator

from ..transforms import functional as F
from .vision import VisionDataset


class FakeData(VisionDataset):
    """Images of normal noise with random labels, the same in each pass.

    A sample is ``(image, target)``: a PIL image and an int.

    image_size: (C, H, W); random_offset: added to the index, which is the seed of an image
    """

    def __init__(
        self,
        size: int = 1000,
        image_size: tuple[int, int, int] = (3, 224, 224),
        num_classes: int = 10,
        transform: Callable[[Any], Any] | None = None,
        target_transform: Callable[[Any], Any] | None = None,
        random_offset: int = 0,
    ) -> None:
        super().__init__(None, transform, target_transform)
        self.size = size
        self.image_size = image_size
        self.num_classes = num_classes
        self.random_offset = random_offset

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        if not 0 <= index < self.size:
            raise IndexError(f"{type(self).__name__} index out of range")
        generator = Generator().manual_seed(index + self.random_offset)
        image = F.to_pil_image(randn(self.image_size, generator=generator))
        target = int(randint(0, self.num_classes, (), generator=generator))
        return self._transformed(image, target)

    def __len__(self) -> int:
        return self.size
