"""Recording calls: of ops and composites of ops, of gradient rules, and of named blocks.

While somebody records, calls of the package's functions are led through here (core/detours.py).
Nothing of this is run otherwise.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import itertools
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter_ns
from types import FunctionType
from typing import Any

from ..core import function, methods
from ..core.detours import Detours, Handler
from ..core.graph import Node
from ..core.op import REGISTRY, Op
from ..core.tensor import Tensor
from ..cuda.devices import cupy, is_initialized, synchronize
from ..optim.optimizer import Optimizer
from ..utils.data import dataloader
from .events import EventList, FunctionEvent

_PACKAGE = str(Path(__file__).parent.parent)
_GENERATED = "<string>"  # code that detours made

recording: Recorder | None = None


class _Local(threading.local):
    def __init__(self) -> None:
        self.open: list[FunctionEvent] = []  # the calls that this thread is in, outermost first


_local = _Local()


@dataclass
class Options:
    """What is noted of each call, beside its name and times."""

    shapes: bool = False
    memory: bool = False
    stack: bool = False
    device: bool = False  # its time on the GPU


class Recorder:
    """Records the calls of all threads between start() and stop().

    One records at a time; RuntimeError for a second.
    """

    def __init__(self, options: Options) -> None:
        self.options = options
        self.events: list[FunctionEvent] = []
        self.origin = 0
        self._ids = itertools.count()  # threads record at once

    def start(self) -> None:
        global recording
        if recording is not None:
            raise RuntimeError("Profiler is already enabled on this thread")
        detours().switch(True)
        self.origin = perf_counter_ns()
        recording = self

    def stop(self) -> EventList:
        """The calls that have ended, in the order in which they began."""
        global recording
        recording = None
        detours().switch(False)
        if self.options.device and is_initialized():
            self._measure_device()
        ended = [e for e in self.events if e.end_ns]
        return EventList(ended, self.options.memory, "cuda" if self.options.device else None)

    def _measure_device(self) -> None:
        synchronize()
        elapsed = cupy().cuda.get_elapsed_time  # in milliseconds
        for e in self.events:
            if e.device_events is not None and e.end_ns:
                e.device_time_total = elapsed(*e.device_events) * 1000
            e.device_events = None

    def begin(self, name: str, category: str, inputs: Any = ()) -> FunctionEvent:
        parent = _local.open[-1] if _local.open else None
        e = FunctionEvent(next(self._ids), name, category, threading.get_native_id(), 0, parent)
        e.origin_ns = self.origin
        if self.options.shapes:
            e.input_shapes = list(_shapes(inputs))
        if self.options.stack:
            e.stack = _stack()
        if self.options.device and is_initialized():
            e.device_events = _mark(), None
        if parent is not None:
            parent.cpu_children.append(e)
        self.events.append(e)
        _local.open.append(e)
        e.start_ns = perf_counter_ns()
        return e

    def begin_aside(self, name: str, category: str, shape: list[int]) -> FunctionEvent:
        """Something that goes on beside the calls of this thread: none of them is within it."""
        e = FunctionEvent(next(self._ids), name, category, threading.get_native_id(), 0)
        e.origin_ns, e.is_async = self.origin, True
        if self.options.shapes:
            e.input_shapes = [shape]
        self.events.append(e)
        e.start_ns = perf_counter_ns()
        return e

    def end(self, e: FunctionEvent, result: Any = None, inputs: Any = ()) -> None:
        e.end_ns = perf_counter_ns()
        if e.device_events is not None:
            e.device_events = e.device_events[0], _mark()
        _local.open.remove(e)
        if self.options.memory:
            _count_memory(e, result, inputs)


def _mark() -> Any:
    """A CUDA event at the end of what has been given to the GPU so far."""
    event = cupy().cuda.Event()
    event.record()
    return event


def _shapes(inputs: Any) -> Iterator[list[int]]:
    for x in inputs:
        yield list(x.shape) if hasattr(x, "shape") else []


def _stack() -> list[str]:
    """The script's lines that led here, innermost first."""
    lines: list[str] = []
    frame = sys._getframe(2)
    while frame is not None:
        code = frame.f_code
        if not code.co_filename.startswith((_PACKAGE, _GENERATED)):
            lines.append(f"{code.co_filename}({frame.f_lineno}): {code.co_name}")
        frame = frame.f_back  # type: ignore[assignment]
    return lines


def _count_memory(e: FunctionEvent, result: Any, inputs: Any) -> None:
    """The bytes of what an op has returned, less views and what it was given; or of all ops within."""
    if e.category != "cpu_op":
        e.cpu_memory_usage = sum(c.cpu_memory_usage for c in e.cpu_children)
        e.device_memory_usage = sum(c.device_memory_usage for c in e.cpu_children)
        return
    for t in result if isinstance(result, (tuple, list)) else (result,):
        a: Any = getattr(t, "_a", t)
        new = hasattr(a, "nbytes") and getattr(a, "base", None) is None
        if not new or any(a is getattr(x, "_a", x) for x in inputs):
            continue
        if isinstance(t, Tensor) and t.is_cuda:
            e.device_memory_usage += a.nbytes
        else:
            e.cpu_memory_usage += a.nbytes


