"""Calls of image transforms, and what torchvision's give for the same image.

`python -m tests.vision_values.vision_transforms` writes vision_transforms.npz, with torchvision 0.28.
"""

from pathlib import Path

import numpy as np
from PIL import Image

VALUES = Path(__file__).with_suffix(".npz")

_rng = np.random.default_rng(0)
_ramp = np.linspace(0, 200, 11)[:, None, None] * np.linspace(0.2, 1, 14)[None, :, None]
RGB = (_ramp * [1, 0.7, 0.3] + _rng.integers(0, 56, (11, 14, 3))).astype(np.uint8)  # (H, W, C)

START, END = [[0, 0], [13, 0], [13, 10], [0, 10]], [[1, 2], [12, 0], [13, 9], [2, 8]]


def _modes(F, *names):
    return [getattr(F.InterpolationMode, name) for name in names]


# F is torchvision's or dtorch's transforms.functional; x a PIL image or a tensor.
CASES = {
    "resize": lambda F, x: F.resize(x, [7, 9]),
    "resize up": lambda F, x: F.resize(x, 17, antialias=True),
    "resize nearest": lambda F, x: F.resize(x, [5, 20], *_modes(F, "NEAREST")),
    "resize bicubic": lambda F, x: F.resize(x, [6, 21], *_modes(F, "BICUBIC")),
    "resize max_size": lambda F, x: F.resize(x, 8, max_size=9),
    "resized_crop": lambda F, x: F.resized_crop(x, 1, 2, 7, 8, [5, 5]),
    "center_crop": lambda F, x: F.center_crop(x, [4, 20]),
    "crop": lambda F, x: F.crop(x, -2, 5, 6, 12),
    "five_crop": lambda F, x: F.five_crop(x, 5)[3],
    "ten_crop": lambda F, x: F.ten_crop(x, 5)[9],
    "pad": lambda F, x: F.pad(x, [1, 2, 3, 4], fill=7),
    "pad edge": lambda F, x: F.pad(x, [2, 1], padding_mode="edge"),
    "pad reflect": lambda F, x: F.pad(x, [2, 1, 3, 4], padding_mode="reflect"),
    "pad symmetric": lambda F, x: F.pad(x, 3, padding_mode="symmetric"),
    "rotate": lambda F, x: F.rotate(x, 33.0),
    "rotate bilinear": lambda F, x: F.rotate(x, -20.0, *_modes(F, "BILINEAR"), fill=[90]),
    "rotate expand": lambda F, x: F.rotate(x, 50.0, expand=True),
    "rotate center": lambda F, x: F.rotate(x, 40.0, center=[2, 3]),
    "affine": lambda F, x: F.affine(x, 20.0, [2, -1], 1.2, [5.0, -8.0]),
    "affine bilinear": lambda F, x: F.affine(
        x, -15.0, [0, 3], 0.8, [12.0], *_modes(F, "BILINEAR"), fill=[1, 2, 3]
    ),
    "affine center": lambda F, x: F.affine(x, 0.0, [0, 0], 1.0, [17.0, 0.0], center=[0, 0]),
    "perspective": lambda F, x: F.perspective(x, START, END),
    "perspective nearest": lambda F, x: F.perspective(
        x, START, END, *_modes(F, "NEAREST"), fill=[5]
    ),
    "brightness": lambda F, x: F.adjust_brightness(x, 1.4),
    "contrast": lambda F, x: F.adjust_contrast(x, 0.6),
    "saturation": lambda F, x: F.adjust_saturation(x, 1.7),
    "hue": lambda F, x: F.adjust_hue(x, 0.2),
    "hue back": lambda F, x: F.adjust_hue(x, -0.35),
    "gamma": lambda F, x: F.adjust_gamma(x, 0.7, 1.1),
    "sharper": lambda F, x: F.adjust_sharpness(x, 1.8),
    "smoother": lambda F, x: F.adjust_sharpness(x, 0.3),
    "grayscale": lambda F, x: F.rgb_to_grayscale(x, 3),
    "invert": lambda F, x: F.invert(x),
    "autocontrast": lambda F, x: F.autocontrast(x),
    "blur": lambda F, x: F.gaussian_blur(x, [5, 3], [1.1, 0.6]),
    "blur default": lambda F, x: F.gaussian_blur(x, 3),
    "hflip": lambda F, x: F.hflip(x),
    "vflip": lambda F, x: F.vflip(x),
}
# Of bytes only.
BYTES = {
    "posterize": lambda F, x: F.posterize(x, 3),
    "solarize": lambda F, x: F.solarize(x, 100),
    "equalize": lambda F, x: F.equalize(F.resize(x, [22, 28])),
}


def images(from_numpy):
    """The image in three forms."""
    chw = np.ascontiguousarray(RGB.transpose(2, 0, 1))
    floats = (chw / 255).astype(np.float32)
    return {"pil": Image.fromarray(RGB), "uint8": from_numpy(chw), "float": from_numpy(floats)}


def calls():
    """(case, form of the image)"""
    forms = ("pil", "uint8", "float")
    return [(name, form) for name in CASES for form in forms] + [
        (name, form) for name in BYTES for form in forms[:2]
    ]


def result(F, name, image):
    """As an array: (H, W, C) of a PIL image, (C, H, W) of a tensor."""
    out = (CASES | BYTES)[name](F, image)
    return np.asarray(out) if isinstance(out, Image.Image) else out.numpy()


def main():
    import torch
    from torchvision.transforms import functional

    forms = images(torch.from_numpy)
    values = {f"{n}/{form}": result(functional, n, forms[form]) for n, form in calls()}
    np.savez_compressed(VALUES, **values)


if __name__ == "__main__":
    main()
