"""CheckpointManager: all that a run must know to go on, saved so that a whole copy is always there."""

from __future__ import annotations

import copy
import random
import secrets
import signal
import sys
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from concurrent import futures
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple, Protocol

import dtorch
from dtorch.core.backend import cpu
from dtorch.core.random import default_generator
from dtorch.core.tensor import Tensor, wrap

from .checkpoint import CheckpointException, Stateful, everyones, together
from .checkpoint_folder import CheckpointFolder, checksum
from .group import Group
from .world import default_group, is_initialized
from .zero import ZeroRedundancyOptimizer

REQUEUE = 75  # sysexits.h: EX_TEMPFAIL, "the user is invited to try again later"
_WRITER = ThreadPoolExecutor(1, "dtorch checkpoint")


class Observer(Protocol):
    """What is told of each step (see elastic.py)."""

    def advanced(self) -> bool:
        """Whether the ranks are to leave the step that has just been completed."""

    def leave(self) -> None:
        """All ranks are leaving it."""


class CheckpointManager:
    """Saves and restores the state of a run: its parts, its random generators and its step.

    folder: where checkpoints go; all ranks reach it
    parts: by name, whatever has a state_dict() and a load_state_dict(): model, optimizer, scheduler,
        GradScaler, DataLoader or sampler
    every: advance() saves after so many steps; None: save() alone does
    keep: how many of the newest checkpoints stay; an older one goes when a newer one is complete
    background: a thread writes, from a copy of the state, while training goes on
    sharded: every rank writes its share of the tensors; else rank 0 writes all of which it has a copy
    signals: those that ask for a checkpoint and the end of the job: see advance()
    requeue_code: the exit code then

    Files are written beside their place, on the disk, and checksummed before they count, so that a
    kill at any moment leaves the checkpoint before.  All ranks call each method.
    """

    def __init__(
        self,
        folder: Any,
        parts: Mapping[str, Stateful],
        every: int | None = None,
        keep: int = 3,
        background: bool = False,
        sharded: bool = False,
        signals: Sequence[signal.Signals] = (signal.SIGTERM, signal.SIGUSR1),
        requeue_code: int = REQUEUE,
    ) -> None:
        for name, part in parts.items():
            if not isinstance(part, Stateful):
                raise TypeError(
                    f"parts[{name!r}] is a {type(part).__name__}: expected what has a state_dict() "
                    "and a load_state_dict()"
                )
        if every is not None and (not isinstance(every, int) or every < 1):
            raise ValueError(f"expected every to be a number of at least 1, or None, got {every!r}")
        self.parts = dict(parts)
        self.step = 0  # how many have been completed
        self.every, self.background, self.sharded = every, background, sharded
        self.requeue_code = requeue_code
        self.observer: Observer | None = None
        self._folder = CheckpointFolder(folder, keep)
        self._writing: _Writing | None = None
        self._saved = -1  # the step of the latest checkpoint
        self._asked = 0  # the signal that asks for the end
        self._handlers: dict[int, Any] = {}
        if threading.current_thread() is threading.main_thread():  # others can't set handlers
            self._handlers = {number: signal.signal(number, self._ask) for number in signals}

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self._asked = number
        self._restore_handlers()  # a second one ends the process at once

    def _restore_handlers(self) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers = {}

    # ---- training --------------------------------------------------------------------------------

    def advance(self) -> None:
        """One more step is done.  Saves if it is time to.

        When one of the signals has come to some rank, all save this step, and leave by
        SystemExit(requeue_code).  A second one ends a rank at once.
        CheckpointException on all ranks where a checkpoint can't be written.
        """
        self.step += 1
        wanted = self.observer is not None and self.observer.advanced()
        busy = self._writing is not None and not self._writing.sum.done()
        asked, still_busy, leave = _anywhere(self._asked, busy, wanted)
        if self._writing is not None and not still_busy:
            self.wait()
        if asked:
            self._end(asked)
        if self.every is not None and self.step % self.every == 0:
            self.save()
        if leave and self.observer is not None:
            self.observer.leave()

    def _end(self, number: int) -> None:
        self.wait()
        if self._saved != self.step:
            self._write(background=False)
        if _rank(_group()) == 0:
            print(
                f"{signal.Signals(number).name}: step {self.step} is saved in "
                f"{self._folder.at(self.step)}; the exit code, {self.requeue_code}, asks for a "
                "new start",
                file=sys.stderr,
                flush=True,
            )
        sys.exit(self.requeue_code)

    # ---- saving ----------------------------------------------------------------------------------

    def save(self) -> None:
        """Save the state as of now, under the number of steps completed.

        With `background` it returns once the state is copied; the checkpoint counts from the call of
        advance(), save() or wait() on that follows its end.
        """
        self.wait()
        self._write(self.background)

    def _write(self, background: bool) -> None:
        group = _group()
        state = {name: _state_of(part) for name, part in self.parts.items()}
        mine, token = self._share(group, state)
        content = {"parts": {name: _own(part, mine, (name,)) for name, part in state.items()},
                   "rng": _generators()}  # fmt: skip
        path = self._folder.at(self.step) / f"rank{_rank(group)}-{token}.dtorch"
        written = _WRITER.submit(_write, path, content)
        self._writing = _Writing(self.step, path, written)
        if not background:
            self.wait()

    def _share(self, group: Group | None, state: Any) -> tuple[set[Place], str]:
        """The tensors that this rank writes, and what makes this attempt's files unlike others."""
        sizes = dict(_sizes(state))
        told = everyones(group, (sizes, secrets.token_hex(4)))
        load = [0] * len(told)
        mine = set()
        for place in dict.fromkeys(place for sizes, _ in told for place in sizes):
            holders = [rank for rank, (sizes, _) in enumerate(told) if place in sizes]
            owner = min(holders, key=load.__getitem__) if self.sharded else holders[0]
            load[owner] += told[owner][0][place]
            if owner == _rank(group):
                mine.add(place)
        return mine, told[0][1]

    def wait(self) -> None:
        """Wait until what is being written is a checkpoint."""
        if self._writing is None:
            return
        writing, self._writing = self._writing, None
        group = _group()
        what = f"saving step {writing.step} in {self._folder.at(writing.step)}"
        try:
            together(group, what, lambda: _raise(writing.sum.exception()))
            files = dict(everyones(group, (writing.path.name, writing.sum.result())))
            ranks = len(files)
            first = _rank(group) == 0
            together(
                group,
                what,
                lambda: self._folder.finish(writing.step, ranks, files) if first else None,
            )
        except CheckpointException:
            if _rank(group) == 0:
                self._folder.give_up(writing.step)
            raise
        self._saved = writing.step

    # ---- going on --------------------------------------------------------------------------------

    def load(self) -> int:
        """Go on from the newest checkpoint that is whole; the number of steps completed, 0 if none.

        One that is damaged is told of in a warning, renamed to damaged-..., and the one before is
        taken.  RuntimeError where all are damaged: the run must not start from the beginning unasked;
        also, before anything has changed, where a part is missing.  Random generators go on where as
        many ranks load as have saved; else that is said.
        """
        group = _group()
        found: list[Any] = [None]

        def look() -> None:
            if _rank(group) == 0:
                found[0] = self._newest_whole()

        together(group, f"loading from {self._folder.path}", look)
        if group is not None:
            group.broadcast_objects(found, 0)
        if found[0] is None:
            return 0
        step, files = found[0]
        contents = [dtorch.load(self._folder.at(step) / name) for name in files]
        parts = _merged([content["parts"] for content in contents])
        missing = [name for name in self.parts if name not in parts]
        if missing:
            raise RuntimeError(
                f"{self._folder.at(step)} has {', '.join(map(repr, parts))}, but not "
                f"{', '.join(map(repr, missing))}"
            )
        for name, part in self.parts.items():
            part.load_state_dict(parts[name])
        ranks = 1 if group is None else group.size()
        if ranks == len(contents):
            _set_generators(contents[_rank(group)]["rng"])
        elif _rank(group) == 0:
            print(
                f"{self._folder.at(step)} is of {len(contents)} ranks, these are {ranks}: their "
                "random generators go on as they are",
                file=sys.stderr,
            )
        self.step = self._saved = step
        return step

    def _newest_whole(self) -> tuple[int, list[str]] | None:
        """Its step and its files, by rank."""
        damages = []
        for step in reversed(self._folder.steps()):
            damage = self._folder.damage(step)
            if not damage:
                files = self._folder.manifest(step)["files"]
                return step, sorted(files, key=lambda name: int(name[4:].partition("-")[0]))
            where = self._folder.set_aside(step)
            damages.append(f"step {step} is damaged: {damage}; it is now {where}")
            warnings.warn(damages[-1], stacklevel=4)
        if damages:
            raise RuntimeError("no checkpoint is whole: " + "; ".join(damages))
        return None

    def close(self) -> None:
        """Wait for what is being written, and leave the signals to others."""
        self._restore_handlers()
        self.wait()

    def __enter__(self) -> CheckpointManager:
        return self

    def __exit__(self, kind: Any, *args: Any) -> None:
        if kind is None:
            self.close()
        else:  # the other ranks may not come to a wait
            self._restore_handlers()

    def forget(self) -> None:
        """Give up what is being written: ranks that had a part in it are gone."""
        if self._writing is not None:
            futures.wait([self._writing.sum])
        self._writing = None


