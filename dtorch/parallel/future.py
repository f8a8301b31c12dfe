"""Future: a value that will be there; public as dtorch.futures."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

T = TypeVar("T")
S = TypeVar("S")


class Future(Generic[T]):
    """A value that will be there, or the exception that came instead.

    Of a collective (Work.get_future) or made by a user, who calls set_result or set_exception, from
    any thread.  `devices` is torch's and changes nothing: values are there once they are set.
    """

    def __init__(self, *, devices: Sequence[Any] | None = None) -> None:
        self._set = threading.Event()
        self._lock = threading.Lock()
        self._value: Any = None
        self._error: BaseException | None = None
        self._callbacks: list[Callable[[Future[T]], Any]] = []
        self._drive: Callable[[], object] | None = None  # makes what it waits for happen

    def done(self) -> bool:
        return self._set.is_set()

    def wait(self) -> T:
        """The value, once it is there; raises the exception if there is one."""
        if self._drive is not None and not self.done():
            self._drive()
        self._set.wait()
        return self.value()

    def value(self) -> T:
        """The value, which must be there; raises the exception if there is one."""
        if not self.done():
            raise RuntimeError("the future is not done yet: wait() for it")
        if self._error is not None:
            raise self._error
        return self._value

    def set_result(self, result: T) -> None:
        self._finish(result, None)

    def set_exception(self, result: BaseException) -> None:
        if not isinstance(result, BaseException):
            raise AssertionError(f"{result} is of type {type(result)}, not an Exception.")
        self._finish(None, result)

    def _finish(self, value: Any, error: BaseException | None) -> None:
        with self._lock:
            if self.done():
                raise RuntimeError("Future can only be marked completed once: it is done already")
            self._value, self._error = value, error
            self._set.set()
            callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback(self)

    def add_done_callback(self, callback: Callable[[Future[T]], Any]) -> None:
        """Call callback(self) when it is done (at once if it is)."""
        with self._lock:
            if not self.done():
                self._callbacks.append(callback)
                return
        callback(self)

    def then(self, callback: Callable[[Future[T]], S]) -> Future[S]:
        """The future of callback(self), which is called when this one is done, also if it failed."""
        result: Future[S] = Future()
        result._drive = self._wait_done

        def run(future: Future[T]) -> None:
            try:
                value = callback(future)
            except Exception as error:  # noqa: BLE001 (the result's wait raises it)
                result.set_exception(error)
            else:
                result.set_result(value)

        self.add_done_callback(run)
        return result

    def _wait_done(self) -> None:
        """Wait, whether it ends with a value or an exception."""
        if self._drive is not None and not self.done():
            self._drive()
        self._set.wait()


def collect_all(futures: Sequence[Future[Any]]) -> Future[list[Future[Any]]]:
    """A future of the list of these, done when all are."""
    futures = list(futures)
    result: Future[list[Future[Any]]] = Future()
    left = [len(futures)]
    lock = threading.Lock()

    def one_done(_: Future[Any]) -> None:
        with lock:
            left[0] -= 1
            last = left[0] == 0
        if last:
            result.set_result(futures)

    def drive() -> None:
        for future in futures:
            future._wait_done()

    result._drive = drive
    if not futures:
        result.set_result(futures)
    for future in futures:
        future.add_done_callback(one_done)
    return result


def wait_all(futures: Sequence[Future[Any]]) -> list[Any]:
    """The values of all; raises the first exception when all are done."""
    return [future.value() for future in collect_all(futures).wait()]
