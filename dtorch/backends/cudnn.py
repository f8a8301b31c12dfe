"""cuDNN, which dtorch does not use.  The flags change nothing."""

from __future__ import annotations

from typing import Any

from ._flags import flags_of

enabled = True
benchmark = False
benchmark_limit: int | None = None
deterministic = False
allow_tf32 = True
fp32_precision = "none"

flags = flags_of(__name__)


def is_available() -> bool:
    return False


def version() -> int | None:
    return None


def is_acceptable(tensor: Any) -> bool:
    """Whether cuDNN would take the tensor: never."""
    return False
