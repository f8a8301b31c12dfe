"""Where pixels lie: flips, crops, borders, sizes, rotations and other maps of the plane."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

import dtorch
from dtorch.core.tensor import Tensor
from dtorch.nn import functional as nnf

from .image import (
    InterpolationMode,
    as_float,
    check,
    get_dimensions,
    is_pil,
    like,
    mode_of,
    pair,
    pil_filter,
)


def hflip(image: Any) -> Any:
    """Left and right changed about."""
    if is_pil(image):
        return image.transpose(sys.modules["PIL.Image"].Transpose.FLIP_LEFT_RIGHT)
    return check(image).flip(-1)


def vflip(image: Any) -> Any:
    """Top and bottom changed about."""
    if is_pil(image):
        return image.transpose(sys.modules["PIL.Image"].Transpose.FLIP_TOP_BOTTOM)
    return check(image).flip(-2)


def pad(
    img: Any,
    padding: int | Sequence[int],
    fill: float | Sequence[float] | None = 0,
    padding_mode: str = "constant",
) -> Any:
    """The image with a border.

    padding: for all sides; or (left and right, top and bottom); or (left, top, right, bottom)
    fill: the border's value, one number or one a channel
    padding_mode: "constant" (fill), "edge" (the outermost pixels), "reflect" (mirrored, without the
        outermost pixels) or "symmetric" (mirrored, with them)
    """
    left, top, right, bottom = _borders(padding)
    if padding_mode not in ("constant", "edge", "reflect", "symmetric"):
        raise ValueError(
            "Padding mode should be either constant, edge, reflect or symmetric, got "
            f"{padding_mode!r}"
        )
    if is_pil(img):
        return _pad_pil(img, (left, top, right, bottom), fill, padding_mode)
    check(img)
    if padding_mode != "constant":
        rows = _mirror(img.shape[-2], top, bottom, padding_mode)
        columns = _mirror(img.shape[-1], left, right, padding_mode)
        return img[..., rows[:, None], columns]
    *lead, height, width = img.shape
    shape = (*lead, top + height + bottom, left + width + right)
    padded = dtorch.empty(shape, dtype=img.dtype, device=img.device)
    padded[...] = _per_channel(fill, img)
    padded[..., top : top + height, left : left + width] = img
    return padded


def _per_channel(fill: float | Sequence[float] | None, img: Tensor) -> Any:
    """fill as a number, or as (C, 1, 1)."""
    if fill is None or isinstance(fill, (int, float)):
        return fill or 0
    values = dtorch.tensor(list(fill), dtype=img.dtype, device=img.device)
    if len(values) not in (1, get_dimensions(img)[0]):
        raise ValueError(
            "The number of elements in 'fill' cannot broadcast to match the number of channels of "
            f"the image ({len(values)} != {get_dimensions(img)[0]})"
        )
    return values.view(-1, 1, 1)


def _mirror(size: int, before: int, after: int, mode: str) -> Tensor:
    """The index of the pixel that stands at each place of a padded line."""
    if mode == "reflect" and max(before, after) >= size:
        raise ValueError(
            f"padding of {max(before, after)} by reflection needs more than {size} pixels"
        )
    numpys = {"edge": "edge", "reflect": "reflect", "symmetric": "symmetric"}[mode]
    return dtorch.from_numpy(np.pad(np.arange(size), (before, after), mode=numpys))  # type: ignore[call-overload]


def _pad_pil(img: Any, borders: tuple[int, ...], fill: Any, mode: str) -> Any:
    from PIL import Image, ImageOps

    if mode == "constant":
        fill = _pil_fill(fill, img)
        expanded = ImageOps.expand(img, borders, fill or 0)
        if img.mode == "P":
            expanded.putpalette(img.getpalette())
        return expanded
    left, top, right, bottom = borders
    values = np.asarray(img)
    widths = [(top, bottom), (left, right), (0, 0)][: values.ndim]
    padded = Image.fromarray(np.pad(values, widths, mode=mode))  # type: ignore[call-overload]
    if img.mode == "P":
        padded.putpalette(img.getpalette())
    return padded


def _pil_fill(fill: Any, img: Any) -> Any:
    """A fill as PIL takes it: an int or a float, or one a band."""
    bands = len(img.getbands())
    number = float if img.mode == "F" else int
    if fill is None:
        return None
    if isinstance(fill, (int, float)):
        return number(fill) if bands == 1 else tuple([number(fill)] * bands)
    if len(fill) not in (1, bands):
        raise ValueError(
            "The number of elements in 'fill' does not match the number of channels of the image "
            f"({len(fill)} != {bands})"
        )
    values = tuple(number(f) for f in fill)
    return (values * bands if len(values) == 1 else values) if bands > 1 else values[0]


def _borders(padding: int | Sequence[int]) -> tuple[int, int, int, int]:
    sides = (padding,) if isinstance(padding, int) else tuple(padding)
    if len(sides) not in (1, 2, 4) or any(side < 0 for side in sides):
        raise ValueError(
            "Padding must be an int or a 1, 2, or 4 element tuple of non-negative ints, got "
            f"{padding}"
        )
    left, top, right, bottom = (sides * 4)[:4]
    return left, top, right, bottom


def crop(image: Any, top: int, left: int, height: int, width: int) -> Any:
    """The part of the given size at (top, left); what reaches past the image's edge is zero."""
    if is_pil(image):
        return image.crop((left, top, left + width, top + height))
    *_, image_height, image_width = check(image).shape
    inside = image[..., max(top, 0) : max(top + height, 0), max(left, 0) : max(left + width, 0)]
    outside = (
        max(-left, 0),
        max(-top, 0),
        max(left + width - image_width, 0),
        max(top + height - image_height, 0),
    )
    return pad(inside, outside) if any(outside) else inside


