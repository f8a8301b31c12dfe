"""Each transport does what conformance.py says.  A new one is one more line of processes here."""

from __future__ import annotations

import os

import pytest

import dtorch.distributed as dist
from dtorch.parallel.identity import detect

pytest.register_assert_rewrite("tests.parallel.conformance", "tests.parallel.mismatches")

from tests.parallel import mismatches  # noqa: E402, F401 (it adds to the cases)
from tests.parallel.conformance import CASES, run_all  # noqa: E402


@pytest.mark.parametrize("case", CASES)
def test_threads(on_ranks, case):
    on_ranks(CASES[case])


def on_processes(backend: str) -> None:
    """All cases at once: starting the processes takes longer than running them."""
    dist.init_process_group(backend, timeout=60)
    run_all()
    dist.destroy_process_group()


@pytest.mark.dist(2, timeout=120)
def test_common_memory_of_two_processes():
    on_processes("shm")


@pytest.mark.dist(4, timeout=120)
def test_common_memory_of_four_processes():
    on_processes("shm")


@pytest.mark.dist(2, timeout=120)
def test_mpi_on_two_processes():
    on_processes("mpi")


@pytest.mark.dist(3, timeout=120)
def test_mpi_on_three_processes_of_two_machines(monkeypatch):
    rank = detect(os.environ).rank
    monkeypatch.setenv("DTORCH_MACHINE", "one" if rank == 1 else "another")
    on_processes("mpi")


@pytest.mark.dist(4, timeout=120)
def test_mpi_on_four_processes():
    on_processes("mpi")
