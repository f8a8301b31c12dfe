"""The plan is a pure function: options + environment + machine -> what will be started."""

import json
from dataclasses import replace

import pytest

from dtorch_run.explain import explain, record, show
from dtorch_run.options import Options, UsageError, merge
from dtorch_run.plan import Machine, make
from tests.starters import LSF, OPEN_MPI, PBS, SALLOC, SLURM_PER_NODE, TORCHRUN

UUIDS = ("GPU-aa11", "GPU-bb22")
MACHINE = Machine(
    python="/usr/bin/python3", host="here", cores=tuple(range(8)), quota=None,
    nodes=((0, 1, 2, 3), (4, 5, 6, 7)), gpus=(), mpi="MPICH", mpirun="/usr/bin/mpirun", root=False,
    port=41000, job="dtorch-1-ab", folder="/scratch",
)  # fmt: skip
TRAIN = Options(script="train.py", args=("--lr", "0.1"), nproc_per_node=4)


def test_each_rank_knows_its_place():
    plan = make(TRAIN, {}, MACHINE)
    assert [command.rank for command in plan.commands] == [0, 1, 2, 3]
    env = plan.commands[2].env
    wanted = {
        "RANK": "2", "LOCAL_RANK": "2", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "4",
        "GROUP_RANK": "0", "GROUP_WORLD_SIZE": "1", "ROLE_RANK": "2", "ROLE_WORLD_SIZE": "4",
        "ROLE_NAME": "default", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "41000",
        "TORCHELASTIC_RUN_ID": "dtorch-1-ab", "TORCHELASTIC_RESTART_COUNT": "0",
        "TORCHELASTIC_MAX_RESTARTS": "0", "DTORCH_RUN_DIR": "/scratch/run/dtorch-1-ab",
        "DTORCH_PART": "dtorch-1-ab-host0",
        "DTORCH_LAUNCHER": "dtorch-run", "DTORCH_JOB_ID": "dtorch-1-ab", "PMI_RANK": "2",
        "PMI_SIZE": "4", "MPI_LOCALRANKID": "2", "MPI_LOCALNRANKS": "4", "PYTHONUNBUFFERED": "1",
        "OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "2", "MKL_NUM_THREADS": "2",
    }  # fmt: skip
    assert env == wanted
    python, worker, *rest = plan.commands[2].argv
    assert python == "/usr/bin/python3"
    assert worker.endswith("worker.py")
    assert rest == ["script", "train.py", "--lr", "0.1"]


@pytest.mark.parametrize(
    ("changes", "argv"),
    [
        ({"module": True}, ("module", "train.py", "--lr", "0.1")),
        ({"no_python": True}, ("exec", "train.py", "--lr", "0.1")),
        ({"as_torch": True}, ("module", "dtorch.as_torch", "train.py", "--lr", "0.1")),
        ({"as_torch": True, "module": True},
         ("module", "dtorch.as_torch", "-m", "train.py", "--lr", "0.1")),
    ],
)  # fmt: skip
def test_what_each_rank_runs(changes, argv):
    assert make(replace(TRAIN, **changes), {}, MACHINE).commands[0].argv[2:] == argv


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
    assert line.startswith("/usr/bin/mpirun -n 4 --map-by :OVERSUBSCRIBE --bind-to none")
    assert "--allow-run-as-root" in line
    assert line.endswith("worker.py script train.py --lr 0.1")
    assert "RANK" not in command.env  # all ranks share this environment
    assert command.env["WORLD_SIZE"] == "4"


@pytest.mark.parametrize(
    ("gpus", "wanted", "size"),
    [(0, "cpu", 8), (0, "auto", 8), (2, "auto", 2), (2, "gpu", 2), (2, "cpu", 8), (0, "3", 3)],
)
def test_how_many_ranks(gpus, wanted, size):
    machine = replace(MACHINE, gpus=UUIDS[:gpus])
    assert make(replace(TRAIN, nproc_per_node=wanted, share_gpu=True), {}, machine).size == size


