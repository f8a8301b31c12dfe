"""Images: datasets, transforms, models and pictures under torchvision's names."""

from ..version import TORCHVISION as __version__
from . import cam, datasets, io, models, ops, transforms, utils

__all__ = ["cam", "datasets", "io", "models", "ops", "transforms", "utils"]
