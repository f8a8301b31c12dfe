"""Street View House Numbers (Netzer et al., 2011), read from MATLAB files."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from .download import check, download
from .vision import VisionDataset, pil_image


class SVHN(VisionDataset):
    """Digits in colour, of 32x32 pixels, cut from photographs.

    Reads ``root/train_32x32.mat`` and so on. A sample is ``(image, target)``: a PIL image of mode
    "RGB" and an int from 0 to 9. ``data`` is a uint8 array (N, 3, 32, 32), ``labels`` an int64 one.

    split: "train", "test" or "extra"

    Raises:
        RuntimeError: the file is missing, can't be fetched, or isn't what it should be.
    """

    url = "http://ufldl.stanford.edu/housenumbers/"
    md5 = {
        "train": "e26dedcc434d2e4c54c9b2d4a06d8373",
        "test": "eb5a983be6a315427106f1b164d9cef3",
        "extra": "a93ce644f1a588dc4d68dda5feec44a7",
    }
    classes = [str(digit) for digit in range(10)]

    root: Path
    data: np.ndarray  # type: ignore[assignment]

    def __init__(
        self,
        root: str | os.PathLike[str],
        split: str = "train",
        transform: Callable[[Any], Any] | None = None,
        target_transform: Callable[[Any], Any] | None = None,
        download: bool = False,
    ) -> None:
        super().__init__(root, transform, target_transform)
        if split not in self.md5:
            raise ValueError(f"Unknown value '{split}' for argument split: {[*self.md5]} expected")
        self.split = split
        self.filename = f"{split}_32x32.mat"
        if download:
            self.download()
        images, labels = self._read(self.root / self.filename)
        self.data = images.transpose(3, 2, 0, 1)
        self.labels = labels.astype(np.int64).ravel() % 10  # the class 10 is the digit 0

    @property
    def targets(self) -> Any:  # type: ignore[override]
        return self.labels

    def download(self) -> None:
        path, md5 = self.root / self.filename, self.md5[self.split]
        if not check(path, md5):
            download([self.url + self.filename], path, md5)

    def _read(self, path: Path) -> tuple[np.ndarray, np.ndarray]:
        """Images (32, 32, 3, N) and labels (N, 1), from 1 to 10."""
        from scipy.io import loadmat
        from scipy.io.matlab import MatReadError

        if not path.is_file():
            raise RuntimeError(
                f"Dataset not found or corrupted: expected {path}. You can use download=True to "
                f"download it, or get it from {self.url}"
            )
        try:
            file = loadmat(path)
        except (MatReadError, ValueError, TypeError, OSError, EOFError, KeyError, IndexError,
                NotImplementedError, MemoryError) as error:  # fmt: skip
            raise RuntimeError(
                f"{path} is no whole MATLAB file ({error}); delete it and get it again"
            ) from error
        images, labels = file.get("X"), file.get("y")
        well_formed = (
            isinstance(images, np.ndarray)
            and isinstance(labels, np.ndarray)
            and images.dtype == np.uint8
            and images.shape[:3] == (32, 32, 3)
            and labels.shape == (images.shape[-1], 1)
            and ((labels >= 1) & (labels <= 10)).all()
        )
        if not well_formed:
            raise RuntimeError(
                f"{path}: expected uint8 X (32, 32, 3, N) and y (N, 1) from 1 to 10; delete it and "
                "get it again"
            )
        return images, labels

    def _image(self, index: int) -> Any:
        return pil_image(self.data[index].transpose(1, 2, 0))

    def extra_repr(self) -> str:
        return f"Split: {self.split}"