class _Writing(NamedTuple):
    """This rank's file of a checkpoint on its way to the disk; `sum` will be its size and checksum."""

    step: int
    path: Path
    sum: Future[tuple[int, str]]


def _write(path: Path, content: Any) -> tuple[int, str]:
    path.parent.mkdir(parents=True, exist_ok=True)
    dtorch.save(content, path)
    return checksum(path)


def _raise(error: BaseException | None) -> None:
    if error is not None:
        raise error


# ---- states --------------------------------------------------------------------------------------

Place = tuple[Any, ...]  # the keys that lead to a value in nested dicts


def _state_of(part: Any) -> Any:
    """Its state_dict(); of what is spread over the ranks, this rank's part."""
    if isinstance(part, ZeroRedundancyOptimizer):
        return part.own_state_dict()
    return part.state_dict()


def _sizes(state: Any, place: Place = ()) -> Iterator[tuple[Place, int]]:
    """Where there are tensors in nested dicts, and their bytes."""
    if isinstance(state, Mapping):
        for key, value in state.items():
            yield from _sizes(value, (*place, key))
    elif isinstance(state, Tensor):
        yield place, state.nbytes


def copied(state: Any) -> Any:
    """The same in memory of its own, on the CPU, and no larger than the tensors in it."""
    if isinstance(state, Mapping):
        return {key: copied(value) for key, value in state.items()}
    if isinstance(state, (list, tuple)) and not hasattr(state, "_fields"):
        return type(state)(map(copied, state))
    if isinstance(state, Tensor):
        return state.detach().cpu().clone()
    return copy.deepcopy(state)


