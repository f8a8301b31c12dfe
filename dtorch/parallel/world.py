"""The default group: which ranks there are, from init_process_group to destroy_process_group."""

from __future__ import annotations

import atexit
import math
import os
import socket
import sys
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from typing import Any

from dtorch.core.backend.threads import set_num_threads
from dtorch.core.random import own_generator

from .group import Group
from .identity import World, detect
from .transport import Transport
from .transport_local import Hub, LocalTransport, run_threads
from .work import Engine, Seconds, seconds

# Who starts the ranks (dtorch-run, torchrun, a user) may have divided the cores already.
_THREADS = {"OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"}
TIMEOUT = 1800.0  # seconds, as torch's default


class _Place:
    """Holds the default group of a process, or of one thread of `run_local`."""

    def __init__(self) -> None:
        self.group: Group | None = None


# A thread that a user starts finds the process's; those of run_local have each their own.
_PROCESS = _Place()
_place: ContextVar[_Place] = ContextVar("place", default=_PROCESS)


def is_initialized() -> bool:
    return _place.get().group is not None


def default_group() -> Group:
    """The group of all ranks; ValueError if there is none yet."""
    group = _place.get().group
    if group is None:
        raise ValueError(
            "Default process group has not been initialized, please make sure to call "
            "init_process_group."
        )
    return group


def get_rank() -> int:
    """This process's number, 0 without a group: alone is a world of one."""
    place = _place.get()
    return place.group.rank if place.group is not None else 0


def get_world_size() -> int:
    """How many ranks there are, 1 without a group."""
    place = _place.get()
    return place.group.size if place.group is not None else 1


def init_process_group(
    backend: str | None = None,
    init_method: str | None = None,
    timeout: Seconds = None,
    world_size: int = -1,
    rank: int = -1,
    store: Any = None,
    group_name: str = "",
    pg_options: Any = None,
    device_id: Any = None,
) -> None:
    """Join the other ranks of the job that this process was started in.

    Who the ranks are is read from the environment (dtorch-run, torchrun's variables, mpirun, srun);
    started alone, it is a world of one.  Every rank calls this.

    backend: "mpi", "local" (this process alone), or None and "gloo" for the best of these
    init_method: None or "env://"
    timeout: how long a collective may take (timedelta or seconds; default 30 minutes)
    world_size, rank: checked against the environment where given

    Raises RuntimeError for a second call, or an MPI library that the starter does not fit,
    ValueError for arguments that don't hold.
    """
    place = _place.get()
    if place.group is not None:
        raise RuntimeError("trying to initialize the default process group twice!")
    limit = TIMEOUT if timeout is None else seconds(timeout)
    if init_method not in (None, "env://") or store is not None:
        raise ValueError(
            f"init_method={init_method!r}, store={store!r}: dtorch finds its ranks through the "
            "environment; leave both out and start the script with dtorch-run, mpirun or srun"
        )
    world = detect(os.environ)
    for name, given, found in (("world_size", world_size, world.size), ("rank", rank, world.rank)):
        if given not in (-1, found):
            raise ValueError(
                f"{name}={given} was given, but the environment ({world.starter}) says {found}; "
                "leave it out, or start the script with dtorch-run, mpirun or srun"
            )
    transport = _transport(backend, world)
    engine = Engine(transport.pause)
    place.group = Group(transport, range(transport.size), "world", engine, limit)
    if world.size > 1 and not _THREADS.intersection(os.environ):
        _share_cores(place.group)


def _share_cores(group: Group) -> None:
    """Divide the cores that several ranks may run on among them.

    Each rank's BLAS would use all of them otherwise, and its waiting threads take the time of the
    others': several times slower on a laptop under a bare mpirun.
    """
    mine = (socket.gethostname(), frozenset(os.sched_getaffinity(0)))
    sharing = group.all_gather_objects(mine).count(mine)
    set_num_threads(max(1, len(mine[1]) // sharing))


def _transport(backend: str | None, world: World) -> Transport:
    """The transport of a backend's name."""
    if backend in (None, "gloo"):
        backend = "mpi" if world.size > 1 else "local"
    if backend == "mpi":
        from .transport_mpi import connect

        return connect(world)
    if backend != "local":
        raise ValueError(
            f"backend {backend!r}: expected 'mpi', 'local', or None for the best of them (CUDA "
            "tensors travel through the host's memory)"
        )
    if world.size > 1:
        raise ValueError(
            f"backend 'local' is one process, but this is one of {world.size} ({world.starter}); "
            "use 'mpi'"
        )
    return LocalTransport(Hub(1), 0, 1)


def destroy_process_group(group: Group | None = None) -> None:
    """Wait for the other ranks to do the same, and leave the group (the default one if None)."""
    place = _place.get()
    whole = group is None or group is place.group
    group = default_group() if group is None else group
    # As with MPI_Finalize: a rank may have work of its own to do before it comes here.
    group.close(math.inf)
    if whole:
        place.group = None


def new_group(
    ranks: Sequence[int] | None = None,
    timeout: Seconds = None,
    backend: str | None = None,
    pg_options: Any = None,
    use_local_synchronization: bool = False,
    group_desc: str | None = None,
) -> Group | None:
    """The group of some ranks of the world (all if None), in this order; None on the others.

    Every rank of the world calls it, also those that are not in it.  Raises ValueError for ranks
    that don't exist or come twice.
    """
    world = default_group()
    limit = None if timeout is None else seconds(timeout)
    return world.split(range(world.size) if ranks is None else ranks, limit)


def run_local(
    function: Callable[..., Any],
    world_size: int,
    *args: Any,
    timeout: Seconds = 60.0,
    **kwargs: Any,
) -> list[Any]:
    """Run function(*args, **kwargs) as `world_size` ranks, each a thread of this process.

    Each thread has modes and a default group of its own.  Returns the results by rank.  Raises what
    the first failing rank raised, when the others, whose waits end at once, have ended too; after
    `timeout` (of the whole, and of each collective) DistError with every stack.
    """
    limit = seconds(timeout)
    hub = Hub(world_size)

    def body(rank: int) -> Any:
        place = _Place()
        _place.set(place)
        own_generator()
        transport = LocalTransport(hub, rank, world_size)
        engine = Engine(transport.pause)
        place.group = Group(transport, range(world_size), "world", engine, limit)
        return function(*args, **kwargs)

    def start(rank: int) -> Callable[[], Any]:
        return lambda: body(rank)

    ranks = [start(rank) for rank in range(world_size)]
    # A collective that is late says who is missing; the ranks get a moment to say so.
    return run_threads(ranks, lambda rank, why: hub.fail(why), limit + 1.0)


@atexit.register
def _leave() -> None:
    """At the end of a script that didn't destroy its group, do so.

    A rank that ends while others wait for it in a collective is told of, not waited for: the others
    see who left, raise, and end the job.
    """
    group = _PROCESS.group
    if group is None or group.size == 1:
        return
    try:
        destroy_process_group()
    except RuntimeError as error:
        print(
            f"rank {group.rank} has ended before the others: {error}", file=sys.stderr, flush=True
        )
