"""DLPack: memory shared with other libraries' arrays (https://dmlc.github.io/dlpack)."""

from __future__ import annotations

from typing import Any

from . import device as devices
from . import dtype as dtypes
from .tensor import Tensor, settled, wrap


def _dlpack(self: Tensor, *, stream: Any = None, max_version: Any = None, dl_device: Any = None,
            copy: bool | None = None) -> Any:  # fmt: skip
    """The tensor's memory as a DLPack capsule.

    stream: on the CPU None, or -1; copy: True for memory of its own, False to refuse a copy
    """
    if self._rg:
        raise BufferError("Can't export tensors that require gradient, use tensor.detach()")
    if self._a.dtype.kind == "V":
        raise BufferError("bfloat16 has no DLPack form in NumPy; convert with .float() first")
    if self.is_cpu:
        if stream not in (None, -1):
            raise AssertionError("stream should be None on cpu.")
        stream = None
    a = self._a.copy() if copy else settled(self)
    return a.__dlpack__(stream=stream, max_version=max_version, dl_device=dl_device)


def _dlpack_device(self: Tensor) -> Any:
    return self._a.__dlpack_device__()


class _Capsule:
    """A capsule of host memory as an object with __dlpack__."""

    def __init__(self, capsule: Any) -> None:
        self.capsule = capsule

    def __dlpack__(self, **options: Any) -> Any:
        return self.capsule

    def __dlpack_device__(self) -> tuple[int, int]:
        return 1, 0


def to_dlpack(tensor: Tensor) -> Any:
    """The tensor's memory as a DLPack capsule, which can be taken once."""
    return tensor.__dlpack__()


def from_dlpack(ext_tensor: Any, *, device: Any = None, copy: bool | None = None) -> Tensor:
    """A tensor on the memory of another library's array: of anything that has __dlpack__.

    ext_tensor: or a capsule of host memory
    device: where the tensor is wanted; copy: True for memory of its own, False to refuse a copy
    """
    if type(ext_tensor).__name__ == "PyCapsule":
        ext_tensor = _Capsule(ext_tensor)
    if not hasattr(ext_tensor, "__dlpack__"):
        raise RuntimeError(
            f"from_dlpack: expected an object with __dlpack__, got {type(ext_tensor).__name__}"
        )
    kind = ext_tensor.__dlpack_device__()[0]
    xp = devices.namespace("cpu" if kind in (1, 3) else "cuda")  # 1, 3: host memory, pinned or not
    a = xp.from_dlpack(ext_tensor)
    dtypes.of_numpy(a.dtype)
    t = wrap(a)
    moved = t if device is None else t.to(device)
    if copy is False and moved is not t:
        raise ValueError(f"from_dlpack: memory on {t.device} is not on {device} without a copy")
    return moved.clone() if copy and moved is t else moved


FUNCTIONS: dict[str, Any] = {"from_dlpack": from_dlpack, "to_dlpack": to_dlpack}
METHODS: dict[str, Any] = {"__dlpack__": _dlpack, "__dlpack_device__": _dlpack_device}
