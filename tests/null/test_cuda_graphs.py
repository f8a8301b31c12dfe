"""CUDA graphs over a stand-in for CuPy that records instead of working while a stream is captured."""

import gc
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from dtorch import cuda
from dtorch.core.ops.random import keep_mask


class Stream:
    def __init__(self, ptr):
        self.ptr, self.recorded = ptr, None

    def use(self):
        fake.current = self

    def is_capturing(self):
        return self.recorded is not None

    def begin_capture(self):
        self.recorded = []

    def end_capture(self):
        recorded, self.recorded = self.recorded, None
        if "broken" in recorded:
            raise RuntimeError("the capture was invalidated")
        launch = lambda stream: [w() for w in recorded]  # noqa: E731
        return SimpleNamespace(launch=launch, debug_dot_str=lambda: "digraph {}")

    def give(self, work):
        work() if self.recorded is None else self.recorded.append(work)


class Pool:
    def malloc(self, size):
        return self

    def free_all_blocks(self):
        pass

    used_bytes = total_bytes = lambda self: 0


@contextmanager
def using_allocator(malloc):
    before, fake.allocator = fake.allocator, malloc
    try:
        yield
    finally:
        fake.allocator = before


class Device:
    id = 0

    def __init__(self, index=0):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def use(self):
        pass

    def synchronize(self):
        assert not fake.current.is_capturing()


fake = SimpleNamespace()


@pytest.fixture(autouse=True)
def cupy(monkeypatch):
    null, count = Stream(0), iter(range(1, 100))
    fake.__dict__.update(current=null, allocator="the default one")
    made = lambda non_blocking: Stream(next(count))  # noqa: E731
    made.null = null
    module = SimpleNamespace(
        cuda=SimpleNamespace(
            Stream=made, Device=Device, MemoryPool=Pool, using_allocator=using_allocator,
            get_current_stream=lambda: fake.current,
        ),
        get_default_memory_pool=Pool,
    )  # fmt: skip
    monkeypatch.setattr("dtorch.cuda.devices._cupy", module)
    return module


def test_what_is_captured_is_done_at_each_replay():
    done, g = [], cuda.CUDAGraph()
    with cuda.graph(g):
        assert cuda.is_current_stream_capturing()
        assert fake.allocator.__self__ is g.pool()
        assert not gc.isenabled()
        fake.current.give(lambda: done.append(1))
    assert (done, gc.isenabled(), fake.current.ptr) == ([], True, 0)
    assert fake.allocator == "the default one"
    assert not cuda.is_current_stream_capturing()
    g.replay()
    g.replay()
    assert done == [1, 1]


def test_a_pool_is_shared_where_it_is_given():
    first, second = cuda.CUDAGraph(), cuda.CUDAGraph()
    with cuda.graph(first, stream=(stream := cuda.Stream())):
        assert cuda.current_stream() == stream
    with cuda.graph(second, pool=first.pool()):
        pass
    assert second.pool() is first.pool()


def test_what_went_wrong_inside_is_what_is_said():
    g = cuda.CUDAGraph()

    def fail():
        fake.current.recorded.append("broken")
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"), cuda.graph(g):
        fail()
    assert (gc.isenabled(), fake.current.ptr, fake.allocator) == (True, 0, "the default one")
    with pytest.raises(RuntimeError, match="invalidated"), cuda.graph(g):
        fake.current.recorded.append("broken")
    with pytest.raises(RuntimeError, match="expected a CUDAGraph that has been captured"):
        g.replay()
    with cuda.graph(g):
        pass
    g.replay()


def test_misuse_is_refused():
    g = cuda.CUDAGraph()
    with pytest.raises(RuntimeError, match="non-default stream"):
        g.capture_begin()
    with pytest.raises(RuntimeError, match="capture_begin to have been called"):
        g.capture_end()
    with cuda.graph(g), pytest.raises(RuntimeError, match="not being captured"):
        cuda.CUDAGraph().capture_begin()
    with pytest.raises(RuntimeError, match="has been captured: make another"), cuda.graph(g):
        pass
    assert fake.current.ptr == 0
    g.reset()
    with cuda.graph(g):
        pass


def test_dropout_is_refused_in_a_capture():
    xp = SimpleNamespace(name="cuda", capturing=lambda: True)
    with pytest.raises(RuntimeError, match="dropout can't be captured"):
        keep_mask((3,), 0.5, xp)


def test_a_graph_is_shown(tmp_path):
    g = cuda.CUDAGraph()
    with cuda.graph(g):
        pass
    g.debug_dump(str(tmp_path / "graph.dot"))
    assert (tmp_path / "graph.dot").read_text() == "digraph {}"
