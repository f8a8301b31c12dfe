"""Events as a table of text, in torch's columns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

WIDTH = 12  # of a column of numbers
UNITS = {"s": 1e6, "ms": 1e3, "us": 1.0}


def time(us: float, unit: str | None = None) -> str:
    """Microseconds as text, in the unit, or in the one that fits."""
    if unit is None:
        unit = next((u for u in ("s", "ms") if us >= UNITS[u]), "us")
    return f"{us / UNITS[unit]:.3f}{unit}"


def share(us: float, total: float) -> str:
    return f"{us / total * 100:.2f}%" if total else "0.00%"


def memory(n: int) -> str:
    """Bytes as text."""
    for unit, size in (("GB", 1 << 30), ("MB", 1 << 20), ("KB", 1 << 10)):
        if abs(n) >= size:
            return f"{n / size:.2f} {unit}"
    return f"{n} B"


def _cut(text: str, width: int | None, keep_end: bool = False) -> str:
    if width is None or len(text) <= width - 3:
        return text
    return "..." + text[3 - width :] if keep_end else text[: width - 3] + "..."


def render(
    events: Any, sort_by: str | None, row_limit: int, max_src: int | None, max_name: int | None,
    max_shapes: int | None, header: str | None, top_level_only: bool, unit: str | None,
) -> str:  # fmt: skip
    """See EventList.table."""
    if not events:
        return ""
    if sort_by is not None:
        key = sort_by.replace("cuda", "device")
        events = events._like(sorted(events, key=lambda e: getattr(e, key), reverse=True))
    cpu = events.self_cpu_time_total
    device = sum(e.self_device_time_total for e in events)
    columns: dict[str, Callable[[Any], str]] = {
        "Name": lambda e: _cut(e.key, max_name),
        "Self CPU %": lambda e: share(e.self_cpu_time_total, cpu),
        "Self CPU": lambda e: time(e.self_cpu_time_total, unit),
        "CPU total %": lambda e: share(e.cpu_time_total, cpu),
        "CPU total": lambda e: time(e.cpu_time_total, unit),
        "CPU time avg": lambda e: time(e.cpu_time, unit),
    }
    if device:
        columns |= {
            "Self CUDA": lambda e: time(e.self_device_time_total, unit),
            "Self CUDA %": lambda e: share(e.self_device_time_total, device),
            "CUDA total": lambda e: time(e.device_time_total, unit),
            "CUDA time avg": lambda e: time(e.device_time, unit),
        }
    if events.profile_memory:
        columns["CPU Mem"] = lambda e: memory(e.cpu_memory_usage)
        columns["Self CPU Mem"] = lambda e: memory(e.self_cpu_memory_usage)
    if events.profile_memory and device:
        columns["CUDA Mem"] = lambda e: memory(e.device_memory_usage)
        columns["Self CUDA Mem"] = lambda e: memory(e.self_device_memory_usage)
    columns["# of Calls"] = lambda e: str(e.count)
    if any(e.input_shapes for e in events):
        columns["Input Shapes"] = lambda e: _cut(str(e.input_shapes), max_shapes)
    if any(e.stack for e in events):
        columns["Source Location"] = lambda e: _cut(e.stack[0] if e.stack else "", max_src, True)

    shown = [e for e in events if not (top_level_only and e.cpu_parent is not None)]
    shown = shown if row_limit < 0 else shown[:row_limit]
    rows = [list(columns), *([cell(e) for cell in columns.values()] for e in shown)]
    widths = [max(WIDTH, *(len(row[i]) for row in rows)) for i in range(len(columns))]
    line = "  ".join("-" * w for w in widths)
    text = [line, *("  ".join(cell.rjust(w) for cell, w in zip(row, widths)) for row in rows), line]
    text.insert(2, line)
    if top_level_only:
        text[:0] = ["=" * len(line), "This report only display top-level ops statistics"]
    if header is not None:
        text[:0] = ["=" * len(line), header]
    text.append(f"Self CPU time total: {time(cpu, unit)}")
    if device:
        text.append(f"Self CUDA time total: {time(device, unit)}")
    return "\n".join(text) + "\n"
