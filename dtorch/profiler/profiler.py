"""profile: which steps of a script are recorded, and what becomes of the records."""

from __future__ import annotations

import functools
import gzip
import json
import os
import socket
import time
import uuid
import warnings
from collections.abc import Callable, Iterable
from enum import Enum, IntEnum
from types import TracebackType
from typing import Any

from .. import cuda
from . import chrome, recorder
from .events import EventList, FunctionEvent

__all__ = [
    "ExecutionTraceObserver", "ProfilerAction", "ProfilerActivity", "kineto_available", "profile",
    "record_function", "schedule", "supported_activities", "tensorboard_trace_handler",
]  # fmt: skip


class ProfilerActivity(IntEnum):
    """Whose time is measured."""

    CPU = 0
    CUDA = 2


class ProfilerAction(Enum):
    """What the profiler does in a step."""

    NONE = 0
    WARMUP = 1
    RECORD = 2
    RECORD_AND_SAVE = 3  # the last step of a cycle


def supported_activities() -> set[ProfilerActivity]:
    return {ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if cuda.is_available() else [])}


def kineto_available() -> bool:
    """False: profiles are recorded in Python, not by the Kineto library."""
    return False


# ---- named blocks --------------------------------------------------------------------------------


class record_function:
    """Gives a block, or as a decorator each call of a function, a name in the profile."""

    def __init__(self, name: str, args: str | None = None) -> None:
        self.name = name
        self.args = args
        self._open: tuple[recorder.Recorder, FunctionEvent] | None = None

    def __enter__(self) -> record_function:
        now = recorder.recording
        if now is not None:
            self._open = now, now.begin(self.name, "user_annotation")
        return self

    def __exit__(self, *error: object) -> None:
        if self._open is not None:
            now, event = self._open
            self._open = None
            now.end(event)

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def named(*args: Any, **kwargs: Any) -> Any:
            with record_function(self.name, self.args):
                return function(*args, **kwargs)

        return named


# ---- which steps ---------------------------------------------------------------------------------


def schedule(
    *, wait: int, warmup: int, active: int, repeat: int = 0, skip_first: int = 0,
    skip_first_wait: int = 0,
) -> Callable[[int], ProfilerAction]:  # fmt: skip
    """For profile: skip some steps, then in cycles wait, warm up and record some.

    repeat: how many cycles; 0: until the end.  skip_first_wait: whether the first cycle has no wait
    """
    if wait < 0 or warmup < 0 or active <= 0 or repeat < 0 or skip_first < 0:
        raise AssertionError(
            f"Invalid profiler schedule arguments. Got wait={wait} (need >= 0), warmup={warmup} "
            f"(need >= 0), active={active} (need > 0), repeat={repeat} (need >= 0), "
            f"skip_first={skip_first} (need >= 0)."
        )
    if warmup == 0:
        warnings.warn("Profiler won't be using warmup, this can skew profiler results",
                      stacklevel=2)  # fmt: skip
    length = wait + warmup + active

    def action(step: int) -> ProfilerAction:
        if step < 0:
            raise AssertionError(f"Step must be non-negative. Got {step}.")
        if step < skip_first:
            return ProfilerAction.NONE
        step += (wait if skip_first_wait else 0) - skip_first
        if repeat and step >= repeat * length:
            return ProfilerAction.NONE
        step %= length
        if step < wait:
            return ProfilerAction.NONE
        if step < wait + warmup:
            return ProfilerAction.WARMUP
        last = step == length - 1
        return ProfilerAction.RECORD_AND_SAVE if last else ProfilerAction.RECORD

    return action


def tensorboard_trace_handler(
    dir_name: str, worker_name: str | None = None, use_gzip: bool = False
) -> Callable[[Any], None]:
    """For profile's on_trace_ready: write each trace to a file of its own in a directory.

    worker_name: how the files' names begin, one for each process; by default host and process
    """

    def write(prof: profile) -> None:
        try:
            os.makedirs(dir_name, exist_ok=True)
        except OSError as error:
            raise RuntimeError(f"Can't create directory: {dir_name}") from error
        worker = worker_name or f"{socket.gethostname()}_{os.getpid()}"
        name = f"{worker}.{time.time_ns()}.pt.trace.json" + (".gz" if use_gzip else "")
        prof.export_chrome_trace(os.path.join(dir_name, name))

    return write


