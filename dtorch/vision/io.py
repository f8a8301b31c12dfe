"""Images from files and back, through Pillow, under torchvision.io's names."""

from __future__ import annotations

import io
import os
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np

import dtorch
from dtorch import Tensor

from .transforms.functional import pil_to_tensor, to_pil_image

__all__ = [
    "ImageReadMode", "decode_image", "encode_jpeg", "encode_png", "read_file", "read_image",
    "write_jpeg", "write_png",
]  # fmt: skip


class ImageReadMode(Enum):
    """Which channels an image is given."""

    UNCHANGED = None
    GRAY = "L"
    GRAY_ALPHA = "LA"
    RGB = "RGB"
    RGB_ALPHA = "RGBA"


def read_file(path: str | os.PathLike[str]) -> Tensor:
    """A file's bytes: uint8 (N,)"""
    return _as_tensor(Path(path).read_bytes())


def _as_tensor(data: bytes) -> Tensor:
    return dtorch.from_numpy(np.frombuffer(data, np.uint8).copy())


def decode_image(
    input: Tensor | str | os.PathLike[str],
    mode: ImageReadMode | str = ImageReadMode.UNCHANGED,
    apply_exif_orientation: bool = False,
) -> Tensor:
    """An image, uint8 (C, H, W), from a file's bytes (N,), or from a path.

    RuntimeError for what is no whole image
    """
    from PIL import Image, ImageOps

    chosen = ImageReadMode[mode] if isinstance(mode, str) else mode
    path_or_file: Any = io.BytesIO(input.numpy()) if isinstance(input, Tensor) else input
    try:
        with Image.open(path_or_file) as file:
            file.load()
            image = ImageOps.exif_transpose(file) if apply_exif_orientation else file
            if chosen.value is not None:
                return pil_to_tensor(image.convert(chosen.value))
            return pil_to_tensor(image.convert("RGB") if image.mode == "P" else image)
    except FileNotFoundError:
        raise
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        where = "the input" if isinstance(input, Tensor) else input
        raise RuntimeError(f"{where} is no whole image: {error}") from error


def read_image(
    path: str | os.PathLike[str],
    mode: ImageReadMode | str = ImageReadMode.UNCHANGED,
    apply_exif_orientation: bool = False,
) -> Tensor:
    """The image in a file, uint8 (C, H, W); RuntimeError for what is no whole image."""
    return decode_image(path, mode, apply_exif_orientation)


def _encoded(input: Tensor, **options: Any) -> bytes:
    if input.dtype is not dtorch.uint8 or input.ndim != 3 or input.shape[0] not in (1, 3):
        raise ValueError(
            f"expected a uint8 image (1 or 3, H, W), got {input.dtype} {tuple(input.shape)}"
        )
    file = io.BytesIO()
    to_pil_image(input).save(file, **options)
    return file.getvalue()


def encode_png(input: Tensor, compression_level: int = 6) -> Tensor:
    """A PNG file's bytes, uint8 (N,), of an image, uint8 (1 or 3, H, W)."""
    return _as_tensor(_encoded(input, format="PNG", compress_level=compression_level))


def encode_jpeg(input: Tensor, quality: int = 75) -> Tensor:
    """A JPEG file's bytes, uint8 (N,), of an image, uint8 (1 or 3, H, W).  quality: 1 to 100"""
    return _as_tensor(_encoded(input, format="JPEG", quality=quality))


def write_png(input: Tensor, filename: str, compression_level: int = 6) -> None:
    """`encode_png` into a file."""
    Path(filename).write_bytes(_encoded(input, format="PNG", compress_level=compression_level))


def write_jpeg(input: Tensor, filename: str, quality: int = 75) -> None:
    """`encode_jpeg` into a file."""
    Path(filename).write_bytes(_encoded(input, format="JPEG", quality=quality))
