"""Discrete Fourier transforms under torch.fft's names."""

from __future__ import annotations

from .core.methods import public
from .core.ops.fft import FFT

globals().update({name: public(fn) for name, fn in FFT.items()})

__all__ = [*FFT]
