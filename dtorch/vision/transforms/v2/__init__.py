"""torchvision.transforms.v2's names: the transforms of v1, also of several images, and more.

There are no tv_tensors: boxes and masks in a sample are tensors like others (a tensor of at least two
dimensions is taken for an image).
"""

from .. import (
    AugMix,
    AutoAugment,
    AutoAugmentPolicy,
    CenterCrop,
    ColorJitter,
    Compose,
    FiveCrop,
    GaussianBlur,
    Grayscale,
    InterpolationMode,
    Lambda,
    LinearTransformation,
    Normalize,
    Pad,
    PILToTensor,
    RandAugment,
    RandomAdjustSharpness,
    RandomAffine,
    RandomApply,
    RandomAutocontrast,
    RandomChoice,
    RandomCrop,
    RandomEqualize,
    RandomErasing,
    RandomGrayscale,
    RandomHorizontalFlip,
    RandomInvert,
    RandomOrder,
    RandomPerspective,
    RandomPosterize,
    RandomResizedCrop,
    RandomRotation,
    RandomSolarize,
    RandomVerticalFlip,
    Resize,
    TenCrop,
    ToPILImage,
    ToTensor,
    TrivialAugmentWide,
)
from .. import ConvertImageDtype as ConvertImageDtype
from ..transforms import Transform
from . import functional
from .batches import CutMix, MixUp
from .images import RGB, GaussianNoise, Identity, RandomResize, ToDtype, ToImage, ToPureTensor
