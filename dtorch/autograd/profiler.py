"""torch.autograd.profiler: the profiler under its older name; dtorch.profiler has schedules, too."""

from __future__ import annotations

import warnings
from typing import Any

from ..profiler import record_function, recorder
from ..profiler.events import EventList, FunctionEvent, FunctionEventAvg

__all__ = [
    "EventList", "FunctionEvent", "FunctionEventAvg", "emit_itt", "emit_nvtx", "profile",
    "record_function",
]  # fmt: skip


class profile:
    """Records the calls of ops, of gradient rules and of record_function blocks in a block.

        with profile(record_shapes=True) as prof:
            model(x).sum().backward()
        print(prof.key_averages().table(sort_by="self_cpu_time_total"))

    enabled: False makes it do nothing
    use_device: "cuda" measures the time on the GPU, too; use_cuda is its older form
    record_shapes, profile_memory, with_stack: see dtorch.profiler.profile

    The other arguments are torch's, and change nothing.  RuntimeError if entered twice, or while
    another profiler records.
    """

    def __init__(
        self,
        enabled: bool = True,
        *,
        use_cuda: bool = False,
        use_device: str | None = None,
        record_shapes: bool = False,
        with_flops: bool = False,
        profile_memory: bool = False,
        with_stack: bool = False,
        with_modules: bool = False,
        use_kineto: bool = False,
        use_cpu: bool = True,
        experimental_config: Any = None,
        acc_events: bool = False,
        custom_trace_id_callback: Any = None,
    ) -> None:
        self.enabled = enabled
        self.use_device = "cuda" if use_cuda else use_device
        self.profile_memory = profile_memory
        self.entered = False
        self.function_events: EventList | None = None
        self._options = recorder.Options(record_shapes, profile_memory, with_stack,
                                         self.use_device == "cuda")  # fmt: skip
        self._recorder: recorder.Recorder | None = None

    def __enter__(self) -> profile:
        if self.enabled:
            if self.entered:
                raise RuntimeError("Profiler context manager is not reentrant")
            new = recorder.Recorder(self._options)
            new.start()
            self.entered, self._recorder = True, new
        return self

    def __exit__(self, *error: object) -> None:
        if self._recorder is not None:
            self.function_events = self._recorder.stop()
            self._recorder = None

    def _finished(self) -> EventList:
        if self.function_events is None:
            raise RuntimeError("Profiler didn't finish running")
        return self.function_events

    def __str__(self) -> str:
        return "<unfinished profile>" if self.function_events is None else str(self._finished())

    __repr__ = __str__

    def table(self, *args: Any, **kwargs: Any) -> str:
        """See EventList.table."""
        return self._finished().table(*args, **kwargs)

    def key_averages(
        self, group_by_input_shape: bool = False, group_by_stack_n: int = 0
    ) -> EventList:
        """See EventList.key_averages."""
        return self._finished().key_averages(group_by_input_shape, group_by_stack_n)

    def total_average(self) -> FunctionEventAvg:
        """All events as one."""
        return self._finished().total_average()

    @property
    def self_cpu_time_total(self) -> float:
        """The microseconds spent in all events."""
        return self._finished().self_cpu_time_total

    def export_chrome_trace(self, path: str) -> None:
        """Write the events as JSON for Perfetto (ui.perfetto.dev) or chrome://tracing."""
        self._finished().export_chrome_trace(path)

    def export_stacks(self, path: str, metric: str = "self_cpu_time_total") -> None:
        """Write stacks for flame graph programs; with_stack must be set."""
        self._finished().export_stacks(path, metric)


class _Marks:
    """A block in which torch marks each op for a tool of another maker; here it only warns."""

    def __init__(self, enabled: bool = True, record_shapes: bool = False) -> None:
        self.enabled = enabled

    def __enter__(self) -> _Marks:
        if self.enabled:
            warnings.warn(
                f"dtorch.autograd.profiler.{type(self).__name__} marks no ops; use "
                "dtorch.profiler.profile(), whose export_chrome_trace() has each of them",
                stacklevel=2,
            )
        return self

    def __exit__(self, *error: object) -> None:
        """Nothing was started."""


class emit_nvtx(_Marks):
    """NVIDIA's marks.  A block that only warns: see dtorch.profiler.profile."""


class emit_itt(_Marks):
    """Intel's marks.  A block that only warns: see dtorch.profiler.profile."""
