"""What image datasets have in common."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dtorch.core.tensor import Tensor
from dtorch.utils.data.dataset import Dataset


class VisionDataset(Dataset[tuple[Any, Any]]):
    """A dataset of (image, target), each passed through its transform, if it has one.

    A subclass sets ``data`` and ``targets`` (of the same length) and defines ``_image``.
    """

    data: Tensor
    targets: Tensor  # (N,), int64
    classes: list[str]

    def __init__(
        self,
        root: str | os.PathLike[str] | None = None,
        transform: Callable[[Any], Any] | None = None,
        target_transform: Callable[[Any], Any] | None = None,
    ) -> None:
        self.root = None if root is None else Path(root).expanduser()
        self.transform = transform
        self.target_transform = target_transform

    def _image(self, index: int) -> Any:
        """The image as the transform gets it."""
        raise NotImplementedError

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        return self._transformed(self._image(index), int(self.targets[index]))

    def _transformed(self, image: Any, target: Any) -> tuple[Any, Any]:
        if self.transform is not None:
            image = self.transform(image)
        if self.target_transform is not None:
            target = self.target_transform(target)
        return image, target

    def __len__(self) -> int:
        return len(self.data)

    @functools.cached_property
    def class_to_idx(self) -> dict[str, int]:
        return {name: i for i, name in enumerate(self.classes)}

    def extra_repr(self) -> str:
        """A line of repr()."""
        return ""

    def __repr__(self) -> str:
        lines = [f"Dataset {type(self).__name__}", f"    Number of datapoints: {len(self)}"]
        if self.root is not None:
            lines.append(f"    Root location: {self.root}")
        if extra := self.extra_repr():
            lines.append(f"    {extra}")
        if self.transform is not None:
            lines.append(f"    Transform: {self.transform!r}")
        return "\n".join(lines)


def pil_image(array: Any) -> Any:
    """A PIL image of a uint8 array (H, W) or (H, W, 3)."""
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError(
            "the images of this data set are PIL images, which need pillow: pip install "
            "'dtorch[vision]'. Or use the values in its .data as they are"
        ) from error
    return Image.fromarray(array)