def _own(state: Any, mine: set[Place], place: Place = ()) -> Any:
    """A copy of nested dicts, without the tensors in them that others write."""
    if not isinstance(state, Mapping):
        return copied(state)
    return {
        key: _own(value, mine, (*place, key))
        for key, value in state.items()
        if not isinstance(value, Tensor) or (*place, key) in mine
    }


def _merged(states: Sequence[Any]) -> Any:
    """Nested dicts that are each a part of one; of several values in one place the first's."""
    if not isinstance(states[0], Mapping):
        return states[0]
    keys = dict.fromkeys(key for state in states for key in state)
    return {key: _merged([state[key] for state in states if key in state]) for key in keys}


def _generators() -> dict[str, Any]:
    """The state of all that draws random numbers on this rank, as plain data."""
    numpys = cpu.random.get_state(legacy=False)
    numpys["state"] = {**numpys["state"], "key": wrap(numpys["state"]["key"].copy())}
    return {"dtorch": default_generator().get_state(), "python": random.getstate(),
            "numpy": numpys}  # fmt: skip


def _set_generators(state: dict[str, Any]) -> None:
    default_generator().set_state(state["dtorch"])
    random.setstate(state["python"])
    numpys = state["numpy"]
    cpu.random.set_state({**numpys, "state": {**numpys["state"],
                                              "key": numpys["state"]["key"].numpy()}})  # fmt: skip


# ---- ranks ---------------------------------------------------------------------------------------


def _group() -> Group | None:
    return default_group() if is_initialized() else None


def _rank(group: Group | None) -> int:
    return 0 if group is None else group.rank()


def _anywhere(*values: int) -> list[int]:
    """The largest of each of these over the ranks."""
    group = _group()
    if group is None or group.size() == 1:
        return list(values)
    largest = cpu.array(values, cpu.int64)
    group.all_reduce(largest, "max", "what steps end with").wait()
    return largest.tolist()
