"""Queues of work on a GPU, and marks in them.

Ops go to the current stream of the thread.  RuntimeError, which says why, where there is no GPU.
"""

from __future__ import annotations

from typing import Any

from .devices import cupy, index_of
from .devices import device as on_device

__all__ = [
    "Event", "ExternalStream", "Stream", "StreamContext", "current_stream", "default_stream",
    "get_stream_from_external", "set_stream", "stream",
]  # fmt: skip


class Stream:
    """A queue of work, beside the default one.

    priority: -1 for high, 0 for low
    """

    def __init__(self, device: Any = None, priority: int = 0) -> None:
        options = {"priority": priority} if priority else {}  # CuPy has it since version 13
        with on_device(device):
            self._take(cupy().cuda.Stream(non_blocking=True, **options), index_of(device))

    def _take(self, stream: Any, index: int) -> None:
        self._stream = stream
        self.device_index = index

    @classmethod
    def _of(cls, stream: Any, index: int) -> Stream:
        """CuPy's stream as one of these."""
        new = cls.__new__(cls)
        new._take(stream, index)
        return new

    @property
    def cuda_stream(self) -> int:
        """The address of the driver's stream."""
        return int(self._stream.ptr)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Stream) and self.cuda_stream == other.cuda_stream

    def __hash__(self) -> int:
        return hash(self.cuda_stream)

    def __repr__(self) -> str:
        return f"<dtorch.cuda.Stream device=cuda:{self.device_index} cuda_stream={self.cuda_stream:#x}>"

    def query(self) -> bool:
        """Whether all work in it is done."""
        return bool(self._stream.done)

    def synchronize(self) -> None:
        """Wait until all work in it is done."""
        self._stream.synchronize()

    def record_event(self, event: Event | None = None) -> Event:
        """A mark at the end of what is in it now."""
        event = Event() if event is None else event
        event.record(self)
        return event

    def wait_event(self, event: Event) -> None:
        """Let what comes next wait for a mark in another stream."""
        self._stream.wait_event(event._event)

    def wait_stream(self, stream: Stream) -> None:
        """Let what comes next wait for all that is in another stream now."""
        self.wait_event(stream.record_event())


class ExternalStream(Stream):
    """A stream that another library made, by its address.  It must outlive this."""

    def __init__(self, stream_ptr: int, device: Any = None) -> None:
        self._take(cupy().cuda.ExternalStream(stream_ptr), index_of(device))


def get_stream_from_external(data_ptr: int, device: Any = None) -> Stream:
    return ExternalStream(data_ptr, device)


class Event:
    """A mark in a stream.

    enable_timing: whether elapsed_time can be asked for
    blocking: whether synchronize() sleeps rather than spins
    """

    def __init__(
        self, enable_timing: bool = False, blocking: bool = False, interprocess: bool = False
    ) -> None:
        self._event = cupy().cuda.Event(block=blocking, disable_timing=not enable_timing,
                                        interprocess=interprocess)  # fmt: skip

    def record(self, stream: Stream | None = None) -> None:
        """Put the mark at the end of a stream, by default the current one."""
        self._event.record((current_stream() if stream is None else stream)._stream)

    def wait(self, stream: Stream | None = None) -> None:
        """Let what comes next in a stream, by default the current one, wait for the mark."""
        (current_stream() if stream is None else stream).wait_event(self)

    def query(self) -> bool:
        """Whether the work before the mark is done."""
        return bool(self._event.done)

    def synchronize(self) -> None:
        """Wait until the work before the mark is done."""
        self._event.synchronize()

    def elapsed_time(self, end_event: Event) -> float:
        """Milliseconds from this mark to another."""
        return float(cupy().cuda.get_elapsed_time(self._event, end_event._event))


def current_stream(device: Any = None) -> Stream:
    """The stream that this thread's ops go to."""
    with on_device(device):
        return Stream._of(cupy().cuda.get_current_stream(), index_of(device))


def default_stream(device: Any = None) -> Stream:
    """The stream that ops go to unless another is chosen."""
    return Stream._of(cupy().cuda.Stream.null, index_of(device))


def set_stream(stream: Stream | None) -> None:
    """Make a stream the current one of this thread; nothing for None."""
    if stream is not None:
        stream._stream.use()


class StreamContext:
    """A block in which a stream is the current one; nothing for None."""

    def __init__(self, stream: Stream | None) -> None:
        self.stream = stream

    def __enter__(self) -> None:
        if self.stream is not None:
            self.before = current_stream()
            set_stream(self.stream)

    def __exit__(self, *error: object) -> None:
        if self.stream is not None:
            set_stream(self.before)


def stream(stream: Stream | None) -> StreamContext:
    """A block in which a stream is the current one; nothing for None."""
    return StreamContext(stream)
