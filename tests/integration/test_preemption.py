"""A job that is asked to end saves the step that all ranks are at, and says that it can go on."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys

import pytest

DEADLINE = 30.0
TRAINS = """
import sys
import dtorch
import dtorch.distributed as dist
from dtorch.utils.checkpoint_manager import CheckpointManager

dist.init_process_group("shm")
model = dtorch.nn.Linear(2, 2)
with CheckpointManager(sys.argv[1], {"model": model}) as manager:
    print(f"rank {dist.get_rank()} from {manager.load()}", flush=True)
    while manager.step < int(sys.argv[2]):
        for p in model.parameters():
            p.detach().fill_(float(manager.step + 1))
        manager.advance()
        if manager.step == 5:
            print(f"rank {dist.get_rank()} runs", flush=True)
assert all((p == float(manager.step)).all() for p in model.parameters())
"""


def start(folder, steps):
    script = folder / "train.py"
    script.write_text(TRAINS)
    command = ["-m", "dtorch_run", "--backend", "local", "--nproc-per-node", "2", str(script)]
    return subprocess.Popen(
        [sys.executable, *command, str(folder / "run"), str(steps)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=folder,
    )  # fmt: skip


@pytest.mark.parametrize(("to", "number"), [("launcher", signal.SIGTERM), ("rank", signal.SIGUSR1)])
def test_a_signal_asks_for_a_checkpoint_and_the_end(tmp_path, to, number):
    job = start(tmp_path, 10**9)
    try:
        lines = []
        while sum("runs" in line for line in lines) < 2:
            lines.append(job.stdout.readline())
            assert lines[-1], "".join(lines)
        os.kill(job.pid if to == "launcher" else _a_rank(job.pid), number)
        text = job.communicate(timeout=DEADLINE)[0]
    finally:
        job.kill()
        job.wait()
    assert job.returncode == 75, text
    told = re.search(rf"{number.name}: step (\d+) is saved in \S+/run/step-(\d+)", text)
    assert told, text
    assert "can be started again" in text
    step = int(told[1])
    again = start(tmp_path, step)
    text = again.communicate(timeout=DEADLINE)[0]
    assert again.returncode == 0, text
    assert all(f"rank {rank} from {step}" in text for rank in (0, 1))


def _a_rank(launcher):
    with open(f"/proc/{launcher}/task/{launcher}/children") as file:
        children = [int(pid) for pid in file.read().split()]
    for pid in children:
        with open(f"/proc/{pid}/environ") as file:
            if "RANK=1" in file.read().split("\0"):
                return pid
    raise AssertionError("there is no rank 1")
