"""The launchers of a job's other hosts: how they meet, and what they tell each other afterwards.

The first host listens at --master-port, the others come there: lines of JSON over TCP.  Who comes has
to know the job's --rdzv-id, which is never sent: it answers a challenge (HMAC).  Nothing that is
received is ever run.  Without an id anyone who reaches the port can take a host's place.
"""

from __future__ import annotations

import hmac
import json
import secrets
import selectors
import socket
import time
from dataclasses import replace
from typing import Any

from dtorch_run.hosts import Hosts
from dtorch_run.options import UsageError
from dtorch_run.plan import Machine, Plan

_LONGEST = 1 << 20  # bytes of a message
_PATIENCE = 5.0  # seconds for one that has connected to say who it is


class Link:
    """A connection that carries messages, each a JSON object.

    silence: after so many seconds without a sign of life of the other host it ends
    """

    def __init__(self, connection: socket.socket, silence: int) -> None:
        self._socket = connection
        self._rest = b""
        # The kernels ask each other, however busy we are: tcp(7).
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL):
            connection.setsockopt(socket.IPPROTO_TCP, option, max(1, silence // 5))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, silence * 1000)

    def fileno(self) -> int:
        return self._socket.fileno()

    def send(self, **message: Any) -> None:
        """ConnectionError, or nothing at all, if the other end is gone: `receive` will tell."""
        self._socket.sendall(json.dumps(message).encode() + b"\n")

    def receive(self) -> list[dict[str, Any]] | None:
        """The messages that have come, waiting for bytes of them; None at the end of the connection."""
        try:
            data = self._socket.recv(1 << 16)
            *lines, self._rest = (self._rest + data).split(b"\n")
            if not data or len(self._rest) > _LONGEST:
                return None
            return [dict(json.loads(line)) for line in lines]
        except (OSError, ValueError, TypeError):
            return None

    def one(self, seconds: float) -> dict[str, Any]:
        """The next message; ConnectionError without one in so many seconds."""
        self._socket.settimeout(seconds)
        messages: list[dict[str, Any]] | None = []
        while messages == []:
            messages = self.receive()
        self._socket.settimeout(None)
        if messages is None:
            raise ConnectionError("no answer")
        return messages[0]

    def close(self) -> None:
        self._socket.close()


class Peers:
    """The other hosts, by their number; of a host that isn't the first only that one, 0."""

    def __init__(self, links: dict[int, Link], names: dict[int, str]) -> None:
        self.links, self.names = links, names

    def close(self) -> None:
        for link in self.links.values():
            link.close()

    def tell(self, **message: Any) -> None:
        for node in self.links:
            self.tell_one(node, **message)

    def tell_one(self, node: int, **message: Any) -> None:
        try:
            self.links[node].send(**message)
        except OSError:  # the end of the connection says it better
            return


def meet(plan: Plan, machine: Machine, key: str) -> tuple[Peers, Machine]:
    """Wait for all hosts of the plan; what the first one decides (job, port) is in the Machine.

    Raises UsageError when they don't come in time, or don't fit together.
    """
    hosts = plan.hosts
    told = {
        "node": hosts.node, "hosts": hosts.size, "ranks": plan.local_size, "starter": plan.starter,
        "name": machine.host, "attempt": machine.attempt,
    }  # fmt: skip
    peers = Peers({}, {})
    try:
        if hosts.node > 0:
            return peers, _join(peers, hosts, told, key, machine)
        _gather(peers, hosts, told, key)
    except UsageError as error:
        peers.tell(refused=str(error))
        peers.close()
        raise
    peers.tell(job=machine.job, port=machine.port)
    return peers, machine


def _gather(peers: Peers, hosts: Hosts, told: dict[str, Any], key: str) -> None:
    """The first host: answer those who come until all are here."""
    try:
        listener = socket.create_server(("", hosts.port))
    except OSError as error:
        raise UsageError(f"the hosts can't meet at port {hosts.port}: {error.strerror}") from None
    links = peers.links
    deadline = time.monotonic() + hosts.patience
    with listener, selectors.DefaultSelector() as selector:
        selector.register(listener, selectors.EVENT_READ)
        while len(links) < hosts.size - 1:
            if not selector.select(max(0.0, deadline - time.monotonic())):
                late = sorted(set(range(1, hosts.size)) - links.keys())
                raise UsageError(
                    f"host {', '.join(map(str, late))} of {hosts.size} did not come to port "
                    f"{hosts.port} within {hosts.patience:g} s: start the same command there, "
                    "each with its --node-rank"
                )
            link = Link(listener.accept()[0], hosts.silence)
            other = _who_is_it(link, key)
            if other is None:
                link.close()
                continue
            wrong = _misfit(told, other, links)
            if wrong:
                peers.links[-1] = link  # it hears why, too
                raise UsageError(wrong)
            links[other["node"]], peers.names[other["node"]] = link, str(other["name"])


def _who_is_it(link: Link, key: str) -> dict[str, Any] | None:
    """What one who has come says of itself; None if it does not know the key."""
    challenge = secrets.token_hex(16)
    try:
        link.send(challenge=challenge)
        answer = link.one(_PATIENCE)
        told = str(answer["told"])
        if hmac.compare_digest(_sign(key, challenge + told), str(answer["signed"])):
            return dict(json.loads(told))
        link.send(refused="another --rdzv-id")
    except (OSError, KeyError, ValueError):
        pass  # a stranger
    return None


def _misfit(told: dict[str, Any], other: dict[str, Any], links: dict[int, Link]) -> str:
    """Why a host cannot be part of the job, empty if it can."""
    who = f"host {other['node']} ({other['name']})"
    if other["node"] in links or not 0 < other["node"] < told["hosts"]:
        return f"{who} has a --node-rank that is taken, or not of 0 to {told['hosts'] - 1}"
    words = {
        "hosts": "hosts",
        "ranks": "ranks a host",
        "starter": "as the starter",
        "attempt": "starts",
    }
    for fact, word in words.items():
        if other[fact] != told[fact]:
            return f"{who} has {other[fact]} {word}, the first host {told[fact]}: both must be the same"
    return ""


def _join(peers: Peers, hosts: Hosts, told: dict[str, Any], key: str, machine: Machine) -> Machine:
    """Another host: connect to the first one, and take over what it decides."""
    peers.names[0] = hosts.head
    link = peers.links[0] = _connect(hosts)
    text = json.dumps(told)
    try:
        challenge = str(link.one(_PATIENCE)["challenge"])
        link.send(told=text, signed=_sign(key, challenge + text))
        answer = link.one(hosts.patience)
    except (OSError, KeyError):
        raise UsageError(f"the first host, {hosts.head}, has gone while the hosts met") from None
    if "refused" in answer:
        raise UsageError(f"the first host, {hosts.head}, says: {answer['refused']}")
    return replace(machine, job=str(answer["job"]), port=int(answer["port"]))


def _connect(hosts: Hosts) -> Link:
    """A connection to the first host, which may not be there yet."""
    deadline = time.monotonic() + hosts.patience
    while True:
        try:
            return Link(
                socket.create_connection((hosts.head, hosts.port), _PATIENCE), hosts.silence
            )
        except OSError as error:
            if time.monotonic() > deadline:
                raise UsageError(
                    f"no answer from the first host at {hosts.head}:{hosts.port} within "
                    f"{hosts.patience:g} s ({error}): is dtorch-run --node-rank 0 started there?"
                ) from None
        time.sleep(0.1)


def _sign(key: str, text: str) -> str:
    return hmac.digest(key.encode(), text.encode(), "sha256").hex()
