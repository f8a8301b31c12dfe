"""MNIST and its like, read from the IDX files that their authors publish."""

from __future__ import annotations

import gzip
import math
import os
import string
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from dtorch.core.ops.create import from_numpy

from .archive import extract
from .download import download
from .vision import VisionDataset, pil_image

# What the third byte of an IDX file says its values are (http://yann.lecun.com/exdb/mnist/).
_IDX_DTYPES = {8: ">u1", 9: ">i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}


def _renamed(old: str, new: str) -> property:
    """An attribute under the name that torchvision once had for it."""

    def value(self: MNIST) -> Any:
        warnings.warn(f"{old} has been renamed {new}", UserWarning, stacklevel=2)
        return getattr(self, new)

    return property(value)


class MNIST(VisionDataset):
    """70,000 handwritten digits of 28x28 pixels: 60,000 to train, 10,000 to test.

    Reads ``root/MNIST/raw/train-images-idx3-ubyte`` and so on, packed (``.gz``) or not, which is
    torchvision's layout. A sample is ``(image, target)``: a PIL image of mode "L" (which takes the
    extra ``dtorch[vision]``) and an int. ``data`` is a uint8 Tensor (N, 28, 28), ``targets`` an
    int64 Tensor (N,).

    Args:
        download: fetch the files that are missing, and check them.

    Raises:
        RuntimeError: files are missing, can't be fetched, or aren't what they should be.
    """

    mirrors = [
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "http://yann.lecun.com/exdb/mnist/",
    ]
    md5 = {
        "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
        "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
        "t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
        "t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
    }
    classes = [
        "0 - zero",
        "1 - one",
        "2 - two",
        "3 - three",
        "4 - four",
        "5 - five",
        "6 - six",
        "7 - seven",
        "8 - eight",
        "9 - nine",
    ]

    root: Path
    train_data, test_data = _renamed("train_data", "data"), _renamed("test_data", "data")
    train_labels = _renamed("train_labels", "targets")
    test_labels = _renamed("test_labels", "targets")

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
        images = self._read(f"{self._part}-images-idx3-ubyte")
        labels = self._read(f"{self._part}-labels-idx1-ubyte")
        if images.ndim != 3 or labels.shape != images.shape[:1]:
            raise RuntimeError(
                f"{self.raw_folder}: expected images of shape (N, H, W) and N labels, got shapes "
                f"{images.shape} and {labels.shape}"
            )
        self.data = from_numpy(images)
        self.targets = from_numpy(labels.astype(np.int64))

    @property
    def _part(self) -> str:
        """How the names of the files begin."""
        return "train" if self.train else "t10k"

    @property
    def raw_folder(self) -> Path:
        return self.root / type(self).__name__ / "raw"

    def download(self) -> None:
        """Fetches the files that are in ``raw_folder`` neither packed nor unpacked."""
        for name, md5 in self.md5.items():
            if not (self.raw_folder / name).with_suffix("").exists():
                download([mirror + name for mirror in self.mirrors], self.raw_folder / name, md5)

    def _read(self, name: str) -> np.ndarray:
        for path in (self.raw_folder / name, self.raw_folder / f"{name}.gz"):
            if path.exists():
                return read_idx(path)
        raise RuntimeError(
            f"Dataset not found: expected {name} or {name}.gz in {self.raw_folder}. You can use "
            f"download=True to download it, or put the files from {self.mirrors[0]} there"
        )

    def _image(self, index: int) -> Any:
        return pil_image(self.data[index].numpy())


class FashionMNIST(MNIST):
    """Zalando's 70,000 pictures of clothes, in MNIST's format (Xiao, Rasul and Vollgraf, 2017)."""

    mirrors = ["http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"]
    md5 = {
        "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
        "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
        "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
    }
    classes = [
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ]


class KMNIST(MNIST):
    """70,000 handwritten hiragana, in MNIST's format (Clanuwat et al., 2018)."""

    mirrors = ["http://codh.rois.ac.jp/kmnist/dataset/kmnist/"]
    md5 = {
        "train-images-idx3-ubyte.gz": "bdb82020997e1d708af4cf47b453dcf7",
        "train-labels-idx1-ubyte.gz": "e144d726b3acfaa3e44228e80efcd344",
        "t10k-images-idx3-ubyte.gz": "5c965bf0a639b31b8f53240b1b52f4d7",
        "t10k-labels-idx1-ubyte.gz": "7320c461ea6c1c855c0b718fb2a4b134",
    }
    classes = ["o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"]


_MERGED = [*string.digits, *string.ascii_uppercase, *"abdefghnqrt"]


class EMNIST(MNIST):
    """Handwritten letters and digits in MNIST's format (Cohen et al., 2017).

    The images lie on their side: rows and columns are those of the files, as in torchvision.

    split: "byclass" (62 classes), "bymerge" and "balanced" (47), "letters" (26, numbered from 1),
        "digits" or "mnist" (10); the rest is MNIST's
    """

    mirrors = ["https://biometrics.nist.gov/cs_links/EMNIST/"]
    archive_md5 = "58c8d27c78d21e728a6bc7b3cc06412e"
    classes_split_dict = {
        "byclass": [*string.digits, *string.ascii_uppercase, *string.ascii_lowercase],
        "bymerge": _MERGED,
        "balanced": _MERGED,
        "letters": ["N/A", *string.ascii_lowercase],
        "digits": [*string.digits],
        "mnist": [*string.digits],
    }

    def __init__(self, root: str | os.PathLike[str], split: str, **options: Any) -> None:
        if split not in self.classes_split_dict:
            raise ValueError(f"Unknown value '{split}' for argument split: "
                             f"{[*self.classes_split_dict]} expected")  # fmt: skip
        self.split = split
        self.classes = self.classes_split_dict[split]
        super().__init__(root, **options)

    @property
    def _part(self) -> str:
        return f"emnist-{self.split}-{'train' if self.train else 'test'}"

    def download(self) -> None:
        """Fetches and unpacks the archive of all splits, if the file of this one is not there."""
        if any(self.raw_folder.glob(f"{self._part}-images-idx3-ubyte*")):
            return
        archive = self.raw_folder / "gzip.zip"
        download([self.mirrors[0] + archive.name], archive, self.archive_md5)
        extract(archive, self.raw_folder)
        for path in (self.raw_folder / "gzip").glob("*.gz"):
            path.replace(self.raw_folder / path.name)


def read_idx(path: Path) -> np.ndarray:
    """The array in an IDX file: two zero bytes, a type, the number of dimensions, their sizes
    (each four bytes, most significant first), then the values. ``.gz`` files are unpacked.

    Raises:
        RuntimeError: the file is something else, or shorter or longer than its header says.
    """
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise RuntimeError(
            f"{path} is no whole gzip file ({error}); delete it and get it again"
        ) from error
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in _IDX_DTYPES:
        raise RuntimeError(f"{path} is no IDX file: it starts with {content[:4]!r}")
    dtype, dims = np.dtype(_IDX_DTYPES[content[2]]), content[3]
    start = 4 + 4 * dims
    if len(content) < start:
        raise RuntimeError(f"{path} ends within its header; delete it and get it again")
    shape = tuple(int(n) for n in np.frombuffer(content[4:start], ">u4"))
    expected = start + math.prod(shape) * dtype.itemsize
    if len(content) != expected:
        raise RuntimeError(
            f"{path}: its header says shape {shape}, which takes {expected} bytes; it has "
            f"{len(content)}. Delete it and get it again"
        )
    values = np.frombuffer(content, dtype, offset=start).reshape(shape)
    return values.astype(dtype.newbyteorder("="))  # a copy that can be written to
