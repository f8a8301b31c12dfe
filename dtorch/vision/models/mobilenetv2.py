"""MobileNet v2 (Sandler et al., 2018): shortcuts between narrow layers, depthwise ones in between."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from dtorch import Tensor, nn

from ..ops.misc import Conv2dNormActivation
from ._registry import register
from ._utils import _make_divisible

__all__ = ["MobileNetV2", "mobilenet_v2"]

# Factor of expansion, channels, blocks, stride of the first of them.
_SETTING = [
    (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2),
    (6, 320, 1, 1),
]  # fmt: skip


class InvertedResidual(nn.Module):
    """(N, inp, H, W) -> (N, oup, H', W'), with expand_ratio * inp channels inside."""

    def __init__(
        self,
        inp: int,
        oup: int,
        stride: int,
        expand_ratio: float,
        norm_layer: Callable[..., nn.Module] | None = None,
    ) -> None:
        super().__init__()
        if stride not in (1, 2):
            raise ValueError(f"stride should be 1 or 2 instead of {stride}")
        norm = norm_layer or nn.BatchNorm2d
        hidden = round(inp * expand_ratio)
        common: dict[str, Any] = {"norm_layer": norm, "activation_layer": nn.ReLU6}
        layers: list[nn.Module] = []
        if expand_ratio != 1:
            layers.append(Conv2dNormActivation(inp, hidden, 1, **common))
        layers += [
            Conv2dNormActivation(hidden, hidden, stride=stride, groups=hidden, **common),
            nn.Conv2d(hidden, oup, 1, bias=False),
            norm(oup),
        ]
        self.conv = nn.Sequential(*layers)
        self.stride = stride
        self.out_channels = oup
        self.use_res_connect = stride == 1 and inp == oup

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.use_res_connect else self.conv(x)


class MobileNetV2(nn.Module):
    """x: (N, 3, H, W) -> (N, num_classes)

    width_mult: factor of all channels, which are rounded to multiples of round_nearest
    inverted_residual_setting: for each stage (expansion, channels, blocks, stride)
    """

    def __init__(
        self,
        num_classes: int = 1000,
        width_mult: float = 1.0,
        inverted_residual_setting: Sequence[Sequence[int]] | None = None,
        round_nearest: int = 8,
        block: Callable[..., nn.Module] | None = None,
        norm_layer: Callable[..., nn.Module] | None = None,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        setting = _SETTING if inverted_residual_setting is None else inverted_residual_setting
        if not setting or any(len(stage) != 4 for stage in setting):
            raise ValueError(
                f"inverted_residual_setting should be non-empty, of 4 numbers each, got {setting}"
            )
        make, norm = block or InvertedResidual, norm_layer or nn.BatchNorm2d
        common: dict[str, Any] = {"norm_layer": norm, "activation_layer": nn.ReLU6}
        channels = _make_divisible(32 * width_mult, round_nearest)
        self.last_channel = _make_divisible(1280 * max(1.0, width_mult), round_nearest)
        features: list[nn.Module] = [Conv2dNormActivation(3, channels, stride=2, **common)]
        for expansion, out, blocks, first_stride in setting:
            out = _make_divisible(out * width_mult, round_nearest)
            for i in range(blocks):
                stride = first_stride if i == 0 else 1
                features.append(
                    make(channels, out, stride, expand_ratio=expansion, norm_layer=norm)
                )
                channels = out
        features.append(Conv2dNormActivation(channels, self.last_channel, 1, **common))
        self.features = nn.Sequential(*features)
        self.classifier = nn.Sequential(
            nn.Dropout(dropout), nn.Linear(self.last_channel, num_classes)
        )
        self.apply(_init)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x).mean([2, 3]))


def _init(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out")
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, 0, 0.01)
        nn.init.zeros_(module.bias)


@register()
def mobilenet_v2(**options: Any) -> MobileNetV2:
    """MobileNet v2; the arguments are those of the class."""
    return MobileNetV2(**options)
