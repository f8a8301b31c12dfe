"""Each test in here is a function that runs on every rank.

Under ``mpirun -n n python -m pytest tests/parallel`` the ranks are processes of MPI.  Under plain
pytest they are threads, and each test runs with 1, 2, 3 and 4 of them; test_shm.py then runs all
files again, in processes with common memory.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest

import dtorch.distributed as dist
from dtorch.parallel.identity import detect

SIZES = [detect(os.environ).size] if detect(os.environ).size > 1 else [1, 2, 3, 4]


@pytest.fixture(params=SIZES, ids=lambda n: f"{n}-ranks")
def on_ranks(request: pytest.FixtureRequest) -> Callable[[Callable[[], Any]], Any]:
    """on_ranks(body) runs body() on every rank of a group, and fails when one of them does."""

    def run(body: Callable[[], Any]) -> None:
        if SIZES != [1, 2, 3, 4]:
            on_processes(body)
        else:
            # Three ranks run one at a time, in an order of events that repeats.
            rehearsal = dist.Rehearsal() if request.param == 3 else None
            dist.run_local(body, request.param, timeout=30, rehearsal=rehearsal)

    return run


def backend() -> str:
    """Where ranks are processes; asked for when it is needed, since test_shm.py sets it late."""
    return os.environ.get("DTORCH_TEST_BACKEND", "mpi")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What starts MPI processes of its own has nothing to say of another backend."""
    for item in items:
        if backend() != "mpi" and item.get_closest_marker("dist") is not None:
            item.add_marker(pytest.mark.skip(reason="starts MPI's processes"))


def on_processes(body: Callable[[], Any]) -> None:
    """body() in a group of this job's processes."""
    dist.init_process_group(backend(), timeout=60)
    body()
    dist.destroy_process_group()
