"""CIFAR-10 and CIFAR-100 (Krizhevsky, 2009), read from the pickles that their author publishes."""

from __future__ import annotations

import io
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from .archive import extract
from .download import download
from .vision import VisionDataset, pil_image

# All that these pickles need: arrays, and the bytes that they are made of.
_ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"), ("numpy._core.multiarray", "_reconstruct"),
    ("numpy", "ndarray"), ("numpy", "dtype"), ("_codecs", "encode"),
}  # fmt: skip


class CIFAR10(VisionDataset):
    """60,000 colour images of 32x32 pixels in 10 classes: 50,000 to train, 10,000 to test.

    Reads ``root/cifar-10-batches-py``, torchvision's layout. A sample is ``(image, target)``: a PIL
    image of mode "RGB" and an int. ``data`` is a uint8 array (N, 32, 32, 3), ``targets`` a list.

    Raises:
        RuntimeError: files are missing, can't be fetched, or aren't what they should be. Nothing in
            a pickle but arrays, numbers and text is loaded.
    """

    base_folder = "cifar-10-batches-py"
    url = "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"
    md5 = "c58f30108f718f92721af3b95e74349a"
    train_files = [f"data_batch_{i}" for i in range(1, 6)]
    test_files = ["test_batch"]
    meta_file, meta_key, label_key = "batches.meta", "label_names", "labels"

    root: Path
    data: np.ndarray  # type: ignore[assignment]
    targets: list[int]  # type: ignore[assignment]

    def __init__(
        self,
        root: str | os.PathLike[str],
        train: bool = True,
        transform: Callable[[Any], Any] | None = None,
        target_transform: Callable[[Any], Any] | None = None,
        download: bool = False,
    ) -> None:
        super().__init__(root, transform, target_transform)
        self.train = train
        if download:
            self.download()
        self.classes = list(self._read(self.meta_file).get(self.meta_key, ()))
        parts, self.targets = [], []
        for name in self.train_files if train else self.test_files:
            images, labels = self._checked(name, self._read(name))
            parts.append(images)
            self.targets += labels
        self.data = np.concatenate(parts).reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1).copy()

    def download(self) -> None:
        """Fetches and unpacks the archive, if its files are not there."""
        names = [*self.train_files, *self.test_files, self.meta_file]
        if all((self.root / self.base_folder / name).is_file() for name in names):
            return
        archive = self.root / self.url.rpartition("/")[2]
        download([self.url], archive, self.md5)
        extract(archive, self.root)

    def _read(self, name: str) -> dict[str, Any]:
        path = self.root / self.base_folder / name
        if not path.is_file():
            raise RuntimeError(
                f"Dataset not found or corrupted: expected {path}. You can use download=True to "
                f"download it, or unpack {self.url} in {self.root}"
            )
        content = read_pickle(path)
        if not isinstance(content, dict):
            raise RuntimeError(f"{path}: expected a dict, got {type(content).__name__}")
        return content

    def _checked(self, name: str, batch: dict[str, Any]) -> tuple[np.ndarray, list[int]]:
        """The images (N, 3072) and labels of a batch."""
        images, labels = batch.get("data"), batch.get(self.label_key)
        well_formed = (
            isinstance(images, np.ndarray)
            and images.dtype == np.uint8
            and images.shape == (len(images), 3072)
            and isinstance(labels, list)
            and len(labels) == len(images)
            and all(isinstance(n, int) and 0 <= n < len(self.classes) for n in labels)
        )
        if not well_formed:
            raise RuntimeError(
                f"{self.root / self.base_folder / name}: expected uint8 images (N, 3072) and N "
                f"{self.label_key} below {len(self.classes)}; delete it and get it again"
            )
        assert images is not None
        assert labels is not None
        return images, labels

    def _image(self, index: int) -> Any:
        return pil_image(self.data[index])

    def extra_repr(self) -> str:
        return f"Split: {'Train' if self.train else 'Test'}"


class CIFAR100(CIFAR10):
    """60,000 colour images of 32x32 pixels in 100 classes; in ``root/cifar-100-python``."""

    base_folder = "cifar-100-python"
    url = "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz"
    md5 = "eb9058c3a382ffc7106e4002c42a8d85"
    train_files = ["train"]
    test_files = ["test"]
    meta_file, meta_key, label_key = "meta", "fine_label_names", "fine_labels"


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it wants {module}.{name}, which is not loaded")
        return super().find_class(module, name)


def read_pickle(path: Path) -> Any:
    """What a pickle of arrays, numbers and text holds; RuntimeError for another or a damaged one."""
    content = io.BytesIO(path.read_bytes())
    try:
        value = _Unpickler(content, encoding="latin1").load()
    except (pickle.UnpicklingError, EOFError, ValueError, TypeError, KeyError, IndexError,
            AttributeError, ImportError, OverflowError, MemoryError) as error:  # fmt: skip
        raise RuntimeError(
            f"{path} is no whole pickle of arrays ({error}); delete it and get it again"
        ) from error
    if content.read(1):
        raise RuntimeError(f"{path} goes on behind its end; delete it and get it again")
    return value
