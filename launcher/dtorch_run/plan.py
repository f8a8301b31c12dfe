"""What will be started, as plain data: options + environment + machine -> Plan.  Nothing runs here.

The ranks get torchrun's variables, so that a script written for torchrun finds itself, one share
of the cores for their BLAS threads, and the variables of the MPI starter, if there is one.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from dtorch_run import cores, devices, hosts, streams
from dtorch_run.hosts import Hosts
from dtorch_run.options import ALL, Options, UsageError, listing

# MPI library -> how its ranks are started: by us with PMI-1, or by its own mpirun
_STARTERS = {"MPICH": "pmi", "Intel MPI": "pmi", "MVAPICH": "pmi", "MVAPICH2": "pmi",
             "Open MPI": "mpirun"}  # fmt: skip
_WORLD = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_RANK", "GROUP_WORLD_SIZE",
          "ROLE_RANK", "ROLE_WORLD_SIZE", "ROLE_NAME", "DTORCH_JOB_ID", "DTORCH_LAUNCHER",
          "DTORCH_PART", "DTORCH_RUN_DIR", "DTORCH_WORD_DIR", "DTORCH_CONTROL")  # fmt: skip
# What another starter told us about its world must not reach our ranks: an MPI library would
# join that world instead of ours.  (The user's settings, such as OMPI_MCA_*, stay.)
_FOREIGN = ("PMI_", "PMIX_", "HYDI_", "HYDRA_", "MPI_LOCAL", "OMPI_COMM_WORLD_", "JSM_NAMESPACE_",
            "TORCHELASTIC_")  # fmt: skip
_WORKER = str(Path(__file__).with_name("worker.py"))
LOG_DIR = "run"
_LOST = {None: "end the job", "shrink": "are cut out", "refill": "are replaced"}


@dataclass(frozen=True)
class Machine:
    """What the plan needs to know of this machine and this moment (see `machine.look`)."""

    python: str
    host: str  # its name
    cores: tuple[int, ...]  # that this process may run on
    quota: float | None  # cores' worth of time that the cgroup allows; None: no limit
    nodes: tuple[tuple[int, ...], ...]  # the cores of each NUMA node
    gpus: tuple[str, ...]  # UUIDs
    mpi: str | None  # the vendor of the library mpi4py loads; None without one
    mpirun: str | None
    root: bool
    port: int  # a free one
    job: str
    folder: str  # the current one
    listed: tuple[str, ...] = ()  # the names in --hostfile
    nodefile: tuple[str, ...] = ()  # the names in PBS_NODEFILE
    attempt: int = 0


@dataclass(frozen=True)
class Command:
    """One process to start.  `rank` is None when it starts the ranks itself, as mpirun does."""

    rank: int | None
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(repr=False)  # the whole environment
    cores: tuple[int, ...] | None = None  # None: wherever the launcher may run


class Decision(NamedTuple):
    """One thing that was decided: what, how, and what it follows from."""

    what: str
    value: str
    source: str


@dataclass(frozen=True)
class Plan:
    job: str
    starter: str  # "pmi", "mpirun", "local"; "adopted": this process is a rank already
    hosts: Hosts
    size: int  # ranks, of all hosts
    local_size: int  # of this one
    threads: int
    timeout: float | None
    max_restarts: int
    elastic: str | None  # "shrink", "refill"
    folder: str  # where the job's plan, logs and report go
    keep: bool  # also when all went well
    shown: tuple[tuple[bool, bool], ...]  # of each local rank: stdout and stderr on the terminal
    commands: tuple[Command, ...]
    decisions: tuple[Decision, ...]
    notes: tuple[str, ...]

    @property
    def part(self) -> str:
        """What all processes of this host's part of the job have as DTORCH_PART."""
        return f"{self.job}-host{self.hosts.node}"

    @property
    def ranks(self) -> range:
        """Those of this host."""
        first = self.hosts.node * self.local_size
        return range(first, first + self.local_size)


