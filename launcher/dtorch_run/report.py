"""Why a job ended, in plain words, and the exit code that says the same to a shell."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from dtorch_run.cgroup import Memory
from dtorch_run.cores import text as spans

_TIMED_OUT = 124  # as timeout(1)
REQUEUE = (
    75  # EX_TEMPFAIL of sysexits.h: ranks that have saved what they did, and can go on from it
)


@dataclass(frozen=True)
class Ending:
    """How one rank ended; rank None is mpirun, which ran the ranks for us."""

    rank: int | None
    code: int  # its exit code, or minus the signal that killed it, or that it had been stopped by
    time: float  # seconds, of time.monotonic()
    stopped: bool  # it ended after we had told it to
    summary: str = ""  # the last line of its exception
    traceback: str = ""  # of its exception, or the stack where it crashed
    in_collective: bool = False  # the exception came out of communication with other ranks
    frozen: bool = False  # it stood still, by SIGSTOP, when we ended it
    peak: int | None = None  # bytes of memory
    last: str = ""  # the latest collective that it asked for
    done: float | None = None  # when its program came to its end

    @property
    def left(self) -> bool:
        """It came to its end without a failure, not even in what Python and libraries do after it.

        What ended it while it waited there for the others was we.
        """
        return self.done is not None and (self.code == 0 or (self.stopped and not self.frozen))


@dataclass(frozen=True)
class Outcome:
    """How the job ended.  `signal` is the one the launcher got, `timeout` one that ran out."""

    size: int
    endings: tuple[Ending, ...]
    signal: int | None = None
    timeout: float | None = None
    memory: Memory | None = None  # of our control group; `kills`: since the job began
    status: dict[str, Any] | None = None  # the last of control.Control.status
    lost: tuple[Ending, ...] = ()  # of ranks without which the others have gone on

    def first_failure(self) -> Ending | None:
        """The rank that failed by itself, first.

        A rank killed by a signal comes before one with an exception, however close: nobody is
        killed by another rank's exception, but many raise one when another rank is killed.  For the
        same reason an exception out of communication comes last: before it come ranks that stand
        still, and those that have left, though without a failure, while others needed them.
        """
        failed = [end for end in self.endings if end.code != 0 and not end.stopped]
        if failed and all(end.in_collective for end in failed):
            first = min(end.time for end in failed)
            frozen = [end for end in self.endings if end.frozen]
            left = [end for end in self.endings if end.left and (end.done or 0.0) < first]
            failed = frozen or left or failed
        return min(
            failed,
            key=lambda end: (not _was_killed(end), end.in_collective, end.time),
            default=None,
        )

    @property
    def requeued(self) -> bool:
        """Whether the ranks ended because they were asked to, with all they need to go on."""
        codes = [end.code for end in self.endings if not end.stopped or end.code == REQUEUE]
        return REQUEUE in codes and all(code == REQUEUE for code in codes)

    def exit_code(self) -> int:
        """The launcher's own: that of the first failing rank, or 128 + n for signal n."""
        if self.requeued:
            return REQUEUE
        first = self.first_failure()
        if first is not None and first.left:
            return 1  # it did well, but for leaving
        if first is not None:
            return first.code if first.code > 0 else 128 - first.code
        if self.signal is not None:
            return 128 + self.signal
        return _TIMED_OUT if self.timeout is not None else 0

    def as_dict(self) -> dict[str, Any]:
        """For report.json."""
        first = self.first_failure()
        return {"exit_code": self.exit_code(), "first": None if first is None else first.rank,
                **asdict(self)}  # fmt: skip


def describe(outcome: Outcome) -> str:
    """The report of a job, the first failing rank's traceback last; nothing if all went well."""
    if outcome.requeued:
        return _say(f"the ranks have saved their state and can be started again (exit {REQUEUE})")
    first = outcome.first_failure()
    late = [end for end in outcome.endings if end.stopped and end is not first]
    if first is not None:
        text = _of_others(outcome, first, late)
        if first.rank is None:
            return text + _say(f"mpirun failed, see its message: {how(first)}")
        return text + _of_first(outcome, first)
    if outcome.signal is not None:
        return _say(f"stopped by {signal_name(outcome.signal)}")
    if outcome.timeout is not None:
        return "".join(_stack(end) for end in sorted(late, key=_by_rank)) + _say(
            f"{_names(late)} still running after {outcome.timeout:g} s: stopped"
        )
    return ""


