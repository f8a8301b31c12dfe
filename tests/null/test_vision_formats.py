"""Readers of data sets, on files made here; what they refuse; downloads, also broken ones."""

import gzip
import hashlib
import io
import json
import os
import pickle
import tarfile
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

import dtorch
from dtorch.vision import datasets
from dtorch.vision.datasets.archive import extract
from dtorch.vision.datasets.download import download

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (4, 3, 32, 32), dtype=np.uint8)


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


# ---- CIFAR -------------------------------------------------------------------------------------


def cifar(root, batch=None):
    folder = root / "cifar-10-batches-py"
    names = [f"c{i}" for i in range(10)]
    write(folder / "batches.meta", pickle.dumps({"label_names": names}, protocol=2))
    good = {"data": PIXELS.reshape(4, -1), "labels": [3, 1, 4, 9]}
    for name in ["test_batch", *(f"data_batch_{i}" for i in range(1, 6))]:
        write(folder / name, pickle.dumps(good, protocol=2))
    if batch is not None:
        write(folder / "test_batch", batch)
    return folder


def test_cifar(tmp_path):
    cifar(tmp_path)
    data = datasets.CIFAR10(tmp_path, train=False)
    assert data.data.shape == (4, 32, 32, 3)
    image, target = data[2]
    assert np.array_equal(np.asarray(image), PIXELS[2].transpose(1, 2, 0))
    assert target == 4
    assert data.class_to_idx["c9"] == 9
    assert len(datasets.CIFAR10(tmp_path)) == 20
    folder = tmp_path / "cifar-100-python"
    write(folder / "meta", pickle.dumps({"fine_label_names": ["a", "b"]}))
    write(
        folder / "train", pickle.dumps({"data": PIXELS.reshape(4, -1), "fine_labels": [0, 1, 1, 0]})
    )
    assert datasets.CIFAR100(tmp_path).targets == [0, 1, 1, 0]
    with pytest.raises(RuntimeError, match="not found"):
        datasets.CIFAR100(tmp_path, train=False)


class Evil:
    def __reduce__(self):
        return os.system, ("touch /tmp/evil",)


WHOLE = pickle.dumps({"data": PIXELS.reshape(4, -1), "labels": [0, 0, 0, 0]}, protocol=2)


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        (b"", "no whole pickle"),
        (WHOLE[:-100], "no whole pickle"),
        (WHOLE + b"x", "goes on behind its end"),
        (b"<html>", "no whole pickle"),
        (pickle.dumps(Evil()), "wants posix.system"),
        (pickle.dumps([1]), "expected a dict"),
        (pickle.dumps({"data": PIXELS, "labels": [0] * 4}), "expected uint8 images"),
        (pickle.dumps({"data": PIXELS.reshape(4, -1), "labels": [0] * 3}), "and N labels"),
        (pickle.dumps({"data": PIXELS.reshape(4, -1), "labels": [0, 0, 0, 10]}), "below 10"),
    ],
)
def test_cifar_refuses(tmp_path, batch, message):
    cifar(tmp_path, batch)
    with pytest.raises(RuntimeError, match=message):
        datasets.CIFAR10(tmp_path, train=False)


# ---- STL-10, SVHN, EMNIST ----------------------------------------------------------------------


def stl10(root):
    folder = root / "stl10_binary"
    pixels = RNG.integers(0, 256, (3, 3, 96, 96), dtype=np.uint8)
    write(folder / "train_X.bin", pixels.transpose(0, 1, 3, 2).tobytes())
    write(folder / "unlabeled_X.bin", pixels[:1].tobytes())
    write(folder / "train_y.bin", bytes([1, 10, 5]))
    write(folder / "class_names.txt", "\n".join("abcdefghij").encode())
    write(folder / "fold_indices.txt", b"2 0\n1")
    return folder, pixels


