"""What a profile holds: calls with their times, and averages over calls of one name."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, NamedTuple

from . import chrome, table

Stack = list[str]  # lines "file(line): function", innermost first


class DeviceType(IntEnum):
    """Where the work of an event was done."""

    CPU = 0
    CUDA = 1


class Interval(NamedTuple):
    """Microseconds since the profile was started."""

    start: float
    end: float

    def elapsed_us(self) -> float:
        return self.end - self.start


class _Times:
    """Times as text, under torch's names: cpu_time_str is "1.234ms" for a cpu_time of 1234."""

    def __getattr__(self, name: str) -> str:
        if name.endswith("_str") and not name.startswith("_"):
            return table.time(getattr(self, name[:-4]))
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")


@dataclass(eq=False)
class FunctionEvent(_Times):
    """One call: of an op ("cpu_op"), of a node's gradient rule ("backward"), or a block that the
    script named ("user_annotation"); or a collective ("communication"), which goes on beside calls.

    Times are in microseconds, memory in bytes.
    """

    id: int
    name: str
    category: str
    thread: int  # the system's number of the thread
    start_ns: int
    cpu_parent: FunctionEvent | None = None
    end_ns: int = 0
    cpu_children: list[FunctionEvent] = field(default_factory=list)
    input_shapes: list[list[int]] = field(default_factory=list)
    stack: Stack = field(default_factory=list)
    cpu_memory_usage: int = 0  # of the tensors that it returned and whose memory is new
    device_memory_usage: int = 0
    device_time_total: float = 0.0
    sequence_nr: int = -1  # of the node that it made, or whose rule it is
    origin_ns: int = 0  # when the profile was started
    device_events: Any = None  # CUDA events around the call, until the profile stops
    count = 1
    node_id = -1
    is_async = False
    is_remote = is_legacy = False
    device_type = DeviceType.CPU

    def __repr__(self) -> str:
        return (
            f"<FunctionEvent id={self.id} name={self.name} cpu_time={self.cpu_time_str} "
            f"thread={self.thread} input_shapes={self.input_shapes} "
            f"cpu_memory_usage={self.cpu_memory_usage} sequence_nr={self.sequence_nr}>"
        )

    @property
    def key(self) -> str:
        return self.name

    @property
    def is_user_annotation(self) -> bool:
        return self.category == "user_annotation"

    @property
    def time_range(self) -> Interval:
        return Interval(
            (self.start_ns - self.origin_ns) / 1000, (self.end_ns - self.origin_ns) / 1000
        )

    @property
    def cpu_time_total(self) -> float:
        return (self.end_ns - self.start_ns) / 1000

    @property
    def self_cpu_time_total(self) -> float:
        """Less the calls that were made within; nothing for what goes on beside calls."""
        if self.is_async:
            return 0.0
        return self.cpu_time_total - sum(c.cpu_time_total for c in self.cpu_children)

    @property
    def self_cpu_memory_usage(self) -> int:
        return self.cpu_memory_usage - sum(c.cpu_memory_usage for c in self.cpu_children)

    @property
    def self_device_time_total(self) -> float:
        return self.device_time_total - sum(c.device_time_total for c in self.cpu_children)

    @property
    def self_device_memory_usage(self) -> int:
        return self.device_memory_usage - sum(c.device_memory_usage for c in self.cpu_children)

    cpu_time = cpu_time_total

    @property
    def device_time(self) -> float:
        return self.device_time_total


SUMMED = (
    "count", "cpu_time_total", "self_cpu_time_total", "cpu_memory_usage", "self_cpu_memory_usage",
    "device_time_total", "self_device_time_total", "device_memory_usage", "self_device_memory_usage",
)  # fmt: skip


class FunctionEventAvg(_Times):
    """Sums over the calls of one name, and averages: cpu_time, device_time."""

    node_id = -1
    is_async = is_remote = is_legacy = False
    device_type = DeviceType.CPU
    count: int
    cpu_time_total: float
    self_cpu_time_total: float
    cpu_memory_usage: int
    self_cpu_memory_usage: int
    device_time_total: float
    self_device_time_total: float
    device_memory_usage: int
    self_device_memory_usage: int

    def __init__(self, key: str | None = None) -> None:
        self.key = key
        self.input_shapes: list[list[int]] = []
        self.stack: Stack = []
        self.cpu_parent: FunctionEvent | None = None
        self.is_user_annotation = False
        for name in SUMMED:
            setattr(self, name, 0)

    def add(self, other: FunctionEvent | FunctionEventAvg) -> FunctionEventAvg:
        """Count another event in; the first one gives the name."""
        if self.key is None:
            self.key = other.key
        for name in SUMMED:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        return self

    __iadd__ = add

    @property
    def cpu_time(self) -> float:
        return self.cpu_time_total / max(self.count, 1)

    @property
    def device_time(self) -> float:
        return self.device_time_total / max(self.count, 1)

    def __repr__(self) -> str:
        return (
            f"<FunctionEventAvg key={self.key} count={self.count} "
            f"self_cpu_time={self.self_cpu_time_total_str} cpu_time={self.cpu_time_str} "
            f"input_shapes={self.input_shapes}>"
        )


