"""VGG (Simonyan and Zisserman, 2015): 3x3 convolutions, and three large linear layers."""

from __future__ import annotations

from typing import Any

from dtorch import Tensor, nn

from ._registry import register

__all__ = [
    "VGG", "vgg11", "vgg11_bn", "vgg13", "vgg13_bn", "vgg16", "vgg16_bn", "vgg19", "vgg19_bn",
]  # fmt: skip

# Channels of the convolutions; "M" halves the size.
cfgs: dict[str, list[int | str]] = {
    "A": [64, "M", 128, "M", 256, 256, "M", 512, 512, "M", 512, 512, "M"],
    "B": [64, 64, "M", 128, 128, "M", 256, 256, "M", 512, 512, "M", 512, 512, "M"],
    "D": [64, 64, "M", 128, 128, "M", *[256] * 3, "M", *[512] * 3, "M", *[512] * 3, "M"],
    "E": [64, 64, "M", 128, 128, "M", *[256] * 4, "M", *[512] * 4, "M", *[512] * 4, "M"],
}


class VGG(nn.Module):
    """x: (N, 3, H, W), at least 32x32 -> (N, num_classes)

    features: the convolutional part, with 512 channels at its end
    """

    def __init__(
        self,
        features: nn.Module,
        num_classes: int = 1000,
        init_weights: bool = True,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        self.features = features
        self.avgpool = nn.AdaptiveAvgPool2d(7)
        self.classifier = nn.Sequential(
            nn.Linear(512 * 7 * 7, 4096), nn.ReLU(True), nn.Dropout(dropout),
            nn.Linear(4096, 4096), nn.ReLU(True), nn.Dropout(dropout),
            nn.Linear(4096, num_classes),
        )  # fmt: skip
        if init_weights:
            self.apply(_init)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.avgpool(self.features(x)).flatten(1))


def _init(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, 0, 0.01)
        nn.init.zeros_(module.bias)


def make_layers(cfg: list[int | str], batch_norm: bool = False) -> nn.Sequential:
    """The convolutional part, from one of `cfgs`."""
    layers: list[nn.Module] = []
    channels = 3
    for step in cfg:
        if isinstance(step, str):
            layers.append(nn.MaxPool2d(2, 2))
            continue
        layers.append(nn.Conv2d(channels, step, 3, padding=1))
        if batch_norm:
            layers.append(nn.BatchNorm2d(step))
        layers.append(nn.ReLU(inplace=True))
        channels = step
    return nn.Sequential(*layers)


def _vgg(cfg: str, batch_norm: bool, options: dict[str, Any]) -> VGG:
    return VGG(make_layers(cfgs[cfg], batch_norm), **options)


@register(init_weights=False)
def vgg11(**options: Any) -> VGG:
    """VGG-11; the arguments are those of the class but `features`."""
    return _vgg("A", False, options)


@register(init_weights=False)
def vgg11_bn(**options: Any) -> VGG:
    """VGG-11 with batch norm."""
    return _vgg("A", True, options)


@register(init_weights=False)
def vgg13(**options: Any) -> VGG:
    """VGG-13."""
    return _vgg("B", False, options)


@register(init_weights=False)
def vgg13_bn(**options: Any) -> VGG:
    """VGG-13 with batch norm."""
    return _vgg("B", True, options)


@register(init_weights=False)
def vgg16(**options: Any) -> VGG:
    """VGG-16."""
    return _vgg("D", False, options)


@register(init_weights=False)
def vgg16_bn(**options: Any) -> VGG:
    """VGG-16 with batch norm."""
    return _vgg("D", True, options)


@register(init_weights=False)
def vgg19(**options: Any) -> VGG:
    """VGG-19."""
    return _vgg("E", False, options)


@register(init_weights=False)
def vgg19_bn(**options: Any) -> VGG:
    """VGG-19 with batch norm."""
    return _vgg("E", True, options)
