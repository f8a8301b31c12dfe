"""The ranks' output on one terminal: whole lines, each behind its ``[rank]``.

`Lines` cuts a stream of bytes into lines; `Console` is the only writer, so lines of different
ranks never mix.  A line that several ranks print at about the same time is printed once, behind
``[0-7 x8]``.  A progress bar redraws itself after a carriage return: a terminal shows the latest
one of rank 0 in its last row, a file gets what stood there when the line ended.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections import defaultdict, deque
from collections.abc import Sequence
from typing import BinaryIO, NamedTuple, Protocol

from dtorch_run.cores import text as spans

_COLOURS = (36, 33, 32, 35, 34, 31)
_ESCAPES = re.compile(rb"\x1b\[[0-9;]*[A-HJK]")  # cursor movement and erasure; colours stay
_CLEAR_ROW = b"\r\x1b[K"
_LONGEST_LINE = 1 << 16  # longer ones are cut, so that a stream without newlines costs no memory
_HOLD = 0.1  # seconds that a line waits for other ranks to print the same
_MOST_HELD = 10_000  # lines that wait, at most


class Line(NamedTuple):
    text: bytes  # without its newline
    drawn: bool  # it has been drawn over: what a progress bar leaves


class Lines:
    """Cuts one stream into lines: of text that a carriage return overwrote, the last remains."""

    def __init__(self) -> None:
        self._rest = b""
        self._drawn = False  # `_rest` had more drawings than it shows

    def feed(self, data: bytes) -> list[Line]:
        """The lines that `data` completes."""
        *texts, rest = (self._rest + data).split(b"\n")
        lines = [self._line(text) for text in texts]
        head, drawn, bar = rest.rpartition(b"\r")
        # Keep only the two newest drawings: the last may have arrived in part.
        self._rest = head.rpartition(b"\r")[2] + drawn + bar
        self._drawn = self._drawn or len(self._rest) < len(rest)
        if len(self._rest) > _LONGEST_LINE:
            lines.append(self._line(self._rest))
            self._rest = b""
        return lines

    def end(self) -> list[Line]:
        """The line left without a newline when the stream ended, if any."""
        rest, self._rest = self._line(self._rest), b""
        return [rest] if rest.text else []

    @property
    def bar(self) -> bytes:
        """The progress bar being drawn, empty if there is none."""
        return _visible(self._rest) if b"\r" in self._rest else b""

    def _line(self, text: bytes) -> Line:
        drawn = self._drawn or b"\r" in text.removesuffix(b"\r")
        self._drawn = False
        return Line(_visible(text), drawn)


def _visible(line: bytes) -> bytes:
    drawings = [text for text in _ESCAPES.sub(b"", line).split(b"\r") if text.strip()]
    return drawings[-1] if drawings else b""


class Output(Protocol):
    """Where a job's lines go; rank None: of no rank, but of mpirun underneath, or dtorch-run."""

    def line(self, rank: int | None, error: bool, line: Line) -> None: ...
    def bar(self, rank: int | None, text: bytes) -> None: ...

    def settle(self, everything: bool = False) -> float | None:
        """Pass on what has waited long enough; the seconds until there is more to do, if any."""


class Console:
    """Lines to `out` and `err` as their ranks wrote them, prefixed; colour and bars on a tty.

    ranks: those of this host, which write here
    host: its name, for the prefix of a job of several hosts
    """

    def __init__(self, ranks: Sequence[int], out: BinaryIO, err: BinaryIO, host: str = "") -> None:
        self._streams = (out, err)
        self._first, self._count = ranks[0], len(ranks)
        self._host = f"{host}:" if host else ""
        self._width = len(str(ranks[-1]))
        self._coloured = tuple(
            stream.isatty() and "NO_COLOR" not in os.environ for stream in self._streams
        )
        self._bar = b""
        self._held: deque[_Held] = deque()
        self._alike: dict[tuple[bool, bytes], deque[_Held]] = defaultdict(deque)
        self._latest: dict[int, int] = {}  # rank -> the number of the line it printed last
        self._number = 0

    def line(self, rank: int | None, error: bool, line: Line) -> None:
        if line.drawn and rank != self._first:
            return  # of progress bars, one is enough
        if rank is None or self._count == 1:
            ours = rank is None and line.text.startswith(b"dtorch-run: ")
            self._write(b"" if ours else self._prefix(rank, error), error, line.text)
            return
        # The same line of another rank, if that keeps this rank's lines in their order.
        for held in self._alike[error, line.text]:
            if held.number > self._latest.get(rank, 0) and rank not in held.ranks:
                held.ranks.append(rank)
                self._latest[rank] = held.number
                return
        self._number += 1
        held = _Held(self._number, error, line.text, [rank], time.monotonic() + _HOLD)
        self._held.append(held)
        self._alike[error, line.text].append(held)
        self._latest[rank] = held.number

    def bar(self, rank: int | None, text: bytes) -> None:
        if rank != self._first or not self._streams[1].isatty():
            return
        self._erase()
        columns = shutil.get_terminal_size().columns - len(self._prefix_text(rank))
        visible = text.decode("utf-8", "replace")[:columns].encode()
        self._bar = self._prefix(rank, True) + visible if text else b""
        self._draw()

    def settle(self, everything: bool = False) -> float | None:
        now = time.monotonic()
        while self._held:
            held = self._held[0]
            done = everything or len(held.ranks) == self._count or len(self._held) > _MOST_HELD
            if not done and held.until > now:
                return held.until - now
            self._held.popleft()
            alike = self._alike[held.error, held.text]
            alike.popleft()
            if not alike:
                del self._alike[held.error, held.text]
            self._write(self._folded(held), held.error, held.text)
        return None

    def _write(self, prefix: bytes, error: bool, text: bytes) -> None:
        self._erase()
        stream = self._streams[error]
        stream.write(prefix + text + b"\n")
        stream.flush()
        self._draw()

    def _erase(self) -> None:
        if self._bar:
            self._streams[1].write(_CLEAR_ROW)
            self._streams[1].flush()

    def _draw(self) -> None:
        if self._bar:
            self._streams[1].write(self._bar)
            self._streams[1].flush()

    def _folded(self, held: _Held) -> bytes:
        if len(held.ranks) == 1:
            return self._prefix(held.ranks[0], held.error)
        return f"[{self._host}{spans(held.ranks)} x{len(held.ranks)}] ".encode()

    def _prefix_text(self, rank: int | None) -> str:
        return "[mpirun] " if rank is None else f"[{self._host}{rank:>{self._width}}] "

    def _prefix(self, rank: int | None, error: bool) -> bytes:
        text = self._prefix_text(rank)
        if self._coloured[error] and rank is not None:
            text = f"\x1b[{_COLOURS[rank % len(_COLOURS)]}m{text}\x1b[0m"
        return text.encode()


class _Held:
    """A line that waits for other ranks to print the same."""

    __slots__ = ("error", "number", "ranks", "text", "until")

    def __init__(
        self, number: int, error: bool, text: bytes, ranks: list[int], until: float
    ) -> None:
        self.number, self.error, self.text, self.ranks = number, error, text, ranks
        self.until = until
