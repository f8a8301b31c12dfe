"""Image datasets: torchvision.datasets' names, and Digits, which needs no download."""

from . import utils
from .cifar import CIFAR10, CIFAR100
from .coco import CocoCaptions, CocoDetection
from .digits import Digits
from .fakedata import FakeData
from .folder import DatasetFolder, ImageFolder, ImageNet
from .mnist import EMNIST, KMNIST, MNIST, FashionMNIST
from .stl10 import STL10
from .svhn import SVHN
from .vision import VisionDataset

__all__ = [
    "CIFAR10", "CIFAR100", "EMNIST", "KMNIST", "MNIST", "STL10", "SVHN", "CocoCaptions",
    "CocoDetection", "DatasetFolder", "Digits", "FakeData", "FashionMNIST", "ImageFolder",
    "ImageNet", "VisionDataset",
]  # fmt: skip
