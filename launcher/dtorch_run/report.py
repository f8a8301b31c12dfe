"""Why a job ended, in plain words, and the exit code that says the same to a shell."""

from __future__ import annotations

import signal
from dataclasses import dataclass

_TIMED_OUT = 124  # as timeout(1)


@dataclass(frozen=True)
class Ending:
    """How one rank ended; rank None is mpirun, which ran the ranks for us."""

    rank: int | None
    code: int  # its exit code, or minus the signal that killed it
    time: float  # seconds, of time.monotonic()
    stopped: bool  # it ended after we had told it to
    summary: str = ""  # the last line of its exception
    traceback: str = ""  # of its exception, or the stack where it crashed


@dataclass(frozen=True)
class Outcome:
    """How the job ended.  `signal` is the one the launcher got, `timeout` one that ran out."""

    size: int
    endings: tuple[Ending, ...]
    signal: int | None = None
    timeout: float | None = None

    def first_failure(self) -> Ending | None:
        """The rank that failed by itself, first.

        A rank killed by a signal comes before one with an exception, however close: nobody is
        killed by another rank's exception, but many raise one when another rank is killed.
        """
        failed = [end for end in self.endings if end.code != 0 and not end.stopped]
        return min(failed, key=lambda end: (not _was_killed(end), end.time), default=None)

    def exit_code(self) -> int:
        """The launcher's own: that of the first failing rank, or 128 + n for signal n."""
        first = self.first_failure()
        if first is not None:
            return first.code if first.code > 0 else 128 - first.code
        if self.signal is not None:
            return 128 + self.signal
        return _TIMED_OUT if self.timeout is not None else 0


def describe(outcome: Outcome) -> str:
    """The report of a job, the first failing rank's traceback last; nothing if all went well."""
    first = outcome.first_failure()
    late = sorted((end for end in outcome.endings if end.stopped), key=lambda end: end.rank or 0)
    names = ", ".join(_name(end) for end in late)
    if first is not None:
        others = (end for end in outcome.endings if end.code != 0 and end not in (first, *late))
        text = "".join(_say(f"{_name(end)} failed after it: {how(end)}") for end in others)
        if late:
            text += _say(f"{names} stopped because {_name(first)} failed")
        if first.rank is None:
            return text + _say(f"mpirun failed, see its message: {how(first)}")
        text += _say(f"{_name(first)} of {outcome.size} failed first: {how(first)}")
        return text + first.traceback
    if outcome.signal is not None:
        return _say(f"stopped by {_signal_name(outcome.signal)}")
    if outcome.timeout is not None:
        stacks = (_say(f"{_name(end)} was here:") + end.traceback for end in late)
        return "".join(stacks) + _say(f"{names} still running after {outcome.timeout:g} s: stopped")
    return ""


def _say(text: str) -> str:
    return f"dtorch-run: {text}\n"


def _name(end: Ending) -> str:
    return "mpirun" if end.rank is None else f"rank {end.rank}"


def _was_killed(end: Ending) -> bool:
    return end.code < 0 and end.code != -signal.SIGABRT  # SIGABRT is how C raises


def how(end: Ending) -> str:
    """How a rank ended, in a few words."""
    if end.summary:
        return f"{end.summary} (exit code {end.code})"
    if end.code > 0:
        return f"exit code {end.code}"
    hint = ", perhaps by the kernel for want of memory" if end.code == -signal.SIGKILL else ""
    return f"killed by {_signal_name(-end.code)}{hint}"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return f"signal {number}"
