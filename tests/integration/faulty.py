"""A training script that goes wrong on purpose: `faulty.py dtorch|torch FAULT FOLDER`.

The same on dtorch and on torch with gloo.  The last rank suffers the fault in its third step (rank 0
those of checkpoints, which it writes).  FOLDER/fault gets the moment, in seconds since 1970.
"""

from __future__ import annotations

import ctypes
import datetime
import importlib
import os
import resource
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

STEPS = 6
TIMEOUT = datetime.timedelta(seconds=float(os.environ.get("FAULT_TIMEOUT", "30")))


def main() -> None:
    library, fault, folder = sys.argv[1:]
    torch = importlib.import_module(library)
    dist = importlib.import_module(f"{library}.distributed")
    parallel = importlib.import_module(f"{library}.nn.parallel")
    data = importlib.import_module(f"{library}.utils.data")
    dist.init_process_group("gloo", timeout=TIMEOUT)
    act = Act(torch, dist, fault, Path(folder))
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(256, 512), torch.nn.ReLU(), torch.nn.Linear(512, 8))
    ddp = parallel.DistributedDataParallel(model)
    optimizer = torch.optim.SGD(ddp.parameters(), 0.01)

    class Noise(data.Dataset):
        def __len__(self) -> int:
            return STEPS * 32

        def __getitem__(self, index: int) -> Any:
            if index == 2 * 32 and act.mine("kill in data loading"):
                act.kill()
            if index == 2 * 32 and act.mine("kill of a loader's worker"):
                act.kill()
            return torch.ones(256) * index

    workers = 1 if act.mine("kill of a loader's worker") else 0
    for step, batch in enumerate(data.DataLoader(Noise(), batch_size=32, num_workers=workers)):
        if step == 2:
            act.before(list(model.parameters())[0])
        loss = ddp(batch).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if act.rank == 0:
            act.save(model, step)
        (act.folder / f"step{act.rank}").write_text(str(step))
    if fault.startswith("wait"):
        (act.folder / f"ready{act.rank}").touch()
        time.sleep(60)
    dist.destroy_process_group()


class Act:
    """The fault, and whose it is."""

    def __init__(self, torch: Any, dist: Any, fault: str, folder: Path) -> None:
        self.torch, self.dist, self.fault, self.folder = torch, dist, fault, folder
        self.rank, self.size = dist.get_rank(), dist.get_world_size()

    def mine(self, fault: str) -> bool:
        return fault == self.fault and self.rank == self.size - 1

    def note(self) -> None:
        (self.folder / "fault").write_text(str(time.time()))

    def kill(self) -> None:
        self.note()
        os.kill(os.getpid(), signal.SIGKILL)

    def before(self, parameter: Any) -> None:
        """What goes wrong at the beginning of a step; `parameter`: of the model."""
        if self.mine("kill in backward"):
            parameter.register_hook(lambda gradient: self.kill())
        elif self.fault == "kill in all-reduce":
            if self.mine(self.fault):
                threading.Timer(0.05, self.kill).start()
            while True:
                self.dist.all_reduce(self.torch.ones(1_000_000))
        elif self.mine("exception"):
            self.note()
            raise ValueError("a bad sample")
        elif self.mine("exit(0) too early"):
            self.note()
            sys.exit(0)
        elif self.mine("segmentation fault"):
            self.note()
            ctypes.string_at(0)
        elif self.mine("SIGSTOP"):
            self.note()
            os.kill(os.getpid(), signal.SIGSTOP)
        elif self.mine("out of memory (rlimit)"):
            resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
            self.note()
            self.torch.zeros(8 << 30)
        elif self.mine("out of memory (cgroup)"):
            self.note()
            hog = [b"x" * (16 << 20) for _ in range(256)]
            raise AssertionError(f"4 GiB were to be had: {len(hog)}")

    def save(self, model: Any, step: int) -> None:
        """A checkpoint a step, whose third goes wrong."""
        path = self.folder / "disk" / "checkpoint.pt"
        if step != 2 or self.fault not in ("kill in a checkpoint", "disk full"):
            state = {"step": step, "model": model.state_dict()}
            return self.torch.save(state, path)
        if self.fault == "kill in a checkpoint":
            threading.Thread(target=self._kill_while_writing, args=(path,), daemon=True).start()
        else:
            self.note()
        self.torch.save({"step": step, "large": self.torch.ones(16 << 20)}, path)

    def _kill_while_writing(self, path: Path) -> None:
        while max(file.stat().st_size for file in path.parent.iterdir()) < 4 << 20:
            time.sleep(0.0005)
        self.kill()


if __name__ == "__main__":
    main()
