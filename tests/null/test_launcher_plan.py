"""The plan is a pure function: options + environment + machine -> what will be started."""

from dataclasses import replace

import pytest

from dtorch_run.config import UsageError
from dtorch_run.plan import Machine, Options, make, show

MACHINE = Machine(
    python="/usr/bin/python3", cores=8, gpus=0, mpi="MPICH", mpirun="/usr/bin/mpirun", root=False,
    port=41000, job="dtorch-1-ab",
)  # fmt: skip
TRAIN = Options(script="train.py", args=("--lr", "0.1"), nproc_per_node=4)


def test_each_rank_knows_its_place():
    plan = make(TRAIN, {}, MACHINE)
    assert [command.rank for command in plan.commands] == [0, 1, 2, 3]
    env = plan.commands[2].env
    wanted = {
        "RANK": "2", "LOCAL_RANK": "2", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "4",
        "GROUP_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "41000",
        "DTORCH_LAUNCHER": "dtorch-run", "DTORCH_JOB_ID": "dtorch-1-ab", "PMI_RANK": "2",
        "PMI_SIZE": "4", "MPI_LOCALRANKID": "2", "MPI_LOCALNRANKS": "4", "PYTHONUNBUFFERED": "1",
        "OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "2", "MKL_NUM_THREADS": "2",
    }  # fmt: skip
    assert env == wanted
    python, worker, *rest = plan.commands[2].argv
    assert python == "/usr/bin/python3"
    assert worker.endswith("worker.py")
    assert rest == ["script", "train.py", "--lr", "0.1"]


def test_a_module():
    plan = make(replace(TRAIN, module=True, script="pkg.train"), {}, MACHINE)
    assert plan.commands[0].argv[2:4] == ("module", "pkg.train")


@pytest.mark.parametrize(
    ("mpi", "backend", "starter"),
    [
        ("MPICH", "auto", "pmi"),
        ("Intel MPI", "auto", "pmi"),
        ("MPICH", "local", "local"),
        ("Open MPI", "auto", "mpirun"),
        ("Open MPI", "mpi", "mpirun"),
        (None, "auto", "local"),
    ],
)
def test_the_starter_follows_the_library(mpi, backend, starter):
    plan = make(replace(TRAIN, backend=backend), {}, replace(MACHINE, mpi=mpi))
    assert plan.starter == starter
    assert ("PMI_RANK" in plan.commands[0].env) == (starter == "pmi")


def test_open_mpi_gets_one_mpirun():
    (command,) = make(TRAIN, {}, replace(MACHINE, mpi="Open MPI", root=True)).commands
    line = " ".join(command.argv)
    assert "exec /usr/bin/mpirun -n 4 --map-by :OVERSUBSCRIBE --bind-to none" in line
    assert "--allow-run-as-root" in line
    assert line.endswith("worker.py script train.py --lr 0.1")
    assert "RANK" not in command.env  # all ranks share this environment
    assert command.env["WORLD_SIZE"] == "4"


@pytest.mark.parametrize(
    ("gpus", "wanted", "size"),
    [(0, "cpu", 8), (0, "auto", 8), (2, "auto", 2), (2, "gpu", 2), (2, "cpu", 8), (0, "3", 3)],
)
def test_how_many_ranks(gpus, wanted, size):
    assert make(replace(TRAIN, nproc_per_node=wanted), {}, replace(MACHINE, gpus=gpus)).size == size


@pytest.mark.parametrize(
    ("env", "threads", "omp"),
    [({}, None, "2"), ({"OMP_NUM_THREADS": "5"}, None, "5"), ({"OMP_NUM_THREADS": "5"}, 3, "3")],
)
def test_threads_exported_stand_unless_asked(env, threads, omp):
    plan = make(replace(TRAIN, threads=threads), env, MACHINE)
    assert plan.commands[0].env["OMP_NUM_THREADS"] == omp


def test_more_ranks_than_cores_get_one_thread_each():
    assert make(replace(TRAIN, nproc_per_node=20), {}, MACHINE).threads == 1


def test_another_starters_world_does_not_leak_in():
    outer = {
        "PMI_FD": "9", "PMI_RANK": "1", "OMPI_COMM_WORLD_RANK": "1", "PMIX_NAMESPACE": "x",
        "TORCHELASTIC_RUN_ID": "y", "RANK": "1", "OMPI_MCA_btl": "self", "HOME": "/home/me",
    }  # fmt: skip
    env = make(replace(TRAIN, backend="local"), outer, MACHINE).commands[0].env
    assert not {"PMI_FD", "PMI_RANK", "OMPI_COMM_WORLD_RANK", "PMIX_NAMESPACE"} & env.keys()
    assert "TORCHELASTIC_RUN_ID" not in env
    assert (env["RANK"], env["OMPI_MCA_btl"], env["HOME"]) == ("0", "self", "/home/me")


def test_given_variables_win():
    env = make(replace(TRAIN, env=("MASTER_PORT=5", "A=b=c")), {}, MACHINE).commands[0].env
    assert (env["MASTER_PORT"], env["A"]) == ("5", "b=c")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"nproc_per_node": 0}, "at least 1, or auto, cpu or gpu, got 0"),
        ({"nproc_per_node": "two"}, "got 'two'"),
        ({"nproc_per_node": "gpu"}, "got 'gpu'; this machine has no CUDA device"),
        ({"backend": "gloo"}, "must be auto, mpi or local, got 'gloo'"),
        ({"threads": 0}, "--threads must be at least 1, got 0"),
        ({"timeout": -1.0}, "--timeout must be more than 0 seconds, got -1"),
        ({"env": ("A",)}, "must be NAME=value, got 'A'"),
        ({"env": ("RANK=3",)}, "cannot set RANK"),
    ],
)
def test_bad_options(changes, words):
    with pytest.raises(UsageError, match=words):
        make(replace(TRAIN, **changes), {}, MACHINE)


def test_mpi_without_a_library_names_the_cure():
    with pytest.raises(UsageError, match=r"finds no MPI library.*pip install 'dtorch\[mpich\]'"):
        make(replace(TRAIN, backend="mpi"), {}, replace(MACHINE, mpi=None))


def test_open_mpi_without_mpirun_is_an_error():
    with pytest.raises(UsageError, match="no mpirun"):
        make(TRAIN, {}, replace(MACHINE, mpi="Open MPI", mpirun=None))


def test_show_prints_only_what_changes():
    env = {"HOME": "/home/me"}
    text = show(make(TRAIN, env, MACHINE), env)
    assert text.splitlines()[0] == "4 ranks, started by pmi, 2 BLAS threads a rank"
    assert len(text.splitlines()) == 5
    assert "RANK=3" in text
    assert "HOME" not in text
