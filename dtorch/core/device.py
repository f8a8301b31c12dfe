"""Devices: parsing names, the current CUDA device, moving arrays."""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import nullcontext
from contextvars import ContextVar
from types import ModuleType
from typing import Any

from . import backend
from .backend.sparse import SparseArray


class device:
    """Where a tensor lives: device("cpu"), device("cuda"), device("cuda:1"), device("cuda", 1)."""

    __slots__ = ("type", "index")

    def __init__(self, type: str | int | device, index: int | None = None) -> None:
        if isinstance(type, device):
            index = type.index if index is None else index
            type = type.type
        elif isinstance(type, int):
            index, type = type, "cuda"
        name, number = _parse(type)
        if number is not None and index is not None:
            raise RuntimeError(
                f"type (string) must not include an index because index was passed explicitly: {type}"
            )
        self.type: str = name
        self.index: int | None = number if index is None else index

    def __repr__(self) -> str:
        index = "" if self.index is None else f", index={self.index}"
        return f"device(type='{self.type}'{index})"

    def __str__(self) -> str:
        return self.type if self.index is None else f"{self.type}:{self.index}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, device) and (self.type, self.index) == (other.type, other.index)

    def __hash__(self) -> int:
        return hash((self.type, self.index))

    def __reduce__(self) -> tuple[Any, ...]:
        return device, (str(self),)

    def __enter__(self) -> device:
        """New tensors are on this device until the end of the block."""
        _before.set((*_before.get(), default_device.set(self)))
        return self

    def __exit__(self, *error: object) -> None:
        *rest, last = _before.get()
        _before.set(tuple(rest))
        default_device.reset(last)


# Where tensors are made that name no device; None is the CPU.
default_device: ContextVar[device | None] = ContextVar("default_device", default=None)
default = default_device.get
_before: ContextVar[tuple[Any, ...]] = ContextVar("before", default=())  # of `with device:` blocks


def _parse(text: str) -> tuple[str, int | None]:
    found = re.fullmatch(r"(cpu|cuda)(?::(0|[1-9]\d*))?", text)
    if not found:
        raise RuntimeError(
            f"Expected one of cpu, cuda device type at start of device string: {text!r}"
        )
    return found[1], None if found[2] is None else int(found[2])


CPU = device("cpu")


def of(array: Any) -> device:
    """The device that an array is on."""
    if type(array) is backend.ndarray:
        return CPU
    if isinstance(array, SparseArray):
        return of(array.values)
    return device("cuda", array.device.id)


def namespace(d: device | str | int | None) -> ModuleType:
    """The backend of a device; for cuda where there is none, RuntimeError that says why."""
    if d is None or device(d).type == "cpu":
        return backend.cpu
    try:
        from .backend import cuda
    except ImportError as error:
        raise RuntimeError(
            f"{error}. Use device='cpu', or ask dtorch.cuda.is_available() first."
        ) from None
    return cuda


def check_same(name: str, arrays: Iterable[Any]) -> None:
    """RuntimeError unless the arrays are on one device; a 0-d one on the CPU goes with any."""
    found = [of(a) for a in arrays if type(a) is not backend.ndarray or a.ndim]
    others = [d for d in found if d != found[0]]
    if others:
        raise RuntimeError(
            "Expected all tensors to be on the same device, but found at least two devices, "
            f"{found[0]} and {others[0]}! (in {name}; move one with .to(device))"
        )


def entered(d: device | str | int | None) -> Any:
    """A context in which a device is the current one: what makes arrays makes them there."""
    if d is None or device(d).type == "cpu":
        return nullcontext()
    index = device(d).index
    return nullcontext() if index is None else namespace(d).cuda.Device(index)


def move(array: Any, d: device | str | int) -> Any:
    """The array on device `d`: itself if it is there already, else a copy."""
    d = device(d)
    xp = namespace(d)
    if isinstance(array, SparseArray):
        return array.mapped(lambda a: move(a, d))
    if d.type == "cpu":
        return backend.of(array).to_numpy(array)
    index = xp.cuda.Device().id if d.index is None else d.index
    if type(array) is xp.ndarray and array.device.id == index:
        return array
    with xp.cuda.Device(index):
        return xp.asarray(array)
