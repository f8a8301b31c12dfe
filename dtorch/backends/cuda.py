"""CUDA's libraries.  The flags change nothing, but for matmul.allow_tf32."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from .. import cuda as _cuda
from ..core import settings as _settings

fp32_precision = "none"


class _Matmul:
    """How exact products may be: allow_tf32 is read; the rest changes nothing."""

    def __init__(self) -> None:
        self.allow_fp16_reduced_precision_reduction = True
        self.allow_bf16_reduced_precision_reduction = True
        self.allow_fp16_accumulation = False
        self.fp32_precision = "none"

    @property
    def allow_tf32(self) -> bool:
        """Whether products of float32 matrices may be computed from TF32 operands."""
        return _settings.get_float32_matmul_precision() != "highest"

    @allow_tf32.setter
    def allow_tf32(self, allowed: bool) -> None:
        _settings.set_float32_matmul_precision("high" if allowed else "highest")


matmul = _Matmul()


def is_built() -> bool:
    """Whether CUDA can be used at all: CuPy is installed and sees a GPU."""
    return _cuda.is_available()


# ---- which kernels scaled_dot_product_attention may use: there is one --------------------------

_sdp = {"flash": True, "mem_efficient": True, "math": True, "cudnn": True}


def flash_sdp_enabled() -> bool:
    return _sdp["flash"]


def enable_flash_sdp(enabled: bool) -> None:
    _sdp["flash"] = bool(enabled)


def mem_efficient_sdp_enabled() -> bool:
    return _sdp["mem_efficient"]


def enable_mem_efficient_sdp(enabled: bool) -> None:
    _sdp["mem_efficient"] = bool(enabled)


def math_sdp_enabled() -> bool:
    return _sdp["math"]


def enable_math_sdp(enabled: bool) -> None:
    _sdp["math"] = bool(enabled)


def cudnn_sdp_enabled() -> bool:
    return _sdp["cudnn"]


def enable_cudnn_sdp(enabled: bool) -> None:
    _sdp["cudnn"] = bool(enabled)


@contextmanager
def sdp_kernel(
    enable_flash: bool = True,
    enable_math: bool = True,
    enable_mem_efficient: bool = True,
    enable_cudnn: bool = True,
) -> Iterator[None]:
    """Set the four flags until the end of the block."""
    before = dict(_sdp)
    _sdp.update(flash=enable_flash, math=enable_math, mem_efficient=enable_mem_efficient,
                cudnn=enable_cudnn)  # fmt: skip
    try:
        yield
    finally:
        _sdp.update(before)
