"""Whole scripts under ``dtorch-run --sim N``."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

HELPER = """
import dtorch.distributed as dist

dist.init_process_group("nccl")  # whatever there will be on the cluster
dist.barrier()                   # the other ranks import this, too, while this one waits
rank = dist.get_rank()
"""

SCRIPT = """
import os, random, sys
import numpy as np
import dtorch, dtorch.distributed as dist
from dtorch import nn
import helper
dist.new_group([0, 1], backend="nccl")

class Thing:
    pass

rank = helper.rank
assert (rank, dist.get_world_size()) == (int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]))
random.seed(rank), np.random.seed(rank), sys.argv.append(str(rank))
drawn = random.random(), np.random.rand()
dist.barrier()
random.seed(rank), np.random.seed(rank)
assert drawn == (random.random(), np.random.rand()) and sys.argv[1:] == ["--x", str(rank)]
things = [None] * dist.get_world_size()
dist.all_gather_object(things, Thing())
assert all(type(t) is Thing for t in things) and sys.modules["__main__"].Thing is Thing

ddp = nn.parallel.DistributedDataParallel(nn.Linear(3, 2))
optimizer = dtorch.optim.SGD(ddp.parameters(), lr=0.1)
try:
    for step in range(1, 4):
        optimizer.zero_grad()
        ddp(dtorch.randn(4, 3)).sum().backward()
        dist.reduce(dtorch.ones(100), 0)
        optimizer.step()
        print("step", step, flush=True)
finally:
    print("finally", end="")
if len(sys.argv) > 4:
    sys.exit(5)
"""


@pytest.fixture
def rehearse(tmp_path, monkeypatch):
    """rehearse(options, args) -> exit code, stdout, stderr"""
    (tmp_path / "helper.py").write_text(HELPER)
    (tmp_path / "train.py").write_text(SCRIPT)

    def run(*options: str, script: str = "train.py", module: bool = False):
        path = os.pathsep.join([str(ROOT), str(ROOT / "launcher")])
        env = {**os.environ, "PYTHONPATH": path, "DTORCH_RUN_DIR": str(tmp_path / "records"),
               "PYTHONHASHSEED": "random"}  # fmt: skip
        command = [sys.executable, "-m", "dtorch_run", "--sim=3", *options]
        command += ["-m", "train"] if module else [script]
        done = subprocess.run(
            [*command, "--x"], env=env, cwd=tmp_path, text=True, capture_output=True, timeout=100
        )
        return done.returncode, done.stdout, done.stderr

    return run


def test_each_rank_has_a_process_to_itself(rehearse):
    code, out, err = rehearse("--seed=1")
    assert (code, err) == (0, "")
    lines = [f"[{rank}] {what}" for rank in range(3)
             for what in ("step 1", "step 2", "step 3", "finally")]  # fmt: skip
    assert sorted(out.splitlines()) == sorted(lines)
    assert rehearse("--seed=1") == (code, out, err)
    code, other, err = rehearse("--seed=2", module=True)
    assert (code, err) == (0, "")
    assert sorted(other.splitlines()) == sorted(lines)
    assert other != out  # another order


def test_a_killed_rank_ends_there_and_the_others_say_so(rehearse):
    code, out, err = rehearse("--fault=kill:1@step2")
    assert code == 1
    assert "[1] step 1\n" in out
    assert "[1] step 2" not in out
    assert "[1] finally" not in out
    assert "[0] finally" in out
    assert re.search(
        r"fault kill:1@step2 happened\n.*rank . stopped because rank (.) failed\n.*rank \1 of 3 "
        r"failed first: DistError: rank 1 ended while rank \1 waited for it .*\nTraceback.*\n"
        r'  File "train.py", line \d+, in <module>',
        err,
    )
    command = err.splitlines()[-1]
    assert command == (
        "dtorch-run: replay it with: dtorch-run --sim 3 --seed 0 --fault kill:1@step2 train.py --x"
    )


def test_what_no_rank_notices_fails_the_rehearsal(rehearse):
    fault = "--fault=corrupt:2@reduce#2"
    code, _, err = rehearse(fault)
    assert code == 1
    assert "no rank has noticed: DTORCH_CHECK_MESSAGES=on" in err
    code, _, err = rehearse(fault, "--env=DTORCH_CHECK_MESSAGES=on")
    assert code == 1
    assert "a message of rank 2 has arrived damaged" in err
    assert "--env DTORCH_CHECK_MESSAGES=on train.py --x" in err


def test_a_rank_that_is_stuck_by_itself(rehearse, tmp_path):
    (tmp_path / "stuck.py").write_text(
        "import threading, helper\nif helper.rank == 1:\n    threading.Event().wait()\n"
        "helper.dist.barrier()\n"
    )
    code, _, err = rehearse("--timeout=2", script="stuck.py")
    assert code == 124
    assert re.search(
        r"rank \d was running, .* no end after 2 s; where the ranks are:\nrank 0:", err
    )
