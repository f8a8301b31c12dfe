"""What the kernel's control group says of us: CPU quota, memory limit and peak, kills for memory.

Both versions (cgroups(7)): version 2 has one tree, version 1 one a resource.  Whatever can't be read
is unknown, None, which is no error: many systems have no limits.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_ROOT = Path("/sys/fs/cgroup")


class Memory(NamedTuple):
    """Of the group and all processes in it, in bytes; None: not known, or no limit."""

    kills: int | None  # how many processes the kernel has killed for want of memory
    limit: int | None
    peak: int | None


def cpu_quota() -> float | None:
    """How many cores' worth of time our group gets, the least of it and its parents."""
    found = []
    for folder in _folders("cpu"):
        quota, _, period = _read(folder / "cpu.max").partition(" ")
        if not quota:
            quota, period = _read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us")
        if quota.isdecimal() and period.isdecimal():  # else "max" or -1
            found.append(int(quota) / int(period))
    return min(found, default=None)


def memory() -> Memory:
    for folder in _folders("memory"):
        events = _read(folder / "memory.events") or _read(folder / "memory.oom_control")
        if events:
            words = dict(line.split(" ", 1) for line in events.splitlines() if " " in line)
            limit = _number(folder, "memory.max", "memory.limit_in_bytes")
            if limit is not None and limit > 1 << 60:  # version 1 says so for none
                limit = None
            peak = _number(folder, "memory.peak", "memory.max_usage_in_bytes")
            kills = words.get("oom_kill", "")
            return Memory(int(kills) if kills.isdecimal() else None, limit, peak)
    return Memory(None, None, None)


def _folders(controller: str) -> Iterator[Path]:
    """Our group's folder and its parents', as far as we see them (a container sees a part)."""
    for line in _read(Path("/proc/self/cgroup")).splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        root = _ROOT / controller if controllers else _ROOT
        inner = root / path.strip("/")
        while inner != root:
            yield inner
            inner = inner.parent
        yield root


def _number(folder: Path, *names: str) -> int | None:
    texts = (_read(folder / name) for name in names)
    return next((int(text) for text in texts if text.isdecimal()), None)


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
