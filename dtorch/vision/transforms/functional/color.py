"""What pixels are worth: brightness, colours, contrast, sharpness, blur."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

import dtorch
from dtorch.core.tensor import Tensor
from dtorch.nn import functional as nnf

from .convert import convert_image_dtype, pil_to_tensor, to_pil_image
from .image import as_float, bound, check, get_dimensions, is_pil, like


def _blend(img: Tensor, other: Any, factor: float) -> Tensor:
    """factor * img + (1 - factor) * other, within what the dtype holds."""
    mixed = factor * as_float(img) + (1.0 - factor) * other
    return mixed.clamp(0, bound(img)).to(img.dtype)


def _enhance(img: Any, kind: str, factor: float) -> Any:
    from PIL import ImageEnhance

    return getattr(ImageEnhance, kind)(img).enhance(factor)


def _check_factor(factor: float, name: str) -> None:
    if factor < 0:
        raise ValueError(f"{name} ({factor}) is not non-negative.")


def _check_channels(img: Tensor, *permitted: int) -> Tensor:
    channels = get_dimensions(img)[0]
    if channels not in permitted:
        raise TypeError(f"Input image tensor permitted channel values are {permitted}, but found "
                        f"{channels}")  # fmt: skip
    return img


def rgb_to_grayscale(img: Any, num_output_channels: int = 1) -> Any:
    """0.2989 red + 0.587 green + 0.114 blue, in 1 or 3 equal channels."""
    if num_output_channels not in (1, 3):
        raise ValueError("num_output_channels should be either 1 or 3")
    if is_pil(img):
        grey = img.convert("L")
        return grey if num_output_channels == 1 else grey.convert("RGB")
    _check_channels(check(img), 1, 3)
    if get_dimensions(img)[0] == 3:
        red, green, blue = as_float(img).unbind(-3)
        img = (0.2989 * red + 0.587 * green + 0.114 * blue).to(img.dtype).unsqueeze(-3)
    if num_output_channels == 1:
        return img
    return img.expand(*img.shape[:-3], 3, *img.shape[-2:])


def to_grayscale(img: Any, num_output_channels: int = 1) -> Any:
    """`rgb_to_grayscale` of PIL images."""
    if not is_pil(img):
        raise TypeError("Input should be PIL Image")
    return rgb_to_grayscale(img, num_output_channels)


def adjust_brightness(img: Any, brightness_factor: float) -> Any:
    """0 makes it black, 1 leaves it."""
    _check_factor(brightness_factor, "brightness_factor")
    if is_pil(img):
        return _enhance(img, "Brightness", brightness_factor)
    return _blend(_check_channels(check(img), 1, 3), 0.0, brightness_factor)


def adjust_contrast(img: Any, contrast_factor: float) -> Any:
    """0 makes it grey, 1 leaves it."""
    _check_factor(contrast_factor, "contrast_factor")
    if is_pil(img):
        return _enhance(img, "Contrast", contrast_factor)
    mean = as_float(rgb_to_grayscale(check(img))).mean((-3, -2, -1), keepdim=True)
    return _blend(img, mean, contrast_factor)


def adjust_saturation(img: Any, saturation_factor: float) -> Any:
    """0 makes it black and white, 1 leaves it."""
    _check_factor(saturation_factor, "saturation_factor")
    if is_pil(img):
        return _enhance(img, "Color", saturation_factor)
    if get_dimensions(_check_channels(check(img), 1, 3))[0] == 1:
        return img
    return _blend(img, as_float(rgb_to_grayscale(img)), saturation_factor)


def adjust_hue(img: Any, hue_factor: float) -> Any:
    """Hues turned by a part of the circle, from -0.5 to 0.5."""
    if not -0.5 <= hue_factor <= 0.5:
        raise ValueError(f"hue_factor ({hue_factor}) is not in [-0.5, 0.5].")
    if is_pil(img):
        return _adjust_hue_pil(img, hue_factor)
    if get_dimensions(_check_channels(check(img), 1, 3))[0] == 1:
        return img
    hue, saturation, value = _rgb_to_hsv(convert_image_dtype(img, dtorch.float32))
    turned = _hsv_to_rgb(dtorch.remainder(hue + hue_factor, 1.0), saturation, value)
    return convert_image_dtype(turned, img.dtype)


def _adjust_hue_pil(img: Any, hue_factor: float) -> Any:
    from PIL import Image

    if img.mode in ("L", "1", "I", "F"):
        return img
    hue, saturation, value = img.convert("HSV").split()
    turned = np.array(hue) + np.array(int(hue_factor * 255) % 256, dtype=np.uint8)
    parts = (Image.fromarray(turned), saturation, value)
    return Image.merge("HSV", parts).convert(img.mode)


def _rgb_to_hsv(img: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(..., 3, H, W) -> hue, saturation and value from 0 to 1, (..., H, W) each."""
    red, green, blue = img.unbind(-3)
    value, least = img.amax(-3), img.amin(-3)
    spread = value - least
    grey = spread == 0
    safe = dtorch.where(grey, 1.0, spread)
    r, g, b = ((value - c) / safe for c in (red, green, blue))
    hue = dtorch.where(value == red, b - g, dtorch.where(value == green, 2 + r - b, 4 + g - r))
    saturation = spread / dtorch.where(grey, 1.0, value)
    return dtorch.where(grey, 0.0, hue / 6 % 1.0), saturation, value


