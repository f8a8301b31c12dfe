"""Reductions and normalizations under a mask: the functions of torch.masked, without its class."""

from __future__ import annotations

from .core.ops.masked import MASKED

globals().update(MASKED)

__all__ = [*MASKED]
