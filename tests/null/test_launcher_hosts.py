"""Which hosts a job has, from options and from the environments that starters really make."""

import pytest

from dtorch_run.hosts import Allocation, Hosts, adopted, allocation, expand, find, unused
from dtorch_run.options import Options, UsageError
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


def options(**given):
    return Options(script="train.py", **given)


@pytest.mark.parametrize(
    ("env", "starter"),
    [
        ({}, None),
        ({"RANK": "1", "WORLD_SIZE": "2"}, None),  # Kubernetes' operators set these for torchrun
        (MPICH, "hydra"),
        (INTEL_MPI, "hydra"),
        (OPEN_MPI, "openmpi"),
        (TORCHRUN, "torchrun"),
        (SLURM, "slurm"),
        (SLURM_PMI2, "slurm-pmi2"),
        (SLURM_PMIX, "slurm"),
        (SLURM_PER_NODE, "slurm"),
        (SALLOC, None),
        ({**SALLOC, **MPICH}, "hydra"),
        ({**SALLOC, **OPEN_MPI}, "openmpi"),
        (PBS, None),
        (PBS_PALS, "pmi"),
        (LSF, None),
        (LSF_JSRUN, "jsrun"),
    ],
)
def test_a_rank_of_another_starter_is_adopted(env, starter):
    assert adopted(options(), env) == starter


@pytest.mark.parametrize("env", [MPICH, OPEN_MPI, SLURM, PBS_PALS, LSF_JSRUN, TORCHRUN])
def test_ranks_in_each_of_several_processes_of_a_host_are_refused(env):
    with pytest.raises(
        UsageError, match=r"has started \d processes on this host.*asked for 2 ranks"
    ):
        adopted(options(nproc_per_node=2), env)


def test_one_launcher_a_host_under_srun():
    given = options(nproc_per_node=8)
    assert adopted(given, SLURM_PER_NODE) is None
    hosts = find(given, SLURM_PER_NODE, "gpu02", ())
    assert hosts == Hosts(4, 1, "gpu01", 29400, "the variables of slurm")


def test_one_launcher_a_host_under_mpirun_has_to_be_told_where_the_first_is():
    env = {**OPEN_MPI, "OMPI_COMM_WORLD_LOCAL_RANK": "0", "OMPI_COMM_WORLD_LOCAL_SIZE": "1"}
    with pytest.raises(UsageError, match="one dtorch-run on each of 2 hosts: say by --master-addr"):
        find(options(nproc_per_node=2), env, "b", ())
    hosts = find(options(nproc_per_node=2, master_addr="a"), env, "b", ())
    assert (hosts.size, hosts.node, hosts.head) == (2, 1, "a")


@pytest.mark.parametrize(
    ("given", "size", "node", "head", "port"),
    [
        ({}, 1, 0, "127.0.0.1", 0),
        ({"nnodes": 1, "node_rank": 0, "master_port": 5}, 1, 0, "127.0.0.1", 0),
        ({"nnodes": "1:1"}, 1, 0, "127.0.0.1", 0),
        ({"nnodes": 3, "node_rank": 2, "master_addr": "a"}, 3, 2, "a", 29400),
        ({"nnodes": "3:3", "node_rank": 2, "master_addr": "a", "master_port": 7}, 3, 2, "a", 7),
        (
            {"nnodes": 2, "node_rank": 1, "rdzv_endpoint": "a:7", "rdzv_backend": "c10d"},
            2,
            1,
            "a",
            7,
        ),
        ({"nnodes": 2, "node_rank": 1, "rdzv_endpoint": "a"}, 2, 1, "a", 29400),
        ({"hosts": "a,here,c"}, 3, 1, "a", 29400),
        ({"hosts": "a.site.org,here.site.org"}, 2, 1, "a.site.org", 29400),
        ({"hosts": "a,b,c", "node_rank": 2}, 3, 2, "a", 29400),
        ({"hosts": "here"}, 1, 0, "127.0.0.1", 0),
        ({"standalone": True, "nnodes": 3}, 1, 0, "127.0.0.1", 0),
    ],
)
def test_hosts_that_are_given(given, size, node, head, port):
    assert find(options(**given), {}, "here.site.org", ())[:4] == (size, node, head, port)


def test_hosts_of_a_file():
    assert find(options(hostfile="f"), {}, "b", ("a", "b"))[:3] == (2, 1, "a")


def test_how_long_hosts_wait():
    given = {"nnodes": 2, "node_rank": 0, "master_addr": "a"}
    assert find(options(**given), {}, "a", ()).patience == 300
    assert find(options(**given, rdzv_conf="timeout=9,x=y"), {}, "a", ()).patience == 9
    assert find(options(**given), {}, "a", ()).silence == 10
    alive = "keep_alive_interval=3,keep_alive_max_attempt=4"
    assert find(options(**given, rdzv_conf=alive), {}, "a", ()).silence == 12


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"nnodes": 2}, "--nnodes 2 needs --node-rank"),
        ({"nnodes": 2, "node_rank": 0}, "--nnodes 2 needs --master-addr"),
        ({"nnodes": 2, "node_rank": 2, "master_addr": "a"}, "0 <= --node-rank < --nnodes, got 2"),
        ({"nnodes": "1:4"}, "got 1:4 \\(a job of varying size is not there yet\\)"),
        ({"nnodes": 0}, "at least 1, got 0"),
        ({"nnodes": "two"}, "got two"),
        ({"hosts": "a,b"}, "this host, here.site.org, is not among a, b"),
        ({"nnodes": 2, "node_rank": 0, "rdzv_backend": "etcd"}, "must be static or c10d"),
        ({"nnodes": 2, "node_rank": 0, "master_addr": "a", "rdzv_conf": "timeout=x"}, "in seconds"),
    ],
)
def test_hosts_that_do_not_hold(given, words):
    with pytest.raises(UsageError, match=words):
        find(options(**given), {}, "here.site.org", ())


@pytest.mark.parametrize(
    ("nodelist", "names"),
    [
        ("", []),
        ("a", ["a"]),
        ("a,b-1", ["a", "b-1"]),
        ("gpu[01-03,07],login", ["gpu01", "gpu02", "gpu03", "gpu07", "login"]),
        ("n[8-11]x", ["n8x", "n9x", "n10x", "n11x"]),
        ("r[1-2]n[1-2]", ["r1n1", "r1n2", "r2n1", "r2n2"]),
    ],
)
def test_slurms_lists_of_names(nodelist, names):
    assert expand(nodelist) == names


@pytest.mark.parametrize(
    ("env", "given"),
    [
        ({}, None),
        (MPICH, None),
        (SALLOC, Allocation("SLURM", ("gpu01", "gpu02", "gpu03", "gpu07"))),
        (PBS, Allocation("PBS", ("p1", "p2"))),
        (LSF, Allocation("LSF", ("a", "b"))),
    ],
)
def test_what_a_scheduler_has_given(env, given):
    assert allocation(env, ("p1", "p1", "p2")) == given
    remark = unused(Hosts(), given)
    assert (remark is None) == (given is None)
    if given is not None and remark is not None:
        assert f"{given.scheduler} gave this job {len(given.names)} hosts" in remark
        assert unused(Hosts(len(given.names)), given) is None
        assert unused(Hosts(source="--standalone"), given) is None
