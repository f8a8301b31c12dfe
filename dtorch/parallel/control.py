"""The line to dtorch-run: twice a second each rank says how far it is, from a thread of its own.

The launcher leaves the address and the keys of its job in a file that only its user can read
(DTORCH_CONTROL); without one nothing is opened.  All that is sent is JSON, encrypted and
authenticated by CURVE (https://rfc.zeromq.org/spec/26/).
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import socket
import threading
import time
from typing import Any

from dtorch.core import env

from .progress import PROGRESS
from .work import Engine

_PERIOD = 0.5  # seconds between messages; a job that is over sooner never loads zmq
_PARTING = 200  # ms that the last message may take
_LONGEST = 500  # characters that are told of a collective
_QUEUE = 10  # messages that wait for a launcher that is busy; more are not sent


class Reporter:
    """Sends this rank's beats until it is closed.

    file: the launcher's, DTORCH_CONTROL
    engine: knows the rank, its collectives, and how long it has waited in them
    """

    def __init__(self, file: str, engine: Engine) -> None:
        self._file, self._engine = file, engine
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="dtorch control", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Send the last beat, if any has been sent."""
        self._closed.set()
        self._thread.join()

    def _run(self) -> None:
        contact = None
        while contact is None:
            if self._closed.wait(_PERIOD):
                return
            contact = _read(self._file)
        import zmq

        # Local to this frame: a forked child, which has no such thread, never touches them.
        with zmq.Context() as context, context.socket(zmq.DEALER) as line:
            line.curve_serverkey = contact["server"].encode()
            line.curve_publickey = contact["public"].encode()
            line.curve_secretkey = contact["secret"].encode()
            line.sndhwm, line.linger = _QUEUE, _PARTING
            line.connect(contact["address"])
            ended = False
            while not ended:
                ended = self._closed.is_set()
                # The launcher may be busy, or gone: the next beat says it all, too.
                with contextlib.suppress(zmq.Again):
                    line.send(json.dumps({"beat": beat(self._engine)}).encode(), zmq.NOBLOCK)
                self._closed.wait(_PERIOD)


def _read(file: str) -> dict[str, Any] | None:
    """Where the launcher listens, and the keys; None: it isn't there yet."""
    try:
        with open(file, encoding="utf-8") as text:
            return json.load(text)
    except FileNotFoundError:
        return None


def beat(engine: Engine) -> dict[str, Any]:
    """How far this rank is.  Counts since its start: a message that is lost does no harm.

    number: grows with every beat of a rank, whichever process sends it; seconds: of one clock
    """
    loss = PROGRESS.loss
    entries = engine.flight.entries
    rank = engine.flight.rank
    if env.ELASTIC.get():  # the others are renumbered when one is lost: not so for people
        rank = int(os.environ["RANK"])
    return {
        "rank": rank,
        "number": time.monotonic_ns(),
        "seconds": time.monotonic(),
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "device": PROGRESS.device,
        "steps": PROGRESS.steps,
        "samples": PROGRESS.samples,
        "loss": loss if loss is None or math.isfinite(loss) else str(loss),  # as JSON has no nan
        "waited": engine.time_waited(),
        "memory": _resident(),
        "last": str(entries[-1])[:_LONGEST] if entries else "",
        "waits": engine.waiting is not None,
    }


def _resident() -> int:
    """Bytes of memory that this process occupies: proc_pid_statm(5)."""
    with open("/proc/self/statm", "rb") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")
