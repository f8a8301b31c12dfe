"""Pictures of tensors: torchvision.utils' names."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import Any

import dtorch
from dtorch import Tensor

from .transforms.functional import convert_image_dtype, pil_to_tensor, to_pil_image

__all__ = ["draw_bounding_boxes", "draw_segmentation_masks", "make_grid", "save_image"]

Colors = Sequence[str | tuple[int, int, int]] | str | tuple[int, int, int] | None


@dtorch.no_grad()
def make_grid(
    tensor: Tensor | Sequence[Tensor],
    nrow: int = 8,
    padding: int = 2,
    normalize: bool = False,
    value_range: tuple[float, float] | None = None,
    scale_each: bool = False,
    pad_value: float = 0.0,
) -> Tensor:
    """Several images beside and below each other in one: (C, H, W), grey ones as (3, H, W).

    tensor: (N, C, H, W), (C, H, W), (H, W), or a list of images of one size
    nrow: images in a row
    padding, pad_value: pixels between and around them, and their value; a single image has none
    normalize: map value_range, by default the least and the greatest value, to 0 and 1
    scale_each: find those for each image by itself

    TypeError unless it is a tensor or a list of them.
    """
    if isinstance(tensor, Tensor):
        images = tensor
    elif isinstance(tensor, Sequence) and all(isinstance(t, Tensor) for t in tensor):
        images = dtorch.stack(tuple(tensor))
    else:
        raise TypeError(f"tensor or list of tensors expected, got {type(tensor)}")
    images = images[(None,) * (4 - images.ndim)]
    if images.shape[1] == 1:
        images = images.expand(-1, 3, -1, -1)
    if normalize:
        parts = images if scale_each else images[None]
        images = dtorch.stack([_normalized(part, value_range) for part in parts])
        images = images if scale_each else images[0]
    count, channels, height, width = images.shape
    if count == 1:
        return images[0].clone()
    columns = min(nrow, count)
    rows = math.ceil(count / columns)
    height, width = height + padding, width + padding
    size = (channels, rows * height + padding, columns * width + padding)
    grid = dtorch.full(size, pad_value, dtype=images.dtype, device=images.device)
    for i, image in enumerate(images):
        y, x = i // columns * height + padding, i % columns * width + padding
        grid[:, y : y + height - padding, x : x + width - padding] = image
    return grid


def _normalized(x: Tensor, value_range: tuple[float, float] | None) -> Tensor:
    low, high = value_range or (float(x.min()), float(x.max()))
    return (x.clamp(low, high) - low) / max(high - low, 1e-5)


@dtorch.no_grad()
def save_image(
    tensor: Tensor | Sequence[Tensor],
    fp: str | os.PathLike[str] | Any,
    format: str | None = None,
    **options: Any,
) -> None:
    """Write an image, or a grid of images, to a file; values from 0 to 1 become those from 0 to 255.

    fp: a path, or a file that is open for writing bytes, for which `format` has to be given
    options: make_grid's
    """
    from PIL import Image

    grid = make_grid(tensor, **options)
    pixels = (grid * 255 + 0.5).clamp(0, 255).permute(1, 2, 0).to("cpu", dtorch.uint8)
    Image.fromarray(pixels.numpy()).save(fp, format=format)


@dtorch.no_grad()
def draw_bounding_boxes(
    image: Tensor,
    boxes: Tensor,
    labels: Sequence[str | None] | None = None,
    colors: Colors = None,
    fill: bool = False,
    width: int = 1,
    font: str | None = None,
    font_size: float | None = None,
) -> Tensor:
    """The image with rectangles, and words at their top left corners.

    image: (1 or 3, H, W), bytes, or floats from 0 to 1; comes back with 3 channels, in its dtype
    boxes: (N, 4), x1, y1, x2, y2 in pixels
    colors: one, or one a box; a name, "#rrggbb" or (r, g, b)
    fill: colour the inside, too; font: of a TrueType file

    ValueError for a box whose corners are in the wrong order
    """
    from PIL import ImageDraw, ImageFont

    pixels = _bytes(image)
    corners = boxes.tolist()
    if any(x1 > x2 or y1 > y2 for x1, y1, x2, y2 in corners):
        raise ValueError("Boxes need to be in (xmin, ymin, xmax, ymax) format, min below max")
    if labels is not None and len(labels) != len(corners):
        raise ValueError(f"expected {len(corners)} labels, got {len(labels)}")
    picture = to_pil_image(pixels)
    draw = ImageDraw.Draw(picture, "RGBA" if fill else None)
    letters = (
        ImageFont.load_default() if font is None else ImageFont.truetype(font, font_size or 10)
    )
    for i, (box, color) in enumerate(zip(corners, _palette(colors, len(corners)))):
        draw.rectangle(box, outline=color, width=width, fill=(*color, 100) if fill else None)
        if labels is not None and labels[i] is not None:
            draw.text((box[0] + width, box[1] + width), str(labels[i]), fill=color, font=letters)
    return _as_before(pil_to_tensor(picture), image)


@dtorch.no_grad()
def draw_segmentation_masks(
    image: Tensor, masks: Tensor, alpha: float = 0.8, colors: Colors = None
) -> Tensor:
    """The image with coloured areas.

    image: (3, H, W), bytes, or floats from 0 to 1; masks: bool (N, H, W) or (H, W)
    alpha: how much of a colour; colors: one, or one a mask. Where masks overlap, the mean of theirs.
    """
    masks = masks[None] if masks.ndim == 2 else masks
    if masks.dtype is not dtorch.bool:
        raise ValueError(f"The masks must be of dtype bool. Got {masks.dtype}")
    if masks.shape[-2:] != image.shape[-2:]:
        raise ValueError(f"The image {tuple(image.shape)} and the masks {tuple(masks.shape)} must "
                         "have the same height and width")  # fmt: skip
    pixels = _bytes(image).float()
    total, count = dtorch.zeros_like(pixels), masks.sum(0)
    for mask, color in zip(masks, _palette(colors, len(masks))):
        total += (
            mask * dtorch.tensor(color, dtype=pixels.dtype, device=pixels.device)[:, None, None]
        )
    mixed = pixels * (1 - alpha) + total / count.clamp(min=1) * alpha
    return _as_before(dtorch.where(count > 0, mixed, pixels).byte(), image)


def _bytes(image: Tensor) -> Tensor:
    """(3, H, W) uint8"""
    if not isinstance(image, Tensor):
        raise TypeError(f"Tensor expected, got {type(image)}")
    if image.ndim != 3 or image.shape[0] not in (1, 3):
        raise ValueError(f"expected an image (1 or 3, H, W), got {tuple(image.shape)}")
    image = image.expand(3, -1, -1)
    return convert_image_dtype(image, dtorch.uint8)


def _as_before(pixels: Tensor, image: Tensor) -> Tensor:
    return convert_image_dtype(pixels, image.dtype).to(image.device)


def _palette(colors: Colors, count: int) -> list[tuple[int, int, int]]:
    """(r, g, b) for each of so many things; by default colours far apart, all around the circle."""
    from PIL import ImageColor

    if colors is None:
        names: list[Any] = [f"hsl({i * 137.5 % 360}, 90%, 55%)" for i in range(count)]
    elif isinstance(colors, (str, tuple)):
        names = [colors] * count
    else:
        names = list(colors)
    if len(names) < count:
        raise ValueError(f"expected {count} colors, got {len(names)}")
    return [ImageColor.getrgb(c)[:3] if isinstance(c, str) else c for c in names[:count]]
