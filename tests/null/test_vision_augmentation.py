"""Transforms' values against torchvision's; what is random of them against its limits."""

import numpy as np
import pytest
from PIL import Image

import dtorch
from dtorch import nn
from dtorch.vision import transforms as T
from dtorch.vision.transforms import functional as F
from dtorch.vision.transforms import v2
from tests.vision_values.vision_transforms import RGB, VALUES, calls, images, result

FORMS = images(dtorch.from_numpy)
EXPECTED = np.load(VALUES)


@pytest.mark.parametrize(("name", "form"), calls())
def test_values_are_torchvisions(name, form):
    got, expected = result(F, name, FORMS[form]), EXPECTED[f"{name}/{form}"]
    assert (got.shape, got.dtype) == (expected.shape, expected.dtype)
    off = np.abs(got.astype(float) - expected)
    if form == "float":
        assert off.max() < 1e-3  # places between pixels are float32
        assert off.mean() < 2e-5
    elif form == "pil":
        assert off.max() == 0
    else:  # rounding of a value that lies halfway
        assert off.max() <= 1
        assert (off > 0).mean() < 0.02


def drawn(transform, image, times=50):
    return [transform.make_params([image]) for _ in range(times)]


PICTURE = Image.fromarray(RGB)  # 11 x 14

RANDOM = [
    T.RandomCrop(6, padding=2, padding_mode="reflect"),
    T.RandomResizedCrop(5),
    T.RandomRotation(30, expand=True),
    T.RandomAffine(10, translate=(0.1, 0.2), scale=(0.8, 1.2), shear=(-5, 5, 0, 3)),
    T.RandomPerspective(p=0.9),
    T.ColorJitter(0.4, (0.5, 1.5), 0.3, 0.1),
    T.RandomGrayscale(0.5),
    T.RandomInvert(),
    T.RandomPosterize(3),
    T.RandomSolarize(90),
    T.RandomAdjustSharpness(2),
    T.RandomAutocontrast(),
    T.Compose([T.Resize(40), T.RandomEqualize()]),
    T.GaussianBlur(3),
    T.AutoAugment(),
    T.AutoAugment(T.AutoAugmentPolicy.SVHN),
    T.RandAugment(),
    T.TrivialAugmentWide(),
    T.AugMix(),
    T.RandomApply([T.RandomRotation(20)]),
    T.RandomChoice([T.Pad(1), T.CenterCrop(4)], p=[1, 3]),
    T.RandomOrder([T.Pad(1), T.CenterCrop(4)]),
]


@pytest.mark.parametrize("transform", RANDOM, ids=lambda t: type(t).__name__)
@pytest.mark.parametrize("form", ["pil", "uint8"])
def test_a_seed_repeats_what_is_random(transform, form):
    image, runs = FORMS[form], []
    for seed in [0, 0, *range(1, 12)]:
        dtorch.manual_seed(seed)
        out = transform(image)
        runs.append(np.asarray(out) if form == "pil" else out.numpy())
    assert runs[0].dtype == np.uint8
    assert np.array_equal(runs[0], runs[1])
    assert any(not np.array_equal(runs[0], other) for other in runs[2:])
    assert repr(transform).startswith(type(transform).__name__)


def test_random_crops_lie_within():
    for top, left, height, width in drawn(T.RandomResizedCrop(4, scale=(0.1, 0.5)), PICTURE):
        assert 0 <= top <= 11 - height
        assert 0 <= left <= 14 - width
        assert 0.05 < height * width / (11 * 14) < 0.6
    tall = Image.new("L", (2, 40))
    assert T.RandomResizedCrop.get_params(tall, (1, 1), (0.75, 1.0)) == (18, 0, 3, 2)
    tops = {T.RandomCrop.get_params(PICTURE, (9, 14))[0] for _ in range(60)}
    assert tops == {0, 1, 2}


