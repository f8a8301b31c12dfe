"""Kullback-Leibler divergences."""

from __future__ import annotations

from . import combined, discrete, numbers, vectors
from .registry import kl_divergence, register_kl

__all__ = ["kl_divergence", "register_kl"]
