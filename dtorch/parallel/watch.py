"""Who holds up the others, and where: what a rank that waits too long says, in plain words."""

from __future__ import annotations

import functools
import linecache
import os
import socket
import sys
import sysconfig
from collections.abc import Callable, Mapping, Sequence
from types import FrameType
from typing import NamedTuple

from dtorch.utils.data.worker import Worker, wait_for

from .checks import name_ranks
from .flight import Entry
from .work import Engine, Work

_SHOWN = 12  # calls of a stack


Call = tuple[str, int, str]  # file, line, function


class Standing(NamedTuple):
    """What a rank says of where it is.

    host, pid: its process
    reached: for each group, by its name, the number of the last collective that it has asked for
    waits: the collective that it waits for, and that one's group; "" if none
    line: the user's line of that
    stack: its calls, the innermost one last; those of the DataLoader's worker that it waits for, too
    """

    host: str
    pid: int
    reached: dict[str, int]
    waits: str
    line: str
    stack: list[Call]


# Or why it says nothing.
Answer = Standing | str


def stand(engine: Engine, thread: int) -> Answer:
    """Where the rank of an engine is, whose program runs in a thread of this process."""
    frame = sys._current_frames().get(thread)
    work = engine.waiting
    if frame is None and work is None:
        return "its thread has ended"
    stack = []
    if frame is not None and (worker := _awaited_worker(frame)) is not None:
        stack = worker.stack()[::-1]
    while frame is not None:
        stack.append((frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name))
        frame = frame.f_back
    reached = {group: e.collective.seq for group, e in tuple(engine.flight.latest.items())}
    waits = "" if work is None else f"{work.entry} of group {work.entry.group!r}"
    line = "" if work is None else work.entry.collective.site.line
    return Standing(socket.gethostname(), os.getpid(), reached, waits, line, stack[::-1])


def _awaited_worker(frame: FrameType | None) -> Worker | None:
    """The DataLoader's worker that a program waits for right now."""
    while frame is not None:
        if frame.f_code is wait_for.__code__:
            return frame.f_locals["wanted"][0]
        frame = frame.f_back
    return None


class Watch:
    """One rank's eye on the others.

    ask: what some ranks, by their number in the world, say of where they are
    """

    def __init__(
        self, engine: Engine, ask: Callable[[Sequence[int]], Mapping[int, Answer]]
    ) -> None:
        self._flight, self._ask = engine.flight, ask

    def announce(self, work: Work, waited: float) -> None:
        """Print the report, unless a lower rank waits in the group, too: then that one does."""
        answers = self._look(work.entry)
        me = self._flight.rank
        if not any(r < me and isinstance(a, Standing) and a.waits for r, a in answers.items()):
            text = describe(work.entry, me, answers, self._before(work.entry))
            print(f"after {waited:.1f} s: {text}", file=sys.stderr, flush=True)

    def report(self, work: Work) -> str:
        """Who holds up a work that this rank waits for, and where everybody is."""
        answers = self._look(work.entry)
        return describe(work.entry, self._flight.rank, answers, self._before(work.entry))

    def _look(self, entry: Entry) -> Mapping[int, Answer]:
        return self._ask([rank for rank in entry.ranks if rank != self._flight.rank])

    def _before(self, entry: Entry) -> Entry | None:
        """The last collective that all ranks of the entry's group have taken part in."""
        entries = reversed(tuple(self._flight.entries))
        return next((e for e in entries if (e.group, e.state) == (entry.group, "completed")), None)


def describe(
    entry: Entry, me: int, answers: Mapping[int, Answer], before: Entry | None = None
) -> str:
    """Who is late for a collective and where, where the others wait, and the stacks of those late.

    me: the rank that asks, and waits
    answers: what the other ranks say
    before: the last collective that is known of ranks that say nothing
    """
    collective = entry.collective
    waiting: dict[str, list[int]] = {collective.site.line: [me]}
    late, stacks = [], []
    for rank, answer in answers.items():
        if isinstance(answer, str):
            last = "" if before is None else f"; the last that it has taken part in is {before}"
            late.append(f"rank {rank} is silent: {answer}{last}")
            continue
        reached = answer.reached.get(entry.group, 0) >= collective.seq
        if collective.seq and reached and answer.waits:
            waiting.setdefault(answer.line, []).append(rank)
            continue
        where = f"waits for {answer.waits}" if answer.waits else f"is at {place(answer.stack)}"
        if collective.seq:
            fault = "has begun, but does not wait for," if reached else "has not reached"
            where = f"{fault} {collective.title()} of group {entry.group!r}; it {where}"
        late.append(f"rank {rank} ({answer.host}, process {answer.pid}) {where}")
        if answer.stack:
            stacks.append(f"The calls of rank {rank}:\n{_format(answer.stack)}")
    if not late:
        late = [
            f"all ranks wait for {collective.title()} of group {entry.group!r}, yet no data comes"
        ]
    waits = [
        f"{name_ranks(ranks)} wait{'s' if len(ranks) == 1 else ''} at {line}"
        for line, ranks in waiting.items()
    ]
    return "\n".join(["; ".join([*late, *waits]), *stacks])


@functools.cache
def _libraries() -> tuple[str, ...]:
    """The beginnings of the paths of code that is not the user's own."""
    names = ("stdlib", "platstdlib", "purelib", "platlib")
    folders = {sysconfig.get_path(name) for name in names}
    return tuple(f"{f}{os.sep}" for f in (os.path.dirname(os.path.dirname(__file__)), *folders))


def place(stack: Sequence[Call]) -> str:
    """Where the user's program is: its innermost call, or that of a library if none is its own."""
    own = [call for call in stack if not call[0].startswith(_libraries())]
    file, line, function = (own or stack)[-1]
    return f"{file}:{line} in {function}"


def _format(stack: Sequence[Call]) -> str:
    """The calls from the user's program on, the latest ones."""
    starts = [i for i, call in enumerate(stack) if call[0] == "<frozen runpy>"]
    calls = list(stack[starts[-1] + 1 if starts else 0 :])
    own = [i for i, call in enumerate(calls) if not call[0].startswith(_libraries())]
    return "\n".join(
        f"  {file}:{line} in {function}: {linecache.getline(file, line).strip()}"
        for file, line, function in calls[own[0] if own else 0 :][-_SHOWN:]
    )
