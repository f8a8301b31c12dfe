"""Images sampled at points of a grid (spatial transformers, Jaderberg et al., 2015)."""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

from itertools import product
from math import prod

from .create import linspace, ones
from .index import select
from .join import stack
from .linalg import matmul
from .pointwise import abs, clamp, floor, round, where
from .pool import gather_flat
from .shape import expand, reshape, transpose, unsqueeze


def _unnormalized(x, n, align_corners):
    """Positions in [-1, 1] as indices; -1 and 1 are the outer pixels' centers, or their edges."""
    return (x + 1) * ((n - 1) / 2) if align_corners else ((x + 1) * n - 1) / 2


def _reflected(x, n, align_corners):
    """Positions mirrored at the outer pixels' centers, or at their edges, until they are inside."""
    low, span = (0.0, n - 1) if align_corners else (-0.5, n)
    if not span:
        return x * 0
    x = abs(x - low) % (2 * span)
    return clamp(where(x > span, 2 * span - x, x) + low, 0, n - 1)


def _inside(x, n, padding_mode, align_corners):
    if padding_mode == "border":
        return clamp(x, 0, n - 1)
    return _reflected(x, n, align_corners) if padding_mode == "reflection" else x


def _pixels(input, places):
    """The pixels at whole positions (N, *out) a dimension, 0 outside: (N, C, *out)"""
    flat, within = 0, None
    for place, n in zip(places, input.shape[2:]):
        ok = (place >= 0) & (place <= n - 1)
        within = ok if within is None else within & ok
        flat = flat * n + where(ok, place, 0.0).long()
    shape = (flat.shape[0], input.shape[1], *flat.shape[1:])
    out = tuple(flat.shape[1:])
    index = reshape(expand(unsqueeze(flat, 1), shape), (*shape[:2], prod(out)))
    values = reshape(gather_flat(reshape(input, (*input.shape[:2], -1)), index, n=1), shape)
    return where(unsqueeze(within, 1), values, 0.0)


def _cubic_weights(t):
    """Keys' kernel (1981) with a = -3/4, for the pixels at -1, 0, 1 and 2 from a fraction t."""
    a = -0.75

    def near(x):
        return ((a + 2) * x - (a + 3)) * x * x + 1

    def far(x):
        return ((x - 5) * x + 8) * x * a - 4 * a

    return far(t + 1), near(t), near(1 - t), far(2 - t)


def grid_sample(input, grid, mode="bilinear", padding_mode="zeros", align_corners=None):
    """The values of images at the points of a grid.

    input: (N, C, *size), 2 or 3 spatial dimensions; grid: (N, *out, 2 or 3), x first, in [-1, 1]
    mode: "bilinear", "nearest" or "bicubic" (2 dimensions); padding_mode: "zeros", "border" or
        "reflection"
    """
    n = input.ndim - 2
    if mode not in ("bilinear", "nearest", "bicubic"):
        raise ValueError(
            "nn.functional.grid_sample(): expected mode to be 'bilinear', 'nearest' or 'bicubic', "
            f"but got: '{mode}'"
        )
    if padding_mode not in ("zeros", "border", "reflection"):
        raise ValueError(
            "nn.functional.grid_sample(): expected padding_mode to be 'zeros', 'border', or "
            f"'reflection', but got: '{padding_mode}'"
        )
    if n not in (2, 3) or grid.ndim != input.ndim or grid.shape[-1] != n:
        raise RuntimeError(
            "grid_sampler(): expected 4D or 5D input and grid with same number of dimensions and "
            f"the spatial ones' in grid's last, but got input with sizes {list(input.shape)} and "
            f"grid with sizes {list(grid.shape)}"
        )
    if input.shape[0] != grid.shape[0]:
        raise RuntimeError(
            "grid_sampler(): expected grid and input to have same batch size, but got input with "
            f"sizes {list(input.shape)} and grid with sizes {list(grid.shape)}"
        )
    if mode == "bicubic" and n != 2:
        raise RuntimeError("grid_sampler(): bicubic interpolation only supports 4D input")
    if 0 in input.shape[2:]:
        raise RuntimeError(
            "grid_sampler(): expected input to have non-empty spatial dimensions, but input has "
            f"sizes {list(input.shape)}"
        )
    align = bool(align_corners)
    sizes = input.shape[2:]
    where_ = [_unnormalized(select(grid, -1, n - 1 - i), sizes[i], align) for i in range(n)]
    if mode == "bicubic":
        return _bicubic(input, where_, padding_mode, align)
    where_ = [_inside(x, k, padding_mode, align) for x, k in zip(where_, sizes)]
    if mode == "nearest":
        values = _pixels(input, [round(x.detach()) for x in where_])
        return values + unsqueeze(where_[0] * 0, 1)  # the grid's gradient is 0, not none
    low = [floor(x.detach()) for x in where_]
    fractions = [(1 - (x - f), x - f) for x, f in zip(where_, low)]
    result = 0
    for corner in product((0, 1), repeat=n):
        values = _pixels(input, [f + c for f, c in zip(low, corner)])
        for pair, c in zip(fractions, corner):
            values = values * unsqueeze(pair[c], 1)
        result = result + values
    return result


