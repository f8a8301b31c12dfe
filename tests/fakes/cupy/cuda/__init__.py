"""Devices, streams and events, none of which has anything to wait for."""

import contextlib
import itertools
import threading
from collections import Counter

devices = 2  # how many this machine is to have
waited = Counter()  # what made the host wait, and how often
_local = threading.local()
_addresses = itertools.count(1 << 20)


def waits(what):
    """The host waits for the device; an error while a stream of this thread is capturing."""
    if get_current_stream().is_capturing():
        raise RuntimeError(f"cudaErrorStreamCaptureUnsupported: {what} makes the host wait")
    waited[what] += 1


class MemoryPointer:
    def __init__(self, mem, offset, device, keep):
        self.mem, self.offset, self.device, self._keep = mem, offset, device, keep
        self.ptr = keep.__array_interface__["data"][0] + offset


class Device:
    def __init__(self, device=None):
        self.id = getattr(_local, "device", 0) if device is None else int(device)
        if not 0 <= self.id < devices:
            raise RuntimeError("cudaErrorInvalidDevice: invalid device ordinal")

    def use(self):
        _local.device = self.id

    def __enter__(self):
        _local.stack = [*getattr(_local, "stack", []), Device().id]
        self.use()
        return self

    def __exit__(self, *error):
        _local.device = _local.stack.pop()

    def __eq__(self, other):
        return isinstance(other, Device) and self.id == other.id

    def __hash__(self):
        return hash(self.id)

    def __int__(self):
        return self.id

    def __repr__(self):
        return f"<CUDA Device {self.id}>"

    def synchronize(self):
        waits("Device.synchronize")

    @property
    def pci_bus_id(self):
        return f"0000:0{self.id}:00.0"


class Stream:
    def __init__(self, null=False, non_blocking=False, ptds=False, priority=None):
        self.ptr = 0 if null else next(_addresses)
        self.device_id = Device().id
        self.recorded = None  # while it is captured: what it was given
        self.done = True
        self.waited_for = []  # the events, for tests

    def use(self):
        _local.stream = self
        return self

    def __enter__(self):
        _local.streams = [*getattr(_local, "streams", []), get_current_stream()]
        return self.use()

    def __exit__(self, *error):
        _local.stream = _local.streams.pop()

    def synchronize(self):
        waits("Stream.synchronize")

    def record(self, event=None):
        event = Event() if event is None else event
        event.record(self)
        return event

    def wait_event(self, event):
        self.waited_for.append(event)

    def give(self, work):
        """For tests: what is done now or, while the stream is captured, when the graph is launched."""
        work() if self.recorded is None else self.recorded.append(work)

    def is_capturing(self):
        return self.recorded is not None

    def begin_capture(self, mode=None):
        self.recorded = []

    def end_capture(self):
        recorded, self.recorded = self.recorded, None
        if "broken" in recorded:
            raise RuntimeError("the capture was invalidated")
        return Graph(recorded)


class Graph:
    """Of what a stream was given by `give` alone: arrays are computed while it is captured, too."""

    def __init__(self, recorded):
        self._recorded = recorded

    def launch(self, stream=None):
        for work in self._recorded:
            work()

    def debug_dot_str(self, flags=0):
        return "digraph {}"


class ExternalStream(Stream):
    def __init__(self, ptr, device_id=-1):
        super().__init__()
        self.ptr = ptr


Stream.null = Stream(null=True)


class Event:
    def __init__(self, block=False, disable_timing=False, interprocess=False):
        self.done = True
        self.stream = None

    def record(self, stream=None):
        self.stream = get_current_stream() if stream is None else stream

    def synchronize(self):
        waits("Event.synchronize")


def get_device_id():
    return Device().id


def get_current_stream(device_id=-1):
    return getattr(_local, "stream", Stream.null)


def get_elapsed_time(start, end):
    return 0.0


def is_available():
    return devices > 0


class runtime:  # noqa: N801 (as CuPy's module)
    class CUDARuntimeError(RuntimeError):
        pass

    @staticmethod
    def getDeviceCount():
        return devices

    @staticmethod
    def getDevice():
        return Device().id

    @staticmethod
    def getDeviceProperties(device):
        return {"name": b"Stand-in", "major": 9, "minor": 0, "totalGlobalMem": 1 << 30,
                "multiProcessorCount": 4, "uuid": bytes([device] * 16)}  # fmt: skip

    @staticmethod
    def memGetInfo():
        return 1 << 29, 1 << 30

    @staticmethod
    def deviceCanAccessPeer(device, peer):
        return True


class MemoryPool:
    def malloc(self, size):
        raise NotImplementedError("memory is NumPy's here")

    def used_bytes(self):
        return 0

    def total_bytes(self):
        return 0

    def free_all_blocks(self, stream=None):
        pass

    def set_limit(self, size=None, fraction=None):
        pass

    def get_limit(self):
        return 0


pool = MemoryPool()
allocators = [pool.malloc]  # the last one is in use


@contextlib.contextmanager
def using_allocator(allocator=None):
    allocators.append(allocator)
    try:
        yield
    finally:
        allocators.pop()