def make(options: Options, env: Mapping[str, str], machine: Machine) -> Plan:
    """The plan of a job.  Raises UsageError when the options can't be met on this machine."""
    for key in ("seed", "fault"):
        if key in options.origin:
            raise UsageError(f"{options.source(key)} is for rehearsals: say --sim N, too")
    _check(options)
    starter = hosts.adopted(options, env)
    if starter is not None:
        return _adopt(options, env, machine, starter)
    why: list[Decision] = []
    place = hosts.find(options, env, machine.host, machine.listed)
    given = hosts.allocation(env, machine.nodefile)
    local_size = _local_size(options, env, machine, why)
    starter = _starter(options, machine, place, why)
    size = local_size * place.size
    threads = _threads(options, env, machine, local_size, why)
    gpus = devices.assign(options, env, local_size, machine.gpus)
    bound = cores.bind(options.bind, local_size, machine.cores, machine.nodes)
    folder = os.path.join(machine.folder, options.log_dir or LOG_DIR, machine.job)
    job = f"{machine.job}.{machine.attempt}" if machine.attempt else machine.job
    shared = {
        **{name: value for name, value in env.items() if not name.startswith(_FOREIGN)},
        **{name: _exported(options, env, name) or str(threads) for name in cores.THREADS},
        "PYTHONUNBUFFERED": env.get("PYTHONUNBUFFERED") or "1",  # lines arrive as they are printed
        "MASTER_ADDR": place.head,
        "MASTER_PORT": str(_master_port(options, machine, place, why)),
        **devices.variables(None, options),
        **given_variables(options.env),
        "WORLD_SIZE": str(size),
        "LOCAL_WORLD_SIZE": str(local_size),
        "GROUP_RANK": str(place.node),
        "GROUP_WORLD_SIZE": str(place.size),
        "ROLE_NAME": options.role,
        "ROLE_WORLD_SIZE": str(size),
        "TORCHELASTIC_RESTART_COUNT": str(machine.attempt),
        "TORCHELASTIC_MAX_RESTARTS": str(options.max_restarts),
        "TORCHELASTIC_RUN_ID": job,
        "DTORCH_JOB_ID": job,
        "DTORCH_PART": f"{job}-host{place.node}",
        "DTORCH_RUN_DIR": folder,
        "DTORCH_LAUNCHER": "dtorch-run",
    }
    argv = (machine.python, _WORKER, *_program(options))
    if starter == "mpirun":
        commands = [_mpirun(size, argv, shared, machine, options.bind)]
    else:
        commands = []
        for local in range(local_size):
            own = _rank(local, local_size, place, starter)
            own |= devices.variables(gpus[local], options)
            commands.append(Command(int(own["RANK"]), argv, {**shared, **own}, bound[local]))
    why += [
        Decision("all ranks", str(size), f"{local_size} on each of {place.size} host(s)"),
        Decision("hosts", f"{place.size}, this is number {place.node}", place.source),
        *_of_ranks(options, env, machine, gpus, bound),
        Decision("job folder", folder, options.source("log_dir")),
        Decision("lost ranks", _LOST[options.elastic], options.source("elastic")),
        Decision("restarts", str(options.max_restarts), options.source("max_restarts")),
        Decision("time limit", f"{options.timeout or 'none'}", options.source("timeout")),
    ]
    unused = hosts.unused(place, given)
    return Plan(
        job, starter, place, size, local_size, threads, options.timeout,
        options.max_restarts, options.elastic, folder, options.log_dir is not None,
        streams.shown(options, local_size), tuple(commands), tuple(why),
        (*devices.notes(env, machine.gpus), *([unused] if unused else [])),
    )  # fmt: skip


def _adopt(options: Options, env: Mapping[str, str], machine: Machine, starter: str) -> Plan:
    """This process has been started as a rank: it becomes the script."""
    how = {"script": (), "module": ("-m",)}
    kind, *program = _program(options)
    argv = tuple(program) if kind == "exec" else (machine.python, *how[kind], *program)
    told = {**env, **devices.variables(None, options), **given_variables(options.env)}
    why = Decision(
        "ranks", f"started already, by {starter}; this process becomes one", "its variables"
    )
    return Plan(
        machine.job, "adopted", Hosts(), 1, 1, 0, None, 0, None, "", False, (),
        (Command(None, argv, told),), (why,), tuple(devices.notes(env, machine.gpus)),
    )  # fmt: skip


