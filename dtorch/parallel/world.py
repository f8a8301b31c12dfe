"""The default group: which ranks there are, from init_process_group to destroy_process_group."""

from __future__ import annotations

import atexit
import datetime
import math
import os
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any

from dtorch.core import env
from dtorch.core.backend import cpu
from dtorch.core.backend.threads import set_num_threads
from dtorch.core.random import own_generator

from .backends import Backend, BackendConfig
from .checksums import checked
from .group import Group
from .identity import World
from .rendezvous import Meeting, meet
from .transport import Transport
from .transport_local import Hub, LocalTransport, run_threads
from .work import Engine, Seconds, seconds

if TYPE_CHECKING:
    from .rehearsal import Rehearsal

# Who starts the ranks (dtorch-run, torchrun, a user) may have divided the cores already.
_THREADS = {"OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"}
TIMEOUT = 1800.0  # seconds, as torch's default


Rehearsed = Callable[[str | None, float, int, int], Group]


class _Place:
    """Holds the default group of a process, or of one thread of `run_local`.

    leave: what is to be undone when the group is left
    rehearsed: in a rehearsed script, makes the group of its backend, timeout, rank and size
    """

    def __init__(self, rehearsed: Rehearsed | None = None) -> None:
        self.group: Group | None = None
        self.leave = ExitStack()
        self.rehearsed = rehearsed


# A thread that a user starts finds the process's; those of run_local have each their own.
_PROCESS = _Place()
_place: ContextVar[_Place] = ContextVar("place", default=_PROCESS)


def is_initialized() -> bool:
    """Whether there is a group of all ranks: init_process_group() has been called."""
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
    return place.group.rank() if place.group is not None else 0


