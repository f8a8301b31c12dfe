"""Transforms: on tensors against NumPy, on PIL images against Pillow's own operations."""

import numpy as np
import pytest
from PIL import Image

import dtorch
from dtorch.vision import transforms
from dtorch.vision.transforms import functional as F

RGB = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)  # (H, W, C)
PICTURE = Image.fromarray(RGB)
TENSOR = dtorch.from_numpy(np.ascontiguousarray(RGB.transpose(2, 0, 1)))  # (C, H, W)


def both(transform, seed=0):
    """The transform of the picture and of the tensor, as arrays (C, H, W)."""
    dtorch.manual_seed(seed)
    picture = F.pil_to_tensor(transform(PICTURE)).numpy()
    dtorch.manual_seed(seed)
    tensor = transform(TENSOR).numpy()
    assert np.array_equal(picture, tensor)
    return tensor


def test_to_tensor_scales_bytes():
    expected = RGB.transpose(2, 0, 1).astype(np.float32) / 255
    for image in (PICTURE, RGB):
        result = transforms.ToTensor()(image)
        assert result.dtype is dtorch.float32
        assert np.array_equal(result.numpy(), expected)
    gray = transforms.ToTensor()(RGB[:, :, 0])
    assert tuple(gray.shape) == (1, 5, 7)


@pytest.mark.parametrize(
    ("mode", "dtype"),
    [("1", "uint8"), ("L", "uint8"), ("I", "int32"), ("F", "float32"), ("I;16", "int16")],
)
def test_pil_modes(mode, dtype):
    values = np.array([[0, 255], [255, 0]])
    if mode == "I;16":
        image = Image.fromarray(values.astype(np.uint16))
    else:
        image = Image.fromarray(values.astype(np.uint8)).convert(mode)
    result = transforms.PILToTensor()(image)
    assert result.dtype is getattr(dtorch, dtype)
    assert result.tolist() == [values.tolist()]


def test_to_tensor_keeps_other_dtypes():
    assert transforms.ToTensor()(np.full((2, 2), 300.0)).tolist() == [[[300.0] * 2] * 2]


@pytest.mark.parametrize("bad", ["text", 3, TENSOR])
def test_to_tensor_refuses(bad):
    with pytest.raises(TypeError, match="PIL Image or ndarray"):
        transforms.ToTensor()(bad)


def test_normalize():
    x = TENSOR.to(dtorch.float64)
    mean, std = [1.0, 2.0, 3.0], [4.0, 5.0, 6.0]
    expected = (x.numpy() - np.reshape(mean, (3, 1, 1))) / np.reshape(std, (3, 1, 1))
    before = x.tolist()
    assert np.allclose(transforms.Normalize(mean, std)(x).numpy(), expected, rtol=1e-15)
    assert x.tolist() == before
    assert transforms.Normalize(mean, std, inplace=True)(x) is x
    assert np.allclose(x.numpy(), expected, rtol=1e-15)
    with pytest.raises(TypeError, match="float tensor"):
        transforms.Normalize(mean, std)(TENSOR)
    with pytest.raises(TypeError, match=r"use ToTensor\(\) before"):
        transforms.Normalize(mean, std)(PICTURE)
    with pytest.raises(ValueError, match="std evaluated to zero"):
        transforms.Normalize(mean, [0.0, 1.0, 1.0])(x)


def test_flips():
    chw = RGB.transpose(2, 0, 1)
    assert np.array_equal(both(transforms.RandomHorizontalFlip(p=1)), chw[:, :, ::-1])
    assert np.array_equal(both(transforms.RandomVerticalFlip(p=1)), chw[:, ::-1])
    assert np.array_equal(both(transforms.RandomHorizontalFlip(p=0)), chw)
    dtorch.manual_seed(0)
    flip = transforms.RandomHorizontalFlip()
    flipped = sum(not np.array_equal(flip(TENSOR).numpy(), chw) for _ in range(400))
    assert abs(flipped - 200) < 50  # Binomial(400, 1/2): five standard deviations


