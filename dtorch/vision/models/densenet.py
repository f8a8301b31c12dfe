"""DenseNet (Huang et al., 2017): each layer reads the outputs of all before it in its block."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import dtorch
from dtorch import Tensor, nn
from dtorch.nn import functional as F
from dtorch.utils.checkpoint import checkpoint

from ._registry import register

__all__ = ["DenseNet", "densenet121", "densenet161", "densenet169", "densenet201"]

_OLD_KEY = re.compile(r"(.*denselayer\d+\.(?:norm|relu|conv))\.([12]\..*)")


class _DenseLayer(nn.Module):
    """x: (N, num_input_features, H, W), or a list of such parts -> (N, growth_rate, H, W)"""

    def __init__(
        self,
        num_input_features: int,
        growth_rate: int,
        bn_size: int,
        drop_rate: float,
        memory_efficient: bool = False,
    ) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(num_input_features)
        self.relu1 = nn.ReLU(inplace=True)
        self.conv1 = nn.Conv2d(num_input_features, bn_size * growth_rate, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(bn_size * growth_rate)
        self.relu2 = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(bn_size * growth_rate, growth_rate, 3, padding=1, bias=False)
        self.drop_rate = float(drop_rate)
        self.memory_efficient = memory_efficient

    def _narrow(self, *parts: Tensor) -> Tensor:
        return self.conv1(self.relu1(self.norm1(dtorch.cat(parts, 1))))

    def forward(self, input: Tensor | Sequence[Tensor]) -> Tensor:
        parts = [input] if isinstance(input, Tensor) else input
        if self.memory_efficient and any(part.requires_grad for part in parts):
            narrow = checkpoint(self._narrow, *parts, use_reentrant=False)
        else:
            narrow = self._narrow(*parts)
        new = self.conv2(self.relu2(self.norm2(narrow)))
        return F.dropout(new, self.drop_rate, self.training) if self.drop_rate else new


class _DenseBlock(nn.ModuleDict):
    def __init__(self, num_layers: int, num_input_features: int, growth_rate: int,
                 **options: Any) -> None:  # fmt: skip
        super().__init__()
        for i in range(num_layers):
            layer = _DenseLayer(num_input_features + i * growth_rate, growth_rate, **options)
            self.add_module(f"denselayer{i + 1}", layer)

    def forward(self, init_features: Tensor) -> Tensor:
        parts = [init_features]
        for layer in self.values():
            parts.append(layer(parts))
        return dtorch.cat(parts, 1)


class _Transition(nn.Sequential):
    """Other channels, half the size."""

    def __init__(self, num_input_features: int, num_output_features: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(num_input_features)
        self.relu = nn.ReLU(inplace=True)
        self.conv = nn.Conv2d(num_input_features, num_output_features, 1, bias=False)
        self.pool = nn.AvgPool2d(2, 2)


class DenseNet(nn.Module):
    """x: (N, 3, H, W) -> (N, num_classes)

    growth_rate: channels that a layer adds
    block_config: layers in each block
    bn_size: channels of the 1x1 convolutions, in growth rates
    memory_efficient: compute concatenations again in backward rather than keeping them
    """

    def __init__(
        self,
        growth_rate: int = 32,
        block_config: Sequence[int] = (6, 12, 24, 16),
        num_init_features: int = 64,
        bn_size: int = 4,
        drop_rate: float = 0,
        num_classes: int = 1000,
        memory_efficient: bool = False,
    ) -> None:
        super().__init__()
        self.features = nn.Sequential()
        self.features.conv0 = nn.Conv2d(3, num_init_features, 7, 2, 3, bias=False)
        self.features.norm0 = nn.BatchNorm2d(num_init_features)
        self.features.relu0 = nn.ReLU(inplace=True)
        self.features.pool0 = nn.MaxPool2d(3, stride=2, padding=1)
        channels = num_init_features
        for i, layers in enumerate(block_config, 1):
            block = _DenseBlock(layers, channels, growth_rate, bn_size=bn_size,
                                drop_rate=drop_rate, memory_efficient=memory_efficient)  # fmt: skip
            self.features.add_module(f"denseblock{i}", block)
            channels += layers * growth_rate
            if i < len(block_config):
                self.features.add_module(f"transition{i}", _Transition(channels, channels // 2))
                channels //= 2
        self.features.norm5 = nn.BatchNorm2d(channels)
        self.classifier = nn.Linear(channels, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)
        nn.init.zeros_(self.classifier.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.features(x), inplace=True)
        return self.classifier(F.adaptive_avg_pool2d(x, 1).flatten(1))

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        # The published files are older than the layers' names: norm.1 is norm1 now.
        for key in [key for key in state_dict if key.startswith(prefix)]:
            if old := _OLD_KEY.fullmatch(key):
                state_dict[old[1] + old[2]] = state_dict.pop(key)
        super()._load_from_state_dict(state_dict, prefix, *rest)


@register()
def densenet121(**options: Any) -> DenseNet:
    """DenseNet-121; the arguments are those of the class."""
    return DenseNet(32, (6, 12, 24, 16), 64, **options)


@register()
def densenet161(**options: Any) -> DenseNet:
    """DenseNet-161."""
    return DenseNet(48, (6, 12, 36, 24), 96, **options)


@register()
def densenet169(**options: Any) -> DenseNet:
    """DenseNet-169."""
    return DenseNet(32, (6, 12, 32, 32), 64, **options)


@register()
def densenet201(**options: Any) -> DenseNet:
    """DenseNet-201."""
    return DenseNet(32, (6, 12, 48, 32), 64, **options)
