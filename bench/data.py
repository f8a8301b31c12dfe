"""What a DataLoader's workers cost: `python -m bench.data [--out file.json]`.

A dataset that gives rows of one tensor, so that all the time goes to collating batches and bringing
them over: CPU time of the process and its workers, per batch, where it counts little that others are
on the machine. torch and dtorch each run in a process of their own, in turns (A B A B ...), and the
best turn of each counts.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from typing import Any

from bench.overhead import THREADS

# Shape of a sample, samples a batch, batches a pass.
BATCHES: dict[str, tuple[tuple[int, ...], int, int]] = {
    "images, 64 x 3 x 224 x 224, 38.5 MB": ((3, 224, 224), 64, 16),
    "images, 128 x 3 x 32 x 32, 1.6 MB": ((3, 32, 32), 128, 200),
    "rows, 32 x 16, 2 KB": ((16,), 32, 1000),
}
WORKERS = (0, 2)
RIVALS = ("torch", "dtorch")


def rows_of(lib: Any, shape: tuple[int, ...], count: int) -> Any:
    """A dataset of `count` samples, which lie in a memory of 64."""

    class Rows(lib.utils.data.Dataset):
        def __init__(self) -> None:
            self.data = lib.ones(64, *shape)

        def __getitem__(self, index: int) -> tuple[Any, int]:
            return self.data[index % 64], index

        def __len__(self) -> int:
            return count

    return Rows()


def cpu_seconds() -> float:
    """Of this process and of its children that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def measure(rival: str) -> dict[str, dict[str, float]]:
    """Milliseconds of CPU time a batch, the workers' start included: {batch: {workers: ...}}."""
    lib = __import__(rival)
    __import__(f"{rival}.utils.data")
    if rival == "torch":
        lib.set_num_threads(1)
    result: dict[str, dict[str, float]] = {}
    for label, (shape, size, count) in BATCHES.items():
        result[label] = {}
        for workers in WORKERS:
            dataset = rows_of(lib, shape, size * count)
            loader = lib.utils.data.DataLoader(dataset, size, num_workers=workers)
            before = cpu_seconds()
            for images, indices in loader:
                assert len(images) == len(indices) == size
            result[label][f"{workers} workers"] = (cpu_seconds() - before) / count * 1e3
    return result


def turn(rival: str) -> dict[str, dict[str, float]]:
    """measure() in a process of its own."""
    out = subprocess.run(
        [sys.executable, "-m", "bench.data", "--measure", rival],
        env=os.environ | dict.fromkeys(THREADS, "1"), check=True, capture_output=True, text=True,
    )  # fmt: skip
    return json.loads(out.stdout)


def best(turns: list[dict[str, dict[str, float]]]) -> dict[str, dict[str, float]]:
    return {
        label: {how: min(t[label][how] for t in turns) for how in row}
        for label, row in turns[0].items()
    }


def table(times: dict[str, dict[str, dict[str, float]]]) -> str:
    lines = ["| batches | | torch, ms | dtorch, ms | ratio |", "|---|---|---|---|---|"]
    for label, row in times["torch"].items():
        for how, torchs in row.items():
            ours = times["dtorch"][label][how]
            lines.append(f"| {label} | {how} | {torchs:.2f} | {ours:.2f} | {ours / torchs:.2f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=3, help="how often each library is run")
    parser.add_argument("--out", help="write the figures to this JSON file")
    parser.add_argument("--measure", choices=RIVALS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        print(json.dumps(measure(args.measure)))
        return
    turns: dict[str, list[Any]] = {rival: [] for rival in RIVALS}
    for _ in range(args.turns):
        for rival in RIVALS:
            turns[rival].append(turn(rival))
    times = {rival: best(turns[rival]) for rival in RIVALS}
    print(table(times))
    if args.out:
        with open(args.out, "w") as file:
            json.dump(times, file, indent=1)


if __name__ == "__main__":
    main()
