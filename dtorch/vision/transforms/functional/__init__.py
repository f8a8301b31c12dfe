"""Image transforms as functions. An image is a PIL image or a Tensor of shape (..., C, H, W).

image.py     what an image is, and the names of interpolations
convert.py   between PIL images, arrays, tensors and dtypes
geometry.py  where pixels lie
color.py     what they are worth
"""

from .color import (
    adjust_brightness,
    adjust_contrast,
    adjust_gamma,
    adjust_hue,
    adjust_saturation,
    adjust_sharpness,
    autocontrast,
    equalize,
    erase,
    gaussian_blur,
    invert,
    posterize,
    rgb_to_grayscale,
    solarize,
    to_grayscale,
)
from .convert import convert_image_dtype, normalize, pil_to_tensor, to_pil_image, to_tensor
from .geometry import (
    affine,
    center_crop,
    crop,
    five_crop,
    hflip,
    pad,
    perspective,
    resize,
    resized_crop,
    rotate,
    ten_crop,
    vflip,
)
from .image import (
    InterpolationMode,
    get_dimensions,
    get_image_num_channels,
    get_image_size,
    is_pil,
    pair,
)
