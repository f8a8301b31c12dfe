"""Stores: a few small values, by key, that processes tell each other before they are a group.

Every store is the same `Table`, somewhere: in this process, behind a socket of one of them, or as
the log of what was done to it, in a file.  What goes there and comes back are lines of JSON, so
nothing that a stranger sends is ever unpickled.
"""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import json
import os
import socket
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from typing import Any

from .work import DistError, Seconds, seconds

_NAP = 0.01  # seconds between two looks at a file, or two attempts to connect
_DEFAULT = datetime.timedelta(seconds=300)


class DistStoreError(DistError):
    """A store has no such key, and nobody set it in time."""


class DistNetworkError(DistError):
    """The process that keeps the store can't be reached."""


class Table:
    """Values by key, and what can be done to them, one at a time.  Bytes are kept as latin-1."""

    READS = ("find", "check", "num_keys", "list_keys", "queue_len")
    WRITES = ("set", "add", "append", "compare_set", "delete", "push", "pop")

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self._values: dict[str, str] = {}
        self._queues: dict[str, list[str]] = {}

    def do(self, op: str, *args: Any) -> Any:
        """Do one of READS or WRITES."""
        if op not in self.READS and op not in self.WRITES:
            raise ValueError(f"a store has no {op!r}")
        with self.changed:
            self.changed.notify_all()
            return getattr(self, f"_{op}")(*args)

    def wait(self, keys: Sequence[str], limit: float) -> bool:
        """Whether all the keys are there, or are set within `limit` seconds."""
        with self.changed:
            return self.changed.wait_for(lambda: self._check(keys), limit)

    def _find(self, keys: Sequence[str]) -> list[str | None]:
        return [self._values.get(key) for key in keys]

    def _check(self, keys: Sequence[str]) -> bool:
        return all(key in self._values or self._queues.get(key) for key in keys)

    def _num_keys(self) -> int:
        return len(self._values)

    def _list_keys(self) -> list[str]:
        return list(self._values)

    def _set(self, values: dict[str, str]) -> None:
        self._values.update(values)

    def _add(self, key: str, amount: int) -> int:
        total = int(self._values.get(key, "0")) + amount
        self._values[key] = str(total)
        return total

    def _append(self, key: str, value: str) -> None:
        self._values[key] = self._values.get(key, "") + value

    def _compare_set(self, key: str, expected: str, desired: str) -> str:
        found = self._values.get(key)
        if found == expected or (found is None and not expected):
            self._values[key] = found = desired
        return expected if found is None else found

    def _delete(self, key: str) -> bool:
        return self._values.pop(key, None) is not None

    def _push(self, key: str, value: str) -> None:
        self._queues.setdefault(key, []).append(value)

    def _pop(self, key: str) -> str | None:
        queue = self._queues.get(key)
        return queue.pop(0) if queue else None

    def _queue_len(self, key: str) -> int:
        return len(self._queues.get(key, ()))


