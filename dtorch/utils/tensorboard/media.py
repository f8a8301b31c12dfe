"""Videos, sounds and tensors as summaries, by Pillow and the standard library alone."""

from __future__ import annotations

import io
import math
import warnings
import wave
from typing import Any

import numpy as np
from tensorboardX.proto import types_pb2 as types
from tensorboardX.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboardX.proto.tensor_pb2 import TensorProto
from tensorboardX.proto.tensor_shape_pb2 import TensorShapeProto

_TYPES = {
    "float16": types.DT_HALF, "float32": types.DT_FLOAT, "float64": types.DT_DOUBLE,
    "uint8": types.DT_UINT8, "int8": types.DT_INT8, "int16": types.DT_INT16,
    "int32": types.DT_INT32, "int64": types.DT_INT64, "bool": types.DT_BOOL,
    "complex64": types.DT_COMPLEX64, "complex128": types.DT_COMPLEX128,
}  # fmt: skip


def image_summary(tag: str, videos: Any, fps: float) -> Summary:
    """Videos (N, T, C, H, W) side by side in one animated GIF; C is 1 or 3."""
    from PIL import Image

    if videos.ndim != 5 or videos.shape[2] not in (1, 3):
        raise ValueError(
            f"add_video: expected (N, T, C, H, W) with 1 or 3 channels, got {videos.shape}"
        )
    if videos.dtype != np.uint8:
        videos = (videos.clip(0, 1) * 255).astype(np.uint8)
    n, t, c, h, w = videos.shape
    columns = math.ceil(math.sqrt(n))
    rows = math.ceil(n / columns)
    page = np.zeros((t, rows * h, columns * w, c), np.uint8)
    for i, video in enumerate(videos):
        top, left = i // columns * h, i % columns * w
        page[:, top : top + h, left : left + w] = video.transpose(0, 2, 3, 1)
    frames = [Image.fromarray(frame) for frame in np.broadcast_to(page, (*page.shape[:3], 3))]
    file = io.BytesIO()
    frames[0].save(
        file, "GIF", save_all=True, append_images=frames[1:], duration=1000 / fps, loop=0
    )
    image = Summary.Image(
        height=rows * h, width=columns * w, colorspace=3, encoded_image_string=file.getvalue()
    )
    return Summary(value=[Summary.Value(tag=tag, image=image)])


def sound_summary(tag: str, sound: Any, sample_rate: int) -> Summary:
    """One channel of sound, (1, L) or (L,), in [-1, 1]."""
    sound = sound.squeeze()
    if sound.ndim != 1:
        raise ValueError(f"add_audio: expected one channel, (1, L), got the shape {sound.shape}")
    if np.abs(sound).max(initial=0) > 1:
        warnings.warn("add_audio: values beyond [-1, 1] are clipped", stacklevel=3)
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)  # bytes a sample
        out.setframerate(sample_rate)
        out.writeframes((sound.clip(-1, 1) * 32767).astype("<i2").tobytes())
    audio = Summary.Audio(
        sample_rate=sample_rate, num_channels=1, length_frames=len(sound),
        encoded_audio_string=file.getvalue(), content_type="audio/wav",
    )  # fmt: skip
    return Summary(value=[Summary.Value(tag=tag, audio=audio)])


def tensor_summary(tag: str, a: Any) -> Summary:
    if a.dtype.name not in _TYPES:
        raise ValueError(f"add_tensor: {tag} has the dtype {a.dtype}, which event files lack")
    if a.nbytes >= 1 << 31:
        raise ValueError(f"add_tensor: {tag} has {a.nbytes} bytes, more than the 2 GB of an event")
    proto = TensorProto(
        dtype=_TYPES[a.dtype.name],
        tensor_shape=TensorShapeProto(dim=[TensorShapeProto.Dim(size=n) for n in a.shape]),
        tensor_content=a.tobytes(),
    )
    metadata = SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name="tensor"))
    return Summary(value=[Summary.Value(tag=tag, metadata=metadata, tensor=proto)])
