"""Image datasets: torchvision.datasets' names, and Digits, which needs no download."""

from .digits import Digits
from .mnist import MNIST, FashionMNIST
from .vision import VisionDataset

__all__ = ["MNIST", "Digits", "FashionMNIST", "VisionDataset"]
