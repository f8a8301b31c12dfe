"""Which rank am I, and who started me?  One table, read from the environment alone.

The same script runs as ``python train.py``, under dtorch-run, torchrun, ``mpirun`` or ``srun``.
Each starter tells its ranks who they are in its own variables; `detect` looks them up without
importing MPI, and `check_mpi` catches the starter that does not fit the MPI library, which would
otherwise train N separate models without a word.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class World(NamedTuple):
    """A rank's place in its job: ``0 <= rank < size``, ``0 <= local_rank < local_size``."""

    rank: int
    size: int
    local_rank: int
    local_size: int
    starter: str


class _Row(NamedTuple):
    """A starter and its variables; it speaks if its mark, its rank and its size are all set."""

    starter: str
    mark: str
    rank: str
    size: str
    local_rank: str
    local_size: str


_TORCH = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
_OMPI = tuple(f"OMPI_COMM_WORLD_{name}" for name in ("RANK", "SIZE", "LOCAL_RANK", "LOCAL_SIZE"))

# The first row that speaks wins.  PMI comes before Slurm: inside an allocation, mpirun's ranks
# inherit the SLURM_PROCID=0 of the batch script.
_STARTERS = (
    _Row("dtorch-run", "DTORCH_LAUNCHER", *_TORCH),
    _Row("torchrun", "TORCHELASTIC_RUN_ID", *_TORCH),
    _Row("env", "RANK", *_TORCH),
    _Row("openmpi", "OMPI_COMM_WORLD_RANK", *_OMPI),
    _Row("jsrun", "JSM_NAMESPACE_RANK", *(f"JSM_NAMESPACE_{name}" for name in
                                          ("RANK", "SIZE", "LOCAL_RANK", "LOCAL_SIZE"))),
    _Row("hydra", "MPI_LOCALRANKID", "PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID", "MPI_LOCALNRANKS"),
    _Row("slurm-pmi2", "SLURM_STEP_ID", "PMI_RANK", "PMI_SIZE", "SLURM_LOCALID",
         "SLURM_STEP_TASKS_PER_NODE"),
    _Row("pmi", "PMI_RANK", "PMI_RANK", "PMI_SIZE", "PMI_LOCAL_RANK", "PMI_LOCAL_SIZE"),
    _Row("slurm", "SLURM_STEP_ID", "SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID",
         "SLURM_STEP_TASKS_PER_NODE"),
)  # fmt: skip

_CURES = {
    "MPICH": "start it with MPICH's own mpirun, with `srun --mpi=pmi2`, or with dtorch-run",
    "Open MPI": "start it with Open MPI's own mpirun, with `srun --mpi=pmix`, or with dtorch-run",
}


def detect(env: Mapping[str, str]) -> World:
    """The world that the environment describes; rank 0 of 1 when nothing started us.

    Without local variables all ranks are taken to share this node.  Raises ValueError when a
    variable is not a number or a rank lies outside its world.
    """
    for row in _STARTERS:
        if not (env.get(row.mark) and env.get(row.rank) and env.get(row.size)):
            continue
        rank, size = _number(env, row.rank), _number(env, row.size)
        local_rank = _number(env, row.local_rank) if env.get(row.local_rank) else rank
        local_size = _local_size(env, row.local_size) if env.get(row.local_size) else size
        _check_range(row.rank, rank, row.size, size)
        _check_range(row.local_rank, local_rank, row.local_size, local_size)
        return World(rank, size, local_rank, local_size, row.starter)
    return World(0, 1, 0, 1, "alone")


def check_mpi(world: World, comm_size: int, vendor: str) -> None:
    """Raise RuntimeError, with the cure, unless MPI sees as many ranks as the starter started.

    `comm_size` is ``MPI.COMM_WORLD.size``, `vendor` the name in ``MPI.get_vendor()[0]``.
    """
    if comm_size == world.size:
        return
    cure = _CURES.get(vendor, "start it with this MPI library's own mpirun, or with dtorch-run")
    raise RuntimeError(
        f"the environment ({world.starter}) says rank {world.rank} of {world.size}, but the MPI "
        f"library ({vendor}) sees a world of {comm_size}: this starter does not fit it; {cure}"
    )


def _number(env: Mapping[str, str], name: str) -> int:
    try:
        return int(env[name])
    except ValueError:
        raise ValueError(f"{name} must be a whole number, got {env[name]!r}") from None


def _local_size(env: Mapping[str, str], name: str) -> int:
    """Ranks on this node: a number, or Slurm's list over the nodes such as ``2(x3),1``."""
    if not name.endswith("TASKS_PER_NODE"):
        return _number(env, name)
    sizes: list[int] = []
    try:
        for part in env[name].split(","):
            tasks, _, repeat = part.rstrip(")").partition("(x")
            sizes += [int(tasks)] * int(repeat or 1)
        return sizes[int(env.get("SLURM_NODEID") or 0)]
    except (ValueError, IndexError):
        raise ValueError(
            f"expected {name} like '2(x3),1' with an entry for SLURM_NODEID, "
            f"got {env[name]!r} and {env.get('SLURM_NODEID')!r}"
        ) from None


def _check_range(rank_name: str, rank: int, size_name: str, size: int) -> None:
    if not 0 <= rank < size:
        raise ValueError(
            f"expected 0 <= {rank_name} < {size_name}, got {rank} and {size}: "
            "unset stale variables, or start the script with one starter only"
        )