def test_a_cgroup_that_pays_for_less_than_the_cores():
    machine = replace(MACHINE, quota=4.5)
    plan = make(replace(TRAIN, nproc_per_node=2), {}, machine)
    assert plan.threads == 2
    assert "4 cores (the cgroup's limit, of 8) / 2 ranks" in explain(plan)
    assert make(replace(TRAIN, nproc_per_node="cpu"), {}, machine).size == 4


@pytest.mark.parametrize(
    ("bind", "size", "cores"),
    [
        ("none", 2, [None, None]),
        ("core", 2, [(0, 1, 2, 3), (4, 5, 6, 7)]),
        ("core", 3, [(0, 1), (2, 3), (4, 5)]),
        ("numa", 3, [(0, 1, 2, 3), (4, 5, 6, 7), (0, 1, 2, 3)]),
    ],
)
def test_ranks_tied_to_cores(bind, size, cores):
    plan = make(replace(TRAIN, bind=bind, nproc_per_node=size), {}, MACHINE)
    assert [command.cores for command in plan.commands] == cores
    shown = {"none": "", "core": "cores 2-3" if size == 3 else "cores 4-7", "numa": "cores 4-7"}
    assert shown[bind] in explain(plan)


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
        **OPEN_MPI, "OMPI_COMM_WORLD_SIZE": "1", "OMPI_COMM_WORLD_RANK": "0", "PMI_FD": "9",
        "OMPI_COMM_WORLD_LOCAL_SIZE": "1", "OMPI_COMM_WORLD_LOCAL_RANK": "0", "RANK": "1",
        "OMPI_MCA_btl": "self", "HOME": "/home/me",
    }  # fmt: skip
    env = make(replace(TRAIN, backend="local"), outer, MACHINE).commands[0].env
    assert not {"PMI_FD", "PMIX_RANK", "OMPI_COMM_WORLD_RANK", "PMIX_NAMESPACE"} & env.keys()
    assert (env["RANK"], env["OMPI_MCA_btl"], env["HOME"]) == ("0", "self", "/home/me")


@pytest.mark.parametrize("outer", [OPEN_MPI, TORCHRUN])
def test_a_rank_of_another_starter_becomes_the_script(outer):
    plan = make(replace(TRAIN, nproc_per_node=None, env=("A=1",)), outer, MACHINE)
    (command,) = plan.commands
    assert plan.starter == "adopted"
    assert command.argv == ("/usr/bin/python3", "train.py", "--lr", "0.1")
    assert command.env == {**outer, "A": "1"}
    assert "started already, by" in explain(plan)


def test_a_host_of_several():
    plan = make(replace(TRAIN, nproc_per_node=2), SLURM_PER_NODE, MACHINE)
    assert (plan.size, plan.local_size, list(plan.ranks)) == (8, 2, [2, 3])
    env = plan.commands[1].env
    wanted = {
        "RANK": "3", "LOCAL_RANK": "1", "WORLD_SIZE": "8", "LOCAL_WORLD_SIZE": "2",
        "GROUP_RANK": "1", "GROUP_WORLD_SIZE": "4", "MASTER_ADDR": "gpu01", "PMI_RANK": "3",
        "PMI_SIZE": "8", "MPI_LOCALRANKID": "1", "MPI_LOCALNRANKS": "2",
    }  # fmt: skip
    assert {name: env[name] for name in wanted} == wanted


@pytest.mark.parametrize(("outer", "name"), [(SALLOC, "SLURM"), (PBS, "PBS"), (LSF, "LSF")])
def test_hosts_that_lie_idle_are_a_remark(outer, name):
    plan = make(TRAIN, outer, replace(MACHINE, nodefile=("a", "b")))
    assert plan.size == 4
    assert plan.notes[0].startswith(f"{name} gave this job")


