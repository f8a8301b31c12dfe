"""Digits: real handwritten digits that come with the package."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from dtorch.core.ops.create import from_numpy
from dtorch.core.tensor import Tensor

from .vision import VisionDataset

FILE = Path(__file__).with_name("digits.npz")  # source and licence: digits.txt beside it
TEST_EVERY = 5


class Digits(VisionDataset):
    """1,797 handwritten digits of 8x8 pixels, the UCI "Optical Recognition" test set.

    The split is fixed and stratified: of each class, every fifth image in the file's order is for
    testing. That makes 1,442 images for training and 355 for testing.

    A sample is ``(image, target)``: a float32 Tensor of shape (1, 8, 8) with values from 0 to 1
    (no image library is needed, so ``transform`` gets that Tensor, not a PIL image), and an int
    from 0 to 9. ``data`` is the raw uint8 Tensor (N, 8, 8) with values from 0 to 16, ``targets``
    the int64 Tensor (N,).

    Args:
        root: ignored; there so that the call looks like the other datasets'.

    Source: E. Alpaydin and C. Kaynak, UCI Machine Learning Repository, 1998, CC BY 4.0
    (https://doi.org/10.24432/C50P49).
    """

    classes = [str(digit) for digit in range(10)]

    def __init__(
        self,
        root: str | os.PathLike[str] | None = None,
        train: bool = True,
        transform: Callable[[Any], Any] | None = None,
        target_transform: Callable[[Any], Any] | None = None,
    ) -> None:
        super().__init__(root, transform, target_transform)
        self.train = train
        with np.load(FILE) as file:
            images, labels = file["images"], file["labels"].astype(np.int64)
        chosen = _is_test(labels) != train
        self.data = from_numpy(images[chosen])
        self.targets = from_numpy(labels[chosen])

    def _image(self, index: int) -> Tensor:
        return self.data[index].float().div(16).unsqueeze(0)


def _is_test(labels: np.ndarray) -> np.ndarray:
    """Marks every fifth label of each class. (N,) int64 -> (N,) bool"""
    marks = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        (where,) = np.nonzero(labels == label)
        marks[where[TEST_EVERY - 1 :: TEST_EVERY]] = True
    return marks
