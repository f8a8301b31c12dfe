"""Mixtures of the samples of a batch, with labels that are mixed alike."""

from __future__ import annotations

import math
from typing import Any

import dtorch
from dtorch import nn
from dtorch.core.tensor import Tensor
from dtorch.nn import functional as nnf

from ..random import integer


class _Mix(nn.Module):
    """(images (N, C, H, W), labels (N,) or (N, classes)) -> the same with labels (N, classes)

    alpha: of the Beta distribution of the parts; num_classes: for labels (N,)
    """

    def __init__(self, *, alpha: float = 1.0, num_classes: int | None = None) -> None:
        super().__init__()
        self.alpha = float(alpha)
        self.num_classes = num_classes

    def mix(self, images: Tensor, other: Tensor, part: float) -> tuple[Tensor, float]:
        """Mixed images, and the part of the first ones in them."""
        raise NotImplementedError

    def forward(self, *inputs: Any) -> tuple[Tensor, Tensor]:
        images, labels = inputs if len(inputs) == 2 else inputs[0]
        if images.ndim != 4 or labels.ndim not in (1, 2) or len(images) != len(labels):
            raise ValueError(
                "expected images (N, C, H, W) and labels (N,) or (N, classes), got "
                f"{tuple(images.shape)} and {tuple(labels.shape)}"
            )
        if labels.ndim == 1:
            if self.num_classes is None:
                raise ValueError("num_classes must be passed if the labels are class indices")
            labels = nnf.one_hot(labels, self.num_classes)
        labels = labels.to(images.dtype if images.is_floating_point() else dtorch.float)
        part = float(dtorch.distributions.Beta(self.alpha, self.alpha).sample())
        mixed, part = self.mix(images, images.roll(1, 0), part)
        return mixed, labels * part + labels.roll(1, 0) * (1 - part)


class MixUp(_Mix):
    """Weighted means of each image and the one before it (Zhang et al., 2018)."""

    def mix(self, images: Tensor, other: Tensor, part: float) -> tuple[Tensor, float]:
        return images * part + other * (1 - part), part


class CutMix(_Mix):
    """A rectangle of each image is that of the one before it (Yun et al., 2019)."""

    def mix(self, images: Tensor, other: Tensor, part: float) -> tuple[Tensor, float]:
        h, w = images.shape[-2:]
        x, y = integer(0, w), integer(0, h)
        half = 0.5 * math.sqrt(1.0 - part)
        left, right = max(int(x - half * w), 0), min(int(x + half * w), w)
        top, bottom = max(int(y - half * h), 0), min(int(y + half * h), h)
        mixed = images.clone()
        mixed[..., top:bottom, left:right] = other[..., top:bottom, left:right]
        return mixed, 1.0 - (right - left) * (bottom - top) / (w * h)
