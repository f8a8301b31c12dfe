"""EfficientNet (Tan and Le, 2019) and EfficientNet v2 (Tan and Le, 2021)."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from dtorch import Tensor, nn

from ..ops.misc import Conv2dNormActivation, SqueezeExcitation
from ..ops.stochastic_depth import StochasticDepth
from ._registry import register
from ._utils import _make_divisible

__all__ = [
    "EfficientNet", "efficientnet_b0", "efficientnet_b1", "efficientnet_b2", "efficientnet_b3",
    "efficientnet_b4", "efficientnet_b5", "efficientnet_b6", "efficientnet_b7",
    "efficientnet_v2_s", "efficientnet_v2_m", "efficientnet_v2_l",
]  # fmt: skip

Norm = Callable[..., nn.Module]


def adjust_channels(channels: float, width_mult: float, min_value: int | None = None) -> int:
    return _make_divisible(channels * width_mult, 8, min_value)


class _StageConfig:
    """Blocks of one kind, of which the first has the stride and changes the channels."""

    def __init__(
        self,
        expand_ratio: float,
        kernel: int,
        stride: int,
        input_channels: int,
        out_channels: int,
        num_layers: int,
        block: Callable[..., nn.Module],
    ) -> None:
        if stride not in (1, 2):
            raise ValueError(f"illegal stride value {stride}: 1 or 2 expected")
        self.expand_ratio = expand_ratio
        self.kernel = kernel
        self.stride = stride
        self.input_channels = input_channels
        self.out_channels = out_channels
        self.num_layers = num_layers
        self.block = block


class MBConvConfig(_StageConfig):
    """A stage of EfficientNet.  width_mult, depth_mult: factors of channels and of blocks"""

    def __init__(
        self,
        expand_ratio: float,
        kernel: int,
        stride: int,
        input_channels: int,
        out_channels: int,
        num_layers: int,
        width_mult: float = 1.0,
        depth_mult: float = 1.0,
        block: Callable[..., nn.Module] | None = None,
    ) -> None:
        inp = adjust_channels(input_channels, width_mult)
        out = adjust_channels(out_channels, width_mult)
        layers = math.ceil(num_layers * depth_mult)
        super().__init__(expand_ratio, kernel, stride, inp, out, layers, block or MBConv)


class FusedMBConvConfig(_StageConfig):
    """A stage of EfficientNet v2 whose blocks have one full convolution."""

    def __init__(
        self,
        expand_ratio: float,
        kernel: int,
        stride: int,
        input_channels: int,
        out_channels: int,
        num_layers: int,
        block: Callable[..., nn.Module] | None = None,
    ) -> None:
        super().__init__(expand_ratio, kernel, stride, input_channels, out_channels, num_layers,
                         block or FusedMBConv)  # fmt: skip


class _Residual(nn.Module):
    """A block with a shortcut where the shapes agree, which is left out at random."""

    def __init__(self, layers: Sequence[nn.Module], shortcut: bool, drop: float, out: int) -> None:
        super().__init__()
        self.block = nn.Sequential(*layers)
        self.stochastic_depth = StochasticDepth(drop, "row")
        self.use_res_connect = shortcut
        self.out_channels = out

    def forward(self, input: Tensor) -> Tensor:
        result = self.block(input)
        return self.stochastic_depth(result) + input if self.use_res_connect else result


class MBConv(_Residual):
    """Expansion, depthwise convolution, squeeze-and-excitation, projection."""

    def __init__(
        self,
        cnf: _StageConfig,
        stochastic_depth_prob: float,
        norm_layer: Norm,
        se_layer: Callable[..., nn.Module] = SqueezeExcitation,
    ) -> None:
        inp, out = cnf.input_channels, cnf.out_channels
        hidden = adjust_channels(inp, cnf.expand_ratio)
        conv = partial(Conv2dNormActivation, norm_layer=norm_layer, activation_layer=nn.SiLU)
        layers: list[nn.Module] = [] if hidden == inp else [conv(inp, hidden, 1)]
        layers += [
            conv(hidden, hidden, cnf.kernel, cnf.stride, groups=hidden),
            se_layer(hidden, max(1, inp // 4), activation=partial(nn.SiLU, inplace=True)),
            conv(hidden, out, 1, activation_layer=None),
        ]
        super().__init__(layers, cnf.stride == 1 and inp == out, stochastic_depth_prob, out)


class FusedMBConv(_Residual):
    """Expansion by the full convolution, projection; without expansion only the convolution."""

    def __init__(self, cnf: _StageConfig, stochastic_depth_prob: float, norm_layer: Norm) -> None:
        inp, out = cnf.input_channels, cnf.out_channels
        hidden = adjust_channels(inp, cnf.expand_ratio)
        conv = partial(Conv2dNormActivation, norm_layer=norm_layer, activation_layer=nn.SiLU)
        if hidden == inp:
            layers = [conv(inp, out, cnf.kernel, cnf.stride)]
        else:
            layers = [
                conv(inp, hidden, cnf.kernel, cnf.stride),
                conv(hidden, out, 1, activation_layer=None),
            ]
        super().__init__(layers, cnf.stride == 1 and inp == out, stochastic_depth_prob, out)


class EfficientNet(nn.Module):
    """x: (N, 3, H, W) -> (N, num_classes)

    stochastic_depth_prob: with which the last block is left out; it grows from 0 at the first
    last_channel: before the classifier; by default four times the last stage's
    """

    def __init__(
        self,
        inverted_residual_setting: Sequence[_StageConfig],
        dropout: float,
        stochastic_depth_prob: float = 0.2,
        num_classes: int = 1000,
        norm_layer: Norm | None = None,
        last_channel: int | None = None,
    ) -> None:
        super().__init__()
        if not inverted_residual_setting:
            raise ValueError("The inverted_residual_setting should not be empty")
        norm = norm_layer or nn.BatchNorm2d
        conv = partial(Conv2dNormActivation, norm_layer=norm, activation_layer=nn.SiLU)
        features: list[nn.Module] = [conv(3, inverted_residual_setting[0].input_channels, stride=2)]
        total, done = sum(stage.num_layers for stage in inverted_residual_setting), 0
        for stage in inverted_residual_setting:
            blocks = []
            for i in range(stage.num_layers):
                config = copy.copy(stage)
                if i:
                    config.input_channels, config.stride = stage.out_channels, 1
                blocks.append(config.block(config, stochastic_depth_prob * done / total, norm))
                done += 1
            features.append(nn.Sequential(*blocks))
        channels = inverted_residual_setting[-1].out_channels
        last = 4 * channels if last_channel is None else last_channel
        self.features = nn.Sequential(*features, conv(channels, last, 1))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(
            nn.Dropout(dropout, inplace=True), nn.Linear(last, num_classes)
        )
        self.apply(_init)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.avgpool(self.features(x)).flatten(1))


def _init(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out")
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Linear):
        bound = 1 / math.sqrt(module.out_features)
        nn.init.uniform_(module.weight, -bound, bound)
        nn.init.zeros_(module.bias)


_B = [
    (1, 3, 1, 32, 16, 1), (6, 3, 2, 16, 24, 2), (6, 5, 2, 24, 40, 2), (6, 3, 2, 40, 80, 3),
    (6, 5, 1, 80, 112, 3), (6, 5, 2, 112, 192, 4), (6, 3, 1, 192, 320, 1),
]  # fmt: skip


def _b(width: float, depth: float, dropout: float, options: dict[str, Any]) -> EfficientNet:
    stages = [MBConvConfig(*stage, width_mult=width, depth_mult=depth) for stage in _B]
    return EfficientNet(stages, options.pop("dropout", dropout), **options)


def _v2(
    fused: list[Any], plain: list[Any], dropout: float, options: dict[str, Any]
) -> EfficientNet:
    stages = [FusedMBConvConfig(*s) for s in fused] + [MBConvConfig(*s) for s in plain]
    options = {"norm_layer": partial(nn.BatchNorm2d, eps=1e-3), "last_channel": 1280, **options}
    return EfficientNet(stages, options.pop("dropout", dropout), **options)


_LARGE_NORM = partial(nn.BatchNorm2d, eps=0.001, momentum=0.01)


@register()
def efficientnet_b0(**options: Any) -> EfficientNet:
    """EfficientNet-B0, for 224 x 224; the arguments are those of the class but the setting."""
    return _b(1.0, 1.0, 0.2, options)


@register()
def efficientnet_b1(**options: Any) -> EfficientNet:
    """EfficientNet-B1, for 240 x 240."""
    return _b(1.0, 1.1, 0.2, options)


@register()
def efficientnet_b2(**options: Any) -> EfficientNet:
    """EfficientNet-B2, for 288 x 288."""
    return _b(1.1, 1.2, 0.3, options)


@register()
def efficientnet_b3(**options: Any) -> EfficientNet:
    """EfficientNet-B3, for 300 x 300."""
    return _b(1.2, 1.4, 0.3, options)


@register()
def efficientnet_b4(**options: Any) -> EfficientNet:
    """EfficientNet-B4, for 380 x 380."""
    return _b(1.4, 1.8, 0.4, options)


@register()
def efficientnet_b5(**options: Any) -> EfficientNet:
    """EfficientNet-B5, for 456 x 456."""
    return _b(1.6, 2.2, 0.4, {"norm_layer": _LARGE_NORM, **options})


@register()
def efficientnet_b6(**options: Any) -> EfficientNet:
    """EfficientNet-B6, for 528 x 528."""
    return _b(1.8, 2.6, 0.5, {"norm_layer": _LARGE_NORM, **options})


@register()
def efficientnet_b7(**options: Any) -> EfficientNet:
    """EfficientNet-B7, for 600 x 600."""
    return _b(2.0, 3.1, 0.5, {"norm_layer": _LARGE_NORM, **options})


@register()
def efficientnet_v2_s(**options: Any) -> EfficientNet:
    """EfficientNet v2-S, for 384 x 384."""
    fused = [(1, 3, 1, 24, 24, 2), (4, 3, 2, 24, 48, 4), (4, 3, 2, 48, 64, 4)]
    plain = [(4, 3, 2, 64, 128, 6), (6, 3, 1, 128, 160, 9), (6, 3, 2, 160, 256, 15)]
    return _v2(fused, plain, 0.2, options)


@register()
def efficientnet_v2_m(**options: Any) -> EfficientNet:
    """EfficientNet v2-M, for 480 x 480."""
    fused = [(1, 3, 1, 24, 24, 3), (4, 3, 2, 24, 48, 5), (4, 3, 2, 48, 80, 5)]
    plain = [(4, 3, 2, 80, 160, 7), (6, 3, 1, 160, 176, 14), (6, 3, 2, 176, 304, 18)]
    return _v2(fused, [*plain, (6, 3, 1, 304, 512, 5)], 0.3, options)


@register()
def efficientnet_v2_l(**options: Any) -> EfficientNet:
    """EfficientNet v2-L, for 480 x 480."""
    fused = [(1, 3, 1, 32, 32, 4), (4, 3, 2, 32, 64, 7), (4, 3, 2, 64, 96, 7)]
    plain = [(4, 3, 2, 96, 192, 10), (6, 3, 1, 192, 224, 19), (6, 3, 2, 224, 384, 25)]
    return _v2(fused, [*plain, (6, 3, 1, 384, 640, 7)], 0.4, options)