@pytest.mark.parametrize(("attempt", "job"), [(0, "dtorch-1-ab"), (2, "dtorch-1-ab.2")])
def test_an_attempt_has_a_name_of_its_own_and_the_jobs_folder(attempt, job):
    plan = make(replace(TRAIN, max_restarts=3), {}, replace(MACHINE, attempt=attempt))
    assert plan.commands[0].env["DTORCH_JOB_ID"] == job
    assert plan.commands[0].env["TORCHELASTIC_RESTART_COUNT"] == str(attempt)
    assert (plan.folder, plan.keep) == ("/scratch/run/dtorch-1-ab", False)


def test_gpus_a_rank():
    machine = replace(MACHINE, gpus=UUIDS)
    plan = make(replace(TRAIN, nproc_per_node=2), {"CUDA_VISIBLE_DEVICES": "1,0"}, machine)
    assert ("  local rank 0", "GPU GPU-bb22", "CUDA_VISIBLE_DEVICES=1,0") in plan.decisions
    with pytest.raises(UsageError, match="rank 0 and rank 2 would share the GPU GPU-aa11"):
        make(TRAIN, {}, machine)
    env = make(replace(TRAIN, device="cpu"), {}, machine).commands[3].env
    assert env["CUDA_VISIBLE_DEVICES"] == ""


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ({}, [(True, True)] * 4),
        ({"redirects": 3}, [(False, False)] * 4),
        ({"redirects": "1"}, [(False, True)] * 4),
        ({"redirects": 3, "tee": "0:1,2:3"},
         [(True, False), (False, False), (True, True), (False, False)]),
        ({"redirects": "1:2"}, [(True, True), (True, False), (True, True), (True, True)]),
        ({"tee": 3}, [(True, True)] * 4),
        ({"local_ranks_filter": "0,3"}, [(True, True), (False,) * 2, (False,) * 2, (True, True)]),
    ],
)  # fmt: skip
def test_what_the_terminal_shows(given, shown):
    assert make(replace(TRAIN, **given), {}, MACHINE).shown == tuple(shown)


def test_given_variables_win():
    env = make(replace(TRAIN, env=("MASTER_PORT=5", "A=b=c")), {}, MACHINE).commands[0].env
    assert (env["MASTER_PORT"], env["A"]) == ("5", "b=c")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"nproc_per_node": 0}, "at least 1, or auto, cpu or gpu, got 0"),
        ({"nproc_per_node": "two"}, "got 'two'"),
        ({"nproc_per_node": "gpu"}, "got 'gpu'; this host has no GPU"),
        ({"backend": "gloo"}, "must be auto, mpi, local or nccl, got 'gloo'"),
        ({"bind": "socket"}, "must be none, core or numa, got 'socket'"),
        ({"bind": "core", "nproc_per_node": 9}, "9 ranks have 8"),
        ({"max_restarts": -1}, "--max-restarts must be at least 0"),
        ({"master_port": 70000}, "--master-port must be 0 to 65535, got 70000"),
        ({"redirects": "4"}, "--redirects must be 0, 1 .*got '4'"),
        ({"tee": "5:3"}, "--tee names rank 5, but a host has ranks 0 to 3"),
        ({"local_ranks_filter": "a"}, "must be ranks such as 0,2"),
        ({"no_python": True, "module": True}, "--no-python is for a program"),
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
    assert [
        command["rank"]
        for command in json.loads(record(make(TRAIN, env, MACHINE), env))["commands"]
    ] == [0, 1, 2, 3]


def test_every_decision_says_where_it_comes_from():
    layers = [("preset.toml", {"threads": 3, "backend": "local"}), ("", {"nproc_per_node": 2})]
    plan = make(merge(layers, script="train.py"), {"OMP_NUM_THREADS": "1"}, MACHINE)
    told = {decision.what: (decision.value, decision.source) for decision in plan.decisions}
    assert told["ranks on this host"] == ("2", "--nproc-per-node: 2")
    assert told["threads a rank"] == ("3", "preset.toml")
    assert told["starter"] == ("local", "preset.toml: local")
    assert told["rank 0 listens at"] == ("127.0.0.1:41000", "a free one")
    assert told["GPUs"] == ("none", "this host has no GPU that the NVIDIA driver knows of")
