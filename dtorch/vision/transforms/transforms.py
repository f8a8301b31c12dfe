"""What image transforms are, their compositions, and those that convert.

A transform first draws what is random of it (`make_params`), then applies it (`transform`). So a sample
of several images gets the same for all of them: transform(image, other, label), or a tuple, list or
dict of them. What is no image is passed on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from dtorch import nn
from dtorch.core.tensor import Tensor

from . import functional as F
from .random import chance, choice, order


def is_image(x: Any) -> bool:
    """A PIL image, or a Tensor or array of at least two dimensions."""
    return F.is_pil(x) or (isinstance(x, (Tensor, np.ndarray)) and x.ndim >= 2)


class Transform(nn.Module):
    """A transform of images; see the module's text."""

    shown: tuple[str, ...] = ()  # attributes that repr() names

    def make_params(self, flat_inputs: list[Any]) -> Any:
        """What is random, for the images of a sample."""
        return None

    def transform(self, image: Any, params: Any) -> Any:
        raise NotImplementedError

    def forward(self, *inputs: Any) -> Any:
        sample = inputs[0] if len(inputs) == 1 else inputs
        if not isinstance(sample, (tuple, list, dict)):
            return self.transform(sample, self.make_params([sample]))
        images = list(_images(sample))
        if not images:
            return sample
        return _mapped(self.transform, sample, self.make_params(images))

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={getattr(self, name)}" for name in self.shown)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.extra_repr()})"


def _images(sample: Any) -> Any:
    """The images in a sample, one after the other."""
    if isinstance(sample, (tuple, list, dict)):
        for part in sample.values() if isinstance(sample, dict) else sample:
            yield from _images(part)
    elif is_image(sample):
        yield sample


def _mapped(transform: Callable[[Any, Any], Any], sample: Any, params: Any) -> Any:
    if isinstance(sample, dict):
        return {key: _mapped(transform, part, params) for key, part in sample.items()}
    if isinstance(sample, (tuple, list)):
        parts = [_mapped(transform, part, params) for part in sample]
        return type(sample)(*parts) if hasattr(sample, "_fields") else type(sample)(parts)
    return transform(sample, params) if is_image(sample) else sample


# ---- compositions ------------------------------------------------------------------------------


class Compose:
    """One transform after the other."""

    def __init__(self, transforms: Sequence[Callable[..., Any]]) -> None:
        self.transforms = transforms

    def __call__(self, *inputs: Any) -> Any:
        return _in_turn(self.transforms, inputs)

    def __repr__(self) -> str:
        return "\n    ".join(["Compose(", *map(repr, self.transforms)]) + "\n)"


def _in_turn(transforms: Any, inputs: tuple[Any, ...]) -> Any:
    several = len(inputs) > 1
    sample = inputs if several else inputs[0]
    for transform in transforms:
        sample = transform(*sample) if several else transform(sample)
    return sample


class _Several(nn.Module):
    """Transforms of which some are applied."""

    def __init__(self, transforms: Sequence[Callable[..., Any]]) -> None:
        super().__init__()
        if not isinstance(transforms, (Sequence, nn.ModuleList)):
            raise TypeError("Argument transforms should be a sequence of callables")
        self.transforms = transforms

    def __repr__(self) -> str:
        return "\n    ".join([f"{type(self).__name__}(", *map(repr, self.transforms)]) + "\n)"


class RandomApply(_Several):
    """All of the transforms with probability p, else none."""

    def __init__(self, transforms: Sequence[Callable[..., Any]], p: float = 0.5) -> None:
        super().__init__(transforms)
        self.p = p

    def forward(self, *inputs: Any) -> Any:
        return _in_turn(self.transforms if chance(self.p) else [], inputs)


class RandomOrder(_Several):
    """The transforms in any order."""

    def forward(self, *inputs: Any) -> Any:
        return _in_turn([self.transforms[i] for i in order(len(self.transforms))], inputs)


class RandomChoice(_Several):
    """One of the transforms.  p: their probabilities, by default equal ones"""

    def __init__(
        self, transforms: Sequence[Callable[..., Any]], p: Sequence[float] | None = None
    ) -> None:
        super().__init__(transforms)
        if p is not None and len(p) != len(transforms):
            raise ValueError(
                f"{len(transforms)} transforms need as many probabilities, got {len(p)}"
            )
        self.p = p

    def forward(self, *inputs: Any) -> Any:
        chosen = choice([1.0] * len(self.transforms) if self.p is None else list(self.p))
        return _in_turn([self.transforms[chosen]], inputs)


# ---- conversions -------------------------------------------------------------------------------


class Lambda(Transform):
    """A function as a transform. (A lambda can't be sent to workers started by "spawn".)"""

    def __init__(self, lambd: Callable[[Any], Any]) -> None:
        super().__init__()
        if not callable(lambd):
            raise TypeError(f"Argument lambd should be callable, got {type(lambd).__name__!r}")
        self.lambd = lambd

    def forward(self, *inputs: Any) -> Any:
        return self.lambd(*inputs)


class ToTensor(Transform):
    """A PIL image or array (H, W[, C]) becomes a Tensor (C, H, W); 8-bit values become 0 to 1."""

    def transform(self, image: Any, params: Any) -> Tensor:
        return F.to_tensor(image)


class PILToTensor(Transform):
    """A PIL image becomes a Tensor (C, H, W) with the same values."""

    def transform(self, image: Any, params: Any) -> Tensor:
        return F.pil_to_tensor(image)


class ToPILImage(Transform):
    """A Tensor (C, H, W) or an array (H, W[, C]) becomes a PIL image; floats are 0 to 1."""

    shown = ("mode",)

    def __init__(self, mode: str | None = None) -> None:
        super().__init__()
        self.mode = mode

    def transform(self, image: Any, params: Any) -> Any:
        return F.to_pil_image(image, self.mode)


class ConvertImageDtype(Transform):
    """A tensor in another dtype, where white stays white."""

    def __init__(self, dtype: Any) -> None:
        super().__init__()
        self.dtype = dtype

    def transform(self, image: Any, params: Any) -> Tensor:
        return F.convert_image_dtype(image, self.dtype)


class Normalize(Transform):
    """(x - mean) / std on a float Tensor (..., C, H, W), with C means and stds."""

    shown = ("mean", "std")

    def __init__(self, mean: Sequence[float], std: Sequence[float], inplace: bool = False) -> None:
        super().__init__()
        self.mean = mean
        self.std = std
        self.inplace = inplace

    def transform(self, image: Any, params: Any) -> Tensor:
        return F.normalize(image, self.mean, self.std, self.inplace)


class LinearTransformation(Transform):
    """(x - mean) @ matrix on flattened images, as for whitening.

    transformation_matrix: (D, D); mean_vector: (D,), where D = C * H * W
    """

    def __init__(self, transformation_matrix: Tensor, mean_vector: Tensor) -> None:
        super().__init__()
        if transformation_matrix.shape[0] != transformation_matrix.shape[1]:
            raise ValueError(
                f"transformation_matrix should be square. Got {tuple(transformation_matrix.shape)}"
            )
        if len(mean_vector) != len(transformation_matrix):
            raise ValueError(
                f"mean_vector should have length {len(transformation_matrix)}, got {len(mean_vector)}"
            )
        self.transformation_matrix = transformation_matrix
        self.mean_vector = mean_vector

    def transform(self, image: Any, params: Any) -> Tensor:
        flat = image.reshape(-1, len(self.mean_vector)) - self.mean_vector
        return (flat @ self.transformation_matrix).reshape(image.shape)
