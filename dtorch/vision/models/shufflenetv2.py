"""ShuffleNet v2 (Ma et al., 2018)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import dtorch
from dtorch import Tensor, nn

from ._registry import register

__all__ = [
    "ShuffleNetV2", "shufflenet_v2_x0_5", "shufflenet_v2_x1_0", "shufflenet_v2_x1_5",
    "shufflenet_v2_x2_0",
]  # fmt: skip


def channel_shuffle(x: Tensor, groups: int) -> Tensor:
    """Channels dealt out anew among the groups: (N, C, H, W), same out."""
    n, c, h, w = x.shape
    return x.view(n, groups, c // groups, h, w).transpose(1, 2).reshape(n, c, h, w)


def _depthwise(channels: int, stride: int) -> nn.Conv2d:
    return nn.Conv2d(channels, channels, 3, stride, 1, groups=channels, bias=False)


def _pointwise(inp: int, oup: int) -> list[nn.Module]:
    return [nn.Conv2d(inp, oup, 1, bias=False), nn.BatchNorm2d(oup), nn.ReLU(inplace=True)]


class InvertedResidual(nn.Module):
    """Half of the channels pass through, half are worked on; at stride 2 all, twice."""

    def __init__(self, inp: int, oup: int, stride: int) -> None:
        super().__init__()
        if stride not in (1, 2):
            raise ValueError(f"stride should be 1 or 2, got {stride}")
        if stride == 1 and inp != oup // 2 * 2:
            raise ValueError(f"stride 1 keeps the channels, got {inp} to {oup}")
        self.stride = stride
        half = oup // 2
        self.branch1 = nn.Sequential()
        if stride == 2:
            self.branch1 = nn.Sequential(
                _depthwise(inp, stride), nn.BatchNorm2d(inp), *_pointwise(inp, half)
            )
        self.branch2 = nn.Sequential(
            *_pointwise(inp if stride == 2 else half, half),
            _depthwise(half, stride), nn.BatchNorm2d(half), *_pointwise(half, half),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        kept, worked = x.chunk(2, 1) if self.stride == 1 else (self.branch1(x), x)
        return channel_shuffle(dtorch.cat([kept, self.branch2(worked)], 1), 2)


class ShuffleNetV2(nn.Module):
    """x: (N, 3, H, W) -> (N, num_classes)

    stages_repeats: blocks in each of the three stages
    stages_out_channels: of the first convolution, the stages, and the last convolution
    """

    def __init__(
        self,
        stages_repeats: Sequence[int],
        stages_out_channels: Sequence[int],
        num_classes: int = 1000,
        inverted_residual: type[nn.Module] = InvertedResidual,
    ) -> None:
        super().__init__()
        if len(stages_repeats) != 3:
            raise ValueError("expected stages_repeats as list of 3 positive ints")
        if len(stages_out_channels) != 5:
            raise ValueError("expected stages_out_channels as list of 5 positive ints")
        channels, *stages, last = stages_out_channels
        self.conv1 = nn.Sequential(
            nn.Conv2d(3, channels, 3, 2, 1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
        )
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        for number, repeats, out in zip((2, 3, 4), stages_repeats, stages):
            blocks = [inverted_residual(channels, out, 2)]
            blocks += [inverted_residual(out, out, 1) for _ in range(repeats - 1)]
            setattr(self, f"stage{number}", nn.Sequential(*blocks))
            channels = out
        self.conv5 = nn.Sequential(*_pointwise(channels, last))
        self.fc = nn.Linear(last, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.conv1(x))
        x = self.conv5(self.stage4(self.stage3(self.stage2(x))))
        return self.fc(x.mean([2, 3]))


@register()
def shufflenet_v2_x0_5(**options: Any) -> ShuffleNetV2:
    """Half the channels; the arguments are the class's last two."""
    return ShuffleNetV2([4, 8, 4], [24, 48, 96, 192, 1024], **options)


@register()
def shufflenet_v2_x1_0(**options: Any) -> ShuffleNetV2:
    """The plain one."""
    return ShuffleNetV2([4, 8, 4], [24, 116, 232, 464, 1024], **options)


@register()
def shufflenet_v2_x1_5(**options: Any) -> ShuffleNetV2:
    """One and a half times the channels."""
    return ShuffleNetV2([4, 8, 4], [24, 176, 352, 704, 1024], **options)


@register()
def shufflenet_v2_x2_0(**options: Any) -> ShuffleNetV2:
    """Twice the channels."""
    return ShuffleNetV2([4, 8, 4], [24, 244, 488, 976, 2048], **options)
