"""Which GPUs there are, and which of them is the current one."""

from __future__ import annotations

import importlib.util
from types import ModuleType, TracebackType
from typing import Any, NamedTuple

from ..core.backend.visible import device_count as _visible_count
from ..core.device import device as Device
from ..core.device import namespace
from ..core.tensor import Tensor

__all__ = [
    "can_device_access_peer", "current_device", "device", "device_count", "device_of",
    "get_arch_list", "get_device_capability", "get_device_name", "get_device_properties",
    "get_gencode_flags", "init", "is_available", "is_bf16_supported",
    "is_current_stream_capturing", "is_initialized", "is_tf32_supported", "set_device",
    "synchronize",
]  # fmt: skip

_cupy: ModuleType | None = None


def cupy() -> Any:
    """CuPy, imported on first use; RuntimeError that says what is missing where it can't be."""
    global _cupy
    if _cupy is None:
        _cupy = namespace("cuda").cp
    return _cupy


def is_initialized() -> bool:
    """Whether a GPU has been used in this process."""
    return _cupy is not None


def device_count() -> int:
    """How many GPUs are visible (CUDA_VISIBLE_DEVICES); does not initialise CUDA."""
    return _visible_count()


def is_available() -> bool:
    """Whether CuPy is installed and a GPU is visible."""
    return importlib.util.find_spec("cupy") is not None and device_count() > 0


def index_of(d: Any) -> int:
    if d is None:
        return current_device()
    if isinstance(d, int):
        return d
    where = Device(d)
    if where.type != "cuda":
        raise ValueError(f"Expected a cuda device, but got: {where}")
    return current_device() if where.index is None else where.index


def current_device() -> int:
    """The index of the device that new CUDA tensors go to in this thread."""
    return int(cupy().cuda.Device().id)


def set_device(device: Any) -> None:
    """Make a device the current one of this thread."""
    cupy().cuda.Device(index_of(device)).use()


class device:
    """A context in which another device is the current one: with dtorch.cuda.device(1): ...

    Nothing for None.
    """

    index: int | None

    def __init__(self, device: Any) -> None:
        self.index = None if device is None else index_of(device)

    def __enter__(self) -> None:
        if self.index is not None:
            self.before = current_device()
            set_device(self.index)

    def __exit__(
        self, kind: type | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.index is not None:
            set_device(self.before)


class device_of(device):
    """A context in which the device of a tensor is the current one; nothing for one on the CPU."""

    def __init__(self, obj: Tensor) -> None:
        self.index = obj.device.index if obj.is_cuda else None


def synchronize(device: Any = None) -> None:
    """Wait until all work given to a device is done; without a GPU, and a device, that is none."""
    if device is None and not is_available():
        return
    cupy().cuda.Device(index_of(device)).synchronize()


class DeviceProperties(NamedTuple):
    """What a GPU is."""

    name: str
    major: int
    minor: int
    total_memory: int  # bytes
    multi_processor_count: int


def get_device_properties(device: Any = None) -> DeviceProperties:
    given = cupy().cuda.runtime.getDeviceProperties(index_of(device))
    return DeviceProperties(given["name"].decode(), given["major"], given["minor"],
                            given["totalGlobalMem"], given["multiProcessorCount"])  # fmt: skip


def get_device_name(device: Any = None) -> str:
    return get_device_properties(device).name


def get_device_capability(device: Any = None) -> tuple[int, int]:
    """(major, minor): what the GPU's generation can do."""
    p = get_device_properties(device)
    return p.major, p.minor


def is_bf16_supported(including_emulation: bool = True) -> bool:
    """Whether there is a GPU that computes in bfloat16: in hardware, or (older ones) by way of
    float32."""
    if not is_available():
        return False
    return including_emulation or get_device_capability()[0] >= 8


def is_tf32_supported() -> bool:
    return is_available() and get_device_capability()[0] >= 8


def can_device_access_peer(device: Any, peer_device: Any) -> bool:
    """Whether one GPU can read the memory of another."""
    a, b = index_of(device), index_of(peer_device)
    return a == b or bool(cupy().cuda.runtime.deviceCanAccessPeer(a, b))


def init() -> None:
    """Initialise CUDA now, rather than when it is first used.  RuntimeError where there is none."""
    current_device()


def get_arch_list() -> list[str]:
    """[]: kernels are compiled when they are first used, for the GPU at hand."""
    return []


def get_gencode_flags() -> str:
    """ "", as get_arch_list is empty."""
    return ""


def is_current_stream_capturing() -> bool:
    """Whether what the current stream is given is being recorded as a CUDA graph."""
    return is_initialized() and bool(cupy().cuda.get_current_stream().is_capturing())
