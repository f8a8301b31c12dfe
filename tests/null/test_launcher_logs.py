"""Lines stay whole and get their rank; progress bars don't flood a file."""

import io

import pytest

from dtorch_run.logs import Console, Lines


def split(*chunks):
    lines = Lines()
    cut = [line for chunk in chunks for line in lines.feed(chunk)]
    return cut + lines.end()


@pytest.mark.parametrize(
    ("chunks", "lines"),
    [
        ([b"a\nb\n"], [b"a", b"b"]),
        ([b"a", b"b\nc"], [b"ab", b"c"]),
        ([b"a\n\nb"], [b"a", b"", b"b"]),
        ([b"  indented\r\n"], [b"  indented"]),
        ([b"\r 0%", b"\r 50%", b"\r100%\n"], [b"100%"]),
        ([b"\r 0%\r 5", b"0%"], [b" 50%"]),
        ([b"\r99%\r      \r", b"done\n"], [b"done"]),
        ([b"\x1b[31mred\x1b[0m\x1b[K\n"], [b"\x1b[31mred\x1b[0m"]),
        ([b"\xff\n"], [b"\xff"]),
        ([], []),
    ],
)
def test_lines(chunks, lines):
    assert split(*chunks) == lines


def test_any_cut_of_the_stream_gives_the_same_lines():
    stream = b"one\n\r10%\r20%\nthree\n\nlast"
    whole = split(stream)
    for at in range(len(stream)):
        assert split(stream[:at], stream[at:]) == whole


def test_a_stream_without_newlines_is_cut():
    lines = Lines()
    cut = [line for _ in range(4) for line in lines.feed(b"x" * 40_000)]
    assert b"".join(cut + lines.end()) == b"x" * 160_000
    assert len(cut) == 2


def test_the_bar_is_the_last_drawing():
    lines = Lines()
    lines.feed(b"\r10%\r20%")
    assert lines.bar == b"20%"
    lines.feed(b"\r")
    assert lines.bar == b"20%"
    lines.feed(b"\n")
    assert lines.bar == b""


class Terminal(io.BytesIO):
    def isatty(self):
        return True


def test_a_file_gets_prefixed_lines_and_no_bars():
    out, err = io.BytesIO(), io.BytesIO()
    console = Console(12, out, err)
    console.bar(3, b"50%")
    console.line(3, False, b"loss 1")
    console.line(11, True, b"warning")
    console.line(None, True, b"mpirun's own")
    assert out.getvalue() == b"[ 3] loss 1\n"
    assert err.getvalue() == b"[11] warning\n[mpirun] mpirun's own\n"


def test_a_terminal_gets_colours_and_the_bar_below_the_lines(monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    terminal = Terminal()
    console = Console(2, terminal, terminal)
    console.bar(0, b"50%")
    console.line(1, False, b"text")
    drawn = b"\x1b[36m[0] \x1b[0m50%"
    assert terminal.getvalue() == drawn + b"\r\x1b[K" + b"\x1b[33m[1] \x1b[0mtext\n" + drawn