def _local_size(
    options: Options, env: Mapping[str, str], machine: Machine, why: list[Decision]
) -> int:
    """How many ranks this host has."""
    wanted = 1 if options.nproc_per_node is None else options.nproc_per_node
    usable = cores.usable(machine.cores, machine.quota)
    gpus = len(devices.seen(env, machine.gpus)) if options.device != "cpu" else 0
    counts = {"cpu": usable, "gpu": gpus, "auto": gpus or usable}
    try:
        size = counts[wanted] if isinstance(wanted, str) and wanted in counts else int(wanted)
    except ValueError:
        size = -1
    if size < 1:
        hint = f"; {devices.none_seen(env, machine.gpus)}" if wanted == "gpu" else ""
        raise UsageError(
            "--nproc-per-node must be a number of at least 1, or auto, cpu or gpu, "
            f"got {wanted!r}{hint}"
        )
    source = options.source("nproc_per_node")
    why.append(Decision("ranks on this host", str(size), f"{source}: {wanted}"))
    return size


def _starter(options: Options, machine: Machine, place: Hosts, why: list[Decision]) -> str:
    backend = options.backend
    if options.elastic is not None:
        if backend in ("mpi", "nccl") or place.size > 1:
            what = f"--backend {backend}" if place.size == 1 else f"{place.size} hosts"
            raise UsageError(
                f"--elastic is for ranks of one host that share memory, not for {what}: there, "
                "--max-restarts starts all ranks again, from the newest checkpoint"
            )
        why.append(Decision("starter", "local", f"{options.source('elastic')}"))
        return "local"
    starter = _STARTERS.get(machine.mpi or "", "local")
    found = f"mpi4py loads {machine.mpi}" if machine.mpi else "mpi4py finds no MPI library"
    source = f"{options.source('backend')}: {backend}"
    if backend in ("local", "nccl") or (backend == "auto" and starter == "local"):
        why.append(Decision("starter", "local", source if backend != "auto" else found))
        return "local"
    if starter == "local":
        raise UsageError(
            f"--backend mpi needs MPICH or Open MPI, but {found}: install one of them "
            "(pip install 'dtorch[mpich]'), or use --backend local"
        )
    if starter == "mpirun" and place.size > 1:
        raise UsageError(
            "mpi4py loads Open MPI, whose ranks only its own mpirun starts on several hosts: "
            "`mpirun -n RANKS --host A,B python script.py`"
        )
    if starter == "mpirun" and machine.mpirun is None:
        raise UsageError(
            "mpi4py loads Open MPI, but there is no mpirun beside this Python or in PATH: "
            "put Open MPI's bin folder into PATH, or use --backend local"
        )
    why.append(Decision("starter", starter, f"{source}; {found}"))
    return starter


