"""MobileNet v3 (Howard et al., 2019): v2 with squeeze-and-excitation and hard swish."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from dtorch import Tensor, nn

from ..ops.misc import Conv2dNormActivation, SqueezeExcitation
from ._registry import register
from ._utils import _make_divisible

__all__ = ["MobileNetV3", "mobilenet_v3_large", "mobilenet_v3_small"]


_SE = partial(SqueezeExcitation, scale_activation=nn.Hardsigmoid)


class InvertedResidualConfig:
    """One block.  activation: "RE" (ReLU) or "HS" (hard swish)"""

    def __init__(
        self,
        input_channels: int,
        kernel: int,
        expanded_channels: int,
        out_channels: int,
        use_se: bool,
        activation: str,
        stride: int,
        dilation: int,
        width_mult: float,
    ) -> None:
        self.input_channels = self.adjust_channels(input_channels, width_mult)
        self.kernel = kernel
        self.expanded_channels = self.adjust_channels(expanded_channels, width_mult)
        self.out_channels = self.adjust_channels(out_channels, width_mult)
        self.use_se = use_se
        self.use_hs = activation == "HS"
        self.stride = stride
        self.dilation = dilation

    @staticmethod
    def adjust_channels(channels: int, width_mult: float) -> int:
        return _make_divisible(channels * width_mult, 8)


class InvertedResidual(nn.Module):
    """The block of an InvertedResidualConfig."""

    def __init__(
        self,
        cnf: InvertedResidualConfig,
        norm_layer: Callable[..., nn.Module],
        se_layer: Callable[..., nn.Module] = _SE,
    ) -> None:
        super().__init__()
        if cnf.stride not in (1, 2):
            raise ValueError(f"illegal stride value {cnf.stride}: 1 or 2 expected")
        expanded = cnf.expanded_channels
        common: dict[str, Any] = {
            "norm_layer": norm_layer,
            "activation_layer": nn.Hardswish if cnf.use_hs else nn.ReLU,
        }
        layers: list[nn.Module] = []
        if expanded != cnf.input_channels:
            layers.append(Conv2dNormActivation(cnf.input_channels, expanded, 1, **common))
        stride = 1 if cnf.dilation > 1 else cnf.stride
        layers.append(
            Conv2dNormActivation(expanded, expanded, cnf.kernel, stride, groups=expanded,
                                 dilation=cnf.dilation, **common)
        )  # fmt: skip
        if cnf.use_se:
            layers.append(se_layer(expanded, _make_divisible(expanded // 4, 8)))
        common["activation_layer"] = None
        layers.append(Conv2dNormActivation(expanded, cnf.out_channels, 1, **common))
        self.block = nn.Sequential(*layers)
        self.out_channels = cnf.out_channels
        self.use_res_connect = cnf.stride == 1 and cnf.input_channels == cnf.out_channels

    def forward(self, input: Tensor) -> Tensor:
        return self.block(input) + input if self.use_res_connect else self.block(input)


class MobileNetV3(nn.Module):
    """x: (N, 3, H, W) -> (N, num_classes).  last_channel: of the classifier's hidden layer"""

    def __init__(
        self,
        inverted_residual_setting: Sequence[InvertedResidualConfig],
        last_channel: int,
        num_classes: int = 1000,
        block: Callable[..., nn.Module] | None = None,
        norm_layer: Callable[..., nn.Module] | None = None,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        if not inverted_residual_setting:
            raise ValueError("The inverted_residual_setting should not be empty")
        make = block or InvertedResidual
        norm = norm_layer or partial(nn.BatchNorm2d, eps=0.001, momentum=0.01)
        common: dict[str, Any] = {"norm_layer": norm, "activation_layer": nn.Hardswish}
        first, last = inverted_residual_setting[0], inverted_residual_setting[-1]
        hidden = 6 * last.out_channels
        self.features = nn.Sequential(
            Conv2dNormActivation(3, first.input_channels, stride=2, **common),
            *[make(config, norm) for config in inverted_residual_setting],
            Conv2dNormActivation(last.out_channels, hidden, 1, **common),
        )
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(
            nn.Linear(hidden, last_channel),
            nn.Hardswish(inplace=True),
            nn.Dropout(dropout, inplace=True),
            nn.Linear(last_channel, num_classes),
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
        nn.init.normal_(module.weight, 0, 0.01)
        nn.init.zeros_(module.bias)


def _large(width_mult: float, narrow: int, dilation: int) -> tuple[list[Any], int]:
    """The blocks, and last_channel.  narrow: divides the last stage's channels"""
    config = partial(InvertedResidualConfig, width_mult=width_mult)
    c = 160 // narrow
    blocks = [
        config(16, 3, 16, 16, False, "RE", 1, 1),
        config(16, 3, 64, 24, False, "RE", 2, 1),
        config(24, 3, 72, 24, False, "RE", 1, 1),
        config(24, 5, 72, 40, True, "RE", 2, 1),
        config(40, 5, 120, 40, True, "RE", 1, 1),
        config(40, 5, 120, 40, True, "RE", 1, 1),
        config(40, 3, 240, 80, False, "HS", 2, 1),
        config(80, 3, 200, 80, False, "HS", 1, 1),
        config(80, 3, 184, 80, False, "HS", 1, 1),
        config(80, 3, 184, 80, False, "HS", 1, 1),
        config(80, 3, 480, 112, True, "HS", 1, 1),
        config(112, 3, 672, 112, True, "HS", 1, 1),
        config(112, 5, 672, c, True, "HS", 2, dilation),
        config(c, 5, 6 * c, c, True, "HS", 1, dilation),
        config(c, 5, 6 * c, c, True, "HS", 1, dilation),
    ]
    return blocks, InvertedResidualConfig.adjust_channels(1280 // narrow, width_mult)


def _small(width_mult: float, narrow: int, dilation: int) -> tuple[list[Any], int]:
    config = partial(InvertedResidualConfig, width_mult=width_mult)
    c = 96 // narrow
    blocks = [
        config(16, 3, 16, 16, True, "RE", 2, 1),
        config(16, 3, 72, 24, False, "RE", 2, 1),
        config(24, 3, 88, 24, False, "RE", 1, 1),
        config(24, 5, 96, 40, True, "HS", 2, 1),
        config(40, 5, 240, 40, True, "HS", 1, 1),
        config(40, 5, 240, 40, True, "HS", 1, 1),
        config(40, 5, 120, 48, True, "HS", 1, 1),
        config(48, 5, 144, 48, True, "HS", 1, 1),
        config(48, 5, 288, c, True, "HS", 2, dilation),
        config(c, 5, 6 * c, c, True, "HS", 1, dilation),
        config(c, 5, 6 * c, c, True, "HS", 1, dilation),
    ]
    return blocks, InvertedResidualConfig.adjust_channels(1024 // narrow, width_mult)


@register()
def mobilenet_v3_large(
    width_mult: float = 1.0, reduced_tail: bool = False, dilated: bool = False, **options: Any
) -> MobileNetV3:
    """The large one.

    width_mult: factor of all channels; reduced_tail: half the channels at the end;
    dilated: dilate rather than stride in the last stage
    """
    return MobileNetV3(*_large(width_mult, 1 + reduced_tail, 1 + dilated), **options)


@register()
def mobilenet_v3_small(
    width_mult: float = 1.0, reduced_tail: bool = False, dilated: bool = False, **options: Any
) -> MobileNetV3:
    """The small one; the arguments are mobilenet_v3_large's."""
    return MobileNetV3(*_small(width_mult, 1 + reduced_tail, 1 + dilated), **options)
