"""oneDNN, which dtorch does not use.  The flags change nothing."""

from __future__ import annotations

from ._flags import flags_of

enabled = True
deterministic = False
allow_tf32: bool | None = None
fp32_precision = "none"

flags = flags_of(__name__)


def is_available() -> bool:
    return False