def _hsv_to_rgb(hue: Tensor, saturation: Tensor, value: Tensor) -> Tensor:
    """The inverse; each channel is a trapezoid over the circle of hues."""

    def channel(n: int) -> Tensor:
        k = dtorch.remainder(n + hue * 6, 6)
        depth = dtorch.minimum(k, 4 - k).clamp(0, 1)
        return value * (1 - saturation * depth)

    return dtorch.stack([channel(5), channel(3), channel(1)], -3).clamp(0, 1)


def adjust_gamma(img: Any, gamma: float, gain: float = 1) -> Any:
    """gain * x ** gamma, for values x from 0 to 1."""
    _check_factor(gamma, "gamma")
    if is_pil(img):
        table = [int((255 + 1 - 1e-3) * gain * pow(v / 255.0, gamma)) for v in range(256)]
        grey = img.convert("RGB") if img.mode not in ("L", "RGB") else img
        result = grey.point(table * len(grey.getbands()))
        return result.convert(img.mode)
    check(img)
    x = convert_image_dtype(img, dtorch.float32) if not img.is_floating_point() else img
    return convert_image_dtype((gain * x**gamma).clamp(0, 1), img.dtype)


def invert(img: Any) -> Any:
    """White for black, and so on."""
    if is_pil(img):
        return _ops("invert", img)
    return bound(_check_channels(check(img), 1, 3)) - img


def _ops(name: str, img: Any, *args: Any) -> Any:
    from PIL import ImageOps

    return getattr(ImageOps, name)(img, *args)


def posterize(img: Any, bits: int) -> Any:
    """Only the upper bits of bytes."""
    if not 0 <= bits <= 8:
        raise ValueError(f"The number if bits should be between 0 and 8. Got {bits}")
    if is_pil(img):
        return _ops("posterize", img, bits)
    if check(img).dtype is not dtorch.uint8:
        raise TypeError(f"Only dtorch.uint8 image tensors are supported, but found {img.dtype}")
    return img & (256 - 2 ** (8 - bits))


def solarize(img: Any, threshold: float) -> Any:
    """Inverted where it is at least the threshold."""
    if is_pil(img):
        return _ops("solarize", img, threshold)
    if threshold > bound(_check_channels(check(img), 1, 3)):
        raise TypeError("Threshold should be less than bound of img.")
    return dtorch.where(img >= threshold, invert(img), img)


def autocontrast(img: Any) -> Any:
    """Each channel stretched over all values."""
    if is_pil(img):
        return _ops("autocontrast", img)
    x, most = as_float(_check_channels(check(img), 1, 3)), bound(img)
    low, high = x.amin((-2, -1), keepdim=True), x.amax((-2, -1), keepdim=True)
    flat = low == high
    scale = most / dtorch.where(flat, float(most), high - low)
    return ((x - dtorch.where(flat, 0.0, low)) * scale).clamp(0, most).to(img.dtype)