class Store:
    """What all stores can do.  Keys are strings; values bytes, and may be given as strings.

    timeout: how long get() and wait() wait for a key (timedelta, or seconds)
    """

    def __init__(self, timeout: Seconds = _DEFAULT) -> None:
        self.set_timeout(timeout)

    def _do(self, op: str, *args: Any) -> Any:
        """An op of the table, wherever that is."""
        raise NotImplementedError(f"{type(self).__name__} doesn't say where its table is")

    def _await(self, keys: Sequence[str], limit: float) -> bool:
        """Table.wait: by looking again and again where nothing better can be done."""
        deadline = time.monotonic() + limit
        while not self._do("check", keys):
            if time.monotonic() > deadline:
                return False
            time.sleep(_NAP)
        return True

    def _key(self, key: str) -> str:
        """A key's name in the table."""
        return key

    # ---- values ----------------------------------------------------------------------------------

    def set(self, key: str, value: str | bytes) -> None:
        """Set the key's value, which all ranks then see."""
        self._do("set", {self._key(key): _text(value)})

    def multi_set(self, keys: Sequence[str], values: Sequence[str | bytes]) -> None:
        """Set several keys at once."""
        if len(keys) != len(values):
            raise ValueError(f"expected a value for each of {len(keys)} keys, got {len(values)}")
        self._do("set", {self._key(k): _text(v) for k, v in zip(keys, values)})

    def get(self, key: str) -> bytes:
        """The key's value, once it has one; DistStoreError after the timeout."""
        return self.multi_get([key])[0]

    def multi_get(self, keys: Sequence[str]) -> list[bytes]:
        """The values of several keys, once all have one."""
        while True:  # a key may be deleted between the wait and the look
            found = self._do("find", [self._key(key) for key in keys])
            if None not in found:
                return [value.encode("latin-1") for value in found]
            self.wait(keys)

    def add(self, key: str, amount: int) -> int:
        """Add to the number that the key holds (0 if none); the sum."""
        return self._do("add", self._key(key), int(amount))

    def append(self, key: str, value: str | bytes) -> None:
        """Put more bytes behind those that the key holds."""
        self._do("append", self._key(key), _text(value))

    def compare_set(self, key: str, expected: str | bytes, desired: str | bytes) -> bytes:
        """Set the key if it holds `expected`, or nothing and that is empty; what it then holds.

        As torch, returns `expected` where the key holds nothing and isn't set.
        """
        args = self._key(key), _text(expected), _text(desired)
        return self._do("compare_set", *args).encode("latin-1")

    def delete_key(self, key: str) -> bool:
        """Whether there was such a key; there is none now."""
        return self._do("delete", self._key(key))

    # ---- keys and waiting ------------------------------------------------------------------------

    def check(self, keys: Sequence[str]) -> bool:
        """Whether all the keys are there."""
        return self._do("check", [self._key(key) for key in keys])

    def wait(self, keys: Sequence[str], timeout: Seconds = None) -> None:
        """Return when all the keys are there; DistStoreError after the timeout."""
        limit = seconds(self.timeout if timeout is None else timeout)
        if not self._await([self._key(key) for key in keys], limit):
            absent = ", ".join(key for key in keys if not self.check([key]))
            raise DistStoreError(f"wait timeout after {limit * 1000:.0f}ms, keys: {absent}")

    def num_keys(self) -> int:
        """How many keys there are, whatever their prefix."""
        return self._do("num_keys")

    def list_keys(self) -> list[str]:
        """All keys, with their prefixes."""
        return self._do("list_keys")

    @property
    def timeout(self) -> datetime.timedelta:
        """How long get() and wait() wait for a key."""
        return self._timeout

    def set_timeout(self, timeout: Seconds) -> None:
        """How long get() and wait() are to wait for a key: a timedelta, or seconds."""
        self._timeout = datetime.timedelta(seconds=seconds(timeout))

    def has_extended_api(self) -> bool:
        """True: append, multi_get, multi_set and queues are there."""
        return True

    # ---- queues ----------------------------------------------------------------------------------

    def queue_push(self, key: str, value: str | bytes) -> None:
        """Put a value at the end of the key's queue."""
        self._do("push", self._key(key), _text(value))

    def queue_pop(self, key: str, block: bool = True) -> bytes:
        """Take the first value of the key's queue, once it has one; DistStoreError if it doesn't."""
        while (value := self._do("pop", self._key(key))) is None:
            if not block:
                raise DistStoreError(f"the queue {key!r} is empty")
            self.wait([key])
        return value.encode("latin-1")

    def queue_len(self, key: str) -> int:
        """How many values are in the queue of this key."""
        return self._do("queue_len", self._key(key))


class HashStore(Store):
    """A store of this process, for its threads."""

    def __init__(self, timeout: Seconds = _DEFAULT) -> None:
        super().__init__(timeout)
        table = Table()
        self._do, self._await = table.do, table.wait  # type: ignore[method-assign]


class PrefixStore(Store):
    """The part of another store whose keys begin with a prefix, which is left out here."""

    def __init__(self, prefix: str, store: Store) -> None:
        super().__init__(store.timeout)
        self.underlying_store = store
        self._prefix = prefix
        self._do, self._await = store._do, store._await  # type: ignore[method-assign]

    def _key(self, key: str) -> str:
        return self.underlying_store._key(f"{self._prefix}/{key}")


class FileStore(Store):
    """A store in a file that all processes can reach.  It stays there until somebody removes it.

    The file holds a line for each thing that was done; all do them again, in that order.
    world_size: accepted as torch's, but processes are not counted
    """

    def __init__(self, file_name: str, world_size: int = -1, timeout: Seconds = _DEFAULT) -> None:
        super().__init__(timeout)
        self.path = os.fspath(file_name)
        self._table = Table()
        self._file = open(self.path, "a+b")  # noqa: SIM115 (closed with the store)
        weakref.finalize(self, self._file.close)
        self._seen = 0

    def _do(self, op: str, *args: Any) -> Any:
        fcntl.flock(self._file, fcntl.LOCK_EX)
        try:
            self._file.seek(self._seen)
            for line in self._file:
                self._table.do(*json.loads(line))
            answer = self._table.do(op, *args)
            if op in Table.WRITES:
                self._file.write(_line([op, *args]))
                self._file.flush()
            self._seen = self._file.tell()
            return answer
        finally:
            fcntl.flock(self._file, fcntl.LOCK_UN)


