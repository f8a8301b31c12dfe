"""The ranks' output on one terminal: whole lines, each behind its ``[rank]``.

`Lines` cuts a stream of bytes into lines; `Console` is the only writer, so lines of different
ranks never mix.  A progress bar redraws itself after a carriage return: a terminal shows the
latest one in its last row, a file gets what stood there when the line ended.
"""

from __future__ import annotations

import os
import re
import shutil
from typing import BinaryIO, Protocol

_COLOURS = (36, 33, 32, 35, 34, 31)
_ESCAPES = re.compile(rb"\x1b\[[0-9;]*[A-HJK]")  # cursor movement and erasure; colours stay
_CLEAR_ROW = b"\r\x1b[K"
_LONGEST_LINE = 1 << 16  # longer ones are cut, so that a stream without newlines costs no memory


class Lines:
    """Cuts one stream into lines: of text that a carriage return overwrote, the last remains."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that `data` completes, without their newline."""
        *lines, rest = (self._rest + data).split(b"\n")
        head, drawn, bar = rest.rpartition(b"\r")
        # Keep only the two newest drawings: the last may have arrived in part.
        self._rest = head.rpartition(b"\r")[2] + drawn + bar
        if len(self._rest) > _LONGEST_LINE:
            lines += [self._rest]
            self._rest = b""
        return [_visible(line) for line in lines]

    def end(self) -> list[bytes]:
        """The line left without a newline when the stream ended, if any."""
        rest, self._rest = _visible(self._rest), b""
        return [rest] if rest else []

    @property
    def bar(self) -> bytes:
        """The progress bar being drawn, empty if there is none."""
        return _visible(self._rest) if b"\r" in self._rest else b""


def _visible(line: bytes) -> bytes:
    drawings = [text for text in _ESCAPES.sub(b"", line).split(b"\r") if text.strip()]
    return drawings[-1] if drawings else b""


class Output(Protocol):
    """Where a job's lines go; rank None is the starter underneath (mpirun)."""

    def line(self, rank: int | None, error: bool, text: bytes) -> None: ...
    def bar(self, rank: int | None, text: bytes) -> None: ...


class Console:
    """Lines to `out` and `err` as their ranks wrote them, prefixed; colour and bars on a tty."""

    def __init__(self, size: int, out: BinaryIO, err: BinaryIO) -> None:
        self._streams = (out, err)
        self._width = len(str(size - 1))
        self._coloured = tuple(
            stream.isatty() and "NO_COLOR" not in os.environ for stream in self._streams
        )
        self._bar = b""

    def line(self, rank: int | None, error: bool, text: bytes) -> None:
        self._erase()
        stream = self._streams[error]
        stream.write(self._prefix(rank, error) + text + b"\n")
        stream.flush()
        self._draw()

    def bar(self, rank: int | None, text: bytes) -> None:
        if not self._streams[1].isatty():
            return
        self._erase()
        columns = shutil.get_terminal_size().columns - self._width - 4
        visible = text.decode("utf-8", "replace")[:columns].encode()
        self._bar = self._prefix(rank, True) + visible if text else b""
        self._draw()

    def _erase(self) -> None:
        if self._bar:
            self._streams[1].write(_CLEAR_ROW)
            self._streams[1].flush()

    def _draw(self) -> None:
        if self._bar:
            self._streams[1].write(self._bar)
            self._streams[1].flush()

    def _prefix(self, rank: int | None, error: bool) -> bytes:
        if rank is None:
            return b"[mpirun] "
        text = f"[{rank:>{self._width}}] "
        if self._coloured[error]:
            text = f"\x1b[{_COLOURS[rank % len(_COLOURS)]}m{text}\x1b[0m"
        return text.encode()
