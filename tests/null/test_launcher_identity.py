"""Who am I: the environments that each starter really makes, and what a wrong one leads to."""

import pytest

from dtorch.parallel.identity import World, check_mpi, detect
from tests.starters import (
    INTEL_MPI,
    LSF,
    LSF_JSRUN,
    MPICH,
    OPEN_MPI,
    PBS,
    PBS_PALS,
    SALLOC,
    SLURM,
    SLURM_PER_NODE,
    SLURM_PMI2,
    SLURM_PMIX,
    TORCHRUN,
)

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
        (OPEN_MPI, World(1, 2, 1, 2, "openmpi")),
        (MPICH, World(1, 4, 1, 2, "hydra")),
        ({**SALLOC, **MPICH}, World(1, 4, 1, 2, "hydra")),
        ({**SALLOC, **OPEN_MPI}, World(1, 2, 1, 2, "openmpi")),
        ({**OPEN_MPI, **TORCHRUN}, World(3, 4, 1, 2, "torchrun")),
        (SLURM, World(5, 7, 1, 2, "slurm")),
        (SALLOC, World(0, 1, 0, 1, "slurm")),
        (SLURM_PMI2, World(5, 7, 1, 2, "slurm-pmi2")),
        (SLURM_PMIX, World(5, 7, 1, 2, "slurm")),
        (SLURM_PER_NODE, World(1, 4, 0, 1, "slurm")),
        (INTEL_MPI, World(1, 4, 1, 2, "hydra")),
        (PBS, World(0, 1, 0, 1, "alone")),
        (PBS_PALS, World(3, 4, 1, 2, "pmi")),
        (LSF, World(0, 1, 0, 1, "alone")),
        (LSF_JSRUN, World(5, 8, 1, 4, "jsrun")),
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
        (OPEN_MPI, "MPICH", "MPICH's own mpirun"),
        (SLURM, "MPICH", "srun --mpi=pmi2"),
        (SLURM, "Open MPI", "srun --mpi=pmix"),
        (MPICH, "Cray MPI", "this MPI library's own mpirun"),
    ],
)
def test_many_worlds_of_one_are_an_error_with_the_cure(env, vendor, cure):
    world = detect(env)
    with pytest.raises(RuntimeError, match=f"{world.size}.*world of 1.*{cure}"):
        check_mpi(world, 1, vendor)