def _threads(
    options: Options, env: Mapping[str, str], machine: Machine, size: int, why: list[Decision]
) -> int:
    """One share of the cores a rank.  What the user exported stands, unless --threads is given."""
    usable = cores.usable(machine.cores, machine.quota)
    threads = options.threads if options.threads is not None else max(1, usable // size)
    if threads < 1:
        raise UsageError(f"--threads must be at least 1, got {threads}")
    limit = f" (the cgroup's limit, of {len(machine.cores)})" if usable < len(machine.cores) else ""
    source = options.source("threads")
    if options.threads is None:
        source = f"{usable} cores{limit} / {size} ranks"
    why.append(Decision("threads a rank", str(threads), source))
    for name in cores.THREADS:
        if _exported(options, env, name):
            why.append(Decision(f"  {name}", env[name], "the environment"))
    return threads


def _exported(options: Options, env: Mapping[str, str], name: str) -> str | None:
    return env.get(name) if options.threads is None else None


def _master_port(options: Options, machine: Machine, place: Hosts, why: list[Decision]) -> int:
    """Where rank 0 listens.  On several hosts --master-port is where the launchers meet."""
    port, source = machine.port, "a free one"
    if place.size == 1 and options.master_port:  # a port of 0 asks for a free one too
        port, source = options.master_port, options.source("master_port")
    if not 0 <= port < 1 << 16:
        raise UsageError(f"--master-port must be 0 to 65535, got {port}")
    why.append(Decision("rank 0 listens at", f"{place.head}:{port}", source))
    return port


def _of_ranks(
    options: Options,
    env: Mapping[str, str],
    machine: Machine,
    gpus: tuple[str | None, ...],
    bound: tuple[tuple[int, ...] | None, ...],
) -> list[Decision]:
    why = []
    if options.device == "cpu":
        why.append(Decision("GPUs", "none", options.source("device")))
    elif not any(gpus):
        why.append(Decision("GPUs", "none", devices.none_seen(env, machine.gpus)))
    else:
        value = env.get(devices.VARIABLE)
        source = "all are visible" if value is None else f"{devices.VARIABLE}={value}"
        why += [Decision(f"  local rank {r}", f"GPU {gpu}", source) for r, gpu in enumerate(gpus)]
    for r, own in enumerate(bound):
        if own is not None:
            why.append(
                Decision(f"  local rank {r}", f"cores {cores.text(own)}", options.source("bind"))
            )
    return why


def _check(options: Options) -> None:
    """UsageError for a value that no option of its kind may have."""
    for key, option in ALL.items():
        optional = () if key in options.origin else (None,)
        if option.choices and getattr(options, key) not in (*option.choices, *optional):
            raise UsageError(
                f"{option.spellings[0]} must be {listing(option.choices)}, "
                f"got {getattr(options, key)!r}"
            )
    if options.timeout is not None and not options.timeout > 0:
        raise UsageError(f"--timeout must be more than 0 seconds, got {options.timeout}")
    if options.max_restarts < 0:
        raise UsageError(f"--max-restarts must be at least 0, got {options.max_restarts}")


def _program(options: Options) -> tuple[str, ...]:
    """What the worker runs: how, the target, its arguments."""
    if options.no_python:
        if options.module or options.as_torch:
            raise UsageError("--no-python is for a program: it excludes -m and --as-torch")
        return ("exec", options.script, *options.args)
    if options.as_torch:
        module = ("-m",) if options.module else ()
        return ("module", "dtorch.as_torch", *module, options.script, *options.args)
    return ("module" if options.module else "script", options.script, *options.args)


def given_variables(pairs: tuple[str, ...]) -> dict[str, str]:
    given = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not (name and equals):
            raise UsageError(f"--env must be NAME=value, got {pair!r}")
        if name in _WORLD or name.startswith(_FOREIGN):
            raise UsageError(f"--env cannot set {name}: dtorch-run itself sets it for each rank")
        given[name] = value
    return given


def _rank(local: int, local_size: int, place: Hosts, starter: str) -> dict[str, str]:
    rank = str(place.node * local_size + local)
    env = {"RANK": rank, "LOCAL_RANK": str(local), "ROLE_RANK": rank}
    if starter == "pmi":  # PMI_FD is added when the socket exists
        env |= {"PMI_RANK": rank, "PMI_SIZE": str(place.size * local_size),
                "MPI_LOCALRANKID": str(local), "MPI_LOCALNRANKS": str(local_size)}  # fmt: skip
    return env


def _mpirun(
    size: int, argv: tuple[str, ...], env: dict[str, str], machine: Machine, bind: str
) -> Command:
    # Open MPI speaks PMIx only, so its own mpirun starts the ranks; the worker sets RANK and
    # LOCAL_RANK.  btl: without the list, probing libfabric takes a second.  osc: its ucx part
    # prints an error and is of no use on one node.
    flags = ["-n", str(size), "--map-by", ":OVERSUBSCRIBE", "--bind-to", bind,
             "--mca", "btl", "self,sm,tcp"]  # fmt: skip
    if machine.root:
        flags.append("--allow-run-as-root")
    assert machine.mpirun is not None
    own = ("RANK", "LOCAL_RANK", "ROLE_RANK")
    env = {name: value for name, value in env.items() if name not in own}
    env.setdefault("OMPI_MCA_osc", "^ucx")
    return Command(None, (machine.mpirun, *flags, *argv), env)
