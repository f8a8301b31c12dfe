"""ConvNeXt (Liu et al., 2022): a convolutional network with the habits of transformers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import dtorch
from dtorch import Tensor, nn

from ..ops.misc import Conv2dNormActivation, Permute
from ..ops.stochastic_depth import StochasticDepth
from ._registry import register

__all__ = ["ConvNeXt", "convnext_base", "convnext_large", "convnext_small", "convnext_tiny"]


class LayerNorm2d(nn.LayerNorm):
    """Layer norm over the channels of (N, C, H, W)."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class CNBlock(nn.Module):
    """Depthwise 7x7 convolution and an MLP over the channels: (N, dim, H, W), same out."""

    def __init__(
        self,
        dim: int,
        layer_scale: float,
        stochastic_depth_prob: float,
        norm_layer: Callable[..., nn.Module] | None = None,
    ) -> None:
        super().__init__()
        norm = norm_layer or partial(nn.LayerNorm, eps=1e-6)
        self.block = nn.Sequential(
            nn.Conv2d(dim, dim, 7, padding=3, groups=dim),
            Permute([0, 2, 3, 1]),
            norm(dim),
            nn.Linear(dim, 4 * dim),
            nn.GELU(),
            nn.Linear(4 * dim, dim),
            Permute([0, 3, 1, 2]),
        )
        self.layer_scale = nn.Parameter(dtorch.full((dim, 1, 1), float(layer_scale)))
        self.stochastic_depth = StochasticDepth(stochastic_depth_prob, "row")

    def forward(self, input: Tensor) -> Tensor:
        return self.stochastic_depth(self.layer_scale * self.block(input)) + input


class CNBlockConfig:
    """A stage.  out_channels: of the halving of the size behind it; None for no such step"""

    def __init__(self, input_channels: int, out_channels: int | None, num_layers: int) -> None:
        self.input_channels = input_channels
        self.out_channels = out_channels
        self.num_layers = num_layers


class ConvNeXt(nn.Module):
    """x: (N, 3, H, W), at least 32 x 32 -> (N, num_classes)

    stochastic_depth_prob: with which the last block is left out; it grows from 0 at the first
    layer_scale: the first factor of what a block adds
    """

    def __init__(
        self,
        block_setting: Sequence[CNBlockConfig],
        stochastic_depth_prob: float = 0.0,
        layer_scale: float = 1e-6,
        num_classes: int = 1000,
        block: Callable[..., nn.Module] | None = None,
        norm_layer: Callable[..., nn.Module] | None = None,
    ) -> None:
        super().__init__()
        if not block_setting:
            raise ValueError("The block_setting should not be empty")
        make, norm = block or CNBlock, norm_layer or partial(LayerNorm2d, eps=1e-6)
        features: list[nn.Module] = [
            Conv2dNormActivation(3, block_setting[0].input_channels, 4, 4, 0, norm_layer=norm,
                                 activation_layer=None, bias=True)
        ]  # fmt: skip
        total, done = sum(stage.num_layers for stage in block_setting), 0
        for stage in block_setting:
            dim, blocks = stage.input_channels, []
            for _ in range(stage.num_layers):
                drop = stochastic_depth_prob * done / (total - 1.0)
                blocks.append(make(dim, layer_scale, drop))
                done += 1
            features.append(nn.Sequential(*blocks))
            if stage.out_channels is not None:
                halving = nn.Conv2d(dim, stage.out_channels, 2, stride=2)
                features.append(nn.Sequential(norm(dim), halving))
        self.features = nn.Sequential(*features)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        last = block_setting[-1].out_channels or block_setting[-1].input_channels
        self.classifier = nn.Sequential(norm(last), nn.Flatten(1), nn.Linear(last, num_classes))
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.avgpool(self.features(x)))


def _convnext(
    dims: Sequence[int], layers: Sequence[int], drop: float, options: dict[str, Any]
) -> ConvNeXt:
    stages = [CNBlockConfig(*stage) for stage in zip(dims, [*dims[1:], None], layers)]
    return ConvNeXt(stages, **{"stochastic_depth_prob": drop, **options})


@register()
def convnext_tiny(**options: Any) -> ConvNeXt:
    """ConvNeXt-T; the arguments are those of the class but the setting."""
    return _convnext([96, 192, 384, 768], [3, 3, 9, 3], 0.1, options)


@register()
def convnext_small(**options: Any) -> ConvNeXt:
    """ConvNeXt-S."""
    return _convnext([96, 192, 384, 768], [3, 3, 27, 3], 0.4, options)


@register()
def convnext_base(**options: Any) -> ConvNeXt:
    """ConvNeXt-B."""
    return _convnext([128, 256, 512, 1024], [3, 3, 27, 3], 0.5, options)


@register()
def convnext_large(**options: Any) -> ConvNeXt:
    """ConvNeXt-L."""
    return _convnext([192, 384, 768, 1536], [3, 3, 27, 3], 0.5, options)
