"""The sockets over which ranks speak PMI-1 with us (see `pmi`), across hosts by way of the first."""

from __future__ import annotations

import socket
from collections.abc import Callable
from functools import partial

from dtorch_run.loop import Loop
from dtorch_run.peers import Peers
from dtorch_run.plan import Plan
from dtorch_run.pmi import Abort, Pmi, Reply


class PmiLinks:
    """A socket a rank of this host; on the first host the server of all ranks."""

    def __init__(
        self, plan: Plan, loop: Loop, peers: Peers, on_abort: Callable[[Abort], None]
    ) -> None:
        self._pmi = Pmi(plan.size, plan.job, plan.hosts.size)
        self._links: dict[int, socket.socket] = {}  # by rank
        self._plan, self._loop, self._peers, self._on_abort = plan, loop, peers, on_abort
        self._aborted = False

    def open(self, rank: int) -> socket.socket:
        """The end of a new socket that the rank is to inherit, as PMI_FD."""
        ours, theirs = socket.socketpair()
        self._links[rank] = ours
        self._loop.watch(ours, partial(self._on_request, rank))
        return theirs

    def serve(self, rank: int, data: bytes) -> None:
        """What a rank, of any host, asks for: on the first host."""
        for reply in self._pmi.feed(rank, data):
            node = reply.rank // self._plan.local_size
            if node == 0:
                self.pass_on(reply)
            else:
                self._peers.tell_one(node, pmi=reply.rank, data=reply.data.decode())
        if self._pmi.abort is not None and not self._aborted:
            self._aborted = True
            self._peers.tell(abort=self._pmi.abort)
            self._on_abort(self._pmi.abort)

    def pass_on(self, reply: Reply) -> None:
        """To a rank of this host."""
        link = self._links.get(reply.rank)
        if link is not None:
            try:
                link.sendall(reply.data, socket.MSG_NOSIGNAL)
            except ConnectionError:  # it is dead; its exit will tell
                self._drop(reply.rank)

    def segments(self) -> tuple[str, str]:
        """How the names of the files begin that MPICH has in /dev/shm for this job."""
        return self._pmi.segments()

    def close(self) -> None:
        for link in self._links.values():
            link.close()

    def _on_request(self, rank: int) -> None:
        try:
            data = self._links[rank].recv(1 << 16)
        except ConnectionError:
            data = b""
        if not data:
            self._drop(rank)
        elif self._plan.hosts.node == 0:
            self.serve(rank, data)
        else:
            self._peers.tell(pmi=rank, data=data.decode("utf-8", "replace"))

    def _drop(self, rank: int) -> None:
        link = self._links.pop(rank)
        self._loop.forget(link)
        link.close()
