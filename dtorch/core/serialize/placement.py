"""Where storages go: the location that save() notes of each, and what load() makes of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..backend import visible
from ..device import device

Tagger = Callable[[Any], str | None]
Restorer = Callable[[Any, str], Any]


def _cpu_tag(storage: Any) -> str | None:
    return "cpu" if storage.device.type == "cpu" else None


def _cpu_restore(storage: Any, location: str) -> Any:
    return storage.cpu() if location == "cpu" else None


def _cuda_tag(storage: Any) -> str | None:
    return str(storage.device) if storage.device.type == "cuda" else None


def _cuda_restore(storage: Any, location: str) -> Any:
    if not location.startswith("cuda"):
        return None
    try:
        return storage.cuda(device(location))
    except RuntimeError as error:
        raise RuntimeError(
            f"Attempting to deserialize object on a CUDA device ({location}), of which "
            f"{visible.device_count()} can be used here: {error} Map the storages elsewhere with "
            "map_location='cpu'."
        ) from error


# (priority, tagger, restorer), lowest priority first
_packages: list[tuple[int, Tagger, Restorer]] = [
    (10, _cpu_tag, _cpu_restore),
    (20, _cuda_tag, _cuda_restore),
]


def register_package(priority: int, tagger: Tagger, deserializer: Restorer) -> None:
    """Say how to save and load storages of a place of your own.

    tagger: storage -> the name of its location, or None if it is none of yours
    deserializer: (storage on the CPU, name) -> the storage where it belongs, or None
    priority: lower ones are asked first; cpu has 10 and cuda 20
    """
    _packages.append((priority, tagger, deserializer))
    _packages.sort(key=lambda package: package[0])


def location_tag(storage: Any) -> str:
    """The name of the location of a storage, as files have it: "cpu", "cuda:0"."""
    for _, tag, _ in _packages:
        location = tag(storage)
        if location is not None:
            return location
    raise RuntimeError(f"don't know how to determine data location of a {storage.type()}")


def default_restore_location(storage: Any, location: str) -> Any:
    """The storage, which is on the CPU, at this location; RuntimeError where it can't go."""
    for _, _, restore in _packages:
        result = restore(storage, location)
        if result is not None:
            return result
    raise RuntimeError(
        f"don't know how to restore data location of {storage.type()} (tagged with {location})"
    )


def placement(map_location: Any) -> Restorer:
    """load()'s map_location as a function (storage, location) -> storage."""
    if map_location is None:
        return default_restore_location
    if isinstance(map_location, dict):
        return lambda s, place: default_restore_location(s, map_location.get(place, place))
    if isinstance(map_location, (str, device)):
        return lambda s, place: default_restore_location(s, str(map_location))
    if not callable(map_location):
        raise TypeError(
            "map_location: expected None, a device, its name, a dict of names or a function, got "
            f"{type(map_location).__name__}"
        )

    def restore(storage: Any, location: str) -> Any:
        result = map_location(storage, location)
        return default_restore_location(storage, location) if result is None else result

    return restore
