"""SummaryWriter with torch's interface: tensorboardX's that takes tensors, and what it lacks."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorboardX
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.summary import hparams

from dtorch.core.dtype import bfloat16, float32
from dtorch.core.tensor import Tensor

from .graph import graph_of
from .media import image_summary, sound_summary, tensor_summary


def arrays_of(value: Any) -> Any:
    """Tensors as NumPy arrays (bfloat16, which NumPy lacks, as float32), also inside containers."""
    if isinstance(value, Tensor):
        value = value.detach().cpu()
        return (value.to(float32) if value.dtype is bfloat16 else value).numpy()
    if isinstance(value, Mapping):
        return {key: arrays_of(v) for key, v in value.items()}
    if type(value) in (list, tuple):
        return type(value)(arrays_of(v) for v in value)
    return value


def _given_tensors(method: Callable[..., None]) -> Callable[..., None]:
    """A method of tensorboardX that takes tensors, too."""

    @functools.wraps(method)
    def call(self: Any, *args: Any, **kwargs: Any) -> None:
        method(self, *arrays_of(args), **arrays_of(kwargs))

    return call


class SummaryWriter(tensorboardX.SummaryWriter):
    """Writes what `tensorboard --logdir` shows, to a file in `log_dir`.

    Args:
        log_dir: the folder; None for runs/DATE_TIME_HOST + comment.
        comment: the end of the folder's name where `log_dir` is None.
        purge_step: what was written from this step on is hidden; for a run that starts again there.
        max_queue: how many events wait before they are written.
        flush_secs: how often they are written, in seconds.
        filename_suffix: the end of the file's name.

    The methods have torch's arguments: add_scalar(tag, value, global_step=None, walltime=None) and so
    on. Values are tensors, NumPy arrays or numbers; images (C, H, W) or (N, C, H, W) of uint8 or of
    floats in [0, 1], or as `dataformats` says.
    """

    def __init__(
        self,
        log_dir: Any = None,
        comment: str = "",
        purge_step: int | None = None,
        max_queue: int = 10,
        flush_secs: int = 120,
        filename_suffix: str = "",
    ) -> None:
        super().__init__(
            None if log_dir is None else os.fspath(log_dir), comment, purge_step, max_queue,
            flush_secs, filename_suffix,
        )  # fmt: skip
        self.log_dir = self.logdir

    def get_logdir(self) -> str:
        return self.log_dir

    add_scalars = _given_tensors(tensorboardX.SummaryWriter.add_scalars)
    add_histogram = _given_tensors(tensorboardX.SummaryWriter.add_histogram)
    add_histogram_raw = _given_tensors(tensorboardX.SummaryWriter.add_histogram_raw)
    add_image = _given_tensors(tensorboardX.SummaryWriter.add_image)
    add_embedding = _given_tensors(tensorboardX.SummaryWriter.add_embedding)
    add_pr_curve = _given_tensors(tensorboardX.SummaryWriter.add_pr_curve)
    add_pr_curve_raw = _given_tensors(tensorboardX.SummaryWriter.add_pr_curve_raw)
    add_mesh = _given_tensors(tensorboardX.SummaryWriter.add_mesh)

    def add_scalar(
        self, tag: str, scalar_value: Any, global_step: int | None = None,
        walltime: float | None = None, new_style: bool = False, double_precision: bool = False,
    ) -> None:  # fmt: skip
        """A number.  new_style, double_precision: torch's, change nothing: the number is a float32."""
        super().add_scalar(tag, arrays_of(scalar_value), global_step, walltime)

    def add_images(
        self, tag: str, img_tensor: Any, global_step: int | None = None,
        walltime: float | None = None, dataformats: str = "NCHW",
    ) -> None:  # fmt: skip
        """Images side by side: a tensor (N, C, H, W), or a list of (C, H, W) with dataformats="CHW"."""
        if isinstance(img_tensor, (list, tuple)):
            if dataformats.upper() not in ("CHW", "HWC"):
                raise ValueError(
                    "add_images: a list of images has dataformats CHW or HWC, got "
                    f"{dataformats!r}; or stack them"
                )
            img_tensor, dataformats = np.stack(arrays_of(img_tensor)), "N" + dataformats
        super().add_images(tag, arrays_of(img_tensor), global_step, walltime, dataformats)

    def add_image_with_boxes(
        self, tag: str, img_tensor: Any, box_tensor: Any, global_step: int | None = None,
        walltime: float | None = None, rescale: float = 1, dataformats: str = "CHW",
        labels: list[str] | None = None,
    ) -> None:  # fmt: skip
        """An image with boxes drawn on it.  box_tensor: (N, 4), each xmin, ymin, xmax, ymax."""
        super().add_image_with_boxes(
            tag, arrays_of(img_tensor), arrays_of(box_tensor), global_step, walltime, dataformats,
            labels, rescale=rescale,
        )  # fmt: skip

    def add_video(
        self, tag: str, vid_tensor: Any, global_step: int | None = None, fps: float = 4,
        walltime: float | None = None,
    ) -> None:  # fmt: skip
        """Videos side by side, as a GIF.  vid_tensor: (N, T, C, H, W), uint8 or floats in [0, 1]."""
        self._add(image_summary(tag, arrays_of(vid_tensor), fps), global_step, walltime)

    def add_audio(
        self, tag: str, snd_tensor: Any, global_step: int | None = None, sample_rate: int = 44100,
        walltime: float | None = None,
    ) -> None:  # fmt: skip
        """Sound, as 16-bit WAV.  snd_tensor: (1, L) or (L,), in [-1, 1]; sample_rate in Hz."""
        self._add(sound_summary(tag, arrays_of(snd_tensor), sample_rate), global_step, walltime)

    def add_tensor(
        self,
        tag: str,
        tensor: Tensor,
        global_step: int | None = None,
        walltime: float | None = None,
    ) -> None:
        """A whole tensor, for programs that read event files: TensorBoard doesn't show it."""
        self._add(tensor_summary(tag, arrays_of(tensor)), global_step, walltime)

    def add_hparams(
        self, hparam_dict: dict[str, Any], metric_dict: dict[str, Any],
        hparam_domain_discrete: dict[str, list[Any]] | None = None, run_name: str | None = None,
        global_step: int | None = None,
    ) -> None:  # fmt: skip
        """Hyperparameters, and what came of them: one row of the page HPARAMS.

        hparam_domain_discrete: torch's, changes nothing: the page knows the values that it has seen
        run_name: the folder of the row, below log_dir; the time if None
        """
        metrics = arrays_of(metric_dict)
        folder = os.path.join(self.log_dir, run_name or str(time.time()))
        with SummaryWriter(folder) as run:
            for summary in hparams(arrays_of(hparam_dict), metrics):
                run._add(summary, None, None)
            for tag, value in metrics.items():
                run.add_scalar(tag, value, global_step)

    def add_graph(
        self, model: Any, input_to_model: Any = None, verbose: bool = False,
        use_strict_trace: bool = True,
    ) -> None:  # fmt: skip
        """The model as autograd records it: its differentiable ops, grouped by modules.

        input_to_model: a tensor, or a tuple of what the model's forward takes
        verbose: print the graph, too
        use_strict_trace: torch's, changes nothing
        """
        graph = graph_of(model, input_to_model)
        if verbose:
            print(graph)
        self._get_file_writer().add_event(Event(graph_def=graph.SerializeToString()))

    def _add(self, summary: Any, global_step: int | None, walltime: float | None) -> None:
        self._get_file_writer().add_summary(summary, global_step, walltime)