def test_random_limits():
    angles = drawn(T.RandomRotation((10, 20)), PICTURE)
    assert all(10 <= angle <= 20 for angle in angles)
    affine = T.RandomAffine(5, translate=(0.2, 0), scale=(0.5, 2), shear=3)
    for angle, (x, y), scale, (shear_x, shear_y) in drawn(affine, PICTURE):
        assert abs(angle) <= 5 and abs(x) <= 3 and y == 0  # noqa: PT018
        assert 0.5 <= scale <= 2 and abs(shear_x) <= 3 and shear_y == 0  # noqa: PT018
    jitter = T.ColorJitter(brightness=0.3, hue=0.2)
    assert jitter.contrast is None
    for turn, brightness, contrast, _, hue in drawn(jitter, PICTURE):
        assert sorted(turn) == [0, 1, 2, 3]
        assert 0.7 <= brightness <= 1.3 and contrast is None and abs(hue) <= 0.2  # noqa: PT018
    for _, end in drawn(T.RandomPerspective(0.5, p=1), PICTURE):
        assert all(0 <= x <= 13 and 0 <= y <= 10 for x, y in end)


def test_random_erasing():
    dtorch.manual_seed(0)
    image = dtorch.full((3, 20, 30), 0.5)
    for value, expected in ((0, [0, 0, 0]), ([1, 2, 3], [1, 2, 3])):
        out = T.RandomErasing(p=1, value=value)(image).numpy()
        changed = out != 0.5
        assert 0.02 * 600 * 0.7 <= changed[0].sum() <= 0.33 * 600 * 1.3
        assert [float(out[c][changed[c]].mean()) for c in range(3)] == expected
        rows, columns = changed[0].any(1).sum(), changed[0].any(0).sum()
        assert rows * columns == changed[0].sum()
    noise = T.RandomErasing(p=1, value="random")(image)
    assert len(set(noise.ravel().tolist())) > 10
    assert T.RandomErasing(p=0)(image) is image
    with pytest.raises(ValueError, match="single value or 3"):
        T.RandomErasing(p=1, value=[1, 2])(image)


def test_samples_of_several_images_get_the_same():
    dtorch.manual_seed(0)
    sample = {"image": PICTURE, "again": [PICTURE, 7], "label": dtorch.tensor(3)}
    out = T.RandomCrop(5)(sample)
    assert np.array_equal(np.asarray(out["image"]), np.asarray(out["again"][0]))
    assert out["again"][1] == 7
    image, label = v2.Compose([v2.RandomResizedCrop(4), v2.ToImage()])(PICTURE, 2)
    assert tuple(image.shape) == (3, 4, 4)
    assert label == 2
    assert isinstance(nn.Sequential(T.CenterCrop(3), T.RandomInvert()), nn.Module)


def test_v2_conversions():
    image = v2.ToImage()(PICTURE)
    assert image.dtype is dtorch.uint8
    scaled = v2.ToDtype(dtorch.float32, scale=True)(image)
    assert np.allclose(scaled.numpy(), RGB.transpose(2, 0, 1) / 255, atol=1e-7)
    assert v2.ToDtype(dtorch.float32)(image).max() == int(RGB.max())
    assert v2.functional.to_image(RGB).tolist() == image.tolist()
    assert tuple(v2.RGB()(dtorch.zeros(1, 2, 2)).shape) == (3, 2, 2)
    noisy = v2.GaussianNoise(sigma=0.5)(scaled)
    assert 0 <= float(noisy.min()) < float(noisy.max()) <= 1


