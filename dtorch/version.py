"""Which torch dtorch follows: torch.version's names, and versions that compare as numbers."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from typing import Any

TORCH = "2.13.0"
TORCHVISION = "0.28.0"

__version__ = TORCH
cuda = hip = xpu = git_version = None  # torch's own builds would name theirs
debug = False


class TorchVersion(str):
    """A version as text that compares, with text or with tuples of numbers, by its numbers.

    Those are the leading ones: "2.13.0+cpu" and "2.13.0rc1" both count as (2, 13, 0).
    """


def _numbers(version: Any) -> tuple[int, ...]:
    if isinstance(version, str):
        leading = re.match(r"\d+(\.\d+)*", version)
        version = leading[0].split(".") if leading else ()
    numbers = [int(part) for part in version]
    while numbers and numbers[-1] == 0:  # 2.0 is 2.0.0
        numbers.pop()
    return tuple(numbers)


def _by_numbers(compare: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    def method(self: Any, other: Any) -> bool:
        return compare(_numbers(self), _numbers(other))

    return method


for _name in ("lt", "le", "eq", "ne", "ge", "gt"):
    setattr(TorchVersion, f"__{_name}__", _by_numbers(getattr(operator, _name)))
TorchVersion.__hash__ = str.__hash__  # type: ignore[method-assign]
