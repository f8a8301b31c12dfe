"""A job's one loop, without threads: what has come on descriptors, and what is due."""

from __future__ import annotations

import heapq
import selectors
import time
from collections.abc import Callable
from itertools import count
from typing import Protocol


class HasFileno(Protocol):
    def fileno(self) -> int: ...


class Loop:
    """`turn` waits for the next thing to happen, and calls whoever is waiting for it."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._alarms: list[tuple[float, int, Callable[[], None]]] = []
        self._alarm_number = count()

    def watch(self, source: int | HasFileno, callback: Callable[[], None]) -> None:
        """Call back whenever there is something to read."""
        self._selector.register(source, selectors.EVENT_READ, callback)

    def forget(self, source: int | HasFileno) -> None:
        """To be called before a source is closed; nothing if it isn't watched."""
        fd = source if isinstance(source, int) else source.fileno()
        if fd in self._selector.get_map():
            self._selector.unregister(fd)

    def after(self, seconds: float, action: Callable[[], None]) -> None:
        alarm = (time.monotonic() + seconds, next(self._alarm_number), action)
        heapq.heappush(self._alarms, alarm)

    def turn(self, most: float | None) -> None:
        """Wait, `most` seconds if that is a number, and do what has come due."""
        alarm = max(0.0, self._alarms[0][0] - time.monotonic()) if self._alarms else None
        wait = min((x for x in (alarm, most) if x is not None), default=None)
        for key, _ in self._selector.select(wait):
            if key.fd in self._selector.get_map():  # an earlier callback may have closed it
                key.data()
        while self._alarms and self._alarms[0][0] <= time.monotonic():
            heapq.heappop(self._alarms)[2]()

    def close(self) -> None:
        self._selector.close()
