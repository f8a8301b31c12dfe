"""Blocks in which the flags of a module have other values."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any


def flags_of(module: str) -> Callable[..., AbstractContextManager[None]]:
    """`flags` for a module of this package: with flags(benchmark=True): ..."""

    @contextmanager
    def flags(**values: Any) -> Iterator[None]:
        """Set flags of this module until the end of the block; TypeError for one it does not have."""
        held = sys.modules[module]
        before = {name: getattr(held, name, None) for name in values if name in vars(held)}
        if before.keys() != values.keys():
            odd = ", ".join(sorted(values.keys() - before.keys()))
            raise TypeError(f"{module}.flags() got unexpected flags: {odd}")
        vars(held).update(values)
        try:
            yield
        finally:
            vars(held).update(before)

    return flags
