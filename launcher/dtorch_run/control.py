"""The control plane: where the ranks tell how far they are, and whoever watches the job asks.

A ROUTER socket of the job's launcher, which is no port but a file in a folder of the user's own, with
its keys beside it.  Messages are JSON: ``{"beat": {...}}`` of a rank, ``{"ask": "status"}`` of others.
CURVE encrypts them, admits only who has the job's key, and lets none be replayed; what is dropped is
counted.  Nothing that comes in is ever run.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import zmq
from zmq import ZMQError
from zmq.utils import z85
from zmq.utils.monitor import recv_monitor_message

from dtorch_run import beats

_LONGEST = 1 << 16  # bytes of a message; a connection that sends a longer one is closed
_QUEUE = 100  # messages of one connection that wait for us; then it has to
_AT_ONCE = 200  # that are taken before the job's loop has its turn again
_PER_SECOND = 50  # messages of one connection that are looked at; ranks send 2
_LONGEST_PATH = 100  # bytes of a socket's: unix(7) allows 108
_REFUSED = (zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
            | zmq.EVENT_HANDSHAKE_FAILED_AUTH)  # fmt: skip


class Control:
    """Listens until it is closed; `turn` does all there is to do whenever one of `fds` is readable.

    file: where to write how to reach it; a socket beside it
    about: what viewers are told of the job besides
    forward: where the beats of this host's ranks go to, on hosts that aren't the first
    dropped: how many messages, or connections, by why
    """

    def __init__(
        self,
        file: Path,
        size: int,
        about: dict[str, Any],
        forward: Callable[[dict[str, Any]], None] | None = None,
    ) -> None:
        self.board = beats.Board(size)
        self.dropped: Counter[str] = Counter()
        self._size, self._about, self._forward = size, about, forward
        self._second = 0
        self._loads: Counter[bytes] = Counter()  # messages of this second by connection
        server, secret = zmq.curve_keypair()
        self._known, client_secret = zmq.curve_keypair()
        self._context = zmq.Context()
        self._gate = self._context.socket(zmq.REP)  # https://rfc.zeromq.org/spec/27/
        self._gate.bind("inproc://zeromq.zap.01")
        self._line = self._context.socket(zmq.ROUTER)
        self._line.curve_server = True
        self._line.curve_secretkey = secret
        self._line.zap_domain = b"dtorch"
        self._line.maxmsgsize, self._line.linger = _LONGEST, 0
        self._line.rcvhwm = self._line.sndhwm = _QUEUE
        self._monitor = self._line.get_monitor_socket(_REFUSED)
        path = str(file.with_suffix(".socket"))
        short = len(path.encode()) < _LONGEST_PATH
        self._line.bind(f"ipc://{path}" if short else "tcp://127.0.0.1:*")
        contact = {
            **about,
            "address": self._line.getsockopt_string(zmq.LAST_ENDPOINT).rstrip("\0"),
            "server": server.decode(),
            "public": self._known.decode(),
            "secret": client_secret.decode(),
        }
        _write(file, json.dumps(contact))

    @property
    def fds(self) -> list[int]:
        """They turn readable once for whatever has come: `turn` then takes all of it."""
        return [socket.fileno() for socket in (self._gate, self._line, self._monitor)]

    def turn(self) -> bool:
        """Do what there is to do, up to a limit; whether there is more."""
        for _ in range(_AT_ONCE):
            if _has(self._gate):
                self._admit()
            elif _has(self._monitor):
                recv_monitor_message(self._monitor)
                self.dropped["stranger"] += 1
            elif _has(self._line):
                who, *parts = self._line.recv_multipart()
                self._take(who, parts)
            else:
                return False
        return True

    def close(self) -> None:
        self._line.disable_monitor()
        self._context.destroy(linger=0)

    def status(self, past: bool = False) -> dict[str, Any]:
        more = {"past": self.board.past} if past else {}
        return {**self._about, **self.board.table(), "dropped": dict(self.dropped), **more}

    def add(self, told: Any) -> None:
        """Take a beat, also of another host's rank."""
        try:
            beat = beats.read(told, self._size)
        except ValueError:
            self.dropped["garbage"] += 1
            return
        if not self.board.add(beat):
            self.dropped["replayed"] += 1
        elif self._forward is not None:
            self._forward(told)

    def _admit(self) -> None:
        """Answer libzmq, which asks whether a key may come in."""
        version, request, _, _, _, _, *keys = self._gate.recv_multipart()
        known = keys == [z85.decode(self._known)]
        code = b"200" if known else b"400"
        self._gate.send_multipart([version, request, code, b"", b"", b""])

    def _take(self, who: bytes, parts: list[bytes]) -> None:
        second = int(time.monotonic())
        if second != self._second:
            self._second = second
            self._loads.clear()
        self._loads[who] += 1
        if self._loads[who] > _PER_SECOND:
            self.dropped["flood"] += 1
            return
        try:
            (body,) = parts
            ((what, told),) = json.loads(body).items()
        except (ValueError, AttributeError, RecursionError):
            self.dropped["garbage"] += 1
            return
        if what == "beat":
            self.add(told)
        elif what == "ask" and told in ("status", "past"):
            self._answer(who, self.status(past=told == "past"))
        else:
            self.dropped["garbage"] += 1

    def _answer(self, who: bytes, value: dict[str, Any]) -> None:
        with contextlib.suppress(ZMQError):  # they have gone, or don't read what they ask for
            self._line.send_multipart([who, json.dumps(value).encode()], zmq.NOBLOCK)


def _has(socket: zmq.Socket[bytes]) -> bool:
    return bool(int(socket.get(zmq.EVENTS)) & zmq.POLLIN)


def _write(path: Path, text: str) -> None:
    """For this user's eyes only, and never half of it."""
    half = path.with_name(path.name + "~")
    with open(half, "w", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        file.write(text)
    half.replace(path)
