"""The order in which einsum multiplies its operands.  The flags change nothing."""

from __future__ import annotations

enabled = False
strategy: str | None = None


def is_available() -> bool:
    """False: einsum does not use the package opt_einsum."""
    return False
