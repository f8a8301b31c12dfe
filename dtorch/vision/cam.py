"""Where in an image a model saw what it answers: maps from the activations of one of its layers.

    cam = GradCAM(model, model.layer4)
    heat = cam(images)                # (N, H, W), from 0 to 1
    overlay(picture, heat[0]).save("cat.png")

Grad-CAM (Selvaraju et al., 2017), Grad-CAM++ (Chattopadhay et al., 2018) and Score-CAM (Wang et al.,
2020) are sums of the layer's channels, and differ in the channels' weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

import dtorch
from dtorch import Tensor, nn
from dtorch.nn import functional as F

from .transforms.functional import is_pil, to_pil_image

__all__ = ["GradCAM", "GradCAMPlusPlus", "ScoreCAM", "overlay"]


class _CAM:
    """model: images (N, C, H, W) -> scores (N, classes); layer: one inside, of output (N, K, h, w)"""

    def __init__(self, model: nn.Module, layer: nn.Module) -> None:
        if not any(module is layer for module in model.modules()):
            raise ValueError("the layer is no module of the model")
        self.model = model
        self.layer = layer

    def __call__(self, images: Tensor, target: int | Sequence[int] | None = None) -> Tensor:
        """The maps (N, H, W), each from 0 to 1, all 0 where nothing speaks for the target.

        target: the class, or one an image; by default those with the highest scores

        The model is run in evaluation mode, and keeps its mode, gradients and parameters.
        """
        training = [(module, module.training) for module in self.model.modules()]
        self.model.eval()
        try:
            activations, scores = self._run(images)
            targets = self._targets(scores, target)
            weights = self.weights(images, activations, scores, targets)  # (N, K)
        finally:
            for module, mode in training:
                module.training = mode
        with dtorch.no_grad():
            maps = (weights[:, :, None, None] * activations).sum(1, keepdim=True).relu()
            maps = F.interpolate(maps, images.shape[-2:], mode="bilinear", align_corners=False)[
                :, 0
            ]
            return _unit_range(maps.detach())

    def weights(
        self, images: Tensor, activations: Tensor, scores: Tensor, targets: Tensor
    ) -> Tensor:
        """What each channel counts for: (N, K), for activations (N, K, h, w)."""
        raise NotImplementedError

    def _run(self, images: Tensor) -> tuple[Tensor, Tensor]:
        found: list[Tensor] = []
        handle = self.layer.register_forward_hook(lambda m, args, out: found.append(out))
        # Parameters may be frozen: the images' gradient makes the layer's output recorded.
        with handle, dtorch.enable_grad():
            scores = self.model(images.detach().requires_grad_())
        if not found or found[-1].ndim != 4:
            got = tuple(found[-1].shape) if found else "none: the layer was not run"
            raise ValueError(f"the layer's output should be of shape (N, K, h, w), got {got}")
        return found[-1], scores

    def _targets(self, scores: Tensor, target: int | Sequence[int] | None) -> Tensor:
        if target is None:
            return scores.detach().argmax(1)
        chosen = [target] * len(scores) if isinstance(target, int) else list(target)
        if len(chosen) != len(scores) or not all(0 <= c < scores.shape[1] for c in chosen):
            raise ValueError(f"expected a class below {scores.shape[1]} for each of {len(scores)} "
                             f"images, got {target}")  # fmt: skip
        return dtorch.tensor(chosen, device=scores.device)

    @staticmethod
    def _gradient(activations: Tensor, scores: Tensor, targets: Tensor) -> Tensor:
        total = scores.gather(1, targets[:, None]).sum()
        return dtorch.autograd.grad(total, activations)[0]


class GradCAM(_CAM):
    """Weights are the means of the score's gradient over a channel."""

    def weights(
        self, images: Tensor, activations: Tensor, scores: Tensor, targets: Tensor
    ) -> Tensor:
        return self._gradient(activations, scores, targets).mean((2, 3))


class GradCAMPlusPlus(_CAM):
    """Weights are sums of the positive gradient, each place by how much of the score it explains: of
    several occurrences each counts, however large it is."""

    def weights(
        self, images: Tensor, activations: Tensor, scores: Tensor, targets: Tensor
    ) -> Tensor:
        g = self._gradient(activations, scores, targets)
        total = activations.detach().sum((2, 3), keepdim=True)
        below = 2 * g**2 + total * g**3
        part = dtorch.where(below != 0, g**2 / dtorch.where(below != 0, below, 1.0), 0.0)
        return (part * g.relu()).sum((2, 3))


class ScoreCAM(_CAM):
    """Weights are how much of the target's probability an image has, of which a channel lets only its
    own places through, over a black one. It needs no gradients, and one run of the model a channel."""

    @dtorch.no_grad()
    def weights(
        self, images: Tensor, activations: Tensor, scores: Tensor, targets: Tensor
    ) -> Tensor:
        masks = F.interpolate(
            activations.detach(), images.shape[-2:], mode="bilinear", align_corners=False
        )
        n, channels, h, w = masks.shape
        masks = _unit_range(masks.reshape(n * channels, h, w)).reshape(n, channels, 1, h, w)
        black = self._probability(images * 0, targets)
        columns = [
            self._probability(images * masks[:, k], targets) - black for k in range(channels)
        ]
        return dtorch.stack(columns, 1)

    def _probability(self, images: Tensor, targets: Tensor) -> Tensor:
        return self.model(images).softmax(1).gather(1, targets[:, None])[:, 0]


def _unit_range(maps: Tensor) -> Tensor:
    """(N, H, W), each from 0 to 1; a flat one is 0."""
    low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
    spread = high - low
    return (maps - low) / dtorch.where(spread > 0, spread, 1.0)


def overlay(image: Any, cam: Tensor, alpha: float = 0.5) -> Any:
    """A PIL image with a map laid over it, from blue (0) through green to red (1).

    image: a PIL image, or a Tensor (1 or 3, H, W), floats from 0 to 1 or bytes; cam: (H, W)
    alpha: the map's part
    """
    from PIL import Image

    picture = (image if is_pil(image) else to_pil_image(image)).convert("RGB")
    values = cam.detach().cpu().numpy()
    if values.shape != (picture.height, picture.width):
        raise ValueError(
            f"expected a map of {(picture.height, picture.width)}, the image's size, got "
            f"{values.shape}"
        )
    # Each colour is a trapezoid over the values: blue around 1/4, green around 1/2, red around 3/4.
    middle = np.array([3.0, 2.0, 1.0])
    colors = (1.5 - np.abs(4 * values[..., None] - middle)).clip(0, 1) * 255
    heat = Image.fromarray(colors.round().astype(np.uint8))
    return Image.blend(picture, heat, alpha)