class TCPStore(Store):
    """A store that one process keeps and serves at a port, and others reach there.

    port: 0 lets the system choose; `port` then says which one it is
    world_size: how many processes, this one included, the keeper waits for; None: it doesn't
    is_master: whether this process keeps it
    wait_for_workers: whether the keeper waits for them at all
    master_listen_fd: a socket that listens already, to serve at
    multi_tenant, use_libuv: accepted as torch's, and do nothing

    Raises DistNetworkError where the port is taken, or nobody serves there within the timeout.
    """

    def __init__(self, host_name: str, port: int, world_size: int | None = None,
                 is_master: bool = False, timeout: Seconds = _DEFAULT,
                 wait_for_workers: bool = True, multi_tenant: bool = False,
                 master_listen_fd: int | None = None, use_libuv: bool = True) -> None:  # fmt: skip
        super().__init__(timeout)
        self.host = host_name
        self._lock = threading.Lock()
        if is_master:
            listener = _listen(host_name, port, master_listen_fd)
            port = listener.getsockname()[1]
            _serve(self, listener)
        self.port = port
        self._connection = self._connect()
        self._answers = self._connection.makefile("rb")
        self._do("add", "", 1)
        if is_master and wait_for_workers and world_size is not None:
            self._meet(world_size)

    def _connect(self) -> socket.socket:
        deadline = time.monotonic() + seconds(self.timeout)
        while True:
            try:
                connection = socket.create_connection((self.host, self.port), timeout=5.0)
            except socket.gaierror as error:
                raise DistNetworkError(f"unknown host {self.host!r}: {error}") from None
            except OSError as error:
                if time.monotonic() > deadline:
                    raise DistNetworkError(
                        f"nobody serves a store at {self.host}:{self.port}: {error}; the process "
                        "that has rank 0 does, once it is there"
                    ) from None
                time.sleep(_NAP)
            else:
                connection.settimeout(None)
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                weakref.finalize(self, connection.close)
                return connection

    def _meet(self, world_size: int) -> None:
        deadline = time.monotonic() + seconds(self.timeout)
        while (here := self._do("add", "", 0)) < world_size:
            if time.monotonic() > deadline:
                raise DistStoreError(
                    f"{here} of {world_size} processes have come to the store at "
                    f"{self.host}:{self.port} after {seconds(self.timeout):g} s"
                )
            time.sleep(_NAP)

    def _do(self, op: str, *args: Any) -> Any:
        with self._lock:
            try:
                self._connection.sendall(_line([op, *args]))
                line = self._answers.readline()
            except OSError:
                line = b""
        if not line:
            raise DistNetworkError(f"the process that kept {self.host}:{self.port} is gone")
        answer, error = json.loads(line)
        if error is not None:
            raise ValueError(error)
        return answer

    def _await(self, keys: Sequence[str], limit: float) -> bool:
        return self._do("wait", keys, limit)  # answered when they are there

    def num_keys(self) -> int:
        return super().num_keys() - 1  # the count of processes is none of the user's

    def list_keys(self) -> list[str]:
        return [key for key in super().list_keys() if key]


# ---- the keeper of a TCPStore --------------------------------------------------------------------


def _listen(host: str, port: int, handle: int | None) -> socket.socket:
    if handle is not None:
        return socket.socket(fileno=handle)
    try:
        return socket.create_server((host, port))
    except OSError as error:
        raise DistNetworkError(
            f"can't serve a store at {host}:{port}: {error}; port 0 lets the system choose one"
        ) from None


def _serve(store: TCPStore, listener: socket.socket) -> None:
    """Answer whoever connects, each in a thread of its own, as long as the store lives."""
    table = Table()

    def accept() -> None:
        with contextlib.suppress(OSError):  # it was shut down
            while True:
                connection, _ = listener.accept()
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                _thread(lambda c=connection: _answer(c, table))  # type: ignore[misc]

    keeper = os.getpid()

    def stop() -> None:
        if os.getpid() == keeper:  # a forked child has the socket too, but it isn't its own
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()

    weakref.finalize(store, stop)
    _thread(accept)


def _answer(connection: socket.socket, table: Table) -> None:
    """Do what the lines that come ask for, until the other side is gone or talks nonsense."""
    with connection, connection.makefile("rb") as lines, contextlib.suppress(OSError):
        for line in lines:
            try:
                op, *args = json.loads(line)
                answer, error = (table.wait if op == "wait" else _bound(table, op))(*args), None
            except (ValueError, TypeError) as problem:
                answer, error = None, str(problem)
            connection.sendall(_line([answer, error]))


def _bound(table: Table, op: str) -> Callable[..., Any]:
    return lambda *args: table.do(op, *args)


def _thread(function: Callable[[], None]) -> None:
    threading.Thread(target=function, name="dtorch store", daemon=True).start()


def _line(value: Any) -> bytes:
    return json.dumps(value).encode() + b"\n"


def pack(value: Any) -> bytes:
    """A value of what JSON has, as a value for a store."""
    return json.dumps(value).encode()


def unpack(value: bytes) -> Any:
    return json.loads(value)


def _text(value: str | bytes) -> str:
    """A value as text with one character a byte."""
    return (value.encode() if isinstance(value, str) else bytes(value)).decode("latin-1")
