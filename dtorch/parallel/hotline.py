"""How processes ask each other where they are, whatever their programs do: threads with a socket.

Each rank answers at a port, to whoever knows its password.  What goes there and comes back is JSON.
A process that has been stopped can't answer; what the kernel says of it is told instead.
"""

from __future__ import annotations

import contextlib
import hmac
import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from .watch import Answer, Standing

_PATIENCE = 1.0  # seconds for all answers together
_STATES = {
    "T": "is stopped (by SIGSTOP, or job control)", "t": "is stopped by a debugger",
    "D": "waits for a disk or the network, inside of the kernel", "Z": "has ended",
}  # fmt: skip


class Contact(NamedTuple):
    """Where a rank can be asked.

    machine: what only processes that see each other in /proc have in common
    """

    host: str
    pid: int
    machine: str
    port: int
    password: str


class Hotline:
    """Answers for this process, in a thread, until it is closed.

    answer: says where the rank is
    address: that of the network at which it can be asked; "": of all
    """

    def __init__(self, answer: Callable[[], Answer], address: str, machine: str) -> None:
        self._answer = answer
        self._listener = socket.create_server((address, 0))
        port = self._listener.getsockname()[1]
        who = socket.gethostname(), os.getpid(), machine
        self.contact = Contact(*who, port, secrets.token_hex(16))
        self._thread = threading.Thread(target=self._serve, name="dtorch hotline", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)  # also ends the accept() in the thread
        self._listener.close()
        self._thread.join()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):  # it was closed
            while True:
                connection, _ = self._listener.accept()
                with (
                    connection,
                    contextlib.suppress(OSError, ValueError),
                ):  # they have gone, or rave
                    connection.settimeout(_PATIENCE)
                    self._reply(connection)

    def _reply(self, connection: socket.socket) -> None:
        password = self.contact.password
        if hmac.compare_digest(connection.recv(len(password)), password.encode()):
            connection.sendall(json.dumps(self._answer()).encode())


def ask(contacts: Sequence[Contact], ranks: Sequence[int], machine: str) -> dict[int, Answer]:
    """What some ranks say of where they are, within a second or so.

    contacts: of all ranks of the world
    machine: this process's
    """
    deadline = time.monotonic() + _PATIENCE
    calls = {rank: _call(contacts[rank], machine) for rank in ranks}
    answers: dict[int, Answer] = {}
    for rank, call in calls.items():
        answer = None if call is None else _hear(call, deadline)
        answers[rank] = answer if answer is not None else _seen(contacts[rank], machine)
    return answers


def _call(contact: Contact, machine: str) -> socket.socket | None:
    host = "127.0.0.1" if contact.machine == machine else contact.host
    try:
        call = socket.create_connection((host, contact.port), timeout=_PATIENCE)
        call.sendall(contact.password.encode())
    except OSError:
        return None
    return call


def _hear(call: socket.socket, deadline: float) -> Answer | None:
    """The answer; None if there is none in time."""
    data = b""
    try:
        with call:
            while True:
                call.settimeout(max(deadline - time.monotonic(), 0.01))
                part = call.recv(1 << 16)
                if not part:
                    break
                data += part
        told = json.loads(data)
    except (OSError, ValueError):
        return None
    if isinstance(told, str):
        return told
    answer = Standing(*told)
    return answer._replace(stack=[(file, line, name) for file, line, name in answer.stack])


def _seen(contact: Contact, machine: str) -> str:
    """What can be said of a process that gives no answer."""
    who = f"process {contact.pid} on {contact.host}"
    if contact.machine != machine:
        return f"{who} does not answer"
    try:
        with open(f"/proc/{contact.pid}/stat") as file:
            state = file.read().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return f"{who} has ended"
    return f"{who} {_STATES.get(state, 'does not answer, though it is alive')}"