def _bicubic(input, where_, padding_mode, align):
    low = [floor(x.detach()) for x in where_]
    weights = [_cubic_weights(x - f) for x, f in zip(where_, low)]
    result = 0
    for i, j in product(range(4), repeat=2):
        places = [
            _inside(f + (k - 1), n, padding_mode, align)
            for f, k, n in zip(low, (i, j), input.shape[2:])
        ]
        weight = unsqueeze(weights[0][i] * weights[1][j], 1)
        result = result + _pixels(input, [round(p) for p in places]) * weight
    return result


def affine_grid(theta, size, align_corners=None):
    """The grid of an affine map: theta (N, 2, 3) and size (N, C, H, W), or (N, 3, 4) and 5 sizes"""
    n = len(size) - 2
    if n not in (2, 3) or tuple(theta.shape[1:]) != (n, n + 1):
        raise NotImplementedError(
            "affine_grid only supports 4D and 5D sizes, for 2D and 3D affine transforms, with "
            f"theta of (N, 2, 3) or (N, 3, 4). Got size {list(size)} and theta {list(theta.shape)}."
        )
    if min(size) <= 0:
        raise ValueError(f"Expected non-zero, positive output size. Got {list(size)}")
    spatial = tuple(size[2:])
    axes = []
    for i, k in enumerate(spatial):
        edge = (1.0 if align_corners else (k - 1) / k) if k > 1 else 0.0
        line = linspace(-edge, edge, k, dtype=theta.dtype, device=theta.device)
        axes.append(expand(reshape(line, (-1, *(1,) * (n - 1 - i))), spatial))
    points = stack([*axes[::-1], ones(*spatial, dtype=theta.dtype, device=theta.device)], -1)
    points = reshape(points, (prod(spatial), n + 1))
    return reshape(matmul(points, transpose(theta, 1, 2)), (size[0], *spatial, n))


def _sampler(name, ndim=None):
    """grid_sample under an older name, with its modes as numbers."""

    def sampler(input, grid, interpolation_mode, padding_mode, align_corners):
        if ndim is not None and input.ndim != ndim:
            raise RuntimeError(
                f"{name}(): expected {ndim}D input, but got input with sizes {list(input.shape)}"
            )
        for what, number in (("interpolation", interpolation_mode), ("padding", padding_mode)):
            if number not in (0, 1, 2):
                raise RuntimeError(f"{name}(): {what}_mode must be 0, 1 or 2, got {number}")
        mode = ("bilinear", "nearest", "bicubic")[interpolation_mode]
        padding = ("zeros", "border", "reflection")[padding_mode]
        return grid_sample(input, grid, mode, padding, align_corners)

    sampler.__name__ = sampler.__qualname__ = name
    sampler.__doc__ = (
        "nn.functional.grid_sample with its modes, in the order of its docs, as numbers."
    )
    return sampler


FUNCTIONS = {
    "grid_sampler": _sampler("grid_sampler"), "grid_sampler_2d": _sampler("grid_sampler_2d", 4),
    "grid_sampler_3d": _sampler("grid_sampler_3d", 5),
}  # fmt: skip
