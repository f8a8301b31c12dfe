"""Work that is recorded once and launched again as a whole: CUDA graphs.

A graph reads and writes the same memory each time: new inputs are copied into the old tensors, and
results lie where they lay.  Run the work a few times before, on a stream that is not the default one,
so that kernels are compiled and plans made.
"""

from __future__ import annotations

import gc
from contextlib import ExitStack
from typing import Any

from .devices import cupy, is_current_stream_capturing
from .memory import empty_cache
from .streams import Stream, StreamContext, current_stream, default_stream

__all__ = ["CUDAGraph", "graph", "graph_pool_handle"]


def graph_pool_handle() -> Any:
    """A pool of memory that several graphs may share, if they are replayed in the order of capture."""
    return cupy().cuda.MemoryPool()


class CUDAGraph:
    """Work that is recorded between capture_begin and capture_end, and done by replay."""

    def __init__(self, keep_graph: bool = False) -> None:
        cupy()  # says why, where there is no GPU
        self._graph: Any = None
        self._pool: Any = None
        self._capture: ExitStack | None = None

    def capture_begin(self, pool: Any = None, capture_error_mode: str = "global") -> None:
        """Record what the current stream is given, which is not done; memory is from a pool of its own.

        capture_error_mode: taken; CuPy captures in the mode "relaxed"
        """
        here = current_stream()
        if here == default_stream():
            raise RuntimeError(
                "CUDA graphs must be captured on a non-default stream: expected one made by "
                "dtorch.cuda.Stream(), got the default stream"
            )
        if self._capture is not None or is_current_stream_capturing():
            raise RuntimeError(
                "expected a stream that is not being captured; end that capture first"
            )
        if self._graph is not None:
            raise RuntimeError(
                "this CUDAGraph has been captured: make another, or call its reset() first"
            )
        self._pool = graph_pool_handle() if pool is None else pool
        with ExitStack() as stack:
            stack.enter_context(cupy().cuda.using_allocator(self._pool.malloc))
            if gc.isenabled():  # what it frees may call CUDA, which ends a capture
                gc.disable()
                stack.callback(gc.enable)
            here._stream.begin_capture()
            self._capture = stack.pop_all()

    def capture_end(self) -> None:
        """End the recording."""
        if self._capture is None:
            raise RuntimeError("capture_end: expected capture_begin to have been called before")
        capture, self._capture = self._capture, None
        with capture:
            self._graph = current_stream()._stream.end_capture()

    def replay(self) -> None:
        """Do the recorded work, on the current stream."""
        if self._graph is None:
            raise RuntimeError("replay: expected a CUDAGraph that has been captured")
        self._graph.launch(current_stream()._stream)

    def reset(self) -> None:
        """Drop what was recorded, and its memory."""
        self._graph = self._pool = None

    def pool(self) -> Any:
        """The pool that its memory is from, for another graph's capture_begin."""
        return self._pool

    def debug_dump(self, debug_path: str) -> None:
        """Write the graph to a file, in the language of Graphviz."""
        if self._graph is None:
            raise RuntimeError("debug_dump: expected a CUDAGraph that has been captured")
        with open(debug_path, "w") as file:
            file.write(self._graph.debug_dot_str())


class graph:
    """A block whose work on the GPU is recorded: with dtorch.cuda.graph(g): ..."""

    def __init__(self, cuda_graph: CUDAGraph, pool: Any = None, stream: Stream | None = None,
                 capture_error_mode: str = "global") -> None:  # fmt: skip
        self.cuda_graph, self._pool = cuda_graph, pool
        self._stream = Stream() if stream is None else stream

    def __enter__(self) -> None:
        cupy().cuda.Device().synchronize()
        gc.collect()
        empty_cache()
        self._context = StreamContext(self._stream)
        self._context.__enter__()
        try:
            self.cuda_graph.capture_begin(self._pool)
        except BaseException:
            self._context.__exit__()
            raise

    def __exit__(self, kind: type | None, error: BaseException | None, trace: Any) -> None:
        try:
            self.cuda_graph.capture_end()
        except Exception:
            if error is None:
                raise  # else the capture was broken by `error`, which says more
        finally:
            self._context.__exit__()
        if error is not None:
            self.cuda_graph.reset()
