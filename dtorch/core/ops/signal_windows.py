"""Windows of signal processing: torch.signal.windows, and the older torch.hann_window and its kin.

A shape is a function (xp, x, width) of the distances x of the samples from the window's centre. (M,)
The formulas are those of Harris, "On the use of windows for harmonic analysis with the discrete
Fourier transform" (1978).
"""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

import math
from collections.abc import Iterable

from ..dtype import as_dtype, float32, float64, get_default_dtype, strided
from .create import made

HANN, BLACKMAN = (0.5, 0.5), (0.42, 0.5, 0.08)
NUTTALL = (0.3635819, 0.4891775, 0.1365995, 0.0106411)


# ---- shapes --------------------------------------------------------------------------------------


def _triangle(xp, x, width):
    return 1 - xp.absolute(x) * (2 / width)


def _cosines(a):
    """The sum of a[i] cos(2 pi i x / width); a window of one sample is 1."""

    def shape(xp, x, width):
        if len(x) == 1:
            return xp.ones(1)
        return sum(w * xp.cos((2 * math.pi * i / width) * x) for i, w in enumerate(a))

    return shape


def _kaiser(beta):
    def shape(xp, x, width):
        i0 = xp.special("i0")
        return i0(beta * xp.sqrt(1 - (x * (2 / width)) ** 2)) / i0(xp.asarray(float(beta)))

    return shape


def _filled(shape, M, sym, dtype, **options):
    """A shape at M samples; a periodic window is the symmetric one of M + 1 without its last."""
    width = M - 1 if sym or M == 1 else M

    def make(xp, d):
        x = xp.arange(M, dtype="float64") - width / 2
        return xp.asarray(shape(xp, x, max(width, 1))).astype(d)

    return made(make, dtype, **options)


# ---- torch.signal.windows ------------------------------------------------------------------------


def _window(name, shape, M, sym, dtype=None, layout=None, **options):
    """A window of M samples, after checks: ValueError for a length < 0, a dtype, a layout."""
    dtype = as_dtype(dtype) or get_default_dtype()
    if M < 0:
        raise ValueError(f"{name} requires non-negative window length, got M={M}")
    if layout not in (None, strided):
        raise ValueError(f"{name} is implemented for strided tensors only, got: {layout}")
    if dtype not in (float32, float64):
        raise ValueError(f"{name} expects float32 or float64 dtypes, got: {dtype}")
    return _filled(shape, M, sym, dtype, **options)


def bartlett(M, *, sym=True, **options):
    """Straight from 0 up to 1 at the centre, and down again."""
    return _window("bartlett", _triangle, M, sym, **options)


def general_cosine(M, *, a, sym=True, **options):
    """A sum of cosines with the weights `a`, which is a sequence that is not empty."""
    if not isinstance(a, Iterable):
        raise TypeError(f"Coefficients must be a list/tuple, got {type(a).__name__}")
    a = tuple(a)
    if not a:
        raise ValueError("Coefficients cannot be empty")
    return _window("general_cosine", _cosines(a), M, sym, **options)


def general_hamming(M, *, alpha=0.54, sym=True, **options):
    """alpha + (1 - alpha) cos(2 pi x / width)"""
    return general_cosine(M, a=(alpha, 1 - alpha), sym=sym, **options)


def hamming(M, *, sym=True, **options):
    """0.54 + 0.46 cos(2 pi x / width)"""
    return general_hamming(M, sym=sym, **options)


def hann(M, *, sym=True, **options):
    """0.5 + 0.5 cos(2 pi x / width)"""
    return general_cosine(M, a=HANN, sym=sym, **options)


def blackman(M, *, sym=True, **options):
    """0.42 + 0.5 cos(2 pi x / width) + 0.08 cos(4 pi x / width)"""
    return general_cosine(M, a=BLACKMAN, sym=sym, **options)


def nuttall(M, *, sym=True, **options):
    """Four cosines, with the weights of Nuttall, "Some windows with very good sidelobe behavior"."""
    return general_cosine(M, a=NUTTALL, sym=sym, **options)


