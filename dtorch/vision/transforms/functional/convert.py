"""Between PIL images, arrays and tensors, and between dtypes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

import dtorch
from dtorch.core.dtype import get_default_dtype, uint8
from dtorch.core.ops.create import as_tensor, from_numpy
from dtorch.core.tensor import Tensor

from .image import bound, check, is_pil


def pil_to_tensor(image: Any) -> Tensor:
    """A PIL image's values as they are, (C, H, W): uint8, or int32, int16, float32 of its mode."""
    if not is_pil(image):
        raise TypeError(f"pic should be PIL Image. Got {type(image)}")
    values = np.array(image)  # (H, W) or (H, W, C); a copy
    if image.mode == "1":
        values = values.astype(np.uint8) * 255
    elif image.mode == "I;16":
        values = values.astype(np.int16)
    return _channels_first(values)


def to_tensor(image: Any) -> Tensor:
    """A PIL image or an array (H, W) or (H, W, C) as a Tensor (C, H, W).

    8-bit values are scaled from [0, 255] to [0, 1], in the default dtype; others are kept.
    """
    if is_pil(image):
        result = pil_to_tensor(image)
    elif not isinstance(image, np.ndarray):
        raise TypeError(f"pic should be PIL Image or ndarray. Got {type(image)}")
    elif image.ndim not in (2, 3):
        raise ValueError(f"pic should be 2/3 dimensional. Got {image.ndim} dimensions.")
    else:
        result = _channels_first(image)
    return result.to(get_default_dtype()).div(255) if result.dtype is uint8 else result


def _channels_first(values: np.ndarray) -> Tensor:
    values = values[:, :, None] if values.ndim == 2 else values
    return from_numpy(np.ascontiguousarray(values.transpose(2, 0, 1)))


def normalize(
    tensor: Tensor, mean: Sequence[float], std: Sequence[float], inplace: bool = False
) -> Tensor:
    """(tensor - mean) / std, channel by channel.

    Args:
        tensor: (..., C, H, W), floating point.
        mean, std: C numbers each; no std may be zero.
    """
    if not isinstance(tensor, Tensor):
        raise TypeError(f"img should be Tensor Image. Got {type(tensor)}; use ToTensor() before")
    if not tensor.is_floating_point():
        raise TypeError(
            f"Input tensor should be a float tensor. Got {tensor.dtype}; use ToTensor() before"
        )
    if tensor.ndim < 3:
        raise ValueError(
            "Expected tensor to be a tensor image of size (..., C, H, W). Got "
            f"tensor.size() = {tuple(tensor.shape)}"
        )
    means, stds = (
        as_tensor(v, dtype=tensor.dtype, device=tensor.device).reshape(-1, 1, 1)
        for v in (mean, std)
    )
    if (stds == 0).any():
        raise ValueError(
            f"std evaluated to zero after conversion to {tensor.dtype}, leading to division by zero"
        )
    if inplace:
        return tensor.sub_(means).div_(stds)
    return tensor.sub(means).div(stds)


def to_pil_image(pic: Any, mode: str | None = None) -> Any:
    """A PIL image of a Tensor (C, H, W) or (H, W), or of an array (H, W, C) or (H, W).

    Floating point tensors have values from 0 to 1, and become bytes; arrays are taken as they are.

    mode: PIL's, by default after the number of channels and the dtype
    """
    from PIL import Image

    if isinstance(pic, Tensor):
        if pic.ndim not in (2, 3):
            raise ValueError(f"pic should be 2/3 dimensional. Got {pic.ndim} dimensions.")
        if pic.is_floating_point() and mode != "F":
            pic = pic.mul(255).byte()
        pic = pic.detach().cpu().numpy()
        pic = pic.transpose(1, 2, 0) if pic.ndim == 3 else pic  # (H, W, C)
    elif not isinstance(pic, np.ndarray):
        raise TypeError(f"pic should be Tensor or ndarray. Got {type(pic)}.")
    if pic.ndim not in (2, 3):
        raise ValueError(f"pic should be 2/3 dimensional. Got {pic.ndim} dimensions.")
    channels = 1 if pic.ndim == 2 else pic.shape[2]
    modes = {1: ("L", "I;16", "I", "F"), 2: ("LA",), 3: ("RGB", "YCbCr", "HSV"),
             4: ("RGBA", "CMYK", "RGBX")}  # fmt: skip
    if channels not in modes:
        raise ValueError(f"pic should not have > 4 channels. Got {channels} channels.")
    if channels == 1:
        pic = pic.reshape(pic.shape[:2])
        by_dtype = {"uint8": "L", "uint16": "I;16", "int16": "I;16", "int32": "I", "float32": "F"}
        default = by_dtype.get(pic.dtype.name)
    else:
        default = modes[channels][0] if pic.dtype == np.uint8 else None
    if default is None:
        raise TypeError(f"Input type {pic.dtype} is not supported with {channels} channels")
    if mode is not None and mode not in (*modes[channels], default):
        raise ValueError(f"Incorrect mode ({mode}) supplied for {channels} channels: expected one "
                         f"of {modes[channels]}")  # fmt: skip
    if default == "I;16":
        pic = pic.astype(np.uint16)
    image = Image.fromarray(np.ascontiguousarray(pic))
    if mode in (None, default):
        return image
    if channels == 1:
        return image.convert(mode)
    return Image.frombytes(mode, image.size, image.tobytes())  # the same values, read another way


def convert_image_dtype(image: Tensor, dtype: Any = dtorch.float) -> Tensor:
    """The image in another dtype, where white stays white: bytes from 0 to 255 are floats from 0 to 1.

    RuntimeError from floats to integers that those can't tell apart
    """
    if is_pil(image):
        raise TypeError("Input img should be Tensor Image")
    check(image)
    if image.dtype is dtype:
        return image
    to = dtorch.empty(0, dtype=dtype)
    if image.is_floating_point():
        if to.is_floating_point():
            return image.to(dtype)
        if (image.dtype is dtorch.float32 and dtype in (dtorch.int32, dtorch.int64)) or (
            image.dtype is dtorch.float64 and dtype is dtorch.int64
        ):
            raise RuntimeError(
                f"The cast from {image.dtype} to {dtype} cannot be performed safely."
            )
        # Each integer gets an interval of floats of one length, the last one too.
        return image.mul(bound(to) + 1.0 - 1e-3).to(dtype)
    most, wanted = int(bound(image)), bound(to)
    if to.is_floating_point():
        return image.to(dtype) / most
    if most > wanted:
        return image.div((most + 1) // (int(wanted) + 1), rounding_mode="floor").to(dtype)
    return image.to(dtype) * ((int(wanted) + 1) // (most + 1))
