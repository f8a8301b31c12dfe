"""Policies of many operations, each with a magnitude from a range.

AutoAugment (Cubuk et al., 2019), RandAugment (Cubuk et al., 2020), TrivialAugmentWide (Mueller and
Hutter, 2021), AugMix (Hendrycks et al., 2020). They take PIL images and uint8 tensors.
"""

from __future__ import annotations

import math
from enum import Enum
from typing import Any

import numpy as np

import dtorch

from . import functional as F
from ._policies import POLICIES
from .functional import InterpolationMode
from .random import chance, integer
from .transforms import Transform

NEAREST, BILINEAR = InterpolationMode.NEAREST, InterpolationMode.BILINEAR


class AutoAugmentPolicy(Enum):
    """The data sets that AutoAugment's policies were found on."""

    IMAGENET = "imagenet"
    CIFAR10 = "cifar10"
    SVHN = "svhn"


class _Space:
    """Operations by name: the magnitude of each step, and whether it has a random sign."""

    def __init__(
        self,
        bins: int,
        shear: float,
        translate: tuple[float, float],
        rotate: float,
        color: float,
        least_bits: float,
        most_bits: float = 8,
    ) -> None:
        def up_to(most: float) -> list[float]:
            return np.linspace(0.0, most, bins).tolist()

        lost = np.arange(bins) / ((bins - 1) / (most_bits - least_bits))
        self.signed = {
            "ShearX": up_to(shear), "ShearY": up_to(shear), "TranslateX": up_to(translate[0]),
            "TranslateY": up_to(translate[1]), "Rotate": up_to(rotate), "Brightness": up_to(color),
            "Color": up_to(color), "Contrast": up_to(color), "Sharpness": up_to(color),
        }  # fmt: skip
        self.plain = {
            "Posterize": (most_bits - np.round(lost)).tolist(),
            "Solarize": np.linspace(255.0, 0.0, bins).tolist(),
        }

    def magnitude(self, op: str, step: int) -> float:
        """Of an operation, with a random sign; those of no magnitude have 0."""
        if op in self.signed:
            return self.signed[op][step] * (-1.0 if self.signed[op][step] and chance(0.5) else 1.0)
        return self.plain[op][step] if op in self.plain else 0.0


_COLORS = ["Brightness", "Color", "Contrast", "Sharpness"]
_PLACES = ["ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate"]
_LEVELS = ["Posterize", "Solarize", "AutoContrast", "Equalize"]
_ALL = ["Identity", *_PLACES, *_COLORS, *_LEVELS]


def _apply_op(
    img: Any, op: str, magnitude: float, interpolation: InterpolationMode, fill: Any
) -> Any:
    if op.startswith("Shear"):
        # The corner stays where it is, as in PIL, which the policies were found with.
        shear = math.degrees(math.atan(magnitude))
        along = [shear, 0.0] if op == "ShearX" else [0.0, shear]
        return F.affine(img, 0.0, [0, 0], 1.0, along, interpolation, fill, center=[0, 0])
    if op.startswith("Translate"):
        move = [int(magnitude), 0] if op == "TranslateX" else [0, int(magnitude)]
        return F.affine(img, 0.0, move, 1.0, [0.0, 0.0], interpolation, fill)
    if op == "Rotate":
        return F.rotate(img, magnitude, interpolation, fill=fill)
    if op == "Posterize":
        return F.posterize(img, int(magnitude))
    if op == "Solarize":
        return F.solarize(img, magnitude)
    factors = {
        "Brightness": F.adjust_brightness, "Color": F.adjust_saturation,
        "Contrast": F.adjust_contrast, "Sharpness": F.adjust_sharpness,
    }  # fmt: skip
    if op in factors:
        return factors[op](img, 1.0 + magnitude)
    plain = {"AutoContrast": F.autocontrast, "Equalize": F.equalize, "Invert": F.invert}
    return plain[op](img) if op in plain else img


class _Policy(Transform):
    """Draws a list of (operation, magnitude), and applies them in turn."""

    def __init__(self, interpolation: InterpolationMode, fill: Any) -> None:
        super().__init__()
        self.interpolation = interpolation
        self.fill = fill

    def transform(self, image: Any, params: Any) -> Any:
        for op, magnitude in params:
            image = _apply_op(image, op, magnitude, self.interpolation, self.fill)
        return image


class AutoAugment(_Policy):
    """One of 25 pairs of operations, each of which has a probability and a magnitude."""

    shown = ("policy", "fill")

    def __init__(
        self,
        policy: AutoAugmentPolicy = AutoAugmentPolicy.IMAGENET,
        interpolation: InterpolationMode = NEAREST,
        fill: Any = None,
    ) -> None:
        super().__init__(interpolation, fill)
        self.policy = policy
        self.policies = POLICIES[policy.value]

    def make_params(self, flat_inputs: list[Any]) -> list[tuple[str, float]]:
        _, h, w = F.get_dimensions(flat_inputs[0])
        space = _Space(10, 0.3, (150 / 331 * w, 150 / 331 * h), 30.0, 0.9, least_bits=4)
        pair = self.policies[integer(0, len(self.policies))]
        return [(op, space.magnitude(op, step)) for op, p, step in pair if chance(p)]


