"""--elastic: the ranks of a running job that go on without one that is lost (see `elastic`)."""

from __future__ import annotations

import signal
import socket
import time
from collections.abc import Callable
from functools import partial

from dtorch_run.elastic import Elastic
from dtorch_run.loop import Loop
from dtorch_run.plan import Plan
from dtorch_run.ranks import Ranks
from dtorch_run.report import ranks_named, signal_name
from dtorch_run.spawn import Process


class Survivors:
    """Passes messages between the ranks and `Elastic`, and has lost ranks replaced by `start`."""

    def __init__(
        self,
        plan: Plan,
        loop: Loop,
        ranks: Ranks,
        say: Callable[[str], None],
        start: Callable[[int], None],
    ) -> None:
        self._plan, self._loop, self._ranks, self._say, self._start = plan, loop, ranks, say, start
        self._elastic = Elastic()

    def open(self, rank: int) -> tuple[socket.socket, str]:
        """What a new rank is to inherit, and how elastic.VARIABLE begins, before its descriptor."""
        opened = self._elastic.open(rank)
        self._loop.watch(self._elastic.link(rank), partial(self._on_message, rank))
        return opened

    def lose(self, process: Process, code: int, when: float, stopping: bool) -> bool:
        """Whether the others go on without a rank that has ended.  stopping: nobody is to go on."""
        elastic, rank = self._elastic, process.rank
        assert rank is not None
        self._loop.forget(elastic.link(rank))
        lost = code < 0 and not stopping and elastic.spares(rank)
        replaced = lost and self._plan.elastic == "refill" and elastic.started(rank)
        if lost and not elastic.done:
            elastic.since = elastic.since or when
            then = "one is started in its place" if replaced else "the others go on without it"
            self._say(
                f"rank {rank} (process {process.pid}) was killed by {signal_name(-code)}; {then}"
            )
        if code != 0 and not lost:
            elastic.stop()
        elastic.remove(rank)
        if replaced:
            self._start(rank)
        return lost

    def close(self) -> None:
        self._elastic.close()

    def _on_message(self, rank: int) -> None:
        elastic = self._elastic
        news = elastic.receive(rank)
        if news is None:  # its exit will tell
            self._loop.forget(elastic.link(rank))
            return
        for process in self._ranks.running:
            if process.rank in elastic.too_late():
                process.send(signal.SIGKILL)
        if any(what == "running" for what, _ in news) and elastic.settled():
            step = next(value for what, value in news if what == "running")
            lost = elastic.since
            took = f", {time.monotonic() - lost:.3f} s after the loss" if lost else ""
            elastic.since = None
            self._say(f"{ranks_named(elastic.running())} go on from step {step}{took}")