@pytest.mark.parametrize("padding", [2, [1], [1, 2], (1, 2, 3, 4)])
def test_pad(padding):
    left, top, right, bottom = (np.atleast_1d(padding).tolist() * 4)[:4]
    widths = ((0, 0), (top, bottom), (left, right))
    expected = np.pad(RGB.transpose(2, 0, 1), widths)
    assert np.array_equal(both(transforms.Pad(padding)), expected)
    filled = transforms.Pad(padding, fill=9)(TENSOR).numpy()
    assert np.array_equal(filled, np.pad(RGB.transpose(2, 0, 1), widths, constant_values=9))


def test_pad_refuses_what_it_cannot_read():
    with pytest.raises(ValueError, match="1, 2, or 4 element"):
        F.pad(TENSOR, [1, 2, 3])
    with pytest.raises(TypeError, match=r"Tensor of shape \(\.\.\., H, W\), got .*shape \(3,\)"):
        F.pad(dtorch.zeros(3), 1)


@pytest.mark.parametrize("box", [(1, 2, 3, 4), (-2, -1, 4, 4), (3, 5, 6, 6), (-1, -1, 9, 9)])
def test_crop_reaches_past_the_edge(box):
    both(lambda image: F.crop(image, *box))


@pytest.mark.parametrize("size", [3, (2, 5), (5, 7), (8, 3), 12])
def test_center_crop(size):
    result = both(transforms.CenterCrop(size))
    assert result.shape[1:] == F.pair(size)
    if size == 3:
        assert np.array_equal(result, RGB.transpose(2, 0, 1)[:, 1:4, 2:5])


def test_random_crop_visits_every_place():
    crop = transforms.RandomCrop((4, 6))
    seen = {both(crop, seed).tobytes() for seed in range(60)}
    chw = RGB.transpose(2, 0, 1)
    assert seen == {chw[:, i : i + 4, j : j + 6].tobytes() for i in (0, 1) for j in (0, 1)}
    assert both(transforms.RandomCrop(5, padding=1)).shape == (3, 5, 5)
    assert both(transforms.RandomCrop(10, pad_if_needed=True)).shape == (3, 10, 10)
    with pytest.raises(ValueError, match=r"\(6, 6\) is larger than input image size \(5, 7\)"):
        transforms.RandomCrop(6)(TENSOR)


@pytest.mark.parametrize(
    ("size", "expected"), [(10, (10, 14)), ([3], (3, 4)), ((4, 2), (4, 2))], ids=str
)
def test_resize(size, expected):
    result = transforms.Resize(size)(PICTURE)
    assert (result.height, result.width) == expected
    pillows = PICTURE.resize(expected[::-1], Image.Resampling.BILINEAR)
    assert np.array_equal(np.asarray(result), np.asarray(pillows))
    nearest = transforms.Resize(size, transforms.InterpolationMode.NEAREST)(PICTURE)
    assert np.array_equal(
        np.asarray(nearest), np.asarray(PICTURE.resize(expected[::-1], Image.Resampling.NEAREST))
    )
    assert tuple(transforms.Resize(size)(TENSOR).shape) == (3, *expected)


def test_compose_and_repr():
    pipeline = transforms.Compose(
        [
            transforms.ToTensor(),
            transforms.Lambda(lambda x: x + 1),
            transforms.Normalize([1.0], [2.0]),
        ]
    )
    assert np.allclose(pipeline(RGB[:, :, 0]).numpy(), RGB[None, :, :, 0] / 510, atol=1e-6)
    assert repr(pipeline) == (
        "Compose(\n    ToTensor()\n    Lambda()\n    Normalize(mean=[1.0], std=[2.0])\n)"
    )
    with pytest.raises(TypeError, match="callable"):
        transforms.Lambda(3)