def get_world_size() -> int:
    """How many ranks there are, 1 without a group."""
    place = _place.get()
    return place.group.size() if place.group is not None else 1


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

    Who the ranks are is read from the environment (dtorch-run, torchrun's variables, mpirun, srun),
    or given here; started alone, it is a world of one.  Every rank calls this.

    backend: "shm" (processes of one machine), "mpi", "local" (this process alone); None and "gloo":
        the best that is there, "shm" if all ranks are on one machine, else "mpi"; or one of
        Backend.register_backend.  Of "cpu:gloo,cuda:nccl" that for the CPU counts
    init_method: where the ranks find each other.  None and "env://": at MASTER_ADDR and MASTER_PORT,
        or through the MPI that started them; "tcp://host:port": there, at rank 0;
        "file:///path": in that file, which must not be there yet; others as registered
    timeout: how long a collective may take, and the others to come (timedelta or seconds; default
        30 minutes)
    world_size, rank: needed with a store, tcp:// and file://; checked against the environment else
    store: a store that all ranks can reach, instead of an init_method
    group_name, pg_options, device_id: accepted as torch's, and do nothing

    Raises ValueError for a second call and arguments that don't hold, RuntimeError for an MPI
    library that the starter does not fit, DistError when another rank doesn't come.
    """
    place = _place.get()
    if place.group is not None:
        raise ValueError("trying to initialize the default process group twice!")
    limit = TIMEOUT if timeout is None else seconds(timeout)
    if place.rehearsed is not None:  # it stands in for every backend and every way to meet
        place.group = place.rehearsed(backend, limit, rank, world_size)
        return
    if (
        backend is not None and ":" in backend
    ):  # one for each kind of device: all go through the host
        backend = BackendConfig(backend).get_device_backend_map().get("cpu")
    backend = backend and backend.lower()
    if backend not in (None, "gloo", "shm", "mpi", "local", *Backend.registered):
        raise ValueError(
            f"backend {backend!r}: expected 'shm', 'mpi', 'local', or None for the best of them "
            "(CUDA tensors travel through the host's memory)"
        )
    meeting = meet(backend, init_method, store, rank, world_size, limit)
    world = meeting.world
    if backend in Backend.registered:
        wait = datetime.timedelta(seconds=limit)
        transport: Transport = Backend.registered[backend](
            meeting.store, world.rank, world.size, wait
        )
    elif backend == "local" or (backend in (None, "gloo") and world.size == 1):
        transport = _alone(world)
    else:
        transport = _connect(backend, meeting, limit)
    engine = Engine(transport.pause, rank=world.rank)
    if control := env.CONTROL.get():
        from .control import Reporter

        place.leave.callback(Reporter(control, engine).close)
    if world.size > 1:
        place.leave.callback(_abort_on_exception(place, meeting))
        place.leave.callback(_watch_each_other(transport, engine, limit))
    place.group = Group(checked(transport), range(transport.size), "world", engine, limit)


def rejoin(timeout: float) -> None:
    """Join a new default group, and drop the old one without a word to its ranks: some are gone."""
    place = _place.get()
    place.leave.close()
    place.group = None
    init_process_group(timeout=timeout)


def _alone(world: World) -> LocalTransport:
    if world.size > 1:
        raise ValueError(
            f"backend 'local' is one process, but this is one of {world.size} ({world.starter}); "
            "use 'shm' or 'mpi'"
        )
    return LocalTransport(Hub(1), 0, 1)


def _connect(backend: str | None, meeting: Meeting, timeout: float) -> Transport:
    """The transport of a backend among the ranks of a meeting."""
    from . import transport_shm as shm

    world = meeting.world
    memory, ticket = shm.offer(world.size) if world.rank == 0 else (None, None)
    cores = sorted(os.sched_getaffinity(0))
    mine = [backend, shm.machine(), socket.gethostname(), cores, os.getpid(), ticket]
    backends, machines, hosts, allowed, pids, tickets = zip(*meeting.exchange(mine))
    if len(set(backends)) > 1:
        raise ValueError(f"the ranks ask for different backends: {', '.join(map(str, backends))}")
    _share_cores(cores, list(zip(hosts, allowed)).count((hosts[world.rank], cores)))
    if backend == "mpi" or (backend != "shm" and len(set(machines)) > 1):
        from .transport_mpi import connect

        return connect(world, machines)
    if len(set(machines)) > 1:
        raise ValueError(
            f"backend 'shm' is for ranks on one machine, in one container, of one user; these are "
            f"on {', '.join(hosts)}; start them with mpirun or srun, and use 'mpi'"
        )
    if memory is None:
        memory = shm.Ticket(*tickets[0]).open()
    transport = shm.ShmTransport(memory, world.rank, pids)
    transport.meet(timeout)
    meeting.close()
    return transport


def _watch_each_other(transport: Transport, engine: Engine, timeout: float) -> Callable[[], None]:
    """Let the ranks ask each other where they are.  Returns what ends that."""
    from .hotline import Contact, Hotline, ask
    from .transport_shm import machine
    from .watch import Watch, stand

    here = machine()
    answer = partial(stand, engine, threading.get_ident())
    start = Group(transport, range(transport.size), "start", engine, timeout)
    alone = len(set(start.all_gather_objects(here))) == 1  # then the network is none's business
    hotline = Hotline(answer, "127.0.0.1" if alone else "", here)
    contacts = [Contact(*told) for told in start.all_gather_objects(tuple(hotline.contact))]
    engine.watch = Watch(engine, lambda ranks: ask(contacts, ranks, here))
    return hotline.close


def _share_cores(cores: list[int], ranks: int) -> None:
    """Divide the cores that several ranks may run on among them.

    Each rank's BLAS would use all of them otherwise, and its waiting threads take the time of the
    others': several times slower on a laptop under a bare mpirun.
    """
    if not _THREADS.intersection(os.environ):
        set_num_threads(max(1, len(cores) // ranks))


def _abort_on_exception(place: _Place, meeting: Meeting) -> Callable[[], None]:
    """When this rank ends by an exception, tell the others, who would wait for it.

    Returns what undoes that.
    """
    show = sys.excepthook

    def report_and_abort(
        kind: type[BaseException], error: BaseException, trace: TracebackType | None
    ) -> None:
        show(kind, error, trace)
        if place.group is not None:
            place.group.abort(f"rank {place.group.rank()} failed with {kind.__name__}: {error}")
            meeting.abort()

    def undo() -> None:
        if sys.excepthook is report_and_abort:  # else somebody else's calls it
            sys.excepthook = show

    sys.excepthook = report_and_abort
    return undo


def destroy_process_group(group: Group | None = None) -> None:
    """Wait for the other ranks to do the same, and leave the group (the default one if None)."""
    if group is not None and not isinstance(group, Group):
        return  # one that this rank is not in
    place = _place.get()
    whole = group is None or group is place.group
    group = default_group() if group is None else group
    # As with MPI_Finalize: a rank may have work of its own to do before it comes here.
    group.close(math.inf)
    if whole:
        place.leave.close()
        place.group = None


def dump_flight_record(path: str | None = None) -> str:
    """Write this rank's latest 1,000 collectives to a file, as JSON; returns its path.

    path: flight-rank<rank>.json in the folder that DTORCH_RUN_DIR names if None, or in a new one
        for temporary files.  A failure writes it there, too.
    """
    return default_group().flight.dump(path)


def run_local(
    function: Callable[..., Any],
    world_size: int,
    *args: Any,
    timeout: Seconds = 60.0,
    rehearsal: Rehearsal | None = None,
    **kwargs: Any,
) -> list[Any]:
    """Run function(*args, **kwargs) as `world_size` ranks, each a thread of this process.

    Each thread has modes and a default group of its own.  Returns the results by rank.  Raises what
    the first failing rank raised, when the others, whose waits end at once, have ended too; after
    `timeout` (of the whole, and of each collective) DistError with every stack.

    rehearsal: run them one at a time, in an order drawn from a seed, with faults on purpose; then
        also raises RuntimeError for a fault that never came, or that no rank has noticed
    """
    from .watch import Answer, Watch, stand

    limit = seconds(timeout)
    hub = Hub(world_size)
    answers: dict[int, Callable[[], Answer]] = {}
    stage = None if rehearsal is None else rehearsal.stage(world_size)

    def ask(ranks: Sequence[int]) -> dict[int, Answer]:
        return {r: answers[r]() if r in answers else "it has not started" for r in ranks}

    def body(rank: int) -> Any:
        own_generator()
        place = _Place()
        _place.set(place)
        cpu.seterr(all="ignore")  # as everywhere, but NumPy has it by thread
        if stage is not None:
            place.group = stage.group(rank, limit)
            return function(*args, **kwargs)
        transport = LocalTransport(hub, rank, world_size)
        engine = Engine(transport.pause, rank=rank)
        engine.watch = Watch(engine, ask)
        answers[rank] = partial(stand, engine, threading.get_ident())
        place.group = Group(checked(transport), range(world_size), "world", engine, limit)
        return function(*args, **kwargs)

    ranks = [partial(body, rank) for rank in range(world_size)]
    if stage is not None:
        return stage.run(ranks, limit)
    # A collective that is late says who is missing; the ranks get a moment to say so.
    return run_threads(ranks, lambda rank, why: hub.fail(why), limit + 1.0)


@contextmanager
def as_rank(rehearsed: Rehearsed) -> Iterator[None]:
    """In here, and in this thread, init_process_group makes the group of a rank of a rehearsal."""
    token = _place.set(_Place(rehearsed))
    try:
        yield
    finally:
        _place.reset(token)


@atexit.register
def leave_at_end() -> None:
    """At the end of a script that didn't destroy its group, do so.

    A rank that ends while others wait for it in a collective is told of, not waited for: the others
    see who left, raise, and end the job.
    """
    place = _place.get()
    group = place.group
    if group is None:
        return
    if group.size() == 1:
        place.leave.close()
        return
    try:
        destroy_process_group()
    except RuntimeError as error:
        print(
            f"rank {group.rank()} has ended before the others: {error}", file=sys.stderr, flush=True
        )
