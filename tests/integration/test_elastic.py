"""dtorch-run --elastic on real processes; `python -m tests.integration.elastic` has many more runs."""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
import subprocess
import sys

import pytest

from tests.integration import elastic

STEPS = 60
DEADLINE = 60.0

undisturbed = functools.cache(elastic.undisturbed)


@pytest.mark.parametrize(("mode", "fault"), [("shrink", "kill thrice"), ("refill", "stop")])
def test_the_weights_are_those_of_an_undisturbed_run(mode, fault):
    result = elastic.run(mode, fault, STEPS, seed=3)
    assert (result.code, result.weights) == (0, undisturbed(STEPS)), "\n".join(result.lines)
    assert result.took, "\n".join(result.lines)


def dtorch_run(folder, script, *options, **env):
    path = folder / "train.py"
    path.write_text(script)
    command = [sys.executable, "-m", "dtorch_run", "--nproc-per-node", "2", *options, str(path)]
    return subprocess.run(
        command, cwd=folder, env={**os.environ, **env}, text=True, timeout=DEADLINE,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


TRAIN = """
import os, signal
import dtorch
import dtorch.distributed as dist
from dtorch.distributed import elastic
from dtorch.nn.parallel import DistributedDataParallel
from dtorch.utils.checkpoint_manager import CheckpointManager

dist.init_process_group()
dtorch.manual_seed(0)
ddp = DistributedDataParallel(dtorch.nn.Linear(3, 2), virtual_shards=4)
optimizer = dtorch.optim.SGD(ddp.parameters(), lr=0.1, momentum=0.9)
state = CheckpointManager("run-state", {"model": ddp, "optimizer": optimizer}, every=2)

def train():
    while state.step < 6:
        optimizer.zero_grad()
        for shard in ddp.shards():
            ddp(dtorch.randn(4, 3)).square().mean().backward()
        FAULT
        optimizer.step()
        LATER
        state.advance()

begin = state.load()
elastic.run(train, state)
state.close()
if dist.get_rank() == 0:
    print(f"from {begin}: {[p.tolist() for p in ddp.parameters()]} on {dist.get_world_size()} ranks")
"""


def script(fault="", later=""):
    return TRAIN.replace("FAULT", fault or "pass").replace("LATER", later or "pass")


def test_where_all_are_lost_the_newest_checkpoint_is_gone_on_from(tmp_path):
    kill = "if state.step == 5 and begin == 0: os.kill(os.getpid(), signal.SIGKILL)"
    done = dtorch_run(tmp_path, script(kill), "--elastic", "shrink", "--max-restarts", "1")
    assert done.returncode == 0, done.stdout
    assert "starting all ranks again" in done.stdout
    weights = r"from (\d): (.*) on \d ranks"
    assert re.search(weights, done.stdout)[1] == "4"
    shutil.rmtree(tmp_path / "run-state")
    (tmp_path / "train.py").write_text(script())
    whole = subprocess.run(
        [sys.executable, "train.py"], cwd=tmp_path, text=True, timeout=DEADLINE, check=True,
        stdout=subprocess.PIPE,
    )  # fmt: skip
    assert re.search(weights, done.stdout)[2] == re.search(weights, whole.stdout)[2]


def test_a_rank_without_which_the_others_went_on_is_in_the_report(tmp_path):
    killed = "if os.environ['RANK'] == '0' and state.step == 3: os.kill(os.getpid(), 9)"
    done = dtorch_run(tmp_path, script(killed), "--elastic", "shrink", "--log-dir", "logs")
    assert done.returncode == 0, done.stdout
    (path,) = tmp_path.glob("logs/*/report.json")
    report = json.loads(path.read_text())
    assert [(end["rank"], end["code"]) for end in report["lost"]] == [(0, -9)]
    assert [end["rank"] for end in report["endings"]] == [1]
    assert report["status"]["lost"] == [0]
    assert {row["rank"] for row in report["status"]["ranks"]} <= {1}


def test_an_exception_of_a_rank_and_a_mismatch_end_the_job(tmp_path):
    own = "if state.step == 2 and dist.get_rank() == 1: raise ValueError('a bad sample')"
    done = dtorch_run(tmp_path, script(own), "--elastic", "refill")
    assert done.returncode == 1
    assert "rank 1 of 2 failed first: ValueError: a bad sample" in done.stdout
    shutil.rmtree(tmp_path / "run-state")
    other = "dist.all_reduce(dtorch.zeros(1 + dist.get_rank())) if state.step == 2 else None"
    done = dtorch_run(tmp_path, script(other), "--elastic", "refill")
    assert done.returncode == 1
    assert "MismatchError" in done.stdout
    assert "go on from" not in done.stdout


def test_a_collective_between_step_and_advance_is_no_place_to_go_on_from(tmp_path):
    later = """
        if dist.get_rank() == 1 and state.step == 2: os.kill(os.getpid(), signal.SIGKILL)
        dist.barrier()"""
    done = dtorch_run(tmp_path, script(later=later), "--elastic", "shrink")
    assert done.returncode == 1
    assert "no rank has a state to go on from: all were between optimizer.step()" in done.stdout


def test_before_all_train_a_loss_is_a_failure_of_the_one_that_is_lost(tmp_path):
    lost = "if dist.get_rank() == 1: os.kill(os.getpid(), signal.SIGKILL)\ndist.barrier()"
    early = script().replace("begin = ", f"{lost}\nbegin = ")
    done = dtorch_run(tmp_path, early, "--elastic", "shrink")
    assert done.returncode == 137
    assert "rank 1 of 2 failed first: killed by SIGKILL" in done.stdout


@pytest.mark.parametrize(
    ("options", "why"),
    [(("--backend", "mpi"), "not for --backend mpi"), (("--nnodes", "2"), "not for 2 hosts")],
)
def test_what_it_is_not_for_is_said(tmp_path, options, why):
    done = dtorch_run(
        tmp_path, "pass", "--elastic", "shrink", *options, "--node-rank", "0", "--master-addr", "x"
    )
    assert done.returncode == 2
    assert why in done.stdout