def test_stl10(tmp_path):
    folder, pixels = stl10(tmp_path)
    data = datasets.STL10(tmp_path)
    assert data.labels.tolist() == [0, 9, 4]
    assert np.array_equal(np.asarray(data[1][0]), pixels[1].transpose(1, 2, 0))
    assert datasets.STL10(tmp_path, folds=0).labels.tolist() == [4, 0]
    assert datasets.STL10(tmp_path, "train+unlabeled").labels.tolist() == [0, 9, 4, -1]
    (folder / "train_y.bin").write_bytes(bytes([1, 11, 5]))
    with pytest.raises(RuntimeError, match="labels from 1 to 10"):
        datasets.STL10(tmp_path)
    (folder / "train_X.bin").write_bytes(pixels.tobytes()[:-1])
    with pytest.raises(RuntimeError, match="no images of 3 x 96 x 96"):
        datasets.STL10(tmp_path)
    with pytest.raises(ValueError, match="Unknown value 'all'"):
        datasets.STL10(tmp_path, "all")


def test_svhn(tmp_path):
    path = tmp_path / "train_32x32.mat"
    labels = np.array([[1], [10], [5], [9]], dtype=np.uint8)
    savemat(path, {"X": PIXELS.transpose(2, 3, 1, 0), "y": labels})
    data = datasets.SVHN(tmp_path)
    assert data.labels.tolist() == [1, 0, 5, 9]
    image, target = data[1]
    assert np.array_equal(np.asarray(image), PIXELS[1].transpose(1, 2, 0))
    assert target == 0
    whole = path.read_bytes()
    for damaged in (b"", b"no MATLAB file at all", whole[: len(whole) // 2]):
        path.write_bytes(damaged)
        with pytest.raises(RuntimeError, match="no whole MATLAB file"):
            datasets.SVHN(tmp_path)
    savemat(path, {"X": PIXELS.transpose(2, 3, 1, 0), "y": labels[:2]})
    with pytest.raises(RuntimeError, match=r"y \(N, 1\) from 1 to 10"):
        datasets.SVHN(tmp_path)


def idx(array):
    sizes = b"".join(n.to_bytes(4, "big") for n in array.shape)
    return bytes([0, 0, 8, array.ndim]) + sizes + array.tobytes()


def test_emnist_and_kmnist(tmp_path):
    raw = tmp_path / "EMNIST" / "raw"
    write(raw / "emnist-letters-test-images-idx3-ubyte.gz", gzip.compress(idx(PIXELS[:, 0])))
    write(raw / "emnist-letters-test-labels-idx1-ubyte", idx(np.array([1, 26, 2, 3], np.uint8)))
    data = datasets.EMNIST(tmp_path, "letters", train=False)
    assert data.classes[data[1][1]] == "z"
    assert len(datasets.EMNIST.classes_split_dict["balanced"]) == 47
    with pytest.raises(ValueError, match="Unknown value 'words'"):
        datasets.EMNIST(tmp_path, "words")
    raw = tmp_path / "KMNIST" / "raw"
    write(raw / "train-images-idx3-ubyte", idx(PIXELS[:, 0]))
    write(raw / "train-labels-idx1-ubyte", idx(np.array([1, 2, 3, 4], np.uint8)))
    assert datasets.KMNIST(tmp_path).class_to_idx["ki"] == 1


# ---- folders, COCO, noise ----------------------------------------------------------------------


def picture(path, color, format=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 3), color).save(path, format)


def test_image_folder(tmp_path):
    picture(tmp_path / "dog" / "x.png", "red")
    picture(tmp_path / "cat" / "deep" / "y.BMP", "blue")
    picture(tmp_path / "cat" / "b.png", "white")
    (tmp_path / "cat" / "notes.txt").write_text("no image")
    data = datasets.ImageFolder(tmp_path)
    assert data.classes == ["cat", "dog"]
    assert data.targets == [0, 0, 1]
    assert [os.path.basename(path) for path, _ in data.imgs] == ["b.png", "y.BMP", "x.png"]
    assert data[2][0].getpixel((0, 0)) == (255, 0, 0)
    texts = datasets.DatasetFolder(
        tmp_path, lambda path: Path(path).read_text(), (".txt",), allow_empty=True
    )
    assert texts[0] == ("no image", 0)
    with pytest.raises(FileNotFoundError, match=r"for the classes dog"):
        datasets.DatasetFolder(tmp_path, str, (".txt",))
    with pytest.raises(FileNotFoundError, match="class folder"):
        datasets.ImageFolder(tmp_path / "dog")
    whole = (tmp_path / "dog" / "x.png").read_bytes()
    for damaged in (b"", whole[:40], b"text"):
        (tmp_path / "dog" / "x.png").write_bytes(damaged)
        with pytest.raises(RuntimeError, match=r"x.png is no whole image"):
            data[2]


def test_imagenet(tmp_path):
    picture(tmp_path / "val" / "n02" / "a.JPEG", "red", "jpeg")
    picture(tmp_path / "val" / "n01" / "b.JPEG", "red", "jpeg")
    data = datasets.ImageNet(tmp_path, "val")
    assert data.classes == data.wnids == ["n01", "n02"]
    words = {"n01": ("tench", "Tinca tinca"), "n02": ("goldfish",)}
    dtorch.save((words, ["n01"]), tmp_path / "meta.bin")
    data = datasets.ImageNet(tmp_path, "val")
    assert data.classes == [("tench", "Tinca tinca"), ("goldfish",)]
    assert data.class_to_idx["Tinca tinca"] == 0
    with pytest.raises(RuntimeError, match="folder a class in .*train"):
        datasets.ImageNet(tmp_path)


def test_coco(tmp_path):
    picture(tmp_path / "images" / "1.png", "red")
    picture(tmp_path / "images" / "2.png", "blue")
    picture(tmp_path / "secret.png", "green")
    images = [{"id": n, "file_name": f"{n}.png"} for n in (2, 1)]
    images.append({"id": 3, "file_name": "../secret.png"})
    boxes = [{"image_id": 2, "bbox": [0, 1, 2, 3], "category_id": 7, "caption": "blue"}]
    file = tmp_path / "a.json"
    file.write_text(json.dumps({"images": images, "annotations": boxes}))
    data = datasets.CocoDetection(tmp_path / "images", file)
    assert data.ids == [1, 2, 3]
    assert data[0][1] == []
    image, target = data[1]
    assert image.getpixel((0, 0)) == (0, 0, 255)
    assert target == boxes
    assert datasets.CocoCaptions(tmp_path / "images", file)[1][1] == ["blue"]
    with pytest.raises(RuntimeError, match="lies outside"):
        data[2]
    for content, message in (
        ("{", "no whole JSON"),
        ("[]", "no COCO file"),
        ('{"images": [{}], "annotations": []}', "no COCO file"),
        ('{"images": [], "annotations": [{"image_id": 5}]}', "of image 5"),
    ):
        file.write_text(content)
        with pytest.raises(RuntimeError, match=message):
            datasets.CocoDetection(tmp_path, file)


def test_fake_data():
    data = datasets.FakeData(5, (3, 6, 8), num_classes=4, transform=np.asarray)
    images, targets = zip(*data)
    assert images[0].shape == (6, 8, 3)
    assert set(targets) <= {0, 1, 2, 3}
    assert np.array_equal(data[3][0], images[3])
    assert not np.array_equal(images[0], images[1])
    assert np.array_equal(datasets.FakeData(5, (3, 6, 8), random_offset=2)[0][0], images[2])


# ---- archives and downloads --------------------------------------------------------------------


def tar(path, *members):
    with tarfile.open(path, "w:gz") as file:
        for name, content in members:
            info = tarfile.TarInfo(name)
            if content is None:
                info.type, info.linkname = tarfile.SYMTYPE, "/etc"
                file.addfile(info)
            else:
                info.size = len(content)
                file.addfile(info, io.BytesIO(content))


def zipped(path, *members):
    with zipfile.ZipFile(path, "w") as file:
        for name, content in members:
            file.writestr(name, content)


def everything(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*"))


@pytest.mark.parametrize("pack", [tar, zipped])
def test_archives(tmp_path, pack):
    pack(tmp_path / "a", ("good/x", b"1"), ("y", b"22"))
    extract(tmp_path / "a", tmp_path / "out")
    assert everything(tmp_path / "out") == ["good", "good/x", "y"]
    assert (tmp_path / "out" / "y").read_bytes() == b"22"
    whole = (tmp_path / "a").read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", b"text"):
        (tmp_path / "a").write_bytes(damaged)
        with pytest.raises(RuntimeError, match="no whole archive"):
            extract(tmp_path / "a", tmp_path / "other")
    assert everything(tmp_path / "other") == []


@pytest.mark.parametrize("pack", [tar, zipped])
@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "/tmp/evil-of-dtorch"])
def test_archives_write_nothing_outside(tmp_path, pack, name):
    pack(tmp_path / "a", ("good", b"1"), (name, b"2"))
    with pytest.raises(RuntimeError, match="would be written outside"):
        extract(tmp_path / "a", tmp_path / "out")
    assert everything(tmp_path) == ["a", "out"]
    assert not os.path.exists("/tmp/evil-of-dtorch")


