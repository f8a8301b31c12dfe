"""Who am I: the environments that each starter really makes, and what a wrong one leads to."""

import pytest

from dtorch.parallel.identity import World, check_mpi, detect

TORCHRUN = {
    "RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2", "GROUP_RANK": "1",
    "ROLE_RANK": "3", "MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "29500",
    "TORCHELASTIC_RUN_ID": "none",
}  # fmt: skip
OPENMPI = {
    "OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_LOCAL_RANK": "1",
    "OMPI_COMM_WORLD_LOCAL_SIZE": "2", "OMPI_COMM_WORLD_NODE_RANK": "1", "PMIX_RANK": "1",
    "PMIX_NAMESPACE": "prterun-node-77@1",
}  # fmt: skip
MPICH = {
    "PMI_RANK": "1", "PMI_SIZE": "4", "PMI_FD": "7", "MPI_LOCALRANKID": "1", "MPI_LOCALNRANKS": "2",
}  # fmt: skip
SLURM = {
    "SLURM_JOB_ID": "12", "SLURM_STEP_ID": "0", "SLURM_PROCID": "5", "SLURM_STEP_NUM_TASKS": "7",
    "SLURM_NTASKS": "7", "SLURM_LOCALID": "1", "SLURM_NODEID": "2",
    "SLURM_STEP_TASKS_PER_NODE": "2(x3),1",
}  # fmt: skip
# The batch script of an allocation is a step too, of one task; mpirun's ranks inherit it.
SALLOC = {**SLURM, "SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "1", "SLURM_NODEID": "0",
          "SLURM_LOCALID": "0", "SLURM_STEP_TASKS_PER_NODE": "1"}  # fmt: skip
DTORCH_RUN = {**TORCHRUN, "DTORCH_LAUNCHER": "dtorch-run", "PMI_RANK": "3", "PMI_SIZE": "4"}
del DTORCH_RUN["TORCHELASTIC_RUN_ID"]


@pytest.mark.parametrize(
    ("env", "world"),
    [
        ({}, World(0, 1, 0, 1, "alone")),
        ({"RANK": "2"}, World(0, 1, 0, 1, "alone")),  # half a world is none
        (DTORCH_RUN, World(3, 4, 1, 2, "dtorch-run")),
        (TORCHRUN, World(3, 4, 1, 2, "torchrun")),
        ({"RANK": "2", "WORLD_SIZE": "3"}, World(2, 3, 2, 3, "env")),
        (OPENMPI, World(1, 2, 1, 2, "openmpi")),
        (MPICH, World(1, 4, 1, 2, "hydra")),
        ({**SALLOC, **MPICH}, World(1, 4, 1, 2, "hydra")),
        ({**SALLOC, **OPENMPI}, World(1, 2, 1, 2, "openmpi")),
        ({**OPENMPI, **TORCHRUN}, World(3, 4, 1, 2, "torchrun")),
        (SLURM, World(5, 7, 1, 2, "slurm")),
        (SALLOC, World(0, 1, 0, 1, "slurm")),
        ({**SLURM, "PMI_RANK": "5", "PMI_SIZE": "7"}, World(5, 7, 1, 2, "slurm-pmi2")),
    ],
)
def test_detect(env, world):
    assert detect(env) == world


@pytest.mark.parametrize(
    ("env", "words"),
    [
        ({"RANK": "two", "WORLD_SIZE": "3"}, "RANK must be a whole number, got 'two'"),
        ({"RANK": "3", "WORLD_SIZE": "3"}, "0 <= RANK < WORLD_SIZE, got 3 and 3"),
        ({**MPICH, "MPI_LOCALRANKID": "2"}, "MPI_LOCALRANKID < MPI_LOCALNRANKS, got 2 and 2"),
        ({**SLURM, "SLURM_NODEID": "9"}, "SLURM_NODEID, got '2\\(x3\\),1' and '9'"),
    ],
)
def test_nonsense_is_an_error(env, words):
    with pytest.raises(ValueError, match=words):
        detect(env)


def test_the_right_starter_passes():
    check_mpi(detect(MPICH), 4, "MPICH")


@pytest.mark.parametrize(
    ("env", "vendor", "cure"),
    [
        (OPENMPI, "MPICH", "MPICH's own mpirun"),
        (SLURM, "MPICH", "srun --mpi=pmi2"),
        (SLURM, "Open MPI", "srun --mpi=pmix"),
        (MPICH, "Cray MPI", "this MPI library's own mpirun"),
    ],
)
def test_many_worlds_of_one_are_an_error_with_the_cure(env, vendor, cure):
    world = detect(env)
    with pytest.raises(RuntimeError, match=f"{world.size}.*world of 1.*{cure}"):
        check_mpi(world, 1, vendor)
