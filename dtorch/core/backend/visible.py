"""Which GPUs this process may use, found out without initialising CUDA, so that fork stays safe.

CUDA_VISIBLE_DEVICES is read as the driver reads it (CUDA C++ Programming Guide, "CUDA Environment
Variables").
"""

from __future__ import annotations

import ctypes
import os
import re
import warnings
from collections.abc import Sequence


def parse(value: str | None) -> list[int | str] | None:
    """What the variable says: None (all devices), or ordinals, or 'GPU-...' / 'MIG-...' names.

    The first invalid entry ends the list, so "" and "-1" show no device; an entry that comes twice
    hides every device; numbers are read like C's strtoul ("1gpu" is 1).
    """
    if value is None:
        return None
    named = value.startswith(("GPU-", "MIG-"))
    found: list[int | str] = []
    for entry in value.split(","):
        x: int | str
        if named:
            if not entry.startswith(value[:4]):
                break
            x = entry
        else:
            number = re.match(r"[+-]?\d+", entry.strip())
            x = int(number[0]) if number else -1
            if x < 0:
                break
        if x in found:
            return []
        found.append(x)
    return found


def resolve(visible: list[int | str] | None, uuids: Sequence[str]) -> list[int | str]:
    """The devices that CUDA shows, in its order: indices into `uuids`, or the name of a MIG slice."""
    if visible is None:
        return list(range(len(uuids)))
    shown: list[int | str] = []
    for entry in visible:
        if isinstance(entry, str):
            if entry.startswith("MIG-"):
                return [*shown, entry]  # CUDA shows one slice a process
            hits = [i for i, uuid in enumerate(uuids) if uuid.startswith(entry)]
            if len(hits) != 1:
                break
            entry = hits[0]
        elif entry >= len(uuids):
            break
        if entry in shown:
            return []
        shown.append(entry)
    return shown


def device_count() -> int:
    """How many GPUs are visible; warns where the variable names one that is not there."""
    uuids = nvml_uuids()
    if not uuids:
        return 0
    value = os.environ.get("CUDA_VISIBLE_DEVICES")
    count = len(resolve(parse(value), uuids))
    asked = [e.strip() for e in (value or "").split(",") if e.strip() not in ("", "-1")]
    if count < len(asked):
        warnings.warn(
            f"CUDA_VISIBLE_DEVICES={value!r}: {asked[count]!r} is repeated, ambiguous or not one of "
            f"the {len(uuids)} GPU(s) of this machine; {count} GPU(s) are visible",
            stacklevel=2,
        )
    return count


def nvml_uuids() -> list[str]:
    """The UUIDs of the machine's GPUs from the driver's NVML; none without a driver."""
    try:
        nvml = ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return []
    if nvml.nvmlInit_v2():
        return []
    try:
        count = ctypes.c_uint()
        if nvml.nvmlDeviceGetCount_v2(ctypes.byref(count)):
            return []
        uuids = []
        for i in range(count.value):
            handle, text = ctypes.c_void_p(), ctypes.create_string_buffer(96)
            if nvml.nvmlDeviceGetHandleByIndex_v2(i, ctypes.byref(handle)):
                return []
            if nvml.nvmlDeviceGetUUID(handle, text, len(text)):
                return []
            uuids.append(text.value.decode())
        return uuids
    finally:
        nvml.nvmlShutdown()
