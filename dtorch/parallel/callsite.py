"""Where in the user's program a collective was asked for: told in errors, compared between ranks."""

from __future__ import annotations

import ast
import contextlib
import hashlib
import linecache
import os
import sys
import threading
from itertools import islice
from types import CodeType
from typing import Any

_PACKAGE = os.path.dirname(os.path.dirname(__file__)) + os.sep
_DEPTH = 8  # calls that are looked at, from the innermost one outwards
_KEPT = 10_000  # call sites; a program has dozens

Calls = tuple[tuple[CodeType, int], ...]  # code and instruction, the innermost call first


class CallSite:
    """A chain of calls, from the user's program, that ended in dtorch.

    line: file:line of the innermost one
    text: its source
    key: 32 bits of the sources of all: the same on ranks that came here by the same calls, also
        where these stand in different lines, as in the two branches of an `if`
    """

    __slots__ = ("calls", "key", "line", "text")

    def __init__(self, calls: Calls) -> None:
        self.calls = calls
        told = [_source(code, instruction) for code, instruction in calls]
        number, self.text = told[0] if told else (0, "")
        self.line = f"{calls[0][0].co_filename}:{number}" if told else "the end of the program"
        digest = hashlib.blake2b(repr([text for _, text in told]).encode(), digest_size=4).digest()
        self.key = int.from_bytes(digest, "little")

    def __reduce__(self) -> Any:
        """For other ranks: what can be told, without the code."""
        return _told, (self.line, self.text, self.key)


def _told(line: str, text: str, key: int) -> CallSite:
    site = CallSite(())
    site.line, site.text, site.key = line, text, key
    return site


_parsing = threading.Lock()  # Python 3.11's parser counts its depth for all threads together
_known: dict[tuple[int, ...], CallSite] = {}  # they hold the code, so that its id stays its own


def here() -> CallSite:
    """Where the caller was called from, as far out as dtorch's own code goes.

    On the path of every collective: 2 us, since sites are looked up by the addresses of code.
    """
    frame: Any = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame = frame.f_back
    first = frame
    place: list[int] = []
    while frame is not None and len(place) < 2 * _DEPTH:
        place.append(id(frame.f_code))
        place.append(frame.f_lasti)
        frame = frame.f_back
    site = _known.get(tuple(place))
    if site is None:
        if len(_known) >= _KEPT:  # a program that makes code as it goes
            _known.clear()
        site = _known[tuple(place)] = CallSite(_calls(first))
    return site


def _calls(frame: Any) -> Calls:
    calls: list[tuple[CodeType, int]] = []
    while frame is not None and len(calls) < _DEPTH:
        calls.append((frame.f_code, frame.f_lasti))
        frame = frame.f_back
    return tuple(calls)


def one_after_the_other(a: CallSite, b: CallSite) -> tuple[str, str] | None:
    """Where two calls part, if they are certain to be made in the same pass; else None.

    That is so where their chains part at two statements of one block, so that no `if`, loop or
    table of functions chooses between them.
    """
    for (code_a, i), (code_b, j) in zip(a.calls[::-1], b.calls[::-1]):
        if code_a is not code_b:
            return None
        if i != j:
            file = code_a.co_filename
            (line_a, text_a), (line_b, text_b) = _source(code_a, i), _source(code_a, j)
            block_a, statement_a = _statement(code_a, i)
            block_b, statement_b = _statement(code_b, j)
            if block_a is None or block_a != block_b or statement_a == statement_b:
                return None
            return f"{file}:{line_a} `{text_a}`", f"{file}:{line_b} `{text_b}`"
    return None


def _statement(code: CodeType, instruction: int) -> tuple[tuple[int, int] | None, int]:
    """Where the innermost block around an instruction begins, and the how-manieth statement it is."""
    line, _, column, _ = _position(code, instruction)
    found: tuple[int, int] | None = None
    number = 0
    for node in ast.walk(_tree(code.co_filename)):  # outer ones first
        for kind in ("body", "orelse", "finalbody"):
            block: Any = getattr(node, kind, None)
            for i, part in enumerate(block if isinstance(block, list) else ()):
                if _holds(part, line, column):
                    found, number = (block[0].lineno, block[0].col_offset), i
    return found, number


def _holds(statement: Any, line: int, column: int | None) -> bool:
    """Whether a place is in a statement; by lines alone where the column isn't known."""
    first, last = statement.lineno, statement.end_lineno
    if column is None:
        return first <= line <= last
    return (first, statement.col_offset) <= (line, column) < (last, statement.end_col_offset)


def _tree(filename: str) -> ast.AST:
    source = "".join(linecache.getlines(filename))
    with (
        _parsing,
        contextlib.suppress(SyntaxError),
    ):  # not Python, though code says it comes from it
        return ast.parse(source)
    return ast.Module([], [])


def _source(code: CodeType, instruction: int) -> tuple[int, str]:
    """The line of an instruction of some code, and the source of its expression, in one line."""
    first, last, start, end = _position(code, instruction)
    lines = [line.encode() for line in linecache.getlines(code.co_filename)[first - 1 : last]]
    if not lines:
        return first, ""
    lines[-1] = lines[-1][:end]  # columns count bytes
    lines[0] = lines[0][start:]
    return first, " ".join(b"".join(lines).decode("utf-8", "replace").split())


def _position(code: CodeType, instruction: int) -> tuple[int, int, int | None, int | None]:
    """First and last line, start and end column; before Python 3.11 the whole line."""
    if sys.version_info >= (3, 11):
        position = next(islice(code.co_positions(), instruction // 2, None))
        if position[0] is not None and position[1] is not None:
            return position[0], position[1], position[2], position[3]
    for begin, end, line in code.co_lines():
        if begin <= instruction < end and line is not None:
            return line, line, None, None
    return code.co_firstlineno, code.co_firstlineno, None, None
