"""STL-10 (Coates, Lee and Ng, 2011), read from the binary files that its authors publish."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from .archive import extract
from .download import download
from .vision import VisionDataset, pil_image

_SPLITS = ("train", "train+unlabeled", "unlabeled", "test")


class STL10(VisionDataset):
    """Colour images of 96x96 pixels in 10 classes, and many without one (label -1).

    Reads ``root/stl10_binary``. A sample is ``(image, target)``: a PIL image of mode "RGB" and an
    int. ``data`` is a uint8 array (N, 3, 96, 96), ``labels`` an int64 array (N,).

    split: "train", "test", "unlabeled" or "train+unlabeled"
    folds: 0 to 9, that part of the training set that the authors give for it

    Raises:
        RuntimeError: files are missing, can't be fetched, or aren't what they should be.
    """

    base_folder = "stl10_binary"
    url = "http://ai.stanford.edu/~acoates/stl10/stl10_binary.tar.gz"
    md5 = "91f7769df0f17e558f3565bffb0c7dfb"

    root: Path
    data: np.ndarray  # type: ignore[assignment]

    def __init__(
        self,
        root: str | os.PathLike[str],
        split: str = "train",
        folds: int | None = None,
        transform: Callable[[Any], Any] | None = None,
        target_transform: Callable[[Any], Any] | None = None,
        download: bool = False,
    ) -> None:
        super().__init__(root, transform, target_transform)
        if split not in _SPLITS:
            raise ValueError(f"Unknown value '{split}' for argument split: {_SPLITS} expected")
        if folds is not None and folds not in range(10):
            raise ValueError(f"folds should be None or from 0 to 9, got {folds}")
        self.split = split
        self.folds = folds
        if download:
            self.download()
        self.classes = self._lines("class_names.txt")
        parts = [self._labelled(part) if part != "unlabeled" else self._unlabelled()
                 for part in split.split("+")]  # fmt: skip
        self.data = np.concatenate([images for images, _ in parts])
        self.labels = np.concatenate([labels for _, labels in parts])

    @property
    def targets(self) -> Any:  # type: ignore[override]
        return self.labels

    def download(self) -> None:
        """Fetches and unpacks the archive, if its folder is not there."""
        if (self.root / self.base_folder).is_dir():
            return
        archive = self.root / self.url.rpartition("/")[2]
        download([self.url], archive, self.md5)
        extract(archive, self.root)

    def _path(self, name: str) -> Path:
        path = self.root / self.base_folder / name
        if not path.is_file():
            raise RuntimeError(
                f"Dataset not found or corrupted: expected {path}. You can use download=True to "
                "download it"
            )
        return path

    def _lines(self, name: str) -> list[str]:
        return self._path(name).read_text().split("\n" if name == "fold_indices.txt" else None)

    def _images(self, name: str) -> np.ndarray:
        values = np.fromfile(self._path(name), dtype=np.uint8)
        if not len(values) or len(values) % (3 * 96 * 96):
            raise RuntimeError(
                f"{self._path(name)} has {len(values)} bytes, which are no images of 3 x 96 x 96; "
                "delete it and get it again"
            )
        return values.reshape(-1, 3, 96, 96).transpose(0, 1, 3, 2)  # its pixels go down first

    def _labelled(self, part: str) -> tuple[np.ndarray, np.ndarray]:
        images = self._images(f"{part}_X.bin")
        labels = np.fromfile(self._path(f"{part}_y.bin"), dtype=np.uint8).astype(np.int64) - 1
        if len(labels) != len(images) or not ((labels >= 0) & (labels < 10)).all():
            raise RuntimeError(
                f"{self._path(f'{part}_y.bin')}: expected {len(images)} labels from 1 to 10, got "
                f"{len(labels)}; delete it and get it again"
            )
        if part == "train" and self.folds is not None:
            chosen = np.array(self._lines("fold_indices.txt")[self.folds].split(), dtype=np.int64)
            images, labels = images[chosen], labels[chosen]
        return images, labels

    def _unlabelled(self) -> tuple[np.ndarray, np.ndarray]:
        images = self._images("unlabeled_X.bin")
        return images, np.full(len(images), -1)

    def _image(self, index: int) -> Any:
        return pil_image(self.data[index].transpose(1, 2, 0))

    def extra_repr(self) -> str:
        return f"Split: {self.split}"
