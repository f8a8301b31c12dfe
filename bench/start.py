"""From the command to the first all-reduce: `python -m bench.start [--ranks 2] [--turns 7]`.

dtorch-run against bare mpirun with the same dtorch script, and against torchrun with torch and gloo.
All take turns (A B C A B C ...), and the best turn of each counts: the machine's noise only ever adds.
The promise: under 1.5 of mpirun's time, and less than torchrun's.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SCRIPT = """
import os, sys, time
import {library}, {library}.distributed as dist
dist.init_process_group({backend})
x = {library}.ones(4)
dist.all_reduce(x)
now = time.time()
assert x.tolist() == [dist.get_world_size()] * 4
with open(os.path.join(sys.argv[1], f"rank{{dist.get_rank()}}"), "w") as file:
    file.write(str(now))
dist.destroy_process_group()
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--turns", type=int, default=7)
    arguments = parser.parse_args()
    best: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        starters = _starters(folder, arguments.ranks)
        for _ in range(arguments.turns):
            for starter, command in starters.items():
                took = _measure(command, folder, arguments.ranks)
                best[starter] = min(best.get(starter, took), took)
    ours = best["dtorch-run"]
    for starter, took in best.items():
        print(f"{starter:<28}{took:7.3f} s   dtorch-run takes {ours / took:.2f} of it")


def _starters(folder: Path, ranks: int) -> dict[str, list[str]]:
    """Each starter's command; those that are not installed are left out, and that is said."""
    ours, torchs = folder / "ours.py", folder / "torchs.py"
    ours.write_text(SCRIPT.format(library="dtorch", backend=""))
    torchs.write_text(SCRIPT.format(library="torch", backend="'gloo'"))
    python = sys.executable
    mpirun = shutil.which("mpirun", path=f"{Path(python).parent}:{os.environ['PATH']}")
    run = [python, "-m", "dtorch_run", f"--nproc-per-node={ranks}", "--device=cpu"]
    commands = {
        "dtorch-run": [*run, str(ours)],
        "dtorch-run --backend local": [*run, "--backend=local", str(ours)],
    }
    if mpirun is None:
        print("no mpirun: left out")
    else:
        commands["mpirun"] = [mpirun, "-n", str(ranks), python, str(ours)]
    if subprocess.run([python, "-c", "import torch"], capture_output=True, check=False).returncode:
        print("no torch: left out")
    else:
        torchrun = [python, "-m", "torch.distributed.run", f"--nproc-per-node={ranks}"]
        commands["torchrun, torch and gloo"] = [*torchrun, str(torchs)]
    return {starter: [*command, str(folder)] for starter, command in commands.items()}


def _measure(command: list[str], folder: Path, ranks: int) -> float:
    """Seconds until the last rank has its sum."""
    started = time.time()
    subprocess.run(command, check=True, capture_output=True, cwd=folder)
    files = [folder / f"rank{rank}" for rank in range(ranks)]
    done = max(float(file.read_text()) for file in files)
    for file in files:
        file.unlink()
    return done - started


if __name__ == "__main__":
    main()
