"""The tests in this folder, on ranks that are processes with common memory."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dtorch.parallel.identity import detect

FILES = sorted(set(Path(__file__).parent.glob("test_*.py")) - {Path(__file__)})
STARTED = "DTORCH_TEST_FOLDER" in os.environ  # by the mark, which every rank has to obey


@pytest.mark.skipif(not STARTED and detect(os.environ).size > 1, reason="under mpirun: MPI's turn")
@pytest.mark.parametrize("n", [pytest.param(n, marks=pytest.mark.dist(n, 100)) for n in (2, 4)])
def test_everything_over_common_memory(n, monkeypatch):
    monkeypatch.setenv("DTORCH_TEST_BACKEND", "shm")
    options = ["-q", "-x", "-p", "no:cacheprovider", "-p", "no:faulthandler"]
    options += ["-p", "pytest_timeout", "-o", "timeout=0"]  # as the mark has it: the job has one
    assert pytest.main([*options, *map(str, FILES)]) == 0