class RandAugment(_Policy):
    """num_ops operations, any of them, all of one magnitude (a step of num_magnitude_bins)."""

    shown = ("num_ops", "magnitude", "num_magnitude_bins", "interpolation", "fill")

    def __init__(
        self,
        num_ops: int = 2,
        magnitude: int = 9,
        num_magnitude_bins: int = 31,
        interpolation: InterpolationMode = NEAREST,
        fill: Any = None,
    ) -> None:
        super().__init__(interpolation, fill)
        if not 0 <= magnitude < num_magnitude_bins:
            raise ValueError(f"magnitude {magnitude} is no step of {num_magnitude_bins}")
        self.num_ops = num_ops
        self.magnitude = magnitude
        self.num_magnitude_bins = num_magnitude_bins

    def make_params(self, flat_inputs: list[Any]) -> list[tuple[str, float]]:
        _, h, w = F.get_dimensions(flat_inputs[0])
        moves = (150 / 331 * w, 150 / 331 * h)
        space = _Space(self.num_magnitude_bins, 0.3, moves, 30.0, 0.9, least_bits=4)
        ops = [_ALL[integer(0, len(_ALL))] for _ in range(self.num_ops)]
        return [(op, space.magnitude(op, self.magnitude)) for op in ops]


class TrivialAugmentWide(_Policy):
    """One operation, any, of any magnitude."""

    shown = ("num_magnitude_bins", "interpolation", "fill")

    def __init__(
        self,
        num_magnitude_bins: int = 31,
        interpolation: InterpolationMode = NEAREST,
        fill: Any = None,
    ) -> None:
        super().__init__(interpolation, fill)
        self.num_magnitude_bins = num_magnitude_bins

    def make_params(self, flat_inputs: list[Any]) -> list[tuple[str, float]]:
        bins = self.num_magnitude_bins
        space = _Space(bins, 0.99, (32.0, 32.0), 135.0, 0.99, least_bits=2)
        op = _ALL[integer(0, len(_ALL))]
        return [(op, space.magnitude(op, integer(0, bins)))]


class AugMix(Transform):
    """A random mixture of the image and of several chains of operations.

    severity: of the operations, 1 to 10; mixture_width: chains; chain_depth: operations of each, -1
    for 1 to 3; alpha: of the Dirichlet and Beta distributions of the weights; all_ops: also colours
    """

    shown = ("severity", "mixture_width", "chain_depth", "alpha", "all_ops")

    def __init__(
        self,
        severity: int = 3,
        mixture_width: int = 3,
        chain_depth: int = -1,
        alpha: float = 1.0,
        all_ops: bool = True,
        interpolation: InterpolationMode = BILINEAR,
        fill: Any = None,
    ) -> None:
        super().__init__()
        if not 1 <= severity <= 10:
            raise ValueError(f"The severity must be between [1, 10]. Got {severity} instead.")
        self.severity = severity
        self.mixture_width = mixture_width
        self.chain_depth = chain_depth
        self.alpha = alpha
        self.all_ops = all_ops
        self.interpolation = interpolation
        self.fill = fill

    def make_params(self, flat_inputs: list[Any]) -> Any:
        """(weight of the image, [(weight, chain)])"""
        _, h, w = F.get_dimensions(flat_inputs[0])
        space = _Space(10, 0.3, (w / 3, h / 3), 30.0, 0.9, least_bits=0, most_bits=4)
        ops = [*_PLACES, *_LEVELS, *(_COLORS if self.all_ops else [])]
        beta = dtorch.distributions.Beta(self.alpha, self.alpha).sample()
        concentration = dtorch.full((self.mixture_width,), float(self.alpha))
        weights = dtorch.distributions.Dirichlet(concentration).sample() * beta
        mixture = []
        for weight in weights.tolist():
            depth = self.chain_depth if self.chain_depth > 0 else integer(1, 4)
            names = [ops[integer(0, len(ops))] for _ in range(depth)]
            chain = [(op, space.magnitude(op, integer(0, self.severity))) for op in names]
            mixture.append((weight, chain))
        return 1 - float(beta), mixture

    def transform(self, image: Any, params: Any) -> Any:
        kept, mixture = params
        pil = F.is_pil(image)
        mixed = kept * (F.pil_to_tensor(image) if pil else image).float()
        for weight, chain in mixture:
            changed = image
            for op, magnitude in chain:
                changed = _apply_op(changed, op, magnitude, self.interpolation, self.fill)
            mixed = mixed + weight * (F.pil_to_tensor(changed) if pil else changed).float()
        if pil:
            return F.to_pil_image(mixed.clamp(0, 255).byte(), image.mode)
        return mixed.to(image.dtype)
