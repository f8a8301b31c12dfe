"""A job of two hosts: two launchers here, each started as on a host of its own."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from dtorch_run.machine import reserve_port

DEADLINE = 60.0
REPO = Path(__file__).resolve().parents[2]
SUM = """
import os, sys
from mpi4py import MPI
world = MPI.COMM_WORLD
assert (world.rank, world.size) == (int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]))
print("sum", world.allreduce(world.rank + 1))
if sys.argv[1:] == ["kill"] and world.rank == 3: os.kill(os.getpid(), 9)
if sys.argv[1:] == ["kill"]: world.barrier()
"""
WAIT = """
import os, sys, time
if os.environ["RANK"] == "1": os.kill(os.getppid(), 9)
time.sleep(600)
"""


@pytest.fixture
def hosts(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def run(text: str, *args: str, options: tuple[str, ...] = ()) -> list[tuple[int, str, str]]:
        """(exit code, stdout, stderr) of each host's launcher."""
        (tmp_path / "script.py").write_text(text)
        env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(REPO), str(REPO / "launcher")])}
        with reserve_port() as holder:
            start = [
                *(sys.executable, "-m", "dtorch_run", "--device=cpu", "--nnodes=2"),
                *("--master-addr=127.0.0.1", f"--master-port={holder.getsockname()[1]}", *options),
            ]
            launchers = [
                subprocess.Popen(
                    [*start, f"--node-rank={node}", "script.py", *args],
                    stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env,
                )
                for node in (1, 0)
            ]  # fmt: skip
            try:
                outputs = [each.communicate(timeout=DEADLINE) for each in launchers]
            finally:
                for each in launchers:
                    each.kill()
        return [(each.returncode, *told) for each, told in zip(launchers, outputs)][::-1]

    return run


def test_ranks_of_two_launchers_share_an_mpi_world(hosts):
    if (
        subprocess.run(["mpirun", "--version"], capture_output=True, text=True).stdout.find("HYDRA")
        < 0
    ):
        pytest.skip("needs MPICH")
    for code, out, err in hosts(SUM, options=("--nproc-per-node=2", "--backend=mpi")):
        assert (code, err) == (0, "")
        assert len(re.findall(r"^\[\w+:[0-3](-[13] x2)?\] sum 10$", out, re.M)) in (1, 2)


def test_both_name_the_rank_that_failed(hosts):
    for code, _, err in hosts(WAIT.replace("os.kill(os.getppid(), 9)", "raise ValueError('x')"),
                              options=("--backend=local",)):  # fmt: skip
        assert code == 1
        assert "rank 1 of 2 failed first: ValueError: x" in err
        assert err.endswith("ValueError: x\n")


def test_a_host_that_is_gone_ends_the_job(hosts):
    first, second = hosts(WAIT, options=("--backend=local",))
    assert second[0] == -signal.SIGKILL
    assert first[0] == 1
    assert re.search(r"rank 1 of 2 failed first: its host, .*, can't be reached any more", first[2])


def test_all_hosts_start_again(hosts):
    text = "import os\nif os.environ['TORCHELASTIC_RESTART_COUNT'] == '0': raise SystemExit(3)\n"
    text += "print('rank', os.environ['RANK'])"
    options = ("--backend=local", "--max-restarts=1", "--rdzv-id=a-secret")
    for node, (code, out, err) in enumerate(hosts(text, options=options)):
        assert code == 0, err
        assert out.endswith(f"rank {node}\n")
        assert "starting all ranks again, 1 of 1 times" in err
