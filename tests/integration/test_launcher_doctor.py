"""dtorch-run doctor: on this machine, and what it says of machines that are ill."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from dtorch_run import doctor, leftovers
from dtorch_run.doctor import BAD, OK, WARN
from dtorch_run.machine import look

REPO = Path(__file__).resolve().parents[2]
HYDRA = "HYDRA build details: Version: 5.0.2"


@pytest.fixture(scope="module")
def machine():
    return look(port=0, ask_mpi=True)


def test_a_machine_that_runs_these_tests_is_well(tmp_path):
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(REPO), str(REPO / "launcher")])}
    done = subprocess.run(
        [sys.executable, "-m", "dtorch_run", "doctor"],
        capture_output=True, text=True, timeout=100, cwd=tmp_path, env=env,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    told = {line[6:21].strip(): line[:5].strip() for line in done.stdout.splitlines()}
    assert told["two ranks"] == told["packages"] == told["cores"] == "ok"
    assert "GB/s for 16 MiB" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_an_mpirun_of_another_library(machine):
    if machine.mpi != "MPICH":
        pytest.skip("needs MPICH")
    told = {check.what: check for check in doctor.mpi(machine, "mpirun (Open MPI) 5.0.11")}
    assert told["MPI threads"].verdict == OK
    assert told["mpirun"].verdict == BAD
    assert "each rank would be a world of its own" in told["mpirun"].found
    assert told["mpirun"].cure == "put MPICH's first into PATH"
    assert [check.verdict for check in doctor.mpi(machine, HYDRA)] == [OK] * 3


def test_no_mpi(machine):
    (check,) = doctor.mpi(replace(machine, mpi=None), "")
    assert (check.verdict, check.cure) == (WARN, "pip install 'dtorch[mpich]', or the site's own")


def test_threads_that_are_too_many(machine, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "500")
    told = {check.what: check for check in doctor.cpu(machine)}
    assert told["threads"].verdict == WARN
    assert "OMP_NUM_THREADS asks for 500 threads" in told["threads"].found


def test_shared_memory_that_nobody_uses_is_found_and_removed(tmp_path):
    names = ("mpich_shm_1_0", "mpich_shm_2_0", "somebody_elses")
    for name in names:
        (tmp_path / name).write_bytes(b"x" * 5000)
    with (tmp_path / "mpich_shm_2_0").open():  # a job that runs
        left = leftovers.find(tmp_path)
    assert [path.name for path in left] == ["mpich_shm_1_0"]
    (check,) = doctor.left_behind(left)
    assert (check.verdict, check.cure) == (WARN, "dtorch-run doctor --clean")
    assert "1 segments of killed MPI jobs hold" in check.found
    leftovers.remove(left)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mpich_shm_2_0", "somebody_elses"]
    assert list(doctor.left_behind([])) == []
