"""Inception v3 (Szegedy et al., 2016), for images of 299 x 299."""

from __future__ import annotations

from typing import Any, NamedTuple

import dtorch
from dtorch import Tensor, nn
from dtorch.nn import functional as F

from ._registry import register

__all__ = ["Inception3", "InceptionOutputs", "inception_v3"]


class InceptionOutputs(NamedTuple):
    """What the model gives while it trains, each (N, num_classes)."""

    logits: Tensor
    aux_logits: Tensor | None


class BasicConv2d(nn.Module):
    """Convolution, batch norm, ReLU."""

    def __init__(self, in_channels: int, out_channels: int, **options: Any) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, bias=False, **options)
        self.bn = nn.BatchNorm2d(out_channels, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)), inplace=True)


def _conv(in_channels: int, out_channels: int, height: int, width: int) -> BasicConv2d:
    """One that keeps the size."""
    return BasicConv2d(
        in_channels, out_channels, kernel_size=(height, width), padding=(height // 2, width // 2)
    )


def _smooth(x: Tensor) -> Tensor:
    return F.avg_pool2d(x, 3, stride=1, padding=1)


class InceptionA(nn.Module):
    """35 x 35, in_channels -> 224 + pool_features"""

    def __init__(self, in_channels: int, pool_features: int) -> None:
        super().__init__()
        self.branch1x1 = _conv(in_channels, 64, 1, 1)
        self.branch5x5_1 = _conv(in_channels, 48, 1, 1)
        self.branch5x5_2 = _conv(48, 64, 5, 5)
        self.branch3x3dbl_1 = _conv(in_channels, 64, 1, 1)
        self.branch3x3dbl_2 = _conv(64, 96, 3, 3)
        self.branch3x3dbl_3 = _conv(96, 96, 3, 3)
        self.branch_pool = _conv(in_channels, pool_features, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        five = self.branch5x5_2(self.branch5x5_1(x))
        double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return dtorch.cat([self.branch1x1(x), five, double, self.branch_pool(_smooth(x))], 1)


class InceptionB(nn.Module):
    """From 35 x 35 to 17 x 17, in_channels -> 480 + in_channels"""

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.branch3x3 = BasicConv2d(in_channels, 384, kernel_size=3, stride=2)
        self.branch3x3dbl_1 = _conv(in_channels, 64, 1, 1)
        self.branch3x3dbl_2 = _conv(64, 96, 3, 3)
        self.branch3x3dbl_3 = BasicConv2d(96, 96, kernel_size=3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return dtorch.cat([self.branch3x3(x), double, F.max_pool2d(x, 3, stride=2)], 1)


class InceptionC(nn.Module):
    """17 x 17, in_channels -> 768, through channels_7x7"""

    def __init__(self, in_channels: int, channels_7x7: int) -> None:
        super().__init__()
        c = channels_7x7
        self.branch1x1 = _conv(in_channels, 192, 1, 1)
        self.branch7x7_1 = _conv(in_channels, c, 1, 1)
        self.branch7x7_2 = _conv(c, c, 1, 7)
        self.branch7x7_3 = _conv(c, 192, 7, 1)
        self.branch7x7dbl_1 = _conv(in_channels, c, 1, 1)
        self.branch7x7dbl_2 = _conv(c, c, 7, 1)
        self.branch7x7dbl_3 = _conv(c, c, 1, 7)
        self.branch7x7dbl_4 = _conv(c, c, 7, 1)
        self.branch7x7dbl_5 = _conv(c, 192, 1, 7)
        self.branch_pool = _conv(in_channels, 192, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        seven = self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(x)))
        double = self.branch7x7dbl_3(self.branch7x7dbl_2(self.branch7x7dbl_1(x)))
        double = self.branch7x7dbl_5(self.branch7x7dbl_4(double))
        return dtorch.cat([self.branch1x1(x), seven, double, self.branch_pool(_smooth(x))], 1)


class InceptionD(nn.Module):
    """From 17 x 17 to 8 x 8, in_channels -> 512 + in_channels"""

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.branch3x3_1 = _conv(in_channels, 192, 1, 1)
        self.branch3x3_2 = BasicConv2d(192, 320, kernel_size=3, stride=2)
        self.branch7x7x3_1 = _conv(in_channels, 192, 1, 1)
        self.branch7x7x3_2 = _conv(192, 192, 1, 7)
        self.branch7x7x3_3 = _conv(192, 192, 7, 1)
        self.branch7x7x3_4 = BasicConv2d(192, 192, kernel_size=3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        three = self.branch3x3_2(self.branch3x3_1(x))
        seven = self.branch7x7x3_3(self.branch7x7x3_2(self.branch7x7x3_1(x)))
        return dtorch.cat([three, self.branch7x7x3_4(seven), F.max_pool2d(x, 3, stride=2)], 1)


class InceptionE(nn.Module):
    """8 x 8, in_channels -> 2048"""

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.branch1x1 = _conv(in_channels, 320, 1, 1)
        self.branch3x3_1 = _conv(in_channels, 384, 1, 1)
        self.branch3x3_2a = _conv(384, 384, 1, 3)
        self.branch3x3_2b = _conv(384, 384, 3, 1)
        self.branch3x3dbl_1 = _conv(in_channels, 448, 1, 1)
        self.branch3x3dbl_2 = _conv(448, 384, 3, 3)
        self.branch3x3dbl_3a = _conv(384, 384, 1, 3)
        self.branch3x3dbl_3b = _conv(384, 384, 3, 1)
        self.branch_pool = _conv(in_channels, 192, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        three = self.branch3x3_1(x)
        double = self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        return dtorch.cat(
            [
                self.branch1x1(x),
                self.branch3x3_2a(three), self.branch3x3_2b(three),
                self.branch3x3dbl_3a(double), self.branch3x3dbl_3b(double),
                self.branch_pool(_smooth(x)),
            ], 1,
        )  # fmt: skip


class InceptionAux(nn.Module):
    """The auxiliary classifier, from 17 x 17."""

    def __init__(self, in_channels: int, num_classes: int) -> None:
        super().__init__()
        self.conv0 = _conv(in_channels, 128, 1, 1)
        self.conv1 = BasicConv2d(128, 768, kernel_size=5)
        self.fc = nn.Linear(768, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(self.conv0(F.avg_pool2d(x, 5, stride=3)))
        return self.fc(F.adaptive_avg_pool2d(x, 1).flatten(1))


class Inception3(nn.Module):
    """x: (N, 3, H, W), at least 75 x 75 -> (N, num_classes); while training InceptionOutputs

    aux_logits: with the auxiliary classifier
    transform_input: images come with ImageNet's means and deviations; make it 0.5 and 0.5
    """

    def __init__(
        self,
        num_classes: int = 1000,
        aux_logits: bool = True,
        transform_input: bool = False,
        inception_blocks: list[Any] | None = None,
        init_weights: bool | None = None,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        conv, a, b, c, d, e, aux = inception_blocks or [
            BasicConv2d, InceptionA, InceptionB, InceptionC, InceptionD, InceptionE, InceptionAux,
        ]  # fmt: skip
        self.aux_logits = aux_logits
        self.transform_input = transform_input
        self.Conv2d_1a_3x3 = conv(3, 32, kernel_size=3, stride=2)
        self.Conv2d_2a_3x3 = conv(32, 32, kernel_size=3)
        self.Conv2d_2b_3x3 = conv(32, 64, kernel_size=3, padding=1)
        self.maxpool1 = nn.MaxPool2d(3, stride=2)
        self.Conv2d_3b_1x1 = conv(64, 80, kernel_size=1)
        self.Conv2d_4a_3x3 = conv(80, 192, kernel_size=3)
        self.maxpool2 = nn.MaxPool2d(3, stride=2)
        self.Mixed_5b = a(192, pool_features=32)
        self.Mixed_5c = a(256, pool_features=64)
        self.Mixed_5d = a(288, pool_features=64)
        self.Mixed_6a = b(288)
        self.Mixed_6b = c(768, channels_7x7=128)
        self.Mixed_6c = c(768, channels_7x7=160)
        self.Mixed_6d = c(768, channels_7x7=160)
        self.Mixed_6e = c(768, channels_7x7=192)
        self.AuxLogits: Any = aux(768, num_classes) if aux_logits else None
        self.Mixed_7a = d(768)
        self.Mixed_7b = e(1280)
        self.Mixed_7c = e(2048)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(2048, num_classes)
        if init_weights is None or init_weights:
            self._init_weights()

    def _init_weights(self) -> None:
        stds = {}
        if self.AuxLogits is not None:
            stds = {self.AuxLogits.conv1.conv: 0.01, self.AuxLogits.fc: 0.001}
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                nn.init.trunc_normal_(module.weight, 0.0, stds.get(module, 0.1), -2, 2)

    def forward(self, x: Tensor) -> Tensor | InceptionOutputs:
        if self.transform_input:
            x = imagenet_to_half(x)
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(self.maxpool1(x)))
        x = self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(self.maxpool2(x))))
        x = self.Mixed_6c(self.Mixed_6b(self.Mixed_6a(x)))
        x = self.Mixed_6e(self.Mixed_6d(x))
        with_aux = self.training and self.AuxLogits is not None
        aux = self.AuxLogits(x) if with_aux else None
        x = self.Mixed_7c(self.Mixed_7b(self.Mixed_7a(x)))
        logits = self.fc(self.dropout(self.avgpool(x)).flatten(1))
        return InceptionOutputs(logits, aux) if with_aux else logits


def imagenet_to_half(x: Tensor) -> Tensor:
    """(N, 3, H, W) normalized with ImageNet's means and deviations, as if with 0.5 and 0.5."""
    std = dtorch.tensor([0.229, 0.224, 0.225], dtype=x.dtype, device=x.device).view(1, 3, 1, 1)
    mean = dtorch.tensor([0.485, 0.456, 0.406], dtype=x.dtype, device=x.device).view(1, 3, 1, 1)
    return x * (std / 0.5) + (mean - 0.5) / 0.5


@register(transform_input=True, init_weights=False)
def inception_v3(**options: Any) -> Inception3:
    """Inception v3; the arguments are those of the class."""
    return Inception3(**options)
