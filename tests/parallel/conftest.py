"""Each test in here is a function that runs on every rank.

Under ``mpirun -n n python -m pytest tests/parallel`` the ranks are processes; under plain pytest
they are threads, and each test runs with 1, 2, 3 and 4 of them.
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
            on_mpi(body)
        else:
            dist.run_local(body, request.param, timeout=30)

    return run


def on_mpi(body: Callable[[], Any]) -> None:
    """body() in a group of this job's processes."""
    dist.init_process_group("mpi", timeout=20)
    body()
    dist.destroy_process_group()
