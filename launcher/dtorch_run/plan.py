"""What will be started, as plain data: options + environment + machine -> Plan.  Nothing runs here.

The ranks get torchrun's variables, so that a script written for torchrun finds itself, one share
of the cores for their BLAS threads, and the variables of the MPI starter, if there is one.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dtorch_run.config import UsageError

# MPI library -> how its ranks are started: by us with PMI-1, or by its own mpirun
_STARTERS = {"MPICH": "pmi", "Intel MPI": "pmi", "MVAPICH": "pmi", "MVAPICH2": "pmi",
             "Open MPI": "mpirun"}  # fmt: skip
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_WORLD = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_RANK", "DTORCH_JOB_ID",
          "DTORCH_LAUNCHER", "DTORCH_RUN_DIR", "DTORCH_LIFELINE")  # fmt: skip
# What another starter told us about its world must not reach our ranks: an MPI library would
# join that world instead of ours.  (The user's settings, such as OMPI_MCA_*, stay.)
_FOREIGN = ("PMI_", "PMIX_", "HYDI_", "HYDRA_", "MPI_LOCAL", "OMPI_COMM_WORLD_", "TORCHELASTIC_")
_WORKER = str(Path(__file__).with_name("worker.py"))


@dataclass(frozen=True)
class Options:
    """The command line and the preset, merged."""

    script: str
    args: tuple[str, ...] = ()
    module: bool = False
    nproc_per_node: int | str = 1
    backend: str = "auto"
    threads: int | None = None
    timeout: float | None = None
    env: tuple[str, ...] = ()


@dataclass(frozen=True)
class Machine:
    """What the plan needs to know of this machine and this moment (see `machine.look`)."""

    python: str
    cores: int
    gpus: int
    mpi: str | None  # the vendor of the library mpi4py loads; None without one
    mpirun: str | None
    root: bool
    port: int
    job: str


@dataclass(frozen=True)
class Command:
    """One process to start.  `rank` is None when it starts the ranks itself, as mpirun does."""

    rank: int | None
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(repr=False)  # the whole environment


@dataclass(frozen=True)
class Plan:
    job: str
    size: int
    starter: str  # "pmi", "mpirun" or "local"
    threads: int
    timeout: float | None
    commands: tuple[Command, ...]


def make(options: Options, env: Mapping[str, str], machine: Machine) -> Plan:
    """The plan of a job.  Raises UsageError when the options can't be met on this machine."""
    size = _size(options.nproc_per_node, machine)
    starter = _starter(options.backend, machine)
    threads = options.threads if options.threads is not None else max(1, machine.cores // size)
    if threads < 1:
        raise UsageError(f"--threads must be at least 1, got {threads}")
    if options.timeout is not None and not options.timeout > 0:
        raise UsageError(f"--timeout must be more than 0 seconds, got {options.timeout}")
    shared = {
        **{name: value for name, value in env.items() if not name.startswith(_FOREIGN)},
        **_threads(options, env, threads),
        "PYTHONUNBUFFERED": env.get("PYTHONUNBUFFERED") or "1",  # lines arrive as they are printed
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(machine.port),
        **_given(options.env),
        "WORLD_SIZE": str(size),
        "LOCAL_WORLD_SIZE": str(size),
        "GROUP_RANK": "0",
        "DTORCH_JOB_ID": machine.job,
        "DTORCH_LAUNCHER": "dtorch-run",
    }
    worker = (machine.python, _WORKER, "module" if options.module else "script", options.script)
    argv = worker + options.args
    if starter == "mpirun":
        commands = [_mpirun(size, argv, shared, machine)]
    else:
        commands = [Command(rank, argv, _rank(rank, size, shared, starter)) for rank in range(size)]
    return Plan(machine.job, size, starter, threads, options.timeout, tuple(commands))


def show(plan: Plan, env: Mapping[str, str]) -> str:
    """What --dry-run prints: the plan, and of each environment what differs from `env`."""
    lines = [f"{plan.size} ranks, started by {plan.starter}, {plan.threads} BLAS threads a rank"]
    for command in plan.commands:
        changes = [
            f"{name}={shlex.quote(value)}"
            for name, value in command.env.items()
            if env.get(name) != value
        ]
        lines.append(" ".join([*changes, shlex.join(command.argv)]))
    return "\n".join(lines)


def _size(wanted: int | str, machine: Machine) -> int:
    counts = {"cpu": machine.cores, "gpu": machine.gpus, "auto": machine.gpus or machine.cores}
    try:
        size = counts[wanted] if isinstance(wanted, str) and wanted in counts else int(wanted)
    except ValueError:
        size = -1
    if size < 1:
        why = "; this machine has no CUDA device" if wanted == "gpu" else ""
        raise UsageError(
            "--nproc-per-node must be a number of at least 1, or auto, cpu or gpu, "
            f"got {wanted!r}{why}"
        )
    return size


def _starter(backend: str, machine: Machine) -> str:
    if backend not in ("auto", "mpi", "local"):
        raise UsageError(f"--backend must be auto, mpi or local, got {backend!r}")
    starter = _STARTERS.get(machine.mpi or "", "local")
    if backend == "local" or (backend == "auto" and starter == "local"):
        return "local"
    if starter == "local":
        found = f"mpi4py loads {machine.mpi!r}" if machine.mpi else "mpi4py finds no MPI library"
        raise UsageError(
            f"--backend mpi needs MPICH or Open MPI, but {found}: install one of them "
            "(pip install 'dtorch[mpich]'), or use --backend local"
        )
    if starter == "mpirun" and machine.mpirun is None:
        raise UsageError(
            "mpi4py loads Open MPI, but there is no mpirun beside this Python or in PATH: "
            "put Open MPI's bin folder into PATH, or use --backend local"
        )
    return starter


def _threads(options: Options, env: Mapping[str, str], threads: int) -> dict[str, str]:
    """One share a rank.  What the user exported stands, unless --threads says otherwise."""
    kept = env if options.threads is None else {}
    return {name: kept.get(name) or str(threads) for name in _THREADS}


def _given(pairs: tuple[str, ...]) -> dict[str, str]:
    given = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not (name and equals):
            raise UsageError(f"--env must be NAME=value, got {pair!r}")
        if name in _WORLD or name.startswith(_FOREIGN):
            raise UsageError(f"--env cannot set {name}: dtorch-run itself sets it for each rank")
        given[name] = value
    return given


def _rank(rank: int, size: int, shared: dict[str, str], starter: str) -> dict[str, str]:
    env = {**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)}
    if starter == "pmi":  # PMI_FD is added when the socket exists
        env |= {"PMI_RANK": str(rank), "PMI_SIZE": str(size),
                "MPI_LOCALRANKID": str(rank), "MPI_LOCALNRANKS": str(size)}  # fmt: skip
    return env


def _mpirun(size: int, argv: tuple[str, ...], env: dict[str, str], machine: Machine) -> Command:
    # Open MPI speaks PMIx only, so its own mpirun starts the ranks; the worker sets RANK and
    # LOCAL_RANK.  btl: without the list, probing libfabric takes a second.  osc: its ucx part
    # prints an error and is of no use on one node.
    flags = ["-n", str(size), "--map-by", ":OVERSUBSCRIBE", "--bind-to", "none",
             "--mca", "btl", "self,sm,tcp"]  # fmt: skip
    if machine.root:
        flags.append("--allow-run-as-root")
    assert machine.mpirun is not None
    env = {name: value for name, value in env.items() if name not in ("RANK", "LOCAL_RANK")}
    env.setdefault("OMPI_MCA_osc", "^ucx")
    # The worker ties mpirun to the launcher's life, then becomes it.
    return Command(None, (machine.python, _WORKER, "exec", machine.mpirun, *flags, *argv), env)