@pytest.mark.parametrize("mix", [v2.MixUp(num_classes=4), v2.CutMix(num_classes=4)])
def test_mixtures_of_a_batch(mix):
    dtorch.manual_seed(1)
    labels = dtorch.tensor([0, 1, 2, 3])
    batch = dtorch.arange(4.0).view(4, 1, 1, 1).expand(4, 1, 8, 8)
    images, mixed = mix(batch, labels)
    # Each label's weights say how much of it is in the image, whose value was the label's number.
    assert np.allclose(
        (mixed @ dtorch.arange(4.0)).numpy(), images.mean((1, 2, 3)).numpy(), atol=1e-5
    )
    assert np.allclose(mixed.sum(1).numpy(), 1)
    with pytest.raises(ValueError, match="num_classes must be passed"):
        v2.MixUp()(batch, labels)


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "F", "I", "I;16", "1"])
def test_pil_images_come_back(mode):
    if mode == "I;16":
        image = Image.fromarray(RGB[:, :, 0].astype(np.uint16) * 200)
    else:
        image = PICTURE.convert(mode)
    tensor = F.pil_to_tensor(image)
    back = T.ToPILImage(None if mode == "1" else mode)(tensor)
    assert back.mode == ("L" if mode == "1" else mode)
    assert np.array_equal(
        np.asarray(back), np.asarray(image.convert("L") if mode == "1" else image)
    )


def test_dtypes_of_images():
    white = dtorch.full((1, 1, 1), 255, dtype=dtorch.uint8)
    for dtype in (dtorch.float32, dtorch.int16, dtorch.int32):
        there = F.convert_image_dtype(white, dtype)
        assert int(F.convert_image_dtype(there, dtorch.uint8)) == 255
    assert float(F.convert_image_dtype(white, dtorch.float64)) == 1.0
    assert float(F.convert_image_dtype(dtorch.full((1, 1, 1), 0.999), dtorch.uint8)) == 255
    with pytest.raises(RuntimeError, match="cannot be performed safely"):
        F.convert_image_dtype(dtorch.ones(1, 1, 1), dtorch.int32)


def test_weights_say_how_images_are_prepared():
    from dtorch.vision.models import ResNet50_Weights

    prepare = ResNet50_Weights.DEFAULT.transforms()
    big = PICTURE.resize((300, 260))
    out = prepare(big)
    assert tuple(out.shape) == (3, 224, 224)
    resized = T.functional.center_crop(T.functional.resize(big, 232), 224)
    expected = (np.asarray(resized) / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    assert np.allclose(out.numpy(), expected.transpose(2, 0, 1), atol=1e-5)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: T.Resize([1, 2, 3]), ValueError, "1 or 2 values"),
        (lambda: F.resize(PICTURE, 8, max_size=8), ValueError, "strictly greater"),
        (lambda: F.resize(FORMS["uint8"], 8, F.InterpolationMode.LANCZOS), ValueError, "tensors"),
        (lambda: F.pad(PICTURE, 1, padding_mode="wrap"), ValueError, "Padding mode"),
        (lambda: F.pad(FORMS["uint8"], 1, fill=(1, 2)), ValueError, "broadcast"),
        (lambda: F.five_crop(PICTURE, 20), ValueError, "bigger than input"),
        (lambda: F.affine(PICTURE, 0, [0, 0], 0, 0), ValueError, "positive"),
        (lambda: F.adjust_hue(PICTURE, 0.7), ValueError, "not in"),
        (lambda: F.adjust_brightness(PICTURE, -1), ValueError, "non-negative"),
        (lambda: F.gaussian_blur(PICTURE, 4), ValueError, "odd"),
        (lambda: F.equalize(FORMS["float"]), TypeError, "uint8"),
        (lambda: F.to_pil_image("x"), TypeError, "Tensor or ndarray"),
        (lambda: F.to_pil_image(dtorch.zeros(5, 2, 2)), ValueError, "> 4 channels"),
        (lambda: T.ColorJitter(-1), ValueError, "non negative"),
        (lambda: T.RandomAffine(1, translate=(2, 0)), ValueError, "between 0 and 1"),
        (lambda: T.RandomErasing(value="x"), ValueError, "'random'"),
        (lambda: T.RandAugment(magnitude=99), ValueError, "no step"),
        (lambda: T.RandomChoice([T.Pad(1)], p=[1, 2]), ValueError, "probabilities"),
    ],
)
def test_bad_arguments(make, error, message):
    with pytest.raises(error, match=message):
        make()
