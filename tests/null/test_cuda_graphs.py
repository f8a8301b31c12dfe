"""CUDA graphs over the stand-in for CuPy, whose streams record what they are given while captured."""

import gc

import pytest

import dtorch
from dtorch import cuda
from tests.fakes import gpus


@pytest.fixture(autouse=True)
def cupy():
    with gpus() as module:
        yield module.cuda


def test_what_is_captured_is_done_at_each_replay(cupy):
    done, g = [], cuda.CUDAGraph()
    with cuda.graph(g):
        assert cuda.is_current_stream_capturing()
        assert cupy.allocators[-1].__self__ is g.pool()
        assert not gc.isenabled()
        cupy.get_current_stream().give(lambda: done.append(1))
    assert (done, gc.isenabled(), cupy.get_current_stream().ptr) == ([], True, 0)
    assert len(cupy.allocators) == 1
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


def test_what_went_wrong_inside_is_what_is_said(cupy):
    g = cuda.CUDAGraph()

    def fail():
        cupy.get_current_stream().recorded.append("broken")
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"), cuda.graph(g):
        fail()
    assert (gc.isenabled(), cupy.get_current_stream().ptr, len(cupy.allocators)) == (True, 0, 1)
    with pytest.raises(RuntimeError, match="invalidated"), cuda.graph(g):
        cupy.get_current_stream().recorded.append("broken")
    with pytest.raises(RuntimeError, match="expected a CUDAGraph that has been captured"):
        g.replay()
    with cuda.graph(g):
        pass
    g.replay()


def test_misuse_is_refused(cupy):
    g = cuda.CUDAGraph()
    with pytest.raises(RuntimeError, match="non-default stream"):
        g.capture_begin()
    with pytest.raises(RuntimeError, match="capture_begin to have been called"):
        g.capture_end()
    with cuda.graph(g), pytest.raises(RuntimeError, match="not being captured"):
        cuda.CUDAGraph().capture_begin()
    with pytest.raises(RuntimeError, match="has been captured: make another"), cuda.graph(g):
        pass
    assert cupy.get_current_stream().ptr == 0
    g.reset()
    with cuda.graph(g):
        pass


def test_dropout_is_refused_in_a_capture():
    x = dtorch.ones(3, device="cuda")
    with (
        pytest.raises(RuntimeError, match="dropout can't be captured"),
        cuda.graph(cuda.CUDAGraph()),
    ):
        dtorch.nn.functional.dropout(x)


def test_what_waits_for_the_gpu_is_refused_in_a_capture():
    x = dtorch.ones(3, device="cuda")
    with pytest.raises(RuntimeError, match="makes the host wait"), cuda.graph(cuda.CUDAGraph()):
        x.sum().item()


def test_a_graph_is_shown(tmp_path):
    g = cuda.CUDAGraph()
    with cuda.graph(g):
        pass
    g.debug_dump(str(tmp_path / "graph.dot"))
    assert (tmp_path / "graph.dot").read_text() == "digraph {}"