class EventList(list[Any]):
    """Events, or averages of events."""

    metrics = ("self_cpu_time_total", "self_cuda_time_total", "self_device_time_total")

    def __init__(
        self,
        events: Iterable[Any] = (),
        profile_memory: bool = False,
        use_device: str | None = None,
    ) -> None:
        super().__init__(events)
        self.profile_memory = profile_memory
        self.use_device = use_device

    def __str__(self) -> str:
        return self.table()

    def _like(self, events: Iterable[Any]) -> EventList:
        return EventList(events, self.profile_memory, self.use_device)

    @property
    def self_cpu_time_total(self) -> float:
        return float(sum(e.self_cpu_time_total for e in self))

    def table(
        self,
        sort_by: str | None = None,
        row_limit: int = 100,
        max_src_column_width: int | None = 75,
        max_name_column_width: int | None = 55,
        max_shapes_column_width: int | None = 80,
        header: str | None = None,
        top_level_events_only: bool = False,
        time_unit: str | None = None,
    ) -> str:
        """The events as a table of text.

        sort_by: the attribute of events to sort by, largest first: "cpu_time_total",
            "self_cpu_time_total", "cpu_time", "cpu_memory_usage", "self_cpu_memory_usage", "count"
            and the same for "cuda"
        row_limit: how many rows at most; -1: all
        top_level_events_only: only calls that were not made within another
        time_unit: "s", "ms" or "us"; by default whichever fits each number
        """
        return table.render(
            self, sort_by, row_limit, max_src_column_width, max_name_column_width,
            max_shapes_column_width, header, top_level_events_only, time_unit,
        )  # fmt: skip

    def key_averages(
        self, group_by_input_shapes: bool = False, group_by_stack_n: int = 0
    ) -> EventList:
        """A FunctionEventAvg for each name; or for each name with its inputs' shapes, or with the
        innermost `group_by_stack_n` lines of its stack."""
        groups: dict[Any, FunctionEventAvg] = {}
        for e in self:
            key: list[Any] = [e.key, e.is_user_annotation]
            if group_by_input_shapes:
                key.append(str(e.input_shapes))
            key += e.stack[:group_by_stack_n]
            average = groups.get(tuple(key))
            if average is None:
                average = groups[tuple(key)] = FunctionEventAvg(e.key)
                average.is_user_annotation = e.is_user_annotation
                average.input_shapes = e.input_shapes if group_by_input_shapes else []
                average.stack = e.stack[:group_by_stack_n]
            average.add(e)
        return self._like(groups.values())

    def total_average(self) -> FunctionEventAvg:
        """All events as one."""
        total = FunctionEventAvg("Total")
        for e in self:
            total.add(e)
        return total

    def export_chrome_trace(self, path: str) -> None:
        """Write the events as JSON for Perfetto (ui.perfetto.dev) or chrome://tracing; gzipped if
        the name ends in .gz."""
        chrome.write(path, self)

    @property
    def supported_export_stacks_metrics(self) -> list[str]:
        return list(self.metrics)

    def export_stacks(self, path: str, metric: str) -> None:
        """Write a line for each stack, "outermost;...;innermost microseconds", as flame graph
        programs read them.  ValueError for a metric that is none of supported_export_stacks_metrics.
        """
        if metric not in self.metrics:
            raise ValueError(f"metric should be one of: {list(self.metrics)}, got {metric!r}")
        attribute = metric.replace("cuda", "device")
        sums: dict[str, float] = {}
        for e in self:
            if e.stack:
                line = ";".join(frame.replace(";", ",") for frame in reversed(e.stack))
                sums[line] = sums.get(line, 0) + getattr(e, attribute)
        with open(path, "w") as file:
            file.writelines(f"{line} {int(n)}\n" for line, n in sums.items() if int(n) > 0)