def test_archives_with_links_or_too_large_are_refused(tmp_path, monkeypatch):
    tar(tmp_path / "a", ("link", None), ("link/passwd", b"2"))
    with pytest.raises(RuntimeError, match="neither a file nor a folder"):
        extract(tmp_path / "a", tmp_path / "out")
    zipped(tmp_path / "b", ("zeros", bytes(5000)))
    usage = type("Usage", (), {"free": 4999})
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage)
    with pytest.raises(RuntimeError, match="unpacks to 5000 bytes; .* has 4999 left"):
        extract(tmp_path / "b", tmp_path / "out")
    assert everything(tmp_path / "out") == []


CONTENT = RNG.bytes(1000)


@pytest.fixture
def server():
    """Serves CONTENT, the first time only 400 bytes of it; notes the ranges that it is asked for."""
    ranges = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked = self.headers.get("Range")
            ranges.append(asked)
            start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
            resumes = start and self.path != "/deaf"
            body = CONTENT[start:] if resumes else CONTENT
            self.send_response(206 if resumes else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[:400] if len(ranges) == 1 else body)

        def log_message(self, *args):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}", ranges
        http.shutdown()
        thread.join()


@pytest.mark.parametrize("path", ["good", "deaf"])
def test_a_broken_download_goes_on(tmp_path, server, path):
    url, ranges = server
    md5 = hashlib.md5(CONTENT).hexdigest()
    target = tmp_path / "file"
    with pytest.raises(RuntimeError, match="broke after 400 of 1000 bytes"):
        download([f"{url}/{path}"], target, md5)
    assert not target.exists()
    download([f"{url}/{path}"], target, md5)
    assert target.read_bytes() == CONTENT
    assert ranges == [None, "bytes=400-"]
    assert everything(tmp_path) == ["file"]


def test_cifar_downloads(tmp_path, monkeypatch):
    folder = cifar(tmp_path / "made")
    members = [(f"{folder.name}/{p.name}", p.read_bytes()) for p in folder.iterdir()]
    tar(tmp_path / "c.tar.gz", *members)
    monkeypatch.setattr(datasets.CIFAR10, "url", (tmp_path / "c.tar.gz").as_uri())
    with pytest.raises(RuntimeError, match="its MD5 is"):
        datasets.CIFAR10(tmp_path / "out", download=True)
    md5 = hashlib.md5((tmp_path / "c.tar.gz").read_bytes()).hexdigest()
    monkeypatch.setattr(datasets.CIFAR10, "md5", md5)
    assert len(datasets.CIFAR10(tmp_path / "out", download=True)) == 20
    utils = datasets.utils
    assert utils.check_integrity(tmp_path / "out" / "c.tar.gz", md5)
    utils.download_and_extract_archive(datasets.CIFAR10.url, tmp_path / "more", md5=md5)
    assert (tmp_path / "more" / folder.name / "test_batch").is_file()