# ---- what is recorded ----------------------------------------------------------------------------


def _call(name: str, plain: Any, *args: Any, **kwargs: Any) -> Any:
    """A call of a function on tensors, or in a rule on arrays."""
    recorder = recording
    if recorder is None or _local.open and _local.open[-1].name == name:
        return plain(*args, **kwargs)  # a function and the op within it are one call
    e = recorder.begin(name, "cpu_op", args)
    result = None
    try:
        result = plain(*args, **kwargs)
    finally:
        recorder.end(e, result, args)
    node = getattr(result, "_node", None)
    if type(node) is Node:
        e.sequence_nr = node.seq
    return result


def _op_in_rule(plain: Any, op: Op, *xs: Any, **params: Any) -> Any:
    if any(isinstance(x, Tensor) for x in xs):
        return plain(op, *xs, **params)  # its function will be seen
    return _call(_aten(op.name), plain, op, *xs, **params)


def _rule(plain: Any, *args: Any) -> Any:
    """The gradient rule of a node: the last arguments are the node and its gradient."""
    recorder, node = recording, args[-2]
    if recorder is None or _local.open and _local.open[-1].sequence_nr == node.seq:
        return plain(*args)
    e = recorder.begin(node.name(), "backward", (args[-1],))
    e.sequence_nr = node.seq
    try:
        return plain(*args)
    finally:
        recorder.end(e)


@contextmanager
def _block(name: str) -> Iterator[None]:
    recorder = recording
    if recorder is None:
        yield
        return
    e = recorder.begin(name, "user_annotation")
    try:
        yield
    finally:
        recorder.end(e)


def _optimizer(plain: Any, self: Any, *args: Any, **kwargs: Any) -> Any:
    with _block(f"Optimizer.{plain.__name__}#{type(self).__name__}.{plain.__name__}"):
        return plain(self, *args, **kwargs)


def _batch(plain: Any, self: Any) -> Any:
    with _block("enumerate(DataLoader)#WorkerIterator.__next__"):
        return plain(self)


def _batches(plain: Any, *args: Any) -> Iterator[Any]:
    """The batches of a DataLoader without workers."""
    batches = plain(*args)
    while True:
        with _block("enumerate(DataLoader)#__next__"):
            try:
                batch = next(batches)
            except StopIteration:
                return
        yield batch


def _collective(plain: Any, group: Any, entry: Any, *args: Any) -> Iterator[Any]:
    """The steps of a collective, from the first one to the last; the script's calls go on meanwhile."""
    recorder, c = recording, entry.collective
    if recorder is None:
        yield from plain(group, entry, *args)
        return
    name = f"{group.transport.name}:{c.op}{f' of {c.name}' if c.name else ''}"
    e = recorder.begin_aside(name, "communication", list(c.shape or ()))
    try:
        yield from plain(group, entry, *args)
    finally:
        e.end_ns = perf_counter_ns()


def _wait(plain: Any, engine: Any, work: Any, timeout: float) -> None:
    """A call that waits for a collective: the communication that nothing hides."""
    with _block(f"wait for {work.entry.collective.op}"):
        plain(engine, work, timeout)


def _aten(name: str) -> str:
    """torch's name for a function in profiles."""
    return f"aten::{name.strip('_') if not name.endswith('_') else name}"


def _functions() -> dict[str, Any]:
    """The package's functions on tensors, under torch's names for their ops."""
    found = methods.collect("FUNCTIONS") | methods.collect("METHODS") | methods.METHODS
    for prefix, module in (("", "nn.functional"), ("linalg_", "linalg"), ("fft_", "fft"),
                           ("special_", "special")):  # fmt: skip
        names = vars(importlib.import_module(f"dtorch.{module}"))
        found |= {prefix + name: fn for name, fn in names.items()
                  if name[0] != "_" and prefix + name not in found}  # fmt: skip
    plain = {name: inspect.unwrap(fn) for name, fn in found.items() if isinstance(fn, FunctionType)}
    return plain | {f"{name}_": getattr(Tensor, f"{name}_") for name in methods.collect("IN_PLACE")}


@functools.cache
def detours() -> Detours:
    """All functions on tensors, ops' functions and rules, optimizers, data loaders, collectives."""
    from ..parallel import group, work  # not needed to import the profiler

    ways: dict[Any, Handler] = {}
    for name, fn in _functions().items():
        if name not in methods.QUERIES and fn.__module__.startswith("dtorch."):
            ways.setdefault(fn, functools.partial(_call, _aten(name)))
    for op in REGISTRY.values():
        ways.setdefault(op.fn, functools.partial(_call, _aten(op.name)))
        if op.rules:
            ways[op.backward] = _rule
    ways |= {
        Op.__call__: _op_in_rule, function._Applied.backward: _rule,
        Optimizer.zero_grad: _optimizer,
        dataloader._batches_here: _batches, dataloader.WorkerIterator.__next__: _batch,
        group.Group._whole: _collective, work.Engine._wait: _wait,
    }  # fmt: skip
    for cls in (Optimizer, *Optimizer.__subclasses__()):
        step = vars(cls).get("step")
        if isinstance(step, FunctionType):
            ways[step] = _optimizer
    return Detours(ways)