def center_crop(image: Any, output_size: int | Sequence[int]) -> Any:
    """The middle part; a smaller image gets a border of zeros."""
    height, width = pair(output_size)
    _, image_height, image_width = get_dimensions(image)
    if image_height < height or image_width < width:
        missing_h, missing_w = max(height - image_height, 0), max(width - image_width, 0)
        borders = (missing_w // 2, missing_h // 2, (missing_w + 1) // 2, (missing_h + 1) // 2)
        image = pad(image, borders)
        _, image_height, image_width = get_dimensions(image)
    top, left = round((image_height - height) / 2), round((image_width - width) / 2)
    return crop(image, top, left, height, width)


def resize(
    img: Any,
    size: int | Sequence[int] | None,
    interpolation: InterpolationMode | int = InterpolationMode.BILINEAR,
    max_size: int | None = None,
    antialias: bool | None = True,
) -> Any:
    """The image at another size.

    size: (height, width), or one number for the shorter side, which keeps the proportions
    max_size: of the longer side, where size is one number; with size None, its length
    antialias: of tensors, in bilinear and bicubic mode; PIL always does
    """
    mode = mode_of(interpolation)
    _, old_height, old_width = get_dimensions(img)
    height, width = _new_size(old_height, old_width, size, max_size)
    if (height, width) == (old_height, old_width):
        return img
    if is_pil(img):
        return img.resize((width, height), pil_filter(mode))
    if mode.value not in ("nearest", "nearest-exact", "bilinear", "bicubic"):
        raise ValueError(
            f"tensors are resized in nearest, bilinear and bicubic mode, not {mode.value}"
        )
    smooth = mode.value in ("bilinear", "bicubic")
    x = as_float(img).reshape(-1, 1, old_height, old_width) if smooth else img.reshape(
        -1, 1, old_height, old_width)  # fmt: skip
    x = nnf.interpolate(
        x, [height, width], mode=mode.value, antialias=bool(antialias) and smooth,
        align_corners=False if smooth else None,
    )  # fmt: skip
    if mode is InterpolationMode.BICUBIC and img.dtype is dtorch.uint8:
        x = x.clamp(0, 255)
    return like(x, img).reshape(*img.shape[:-2], height, width)


def _new_size(
    height: int, width: int, size: int | Sequence[int] | None, max_size: int | None
) -> tuple[int, int]:
    if size is not None and not isinstance(size, int):
        if len(size) == 2:
            if max_size is not None:
                raise ValueError("max_size should only be passed if size is one number")
            return size[0], size[1]
        (size,) = size
    if size is None and max_size is None:
        raise ValueError("max_size must be an integer when size is None")
    short, long = sorted((height, width))
    if size is None:
        new_short, new_long = int(max_size * short / long), max_size  # type: ignore[operator]
    else:
        new_short, new_long = size, int(size * long / short)
        if max_size is not None and max_size <= size:
            raise ValueError(
                f"max_size = {max_size} must be strictly greater than the requested size for the "
                f"smaller edge size = {size}"
            )
        if max_size is not None and new_long > max_size:
            new_short, new_long = int(max_size * new_short / new_long), max_size
    return (new_short, new_long) if height <= width else (new_long, new_short)  # type: ignore[return-value]


def resized_crop(
    img: Any,
    top: int,
    left: int,
    height: int,
    width: int,
    size: int | Sequence[int],
    interpolation: InterpolationMode | int = InterpolationMode.BILINEAR,
    antialias: bool | None = True,
) -> Any:
    """A part of the image, at another size."""
    return resize(crop(img, top, left, height, width), size, interpolation, antialias=antialias)


def five_crop(img: Any, size: int | Sequence[int]) -> tuple[Any, ...]:
    """The four corners and the middle: top left, top right, bottom left, bottom right, center."""
    height, width = pair(size)
    _, h, w = get_dimensions(img)
    if height > h or width > w:
        raise ValueError(
            f"Requested crop size {(height, width)} is bigger than input size {(h, w)}"
        )
    places = [(0, 0), (0, w - width), (h - height, 0), (h - height, w - width)]
    corners = [crop(img, top, left, height, width) for top, left in places]
    return (*corners, center_crop(img, [height, width]))


def ten_crop(img: Any, size: int | Sequence[int], vertical_flip: bool = False) -> tuple[Any, ...]:
    """`five_crop` of the image, and of the flipped image."""
    flipped = vflip(img) if vertical_flip else hflip(img)
    return five_crop(img, size) + five_crop(flipped, size)


# ---- maps of the plane -------------------------------------------------------------------------


def rotate(
    img: Any,
    angle: float,
    interpolation: InterpolationMode | int = InterpolationMode.NEAREST,
    expand: bool = False,
    center: Sequence[int] | None = None,
    fill: Any = None,
) -> Any:
    """The image turned by an angle in degrees, against the clock.

    expand: make the result large enough for all of it (for rotations about the middle)
    center: (x, y) from the top left corner; by default the middle
    fill: of what lies outside
    """
    mode = mode_of(interpolation)
    if center is not None and len(center) != 2:
        raise ValueError("Argument center should be a sequence of length 2")
    if is_pil(img):
        return img.rotate(
            angle, pil_filter(mode), expand, None if center is None else tuple(center),
            fillcolor=_pil_fill(fill, img),
        )  # fmt: skip
    check(img)
    matrix = _inverse(_from_middle(center, img), -angle, (0, 0), 1.0, (0, 0))
    size = _bounding_size(matrix, img) if expand else tuple(img.shape[-2:])
    return _sample(img, _affine_points(matrix, size), mode, fill)


def affine(
    img: Any,
    angle: float,
    translate: Sequence[float],
    scale: float,
    shear: float | Sequence[float],
    interpolation: InterpolationMode | int = InterpolationMode.NEAREST,
    fill: Any = None,
    center: Sequence[int] | None = None,
) -> Any:
    """The image turned (degrees, with the clock), sheared and scaled about a center, then moved.

    translate: (x, y) in pixels
    shear: in degrees, along x, or along x and y
    """
    mode = mode_of(interpolation)
    if scale <= 0.0:
        raise ValueError("Argument scale should be positive")
    if len(translate) != 2:
        raise ValueError("Argument translate should be a sequence of length 2")
    shears = (shear, 0.0) if isinstance(shear, (int, float)) else tuple(shear)
    shears = shears * 2 if len(shears) == 1 else shears
    if len(shears) != 2:
        raise ValueError(f"Shear should be a sequence containing two values. Got {shear}")
    if center is not None and len(center) != 2:
        raise ValueError("Argument center should be a sequence of length 2")
    if is_pil(img):
        middle = (img.width * 0.5, img.height * 0.5) if center is None else tuple(center)
        matrix = _inverse(middle, angle, translate, scale, shears)
        image_module = sys.modules["PIL.Image"]
        return img.transform(
            img.size, image_module.Transform.AFFINE, matrix.ravel().tolist(), pil_filter(mode),
            fillcolor=_pil_fill(fill, img),
        )  # fmt: skip
    check(img)
    matrix = _inverse(_from_middle(center, img), angle, translate, scale, shears)
    return _sample(img, _affine_points(matrix, tuple(img.shape[-2:])), mode, fill)


def _from_middle(center: Sequence[float] | None, img: Tensor) -> tuple[float, float]:
    if center is None:
        return 0.0, 0.0
    return center[0] - img.shape[-1] * 0.5, center[1] - img.shape[-2] * 0.5


def _inverse(
    center: Sequence[float],
    angle: float,
    translate: Sequence[float],
    scale: float,
    shear: Sequence[float],
) -> np.ndarray:
    """From the result's points (x, y) to the image's: (2, 3)."""
    turn, shear_x, shear_y = map(math.radians, (angle, *shear))
    rotation = [[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]]
    along_y, along_x = [[1, 0], [-math.tan(shear_y), 1]], [[1, -math.tan(shear_x)], [0, 1]]
    back = np.linalg.inv(scale * np.array(rotation) @ np.array(along_y) @ np.array(along_x))
    shift = np.array(center) - back @ (np.array(center) + np.array(translate))
    return np.concatenate([back, shift[:, None]], axis=1)


def _centers(size: tuple[int, int]) -> np.ndarray:
    """The pixels' centers (x, y) from the middle of an image: (H, W, 2)."""
    height, width = size
    y, x = np.arange(height) + 0.5 - height / 2, np.arange(width) + 0.5 - width / 2
    return np.stack(np.meshgrid(x, y), axis=-1)


def _affine_points(matrix: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return _centers(size) @ matrix[:, :2].T + matrix[:, 2]


def _bounding_size(matrix: np.ndarray, img: Tensor) -> tuple[int, int]:
    """(height, width) of what the image becomes."""
    h, w = img.shape[-2:]
    corners = np.array([[-w, -h], [-w, h], [w, h], [w, -h]]) * 0.5
    moved = corners @ matrix[:, :2].T + matrix[:, 2] + np.array([w, h]) * 0.5  # as PIL counts
    # Corners that lie at a whole number but for rounding must not make a further row.
    moved = np.trunc(moved / 1e-4) * 1e-4
    width, height = np.ceil(moved.max(0)) - np.floor(moved.min(0))
    return int(height), int(width)


def perspective(
    img: Any,
    startpoints: Sequence[Sequence[int]],
    endpoints: Sequence[Sequence[int]],
    interpolation: InterpolationMode | int = InterpolationMode.BILINEAR,
    fill: Any = None,
) -> Any:
    """The image seen from elsewhere: its four startpoints (x, y) come to lie at the endpoints."""
    mode = mode_of(interpolation)
    rows = []
    for (x, y), (u, v) in zip(endpoints, startpoints):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
    target = np.array(startpoints, dtype=float).ravel()
    solved = np.linalg.lstsq(np.array(rows, dtype=float), target, rcond=None)[0]
    coefficients = solved.astype(np.float32).astype(float)  # of (ax + by + c) / (gx + hy + 1)
    if is_pil(img):
        image_module = sys.modules["PIL.Image"]
        return img.transform(
            img.size, image_module.Transform.PERSPECTIVE, coefficients.tolist(), pil_filter(mode),
            fillcolor=_pil_fill(fill, img),
        )  # fmt: skip
    h, w = check(img).shape[-2:]
    matrix = np.append(coefficients, 1.0).reshape(3, 3)
    corner = np.array([w / 2, h / 2])
    points = _centers((h, w)) + corner
    mapped = np.concatenate([points, np.ones((h, w, 1))], axis=-1) @ matrix.T
    return _sample(img, mapped[..., :2] / mapped[..., 2:] - corner, mode, fill)


def _sample(img: Tensor, points: np.ndarray, mode: InterpolationMode, fill: Any) -> Tensor:
    """The image's values at points (H, W, 2), (x, y) from its middle."""
    if mode.value not in ("nearest", "bilinear"):
        raise ValueError(
            f"tensors are sampled in nearest and bilinear mode, not {mode.value}: use a PIL image"
        )
    h, w = img.shape[-2:]
    lead, channels = img.shape[:-2], get_dimensions(img)[0]
    x = as_float(img).reshape(-1, channels, h, w)
    scaled = (points / np.array([0.5 * w, 0.5 * h])).astype(np.float32)
    grid = dtorch.from_numpy(scaled).to(device=x.device, dtype=x.dtype)
    grid = grid.expand(len(x), *grid.shape)
    out = nnf.grid_sample(x, grid, mode.value, "zeros", align_corners=False)
    if fill is not None:
        inside = nnf.grid_sample(x.new_ones((len(x), 1, h, w)), grid, mode.value, "zeros",
                                 align_corners=False)  # fmt: skip
        outside = dtorch.as_tensor(_per_channel(fill, x), dtype=x.dtype, device=x.device)
        if mode is InterpolationMode.NEAREST:
            out = dtorch.where(inside < 0.5, outside, out)
        else:
            out = out * inside + (1.0 - inside) * outside
    return like(out, img).reshape(*lead, *out.shape[-2:])
