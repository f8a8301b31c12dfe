"""The pipes of the ranks' stdout and stderr: from bytes to lines, on their way to the output."""

from __future__ import annotations

import errno
import os
from functools import partial

from dtorch_run.logs import Lines, Output
from dtorch_run.loop import Loop

_CHUNK = 1 << 16
_MOST_CHUNKS = 16  # a pipe holds 1 MiB at most, pipe(7)


class Pipes:
    """Reads them as they fill, in the job's loop."""

    def __init__(self, loop: Loop, output: Output) -> None:
        self._loop, self._output = loop, output
        self._streams: dict[int, _Stream] = {}  # by descriptor

    def follow(self, fd: int, rank: int | None, stream: int) -> None:
        """Pass on what comes out of a pipe, of stdout (1) or stderr (2); it is ours to close."""
        os.set_blocking(fd, False)
        self._streams[fd] = _Stream(rank, stream == 2, self._output)
        self._loop.watch(fd, partial(self._on_output, fd))

    def finish(self, fd: int) -> None:
        """Pass on what is left in a pipe, and close it."""
        stream = self._streams.pop(fd, None)
        if stream is not None:
            # Its writers are gone, or out of our reach in a session of their own: don't wait, and
            # read no more than a pipe holds.
            for _ in range(_MOST_CHUNKS):
                stream.feed(_read_ready(fd) or b"")
            stream.end()
            self._loop.forget(fd)
            os.close(fd)

    def finish_all(self) -> None:
        for fd in list(self._streams):
            self.finish(fd)

    def close(self) -> None:
        """None is left, unless the output itself has failed."""
        for fd in self._streams:
            os.close(fd)

    def _on_output(self, fd: int) -> None:
        data = _read_ready(fd)
        if data:
            self._streams[fd].feed(data)
        elif data is not None:
            self.finish(fd)


class _Stream:
    """The lines of one rank's stdout or stderr."""

    def __init__(self, rank: int | None, error: bool, output: Output) -> None:
        self._rank, self._error, self._output = rank, error, output
        self._lines = Lines()
        self._drawing = False

    def feed(self, data: bytes) -> None:
        for line in self._lines.feed(data):
            self._output.line(self._rank, self._error, line)
        bar = self._lines.bar
        if bar or self._drawing:  # the empty one erases it
            self._output.bar(self._rank, bar)
        self._drawing = bool(bar)

    def end(self) -> None:
        for line in self._lines.end():
            self._output.line(self._rank, self._error, line)
        if self._drawing:
            self._output.bar(self._rank, b"")


def _read_ready(fd: int) -> bytes | None:
    """What a pipe holds right now; empty at its end, None when there is nothing yet."""
    try:
        return os.read(fd, _CHUNK)
    except BlockingIOError:
        return None
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        return b""  # how a terminal says that nobody has it open any more
