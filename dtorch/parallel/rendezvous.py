"""How the ranks of a job find each other, before there is a group to talk through.

A meeting knows this rank's place in the job, and can do one thing: hand every rank what each has to
say.  It goes through a store that rank 0 keeps, a file, or MPI where mpirun or srun started us.
"""

from __future__ import annotations

import contextlib
import datetime
import importlib.util
import os
import tempfile
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import parse_qs, urlparse

from dtorch.core import env

from .identity import World, detect
from .store import DistStoreError, FileStore, PrefixStore, Store, TCPStore, pack, unpack
from .work import DistError

_METHODS = "'env://', 'tcp://host:port' or 'file:///path'"


class Meeting:
    """The ranks of a job through a store that all of them can reach."""

    def __init__(self, world: World, store: Store | None, where: str = "alone") -> None:
        self.world = world
        self._store, self._where = store, where

    @property
    def store(self) -> Store | None:
        """The store; None where they meet through MPI, and for one rank alone."""
        return self._store

    def exchange(self, value: Any) -> list[Any]:
        """Every rank's value (of what JSON has), by rank.  DistError when one doesn't come."""
        if self._store is None:
            return [value]
        ranks = range(self.world.size)
        if self._store.add(f"here/{self.world.rank}", 1) > 1:
            raise DistError(
                f"another process has been rank {self.world.rank} at {self._where}: two have the "
                "same rank, or something is left there from another run (then remove it)"
            )
        self._store.set(f"rank/{self.world.rank}", pack(value))
        try:
            return [unpack(v) for v in self._store.multi_get([f"rank/{r}" for r in ranks])]
        except DistStoreError:
            late = [str(r) for r in ranks if not self._store.check([f"rank/{r}"])]
            raise DistError(
                f"rank {self.world.rank} of {self.world.size} is at {self._where}, but rank "
                f"{', '.join(late)} did not come within {self._store.timeout.total_seconds():g} s"
            ) from None

    def close(self) -> None:
        """All ranks have met, and need the store no more."""
        store, self._store = self._store, None
        if isinstance(store, FileStore) and self.world.rank == 0:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(store.path)

    def abort(self) -> None:
        """End the whole job, where its starter has a way to."""


class MPIMeeting(Meeting):
    """The ranks of an MPI job."""

    def __init__(self, world: World) -> None:
        super().__init__(world, None)
        from . import transport_mpi

        self._mpi = transport_mpi
        self._comm = transport_mpi.world_comm(world)

    def exchange(self, value: Any) -> list[Any]:
        return self._comm.allgather(value)

    def abort(self) -> None:
        self._mpi.abort()


_HANDLERS: dict[str, Callable[..., Iterable[tuple[Store, int, int]]]] = {}


def register_rendezvous_handler(
    scheme: str, handler: Callable[..., Iterable[tuple[Store, int, int]]]
) -> None:
    """Have init_method="scheme://..." meet by handler(url, timeout=...): (store, rank, world_size).

    handler: a generator, as in torch, of which the first triple is taken.  RuntimeError for a scheme
    that is there already.
    """
    if scheme in _HANDLERS or scheme in ("env", "tcp", "file"):
        raise RuntimeError(f"Rendezvous handler for {scheme}:// already registered")
    _HANDLERS[scheme] = handler


def meet(backend: str | None, init_method: str | None, store: Store | None, rank: int, size: int,
         timeout: float) -> Meeting:  # fmt: skip
    """The meeting that the arguments of init_process_group, or else the environment, describe."""
    if store is not None:
        if init_method is not None:
            raise ValueError("Cannot specify both init_method and store.")
        store.set_timeout(timeout)
        return Meeting(_given(rank, size, "a store"), store, "the given store")
    if init_method not in (None, "env://"):
        url = urlparse(init_method)
        if url.scheme in _HANDLERS:
            waits = datetime.timedelta(seconds=timeout)
            found, rank, size = next(iter(_HANDLERS[url.scheme](init_method, timeout=waits)))
            return Meeting(_given(rank, size, f"{url.scheme}://"), found, init_method)
        query = {key: int(values[0]) for key, values in parse_qs(url.query).items()}
        world = _given(query.get("rank", rank), query.get("world_size", size), f"{url.scheme}://")
        where = f"{url.scheme}://{url.netloc}{url.path}"
        if url.scheme == "tcp" and url.hostname and url.port is not None:
            return Meeting(world, _tcp(world, url.hostname, url.port, timeout), where)
        if url.scheme == "file" and url.path and not url.netloc:
            return Meeting(world, FileStore(url.path, world.size, timeout), where)
        raise ValueError(f"init_method={init_method!r}: expected {_METHODS}")
    return _by_environment(backend, rank, size, timeout)


def _by_environment(backend: str | None, rank: int, size: int, timeout: float) -> Meeting:
    if env.ELASTIC.get():
        from . import roster

        launcher = roster.launcher()
        assert launcher is not None
        # One that came later is alone until its program is where the others are: elastic.run.
        alone = Meeting(World(0, 1, 0, 1, "dtorch-run"), None)
        return launcher.meet() if launcher.joining else alone
    world = detect(os.environ)
    host, port = os.environ.get("MASTER_ADDR"), os.environ.get("MASTER_PORT")
    if world.starter == "alone" and host and port and rank >= 0 and size > 0:
        world = _given(rank, size, "env://")
    for name, given, found in (("world_size", size, world.size), ("rank", rank, world.rank)):
        if given not in (-1, found):
            raise ValueError(
                f"{name}={given} was given, but the environment ({world.starter}) says {found}; "
                "leave it out, start the script with dtorch-run, mpirun or srun, or say by "
                f"init_method (expected {_METHODS}) where the ranks find each other"
            )
    if backend == "mpi":
        return MPIMeeting(world)
    if world.size == 1:
        return Meeting(world, None)
    if world.starter == "torchrun":  # which keeps a store of its own at MASTER_PORT
        return Meeting(world, FileStore(_beside_agent(), world.size, timeout), "torchrun's agent")
    if host and port:
        where = f"MASTER_ADDR:MASTER_PORT, {host}:{port}"
        return Meeting(world, _tcp(world, host, int(port), timeout), where)
    if importlib.util.find_spec("mpi4py") is not None:
        return MPIMeeting(world)
    raise ValueError(
        f"this is rank {world.rank} of {world.size} ({world.starter}), but nothing says where the "
        "ranks find each other: set MASTER_ADDR and MASTER_PORT, or install mpi4py"
    )


def _given(rank: int, size: int, what: str) -> World:
    if not 0 <= rank < size:
        raise ValueError(
            f"with {what}, rank and world_size must be given, 0 <= rank < world_size; got {rank} "
            f"and {size}"
        )
    return World(rank, size, rank, size, what)


def _tcp(world: World, host: str, port: int, timeout: float) -> Store:
    store = TCPStore(host, port, None, world.rank == 0, timeout)
    return PrefixStore("dtorch", store)


def _beside_agent() -> str:
    """A file that only the children of one agent, in one of its attempts, know of."""
    agent = os.getppid()
    with open(f"/proc/{agent}/stat") as file:
        started = file.read().rpartition(")")[2].split()[19]  # proc(5): starttime
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    name = f"dtorch-{os.getuid()}-{agent}-{started}-{attempt}"
    return os.path.join(tempfile.gettempdir(), name)
