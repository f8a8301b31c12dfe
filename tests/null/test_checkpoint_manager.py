"""CheckpointManager: what it holds, what it keeps, and what a kill, a full disk or a bit leaves."""

from __future__ import annotations

import json
import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import dtorch
from dtorch import nn
from dtorch.distributed.checkpoint import CheckpointException
from dtorch.optim.lr_scheduler import StepLR
from dtorch.utils.checkpoint_manager import CheckpointManager
from dtorch.utils.data import DataLoader, TensorDataset

DEADLINE = 30.0


class Run:
    """A small training run, with one of everything that a run can have."""

    def __init__(self, folder: Path, **options) -> None:
        dtorch.manual_seed(5)
        self.model = nn.Sequential(
            nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.2), nn.Linear(8, 2)
        )
        self.optimizer = dtorch.optim.AdamW(self.model.parameters(), lr=1e-2)
        self.scheduler = StepLR(self.optimizer, 2, 0.5)
        self.scaler = dtorch.amp.GradScaler("cpu", init_scale=8.0, growth_interval=3)
        data = TensorDataset(dtorch.randn(40, 4), dtorch.arange(40) % 2)
        self.loader = DataLoader(data, batch_size=8, shuffle=True)
        parts = {"model": self.model, "optimizer": self.optimizer, "scheduler": self.scheduler,
                 "scaler": self.scaler, "data": self.loader}  # fmt: skip
        self.manager = CheckpointManager(folder, parts, signals=(), **options)

    def train(self, steps: int) -> None:
        while True:
            for x, y in self.loader:
                x = x + 0.01 * random.random() + 0.01 * float(np.random.random())
                self.optimizer.zero_grad()
                loss = nn.functional.cross_entropy(self.model(x), y)
                self.scaler.scale(loss).backward()
                self.scaler.step(self.optimizer)
                self.scaler.update()
                self.scheduler.step()
                self.manager.advance()
                if self.manager.step == steps:
                    return

    def weights(self) -> bytes:
        return b"".join(t.numpy().tobytes() for t in self.model.state_dict().values())


@pytest.mark.parametrize("background", [False, True])
@pytest.mark.parametrize("sharded", [False, True])
def test_goes_on_as_if_it_had_not_stopped(tmp_path, background, sharded):
    random.seed(1)
    np.random.seed(1)
    whole = Run(tmp_path / "whole")
    whole.train(13)
    random.seed(1)
    np.random.seed(1)
    first = Run(tmp_path / "run", every=7, background=background, sharded=sharded)
    first.train(9)  # in the middle of an epoch, and past the checkpoint
    first.manager.close()
    random.seed(99)
    np.random.seed(99)
    second = Run(tmp_path / "run")
    assert second.manager.load() == 7
    second.train(13)
    assert second.weights() == whole.weights()
    assert second.scaler.state_dict() == whole.scaler.state_dict()
    assert second.scheduler.state_dict() == whole.scheduler.state_dict()


def test_a_checkpoint_is_of_the_moment_of_save(tmp_path):
    run = Run(tmp_path, background=True)
    run.train(1)
    then = run.weights()
    run.manager.save()
    for p in run.model.parameters():
        p.detach().fill_(7.0)
    run.manager.wait()
    other = Run(tmp_path)
    assert other.manager.load() == 1
    assert other.weights() == then


def test_keeps_the_last_ones(tmp_path):
    run = Run(tmp_path, every=1, keep=2)
    assert run.manager.load() == 0
    run.train(5)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-00000004", "step-00000005"]


def _newest_file(folder: Path) -> Path:
    (file,) = (folder / "step-00000004").glob("rank0-*.dtorch")
    return file


def truncate(folder: Path) -> None:
    file = _newest_file(folder)
    file.write_bytes(file.read_bytes()[:-100])


def flip_a_bit(folder: Path) -> None:
    content = bytearray(_newest_file(folder).read_bytes())
    content[len(content) // 2] ^= 4
    _newest_file(folder).write_bytes(content)


def remove(folder: Path) -> None:
    _newest_file(folder).unlink()


def change_the_manifest(folder: Path) -> None:
    path = folder / "step-00000004" / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "ranks": 3}))


DAMAGES = {truncate: "bytes, not the", flip_a_bit: "SHA-256 differs", remove: "No such file",
           change_the_manifest: "manifest.json is not as it was written"}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_takes_the_one_before_a_damaged_one(tmp_path, damage):
    first = Run(tmp_path, every=2)
    first.train(4)
    damage(tmp_path)
    second = Run(tmp_path, every=2)
    with pytest.warns(UserWarning, match=f"step 4 is damaged: .*{DAMAGES[damage]}"):
        assert second.manager.load() == 2
    second.train(4)  # writes step 4 again
    third = Run(tmp_path)
    assert third.manager.load() == 4
    assert third.weights() == second.weights()


def test_does_not_begin_anew_where_all_are_damaged(tmp_path):
    run = Run(tmp_path, every=2, keep=1)
    run.train(4)
    flip_a_bit(tmp_path)
    with (
        pytest.warns(UserWarning, match="damaged"),
        pytest.raises(CheckpointException, match="no checkpoint is whole"),
    ):
        Run(tmp_path).manager.load()


def test_a_full_disk_leaves_the_one_before(tmp_path):
    run = Run(tmp_path, every=2)
    run.train(3)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # then write() fails, with EFBIG
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, before[1]))
        with pytest.raises(CheckpointException, match="File too large"):
            run.train(4)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert [p.name for p in tmp_path.iterdir()] == ["step-00000002"]
    run.train(6)  # and training goes on
    assert Run(tmp_path).manager.load() == 6


SAVES = """
import sys
import dtorch
from dtorch import nn
from dtorch.utils.checkpoint_manager import CheckpointManager

model = nn.Linear(300, 300)
manager = CheckpointManager(sys.argv[1], {"model": model}, every=1, keep=2, background=True)
while True:
    for p in model.parameters():
        p.detach().fill_(float(manager.step + 1))
    manager.advance()
    print(manager.step, flush=True)
"""


def test_kill_9_at_any_moment_leaves_a_whole_one(tmp_path):
    command = [sys.executable, "-c", SAVES, str(tmp_path)]
    for delay in (0.0, 0.003, 0.011):
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
            for _ in range(3):  # the second has been written when the third is begun
                child.stdout.readline()
            time.sleep(delay)
            child.kill()
        model = nn.Linear(300, 300)
        step = CheckpointManager(tmp_path, {"model": model}, signals=()).load()
        assert step >= 1
        assert all((p == float(step)).all() for p in model.parameters())


def test_arguments_are_refused_with_the_way_out(tmp_path):
    with pytest.raises(TypeError, match=r"parts\['step'\] is a int"):
        CheckpointManager(tmp_path, {"step": 3})
    for keep in (0, 1.5):
        with pytest.raises(ValueError, match="keep"):
            CheckpointManager(tmp_path, {}, keep=keep)
    with pytest.raises(ValueError, match="every"):
        CheckpointManager(tmp_path, {}, every=0)
    model = nn.Linear(2, 2)
    manager = CheckpointManager(tmp_path, {"model": model}, signals=())
    manager.save()
    with pytest.raises(RuntimeError, match="has 'model', but not 'ema'"):
        CheckpointManager(tmp_path, {"model": model, "ema": model}, signals=()).load()


def test_signals_go_back_to_whom_they_were(tmp_path):
    before = signal.getsignal(signal.SIGUSR1)
    with CheckpointManager(tmp_path, {}):
        assert signal.getsignal(signal.SIGUSR1) != before
    assert signal.getsignal(signal.SIGUSR1) == before