def cosine(M, *, sym=True, **options):
    """Half a wave: cos(pi x / (width + 1))"""

    def wave(xp, x, width):
        return xp.cos((math.pi / (width + 1)) * x)

    return _window("cosine", wave, M, sym, **options)


def gaussian(M, *, std=1.0, sym=True, **options):
    """exp(-(x / std)^2 / 2)"""
    if std <= 0:
        raise ValueError(f"Standard deviation must be positive, got: {std} instead.")

    def bell(xp, x, width):
        return xp.exp(-0.5 * (x / std) ** 2)

    return _window("gaussian", bell, M, sym, **options)


def exponential(M, *, center=None, tau=1.0, sym=True, **options):
    """exp(-|x| / tau); in a periodic window the sample `center` may be where the decay starts."""
    if tau <= 0:
        raise ValueError(f"Tau must be positive, got: {tau} instead.")
    if sym and center is not None:
        raise ValueError("Center must be None for symmetric windows")

    def decay(xp, x, width):
        distance = x if center is None else xp.arange(len(x)) - center
        return xp.exp(-xp.absolute(distance) / tau)

    return _window("exponential", decay, M, sym, **options)


def kaiser(M, *, beta=12.0, sym=True, **options):
    """i0(beta sqrt(1 - (2 x / width)^2)) / i0(beta)"""
    if beta < 0:
        raise ValueError(f"beta must be non-negative, got: {beta} instead.")
    return _window("kaiser", _kaiser(beta), M, sym, **options)


# ---- torch.*_window ------------------------------------------------------------------------------


def _old_window(name, shape, window_length, periodic, dtype=None, **options):
    """A window after checks: TypeError or RuntimeError for a length, RuntimeError for a dtype."""
    dtype = as_dtype(dtype) or get_default_dtype()
    if not isinstance(window_length, int):
        kind = type(window_length).__name__
        raise TypeError(f"{name}(): argument 'window_length' must be int, not {kind}")
    if window_length < 0:
        raise RuntimeError(
            f"{name} requires non-negative window_length, got window_length={window_length}"
        )
    if not dtype.is_floating_point:
        raise RuntimeError(f"{name} expects floating point dtypes, got: {dtype}")
    return _filled(shape, window_length, not periodic, dtype, **options)


def bartlett_window(window_length, periodic=True, **options):
    """Straight from 0 up to 1 at the centre, and down again."""
    return _old_window("bartlett_window", _triangle, window_length, periodic, **options)


def blackman_window(window_length, periodic=True, **options):
    """0.42 + 0.5 cos(2 pi x / width) + 0.08 cos(4 pi x / width)"""
    return _old_window("blackman_window", _cosines(BLACKMAN), window_length, periodic, **options)


def hann_window(window_length, periodic=True, **options):
    """0.5 + 0.5 cos(2 pi x / width)"""
    return _old_window("hann_window", _cosines(HANN), window_length, periodic, **options)


def hamming_window(window_length, periodic=True, alpha=0.54, beta=0.46, **options):
    """alpha + beta cos(2 pi x / width)"""
    shape = _cosines((alpha, beta))
    return _old_window("hamming_window", shape, window_length, periodic, **options)


def kaiser_window(window_length, periodic=True, beta=12.0, **options):
    """i0(beta sqrt(1 - (2 x / width)^2)) / i0(beta)"""
    return _old_window("kaiser_window", _kaiser(beta), window_length, periodic, **options)


FUNCTIONS = {
    "bartlett_window": bartlett_window, "blackman_window": blackman_window,
    "hamming_window": hamming_window, "hann_window": hann_window, "kaiser_window": kaiser_window,
}  # fmt: skip
WINDOWS = {
    "bartlett": bartlett, "blackman": blackman, "cosine": cosine, "exponential": exponential,
    "gaussian": gaussian, "general_cosine": general_cosine, "general_hamming": general_hamming,
    "hamming": hamming, "hann": hann, "kaiser": kaiser, "nuttall": nuttall,
}  # fmt: skip
