"""Which GPU each rank of this host uses: CUDA_VISIBLE_DEVICES as CUDA reads it, one GPU a rank."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence

from dtorch_run.borrowed import visible
from dtorch_run.options import Options, UsageError

VARIABLE = "CUDA_VISIBLE_DEVICES"
# Variables that differ from it by little and mean something else.
_OTHERS = {"NVIDIA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES",
           "ZE_AFFINITY_MASK", "ASCEND_VISIBLE_DEVICES"}  # fmt: skip


def seen(env: Mapping[str, str], uuids: Sequence[str]) -> list[str]:
    """The devices that CUDA shows to a process with this environment, by UUID or MIG name."""
    shown = visible.resolve(visible.parse(env.get(VARIABLE)), uuids) if uuids else []
    return [uuids[entry] if isinstance(entry, int) else entry for entry in shown]


def assign(
    options: Options, env: Mapping[str, str], size: int, uuids: Sequence[str]
) -> tuple[str | None, ...]:
    """The device of each local rank; None where it has none.

    Raises UsageError when GPUs are wanted and there are none, and when two ranks would share one.
    """
    if options.device == "cpu":
        return (None,) * size
    shown = _slices(env) if options.virtual_local_rank else seen(env, uuids)
    shown = shown or seen(env, uuids)
    if not shown:
        if options.device == "gpu" or options.backend == "nccl":
            asked = "--device gpu" if options.device == "gpu" else "--backend nccl"
            raise UsageError(f"{asked}, but {none_seen(env, uuids)}")
        return (None,) * size
    if size > len(shown) and not options.share_gpu:
        raise UsageError(_shared(env, size, shown, uuids))
    return tuple(shown[rank % len(shown)] for rank in range(size))


def variables(device: str | None, options: Options) -> dict[str, str]:
    """What a rank's environment says of its device."""
    if options.device == "cpu":
        return {VARIABLE: ""}
    if options.virtual_local_rank and device is not None:
        return {VARIABLE: device, "LOCAL_RANK": "0"}
    return {}


def notes(env: Mapping[str, str], uuids: Sequence[str]) -> list[str]:
    """Remarks on a variable that is likely misspelt, or names a device that is not there."""
    found = [
        f"{name} is set, and nothing reads it: did you mean {VARIABLE}?"
        for name in sorted(env)
        if name != VARIABLE and name not in _OTHERS and _is_like_it(name)
    ]
    value = env.get(VARIABLE)
    asked = [entry.strip() for entry in (value or "").split(",")]
    count = len(seen(env, uuids))
    if (
        uuids
        and value
        and asked[0] != "-1"
        and count < len(asked)
        and asked[count] not in ("", "-1")
    ):
        found.append(
            f"{VARIABLE}={value}: {asked[count]!r} is repeated, ambiguous or not one of the "
            f"{len(uuids)} GPUs of this host, where CUDA stops reading: {count} of them visible"
        )
    return found


def none_seen(env: Mapping[str, str], uuids: Sequence[str]) -> str:
    """Why no GPU is visible."""
    if uuids:
        return f"{VARIABLE}={env.get(VARIABLE)} hides all {len(uuids)} GPUs of this host"
    return "this host has no GPU that the NVIDIA driver knows of"


def _is_like_it(name: str) -> bool:
    upper = name.upper()
    close = difflib.SequenceMatcher(None, upper, VARIABLE).ratio() > 0.88
    return close or ("CUDA" in upper and "VISIBLE" in upper)


def _slices(env: Mapping[str, str]) -> list[str]:
    """MIG slices: CUDA shows a process the first only, so each rank has to be shown its own."""
    entries = [entry.strip() for entry in env.get(VARIABLE, "").split(",")]
    slices = [entry for entry in entries if entry.startswith("MIG-")]
    return slices if slices == entries and len(set(slices)) == len(slices) else []


def _shared(env: Mapping[str, str], size: int, shown: list[str], uuids: Sequence[str]) -> str:
    value = f"{VARIABLE}={env[VARIABLE]}" if VARIABLE in env else f"{VARIABLE} is not set"
    first, second = 0, len(shown)
    ways = "--device cpu, or --share-gpu if that is what you want"
    if len(_slices(env)) >= size:
        ways = "--virtual-local-rank, which shows each rank one of the MIG slices"
    return (
        f"rank {first} and rank {second} would share the GPU {shown[0]}: {size} ranks on this host "
        f"and {len(shown)} of its {len(uuids)} GPUs visible ({value}). Start at most {len(shown)} "
        f"a host, show more GPUs, or say {ways}"
    )
