"""Digits against UCI's numbers; MNIST from IDX files made here; downloads from a folder."""

import gzip
import hashlib
import struct
import sys

import numpy as np
import pytest
from PIL import Image

import dtorch
from dtorch.utils.data import DataLoader
from dtorch.vision.datasets import MNIST, Digits, FashionMNIST


def idx(array, kind=8):
    header = bytes([0, 0, kind, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.tobytes()


IMAGES = np.arange(3 * 28 * 28, dtype=np.uint64).astype(np.uint8).reshape(3, 28, 28)
LABELS = np.array([7, 0, 9], np.uint8)


@pytest.fixture
def raw(tmp_path):
    folder = tmp_path / "MNIST" / "raw"
    folder.mkdir(parents=True)
    (folder / "train-images-idx3-ubyte").write_bytes(idx(IMAGES))
    (folder / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(LABELS)))
    return folder


def test_digits_are_the_uci_test_set():
    train, test = Digits(train=True), Digits(train=False)
    assert (len(train), len(test)) == (1442, 355)
    assert train.data.dtype is dtorch.uint8
    assert train.targets.dtype is dtorch.int64
    assert tuple(train.data.shape) == (1442, 8, 8)
    # Class sizes and the first image, as UCI publishes them.
    counts = [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    targets = train.targets.tolist() + test.targets.tolist()
    assert [targets.count(digit) for digit in range(10)] == counts
    assert train.targets.tolist()[:5] == [0, 1, 2, 3, 4]
    assert train.data[0].tolist() == [
        [0, 0, 5, 13, 9, 1, 0, 0],
        [0, 0, 13, 15, 10, 15, 5, 0],
        [0, 3, 15, 2, 0, 11, 8, 0],
        [0, 4, 12, 0, 0, 8, 8, 0],
        [0, 5, 8, 0, 0, 9, 8, 0],
        [0, 4, 11, 0, 1, 12, 7, 0],
        [0, 2, 14, 5, 10, 12, 0, 0],
        [0, 0, 6, 13, 10, 0, 0, 0],
    ]
    total = int(train.data.numpy().sum(dtype=np.int64) + test.data.numpy().sum(dtype=np.int64))
    assert total == 561718


def test_digits_split_is_stratified():
    test = Digits(train=False).targets.tolist()
    assert [test.count(digit) for digit in range(10)] == [35, 36, 35, 36, 36, 36, 36, 35, 34, 36]


def test_a_digit_is_a_float_tensor_and_a_label():
    digits = Digits(train=True)
    image, target = digits[0]
    assert image.dtype is dtorch.float32
    assert tuple(image.shape) == (1, 8, 8)
    assert image.max().item() <= 1
    assert image[0, 0].tolist() == [v / 16 for v in (0, 0, 5, 13, 9, 1, 0, 0)]
    assert target == 0
    assert type(target) is int
    image += 1  # a sample is a copy: the dataset stays as it was
    assert digits[0][0][0, 0, 0].item() == 0
    assert digits.class_to_idx["7"] == 7
    assert "1442" in repr(digits)


def test_digits_transforms_and_batches():
    data = Digits(train=False, transform=lambda x: -x, target_transform=str)
    images, targets = next(iter(DataLoader(data, batch_size=4, num_workers=1)))
    assert tuple(images.shape) == (4, 1, 8, 8)
    assert images.min().item() == -1
    assert targets == tuple(str(t) for t in data.targets.tolist()[:4])


def test_mnist_reads_packed_and_unpacked_files(raw, tmp_path):
    data = MNIST(tmp_path)
    assert data.data.dtype is dtorch.uint8
    assert data.data.numpy().tolist() == IMAGES.tolist()
    assert data.targets.dtype is dtorch.int64
    assert data.targets.tolist() == LABELS.tolist()
    image, target = data[2]
    assert isinstance(image, Image.Image)
    assert image.mode == "L"
    assert np.array_equal(np.asarray(image), IMAGES[2])
    assert target == 9
    assert data.class_to_idx["9 - nine"] == 9
    with pytest.warns(UserWarning, match="test_data has been renamed data"):
        assert data.test_data is data.data
    with pytest.warns(UserWarning, match="train_labels has been renamed targets"):
        assert data.train_labels is data.targets


def test_mnist_says_what_is_missing(raw, tmp_path):
    with pytest.raises(
        RuntimeError, match=r"(?s)t10k-images-idx3-ubyte.gz in .*raw.*download=True"
    ):
        MNIST(tmp_path, train=False)
    with pytest.raises(RuntimeError, match="FashionMNIST.raw"):
        FashionMNIST(tmp_path)


def test_mnist_without_pillow_says_how_to_get_it(raw, tmp_path, monkeypatch):
    data = MNIST(tmp_path)
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ImportError, match=r"pip install 'dtorch\[vision\]'"):
        data[0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"<html>", "no IDX file"),
        (b"", "no IDX file"),
        (idx(IMAGES)[:-1], r"header says shape \(3, 28, 28\), which takes 2368 bytes; it has 2367"),
        (idx(IMAGES) + b"x", "it has 2369"),
        (idx(IMAGES)[:9], "ends within its header"),
        (idx(LABELS), r"expected images of shape \(N, H, W\)"),
        (idx(IMAGES[:2]), r"got shapes \(2, 28, 28\) and \(3,\)"),
    ],
    ids=["html", "empty", "short", "long", "cut header", "labels", "fewer images"],
)
def test_mnist_refuses_a_damaged_file(raw, tmp_path, content, message):
    (raw / "train-images-idx3-ubyte").write_bytes(content)
    with pytest.raises(RuntimeError, match=message):
        MNIST(tmp_path)


