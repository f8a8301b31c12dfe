"""Lines stay whole and get their rank; progress bars don't flood a file."""

import io

import pytest

from dtorch_run import logs
from dtorch_run.logs import Console, Line, Lines


def split(*chunks):
    lines = Lines()
    cut = [line for chunk in chunks for line in lines.feed(chunk)]
    return [line.text for line in cut + lines.end()]


def plain(text):
    return Line(text, False)


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
    cut = [line.text for _ in range(4) for line in lines.feed(b"x" * 40_000)]
    assert b"".join(cut + [line.text for line in lines.end()]) == b"x" * 160_000
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


@pytest.mark.parametrize(
    ("chunks", "drawn"),
    [
        ([b"a\n"], [False]),
        ([b"a\r\n"], [False]),  # as Windows ends lines
        ([b"\r10%\r20%\n"], [True]),
        ([b"\r10%", b"\r20%", b"\r30%", b"\nb\n"], [True, False]),
        ([b"\r10%\r20%\r   \rdone\nb\n"], [True, False]),
    ],
)
def test_what_was_drawn_over_is_known(chunks, drawn):
    lines = Lines()
    assert [line.drawn for chunk in chunks for line in lines.feed(chunk)] == drawn


def test_a_file_gets_prefixed_lines_and_no_bars():
    out, err = io.BytesIO(), io.BytesIO()
    console = Console(range(12), out, err)
    console.bar(0, b"50%")
    console.line(3, False, plain(b"loss 1"))
    console.line(11, True, plain(b"warning"))
    console.line(None, True, plain(b"mpirun's own"))
    console.line(0, False, Line(b"100%", True))
    console.line(1, False, Line(b"100%", True))  # one bar is enough
    console.settle(everything=True)
    assert out.getvalue() == b"[ 3] loss 1\n[ 0] 100%\n"
    assert err.getvalue() == b"[mpirun] mpirun's own\n[11] warning\n"


def test_the_host_is_named_where_there_are_several():
    out = io.BytesIO()
    console = Console(range(4, 6), out, io.BytesIO(), "node7")
    console.line(4, False, plain(b"mine"))
    console.line(4, False, plain(b"ours"))
    console.line(5, False, plain(b"ours"))
    console.settle(everything=True)
    assert out.getvalue() == b"[node7:4] mine\n[node7:4-5 x2] ours\n"


@pytest.mark.parametrize(
    ("printed", "shown"),
    [
        ("0a 1a 2a", ["[0-2 x3] a"]),
        ("0a 0b 1a 1b 2a 2b", ["[0-2 x3] a", "[0-2 x3] b"]),
        ("0a 2a 1b", ["[0,2 x2] a", "[1] b"]),
        ("0a 0a 1a", ["[0-1 x2] a", "[0] a"]),  # one rank that repeats itself isn't several
        ("0a 0a 1a 1a", ["[0-1 x2] a", "[0-1 x2] a"]),
        ("0a 0b 1b 1a", ["[0] a", "[0-1 x2] b", "[1] a"]),  # each rank's order stays
    ],
)
def test_identical_lines_are_folded(printed, shown):
    out = io.BytesIO()
    console = Console(range(3), out, io.BytesIO())
    for rank, text in printed.split():
        console.line(int(rank), False, plain(text.encode()))
    console.settle(everything=True)
    assert out.getvalue().decode().splitlines() == shown


def test_a_line_waits_for_the_other_ranks_and_no_longer(monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(logs.time, "monotonic", lambda: clock[0])
    out = io.BytesIO()
    console = Console(range(2), out, io.BytesIO())
    console.line(0, False, plain(b"a"))
    assert console.settle() == pytest.approx(0.1)
    assert out.getvalue() == b""
    clock[0] += 0.06
    console.line(1, False, plain(b"a"))
    assert console.settle() is None  # all have said it
    assert out.getvalue() == b"[0-1 x2] a\n"
    console.line(0, False, plain(b"a"))
    clock[0] += 0.11
    assert console.settle() is None
    assert out.getvalue().splitlines()[1:] == [b"[0] a"]


def test_many_lines_are_not_held_for_ever():
    out = io.BytesIO()
    console = Console(range(2), out, io.BytesIO())
    for number in range(30_000):
        console.line(0, False, plain(b"%d" % number))
        console.settle()
    assert out.getvalue().count(b"\n") >= 20_000


def test_a_terminal_gets_colours_and_the_bar_below_the_lines(monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    terminal = Terminal()
    console = Console(range(2), terminal, terminal)
    console.bar(0, b"50%")
    console.bar(1, b"40%")
    console.line(1, False, plain(b"text"))
    console.settle(everything=True)
    drawn = b"\x1b[36m[0] \x1b[0m50%"
    assert terminal.getvalue() == drawn + b"\r\x1b[K" + b"\x1b[33m[1] \x1b[0mtext\n" + drawn
