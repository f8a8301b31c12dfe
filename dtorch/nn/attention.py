"""torch.nn.attention: which kernels scaled_dot_product_attention may use."""

from __future__ import annotations

import contextlib
import enum
from collections.abc import Iterator


class SDPBackend(enum.Enum):
    """torch's kernels of attention."""

    ERROR = -1
    MATH = 0
    FLASH_ATTENTION = 1
    EFFICIENT_ATTENTION = 2
    CUDNN_ATTENTION = 3
    OVERRIDEABLE = 4


@contextlib.contextmanager
def sdpa_kernel(
    backends: list[SDPBackend] | SDPBackend, set_priority: bool = False
) -> Iterator[None]:
    """Choose kernels for the block.  There is one kernel here, which stands for all of torch's: the
    choice is checked, and makes no difference."""
    chosen = [backends] if isinstance(backends, SDPBackend) else backends
    if not isinstance(chosen, list) or not all(isinstance(b, SDPBackend) for b in chosen):
        raise AssertionError(
            "Backend must be an instance of SDPBackend or a list of SDPBackend instances"
        )
    yield
