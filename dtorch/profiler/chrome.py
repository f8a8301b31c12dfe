"""A profile in the trace event format, which Perfetto and chrome://tracing read.

Format: "Trace Event Format" of the Chromium project.  Times are in microseconds.
"""

from __future__ import annotations

import gzip
import json
import os
import socket
from typing import Any


def write(path: str, events: Any, metadata: dict[str, Any] | None = None) -> None:
    """Write events, each with what it says of itself, and arrows from calls to their rules."""
    pid = os.getpid()
    trace: list[dict[str, Any]] = [
        {"ph": "M", "name": "process_name", "pid": pid, "tid": 0, "args": {"name": "python"}}
    ]
    trace += [
        {
            "ph": "M",
            "name": "thread_name",
            "pid": pid,
            "tid": tid,
            "args": {"name": f"thread {tid}"},
        }
        for tid in sorted({e.thread for e in events})
    ]
    trace += [
        part for e in events for part in (_aside(e, pid) if e.is_async else [_complete(e, pid)])
    ]
    trace += _arrows(events, pid)
    document = {
        "schemaVersion": 1,
        "displayTimeUnit": "ms",
        "host_name": socket.gethostname(),
        "deviceProperties": [],
        "traceName": str(path),
        **(metadata or {}),
        "traceEvents": trace,
    }
    opener = gzip.open if str(path).endswith(".gz") else open
    with opener(path, "wt", encoding="utf-8") as file:
        json.dump(document, file)


def _complete(e: Any, pid: int) -> dict[str, Any]:
    """A call, from its start to its end."""
    args: dict[str, Any] = {"External id": e.id}
    if e.sequence_nr >= 0:
        args["Sequence number"] = e.sequence_nr
    if e.input_shapes:
        args["Input Dims"] = e.input_shapes
    if e.cpu_memory_usage:
        args["Bytes"] = e.cpu_memory_usage
    if e.device_time_total:
        args["Device time (us)"] = e.device_time_total
    if e.stack:
        args["Call stack"] = ";".join(e.stack)
    category = "user_annotation" if e.is_user_annotation else "cpu_op"
    return {"ph": "X", "cat": category, "name": e.name, "pid": pid, "tid": e.thread,
            "ts": e.start_ns / 1000, "dur": e.cpu_time_total, "args": args}  # fmt: skip


def _aside(e: Any, pid: int) -> list[dict[str, Any]]:
    """The beginning and the end of what goes on beside calls: it gets a row of its own."""
    both = {"cat": e.category, "name": e.name, "id": e.id, "pid": pid, "tid": e.thread}
    args = {"Input Dims": e.input_shapes} if e.input_shapes else {}
    return [
        both | {"ph": "b", "ts": e.start_ns / 1000, "args": args},
        both | {"ph": "e", "ts": e.end_ns / 1000},
    ]


def _arrows(events: Any, pid: int) -> list[dict[str, Any]]:
    """An arrow from each call to the rule of the node that it made."""
    made = {e.sequence_nr: e for e in events if e.category == "cpu_op" and e.sequence_nr >= 0}
    arrows: list[dict[str, Any]] = []
    for rule in events:
        call = made.get(rule.sequence_nr)
        if rule.category == "backward" and call is not None:
            both = {"id": rule.sequence_nr, "cat": "fwdbwd", "name": "fwdbwd", "pid": pid}
            arrows.append(both | {"ph": "s", "tid": call.thread, "ts": call.start_ns / 1000})
            arrows.append(
                both | {"ph": "f", "bp": "e", "tid": rule.thread, "ts": rule.start_ns / 1000}
            )
    return arrows
