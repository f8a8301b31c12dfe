"""Features of regions, at one size: (N, C, H, W) and K boxes -> (K, C, height, width)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

import dtorch
from dtorch import Tensor, nn


def _regions(boxes: Tensor | Sequence[Tensor]) -> np.ndarray:
    """(K, 5): the image's number, then the box; from that, or from a list of boxes an image."""
    if isinstance(boxes, Tensor):
        if boxes.ndim != 2 or boxes.shape[1] != 5:
            raise ValueError(
                f"The boxes tensor should be of shape (K, 5), got {tuple(boxes.shape)}"
            )
        return boxes.detach().cpu().numpy().astype(np.float64)
    parts = [np.zeros((0, 5))]
    for i, part in enumerate(boxes):
        if part.ndim != 2 or part.shape[1] != 4:
            raise ValueError(
                f"The boxes should be of shape (L, 4) an image, got {tuple(part.shape)}"
            )
        values = part.detach().cpu().numpy().astype(np.float64)
        parts.append(np.insert(values, 0, i, axis=1))
    return np.concatenate(parts)


def _size(output_size: int | Sequence[int]) -> tuple[int, int]:
    return (output_size,) * 2 if isinstance(output_size, int) else (output_size[0], output_size[1])


def _stacked(regions: list[Tensor], input: Tensor, size: tuple[int, int]) -> Tensor:
    return dtorch.stack(regions) if regions else input.new_zeros((0, input.shape[1], *size))


def roi_align(
    input: Tensor,
    boxes: Tensor | Sequence[Tensor],
    output_size: int | Sequence[int],
    spatial_scale: float = 1.0,
    sampling_ratio: int = -1,
    aligned: bool = False,
) -> Tensor:
    """Means of bilinear samples, over the bins of a grid in each box (He et al., 2017).

    boxes: a list of (L, 4) an image, or (K, 5) whose first column is the image's number; x1, y1, x2, y2
    spatial_scale: from the boxes' coordinates to those of input
    sampling_ratio: samples of a bin along each axis; by default as many as it has pixels
    aligned: pixels have their centers at halves, as is right

    A bin's samples are weights of rows times weights of columns, so a region is two matrix products.
    """
    height, width = _size(output_size)
    n, _, h, w = input.shape
    shift, out = 0.5 if aligned else 0.0, []
    for number, *box in _regions(boxes):
        if not 0 <= number < n:
            raise ValueError(f"a box is of image {int(number)}, there are {n}")
        x1, y1, x2, y2 = (value * spatial_scale - shift for value in box)
        rows = _bins(y1, y2, height, h, sampling_ratio, aligned)
        columns = _bins(x1, x2, width, w, sampling_ratio, aligned)
        down, across = (
            dtorch.tensor(m, dtype=input.dtype, device=input.device) for m in (rows, columns)
        )
        out.append(down @ input[int(number)] @ across.T)
    return _stacked(out, input, (height, width))


def _bins(start: float, end: float, bins: int, size: int, ratio: int, aligned: bool) -> np.ndarray:
    """The weights of a line's pixels in each bin: (bins, size)."""
    length = end - start if aligned else max(end - start, 1.0)
    samples = ratio if ratio > 0 else math.ceil(length / bins)
    weights = np.zeros((bins, size))
    if samples <= 0:
        return weights
    step = length / bins
    places = start + step * (np.arange(bins)[:, None] + (np.arange(samples) + 0.5) / samples)
    inside = (places >= -1.0) & (places <= size)  # others count as zero
    places = places.clip(0, size - 1)
    low = np.minimum(places.astype(int), size - 1)
    high = np.minimum(low + 1, size - 1)
    part = places - low
    row = np.arange(bins)[:, None] + np.zeros_like(low)
    np.add.at(weights, (row, low), inside * (1 - part) / samples)
    np.add.at(weights, (row, high), inside * part / samples)
    return weights


def roi_pool(
    input: Tensor,
    boxes: Tensor | Sequence[Tensor],
    output_size: int | Sequence[int],
    spatial_scale: float = 1.0,
) -> Tensor:
    """Maxima over the bins of a grid of whole pixels in each box (Girshick, 2015).

    The arguments are `roi_align`'s. An empty bin is 0.
    """
    height, width = _size(output_size)
    h, w = input.shape[-2:]
    out = []
    for number, *box in _regions(boxes):
        x1, y1, x2, y2 = (math.floor(value * spatial_scale + 0.5) for value in box)
        rows = _edges(y1, y2, height, h)
        columns = _edges(x1, x2, width, w)
        image = input[int(number)]
        cells = [
            image[:, top:bottom, left:right].amax((-2, -1))
            if bottom > top and right > left
            else input.new_zeros(input.shape[1])
            for top, bottom in rows
            for left, right in columns
        ]
        out.append(dtorch.stack(cells, -1).view(-1, height, width))
    return _stacked(out, input, (height, width))


def _edges(start: int, end: int, bins: int, size: int) -> list[tuple[int, int]]:
    """Where each bin begins and ends."""
    step = max(end - start + 1, 1) / bins
    cuts = [(math.floor(i * step) + start, math.ceil((i + 1) * step) + start) for i in range(bins)]
    return [(min(max(a, 0), size), min(max(b, 0), size)) for a, b in cuts]


class RoIAlign(nn.Module):
    """`roi_align` as a module."""

    def __init__(
        self,
        output_size: int | Sequence[int],
        spatial_scale: float,
        sampling_ratio: int,
        aligned: bool = False,
    ) -> None:
        super().__init__()
        self.options: dict[str, Any] = {
            "output_size": output_size, "spatial_scale": spatial_scale,
            "sampling_ratio": sampling_ratio, "aligned": aligned,
        }  # fmt: skip

    def forward(self, input: Tensor, rois: Tensor | Sequence[Tensor]) -> Tensor:
        return roi_align(input, rois, **self.options)


class RoIPool(nn.Module):
    """`roi_pool` as a module."""

    def __init__(self, output_size: int | Sequence[int], spatial_scale: float) -> None:
        super().__init__()
        self.output_size = output_size
        self.spatial_scale = spatial_scale

    def forward(self, input: Tensor, rois: Tensor | Sequence[Tensor]) -> Tensor:
        return roi_pool(input, rois, self.output_size, self.spatial_scale)