def _of_others(outcome: Outcome, first: Ending, late: list[Ending]) -> str:
    """A line for all ranks that ended in the same way."""
    alike: dict[str, list[Ending]] = {}
    for end in outcome.endings:
        if end.code != 0 and end is not first and end not in late:
            alike.setdefault(how(end), []).append(end)
    text = "".join(_say(f"{_names(ends)} failed after it: {what}") for what, ends in alike.items())
    if late:
        text += _say(f"{_names(late)} stopped because {_name(first)} {_verb(first)}")
    where: dict[str, list[Ending]] = {}
    for end in outcome.endings:
        if end.last and end is not first:
            where.setdefault(end.last, []).append(end)
    return text + "".join(
        _say(f"the last collective of {_names(ends)}: {last}") for last, ends in where.items()
    )


def _of_first(outcome: Outcome, first: Ending) -> str:
    text = f"the last collective of {_name(first)}: {first.last}" if first.last else ""
    text = _say(text) if text else ""
    if first.left:  # it is the others that can say what they missed it for
        text += _say(
            f"{_name(first)} of {outcome.size} came to its end first, while others still needed "
            "it; one of those says:"
        )
        return text + next(end.traceback for end in outcome.endings if end.in_collective)
    told = how(first) + _of_memory(first, outcome.memory)
    return text + _say(f"{_name(first)} of {outcome.size} failed first: {told}") + first.traceback


def _of_memory(end: Ending, memory: Memory | None) -> str:
    """What is known of a kill -9, which is how the kernel frees memory."""
    if end.code != -signal.SIGKILL:
        return ""
    own = f"; its memory was {size(end.peak)} at most" if end.peak else ""
    if memory is None or memory.kills is None:
        return own + "; perhaps by the kernel for want of memory"
    limit = f" (limit {size(memory.limit)})" if memory.limit else ""
    peak = f", {size(memory.peak)} at most in the group{limit}" if memory.peak else ""
    if memory.kills:
        return f"; the kernel has killed {memory.kills} for want of memory{peak}{own}"
    return f"; not for want of memory, of which the control group counts no kill{own}"


def _stack(end: Ending) -> str:
    if end.frozen:
        return _say(f"{_name(end)} {how(end)}")
    return _say(f"{_name(end)} was here:") + end.traceback


def _say(text: str) -> str:
    return f"dtorch-run: {text}\n"


def _name(end: Ending) -> str:
    return "mpirun" if end.rank is None else f"rank {end.rank}"


def _names(ends: Sequence[Ending]) -> str:
    ranks = [end.rank for end in ends if end.rank is not None]
    if len(ranks) != len(ends) or len(ends) == 1:
        return _name(ends[0])
    return ranks_named(ranks)


def ranks_named(ranks: Sequence[int]) -> str:
    """rank 3, or ranks 0-2, 5"""
    return f"rank{'s' if len(ranks) > 1 else ''} {spans(ranks).replace(',', ', ')}"


def _by_rank(end: Ending) -> int:
    return end.rank or 0


def _verb(end: Ending) -> str:
    if end.frozen:
        return "stood still"
    return "left" if end.left else "failed"


def _was_killed(end: Ending) -> bool:
    return end.code < 0 and end.code != -signal.SIGABRT  # SIGABRT is how C raises


def how(end: Ending) -> str:
    """How a rank ended, in a few words."""
    if end.frozen:
        return f"stood still, stopped by {signal_name(-end.code)} from outside"
    if end.summary:
        return f"{end.summary} (exit code {end.code})"
    if end.code >= 0:
        return f"exit code {end.code}"
    return f"killed by {signal_name(-end.code)}"


def size(count: int | None) -> str:
    """Bytes in words."""
    value = float(count or 0)
    for unit in ("B", "KiB", "MiB"):
        if value < 1000:
            return f"{value:.3g} {unit}"
        value /= 1024
    return f"{value:.3g} GiB"


def signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return f"signal {number}"