def equalize(img: Any) -> Any:
    """Each channel with an even histogram; bytes only."""
    if is_pil(img):
        return _ops("equalize", img)
    _check_channels(check(img), 1, 3)
    if img.dtype is not dtorch.uint8:
        raise TypeError(f"Only dtorch.uint8 image tensors are supported, but found {img.dtype}")
    planes = img.cpu().numpy().reshape(-1, *img.shape[-2:])
    done = np.stack([_equalized(plane) for plane in planes])
    return dtorch.from_numpy(done).to(img.device).reshape(img.shape)


def _equalized(plane: np.ndarray) -> np.ndarray:
    """(H, W) uint8, same out."""
    counts = np.bincount(plane.ravel(), minlength=256)
    step = counts[counts > 0][:-1].sum() // 255
    if step == 0:
        return plane
    below = np.concatenate([[0], np.cumsum(counts)[:-1]])
    table = ((below + step // 2) // step).clip(0, 255)
    table[0] = 0
    return table.astype(np.uint8)[plane]


def adjust_sharpness(img: Any, sharpness_factor: float) -> Any:
    """0 smooths it, 1 leaves it, 2 sharpens it."""
    _check_factor(sharpness_factor, "sharpness_factor")
    if is_pil(img):
        return _enhance(img, "Sharpness", sharpness_factor)
    channels, height, width = get_dimensions(_check_channels(check(img), 1, 3))
    if height <= 2 or width <= 2:
        return img
    x = as_float(img)
    kernel = dtorch.ones((1, 1, 3, 3), dtype=x.dtype, device=x.device)
    kernel[0, 0, 1, 1] = 5
    smooth = nnf.conv2d(x.reshape(-1, 1, height, width), kernel / 13)
    blurred = x.clone()
    blurred[..., 1:-1, 1:-1] = as_float(like(smooth, img)).reshape(
        *img.shape[:-2], height - 2, width - 2
    )
    return _blend(img, blurred, sharpness_factor)


def gaussian_blur(
    img: Any, kernel_size: int | Sequence[int], sigma: float | Sequence[float] | None = None
) -> Any:
    """Averages with weights that fall off as a normal density.

    kernel_size: odd, of x and y
    sigma: in pixels, of x and y; by default 0.15 kernel_size + 0.35
    """
    sizes = [kernel_size] * 2 if isinstance(kernel_size, int) else [*kernel_size]
    sizes = sizes * 2 if len(sizes) == 1 else sizes
    if len(sizes) != 2 or any(size <= 0 or size % 2 == 0 for size in sizes):
        raise ValueError(f"kernel_size should have odd and positive integers. Got {kernel_size}")
    if sigma is None:
        sigma = [size * 0.15 + 0.35 for size in sizes]
    sigmas = [float(sigma)] * 2 if isinstance(sigma, (int, float)) else [float(s) for s in sigma]
    sigmas = sigmas * 2 if len(sigmas) == 1 else sigmas
    if len(sigmas) != 2 or any(s <= 0 for s in sigmas):
        raise ValueError(f"sigma should have positive values. Got {sigma}")
    if is_pil(img):
        return to_pil_image(gaussian_blur(pil_to_tensor(img), sizes, sigmas), img.mode)
    check(img)
    height, width = img.shape[-2:]
    x = as_float(img).reshape(-1, 1, height, width)
    across, down = (_bell(size, s, x) for size, s in zip(sizes, sigmas))
    pads = [sizes[0] // 2, sizes[0] // 2, sizes[1] // 2, sizes[1] // 2]
    x = nnf.conv2d(nnf.pad(x, pads, mode="reflect"), down[:, None] * across[None, :][None, None])
    return like(x, img).reshape(img.shape)


def _bell(size: int, sigma: float, x: Tensor) -> Tensor:
    half = (size - 1) * 0.5
    places = dtorch.linspace(-half, half, size, dtype=x.dtype, device=x.device)
    density = dtorch.exp(-0.5 * (places / sigma) ** 2)
    return density / density.sum()


def erase(img: Tensor, i: int, j: int, h: int, w: int, v: Any, inplace: bool = False) -> Tensor:
    """The image with v in the rows from i and the columns from j.  v: a number, or (C, 1, 1) or
    (C, h, w)"""
    if not isinstance(img, Tensor):
        raise TypeError(f"img should be Tensor Image. Got {type(img)}; use ToTensor() before")
    img = img if inplace else img.clone()
    img[..., i : i + h, j : j + w] = v
    return img