@pytest.mark.parametrize(
    "damage", [lambda b: b[:-9], lambda b: b"no gzip", lambda b: b[:20] + b[40:]]
)
def test_mnist_refuses_a_damaged_archive(raw, tmp_path, damage):
    path = raw / "train-labels-idx1-ubyte.gz"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(RuntimeError, match="no whole gzip file"):
        MNIST(tmp_path)


@pytest.fixture
def mirror(tmp_path):
    """A folder as a mirror, and an MNIST that knows its checksums."""
    folder = tmp_path / "mirror"
    folder.mkdir()
    for part in ("train", "t10k"):
        (folder / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(IMAGES)))
        (folder / f"{part}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(LABELS)))

    class Mirrored(MNIST):
        mirrors = [(tmp_path / "gone").as_uri() + "/", folder.as_uri() + "/"]
        md5 = {p.name: hashlib.md5(p.read_bytes()).hexdigest() for p in folder.iterdir()}

    return folder, Mirrored


def test_download_tries_each_mirror_and_checks(mirror, tmp_path):
    folder, Mirrored = mirror
    data = Mirrored(tmp_path, download=True)
    assert data.targets.tolist() == LABELS.tolist()
    raw = tmp_path / "Mirrored" / "raw"
    assert sorted(p.name for p in raw.iterdir()) == sorted(Mirrored.md5)

    for path in folder.iterdir():  # what is there and whole isn't fetched again
        path.unlink()
    assert len(Mirrored(tmp_path, train=False, download=True)) == 3


def test_a_file_with_a_wrong_checksum_never_appears(mirror, tmp_path):
    folder, Mirrored = mirror
    (folder / "train-images-idx3-ubyte.gz").write_bytes(b"something else")
    with pytest.raises(RuntimeError, match=r"(?s)gone.*its MD5 is \w{32}, expected \w{32}"):
        Mirrored(tmp_path, download=True)
    raw = tmp_path / "Mirrored" / "raw"
    assert "train-images-idx3-ubyte.gz" not in [p.name for p in raw.iterdir()]
    assert not [p for p in raw.iterdir() if p.name.startswith(".")]