def _always(step: int) -> ProfilerAction:
    return ProfilerAction.RECORD


# ---- the profiler --------------------------------------------------------------------------------


class profile:
    """Records the time of each call of an op, of each gradient rule, and of record_function blocks.

        with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as prof:
            model(x).sum().backward()
        print(prof.key_averages().table(sort_by="self_cpu_time_total", row_limit=10))
        prof.export_chrome_trace("trace.json")  # for ui.perfetto.dev

    activities: ProfilerActivity.CPU, and CUDA for the time on the GPU between an op's start and end;
        by default all that there are
    schedule: which action in which step, see `schedule`; the script then calls step() after each
    on_trace_ready: called with the profiler at the end of each cycle, or of the block
    record_shapes: note the shapes of inputs
    profile_memory: note the bytes of each call's result, as far as its memory is new; memory that an
        op used meanwhile is not seen
    with_stack: note the script's lines that led to each call
    acc_events: keep the events of all cycles, not only of the last
    custom_trace_id_callback: gives each cycle its id; by default a random one

    with_flops, with_modules, experimental_config and execution_trace_observer are torch's, and
    change nothing.  Calls cost some microseconds more while they are recorded, and nothing
    otherwise.  RuntimeError if another profiler records.
    """

    def __init__(
        self,
        *,
        activities: Iterable[ProfilerActivity] | None = None,
        schedule: Callable[[int], ProfilerAction] | None = None,
        on_trace_ready: Callable[[Any], Any] | None = None,
        record_shapes: bool = False,
        profile_memory: bool = False,
        with_stack: bool = False,
        with_flops: bool = False,
        with_modules: bool = False,
        experimental_config: Any = None,
        execution_trace_observer: Any = None,
        acc_events: bool = False,
        use_cuda: bool | None = None,
        custom_trace_id_callback: Callable[[], str] | None = None,
    ) -> None:
        self.activities = supported_activities() if activities is None else set(activities)
        for a in self.activities:
            if not isinstance(a, ProfilerActivity):
                raise TypeError(f"Expected ProfilerActivity or dict, got {type(a)}")
        if use_cuda is not None:
            warnings.warn("`use_cuda` is deprecated, use `activities` argument instead",
                          FutureWarning, stacklevel=2)  # fmt: skip
            self.activities ^= self.activities & {ProfilerActivity.CUDA}
            self.activities |= {ProfilerActivity.CUDA} if use_cuda else set()
        if not self.activities:
            raise AssertionError("No valid profiler activities found")
        self.schedule = schedule or _always
        self.record_steps = schedule is not None
        self.on_trace_ready = on_trace_ready
        self.record_shapes, self.profile_memory = record_shapes, profile_memory
        self.with_stack = with_stack
        self.acc_events = acc_events
        self.custom_trace_id_callback = custom_trace_id_callback
        self.step_num = 0
        self.current_action = self.schedule(0)
        self.metadata: dict[str, Any] = {}
        self.trace_id = ""
        self._recorder: recorder.Recorder | None = None
        self._events: EventList | None = None
        self._step: record_function | None = None

    # ---- running -----------------------------------------------------------------------------

    def __enter__(self) -> profile:
        self.start()
        return self

    def __exit__(
        self, kind: type | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        self._become(ProfilerAction.NONE, self.current_action)
        self._begin_step()

    def stop(self) -> None:
        """End; a cycle that is under way is ended, too, and on_trace_ready called."""
        self._end_step()
        if self._recorder is not None:
            self._save()
            if self.on_trace_ready is not None:
                self.on_trace_ready(self)

    def step(self) -> None:
        """Say that the next step begins."""
        self._end_step()
        before = self.current_action
        self.step_num += 1
        self.current_action = self.schedule(self.step_num)
        self._become(before, self.current_action)
        self._begin_step()

    def _begin_step(self) -> None:
        if self.record_steps:
            self._step = record_function(f"ProfilerStep#{self.step_num}")
            self._step.__enter__()

    def _end_step(self) -> None:
        if self._step is not None:
            self._step.__exit__()
            self._step = None

    def _become(self, before: ProfilerAction, now: ProfilerAction) -> None:
        """What the change from one action to the next asks for."""
        recording = (ProfilerAction.RECORD, ProfilerAction.RECORD_AND_SAVE)
        if before is ProfilerAction.RECORD_AND_SAVE:
            self._save()
            if self.on_trace_ready is not None:
                self.on_trace_ready(self)
        elif before is not ProfilerAction.NONE and now.value < before.value:
            warnings.warn(f"Incorrect schedule: {before.name} followed by {now.name}", stacklevel=3)
            if self._recorder is not None:
                self._save()
        if now is ProfilerAction.WARMUP:
            recorder.detours()  # made on first use, which takes its time
        if now in recording and self._recorder is None:
            self._record()

    def _record(self) -> None:
        new = recorder.Recorder(
            recorder.Options(self.record_shapes, self.profile_memory, self.with_stack,
                             ProfilerActivity.CUDA in self.activities)
        )  # fmt: skip
        new.start()
        self._recorder = new
        make = self.custom_trace_id_callback
        self.trace_id = make() if make is not None else uuid.uuid4().hex.upper()

    def _save(self) -> None:
        assert self._recorder is not None
        events = self._recorder.stop()
        self._recorder = None
        if self.acc_events and self._events is not None:
            events[:0] = self._events
        self._events = events

    # ---- looking -----------------------------------------------------------------------------

    def events(self) -> EventList:
        """The events of the last cycle that has ended, or with acc_events of all.

        AssertionError before one has
        """
        if self._events is None:
            raise AssertionError("Profiler must be initialized before accessing events")
        return self._events

    def key_averages(
        self, group_by_input_shape: bool = False, group_by_stack_n: int = 0
    ) -> EventList:
        """The events averaged by name, and by the shapes of inputs or lines of the stack."""
        return self.events().key_averages(group_by_input_shape, group_by_stack_n)

    def export_chrome_trace(self, path: str) -> None:
        """Write the events as JSON for Perfetto (ui.perfetto.dev) or chrome://tracing; gzipped if
        the name ends in .gz."""
        about = {"record_shapes": int(self.record_shapes), "with_stack": int(self.with_stack),
                 "profile_memory": int(self.profile_memory), "trace_id": self.trace_id}  # fmt: skip
        chrome.write(path, self.events(), about | self.metadata)

    def export_stacks(self, path: str, metric: str = "self_cpu_time_total") -> None:
        """Write stacks for flame graph programs; with_stack must be set."""
        self.events().export_stacks(path, metric)

    def export_memory_timeline(self, path: str, device: str | None = None) -> None:
        """Write [times in microseconds, bytes of the results made so far] as JSON, or gzipped.

        profile_memory must be set; ValueError otherwise
        """
        if not self.profile_memory:
            raise ValueError("profile_memory=True required for memory profiling.")
        times, sizes, total = [], [], 0
        for e in sorted(self.events(), key=lambda e: e.end_ns):
            gpu = device is not None and device.startswith("cuda")
            n = e.self_device_memory_usage if gpu else e.self_cpu_memory_usage
            if n:
                total += n
                times.append(e.time_range.end)
                sizes.append(total)
        with (gzip.open if path.endswith(".gz") else open)(path, "wt") as file:
            json.dump([times, sizes], file)

    def add_metadata(self, key: str, value: str) -> None:
        """Put a text into the exported trace."""
        self.metadata[key] = str(value)

    def add_metadata_json(self, key: str, value: str) -> None:
        """Put a value, written as JSON, into the exported trace."""
        self.metadata[key] = json.loads(value)

    preset_metadata_json = add_metadata_json

    def set_custom_trace_id_callback(self, callback: Callable[[], str]) -> None:
        self.custom_trace_id_callback = callback

    def get_trace_id(self) -> str:
        """The id of the current cycle."""
        return self.trace_id


class ExecutionTraceObserver:
    """torch's record of the operators' graph, for replaying: not available here."""

    def __init__(self) -> None:
        raise RuntimeError(
            "dtorch records no execution traces; dtorch.profiler.profile has the calls with their "
            "inputs' shapes (record_shapes=True)"
        )
