"""What a step of an optimizer costs: `python -m bench.optimizers [--out file.json]`.

One tensor of ten million numbers, where memory decides, and 200 tensors of 10000 and of 100 numbers,
where the cost of each does.  One thread; process time, so that others on the machine count little.
torch (foreach=False and its default) and dtorch each run in a process of their own, in turns (A B A B
...), and the best turn of each counts.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from bench.overhead import THREADS

SIZES = {"1 x 10M": (1, 10_000_000), "200 x 10k": (200, 10_000), "200 x 100": (200, 100)}
OPTIMIZERS: dict[str, tuple[str, dict[str, Any]]] = {
    "SGD": ("SGD", {}),
    "SGD, momentum": ("SGD", {"momentum": 0.9}),
    "Adam": ("Adam", {}),
    "AdamW": ("AdamW", {}),
    "AdamW, amsgrad": ("AdamW", {"amsgrad": True}),
    "RMSprop": ("RMSprop", {}),
}
RIVALS = {"torch": {}, "torch loop": {"foreach": False}, "dtorch": {}}


def best(run: Callable[[], None], seconds: float) -> float:
    """The shortest process time of a call, in seconds, over as many as fit."""
    start, shortest, rounds = time.perf_counter(), float("inf"), 0
    while rounds < 5 or time.perf_counter() - start < seconds:
        before = time.process_time()
        run()
        shortest, rounds = min(shortest, time.process_time() - before), rounds + 1
    return shortest


def measure(rival: str, seconds: float) -> dict[str, dict[str, float]]:
    """Milliseconds a step: {size: {optimizer: ...}}."""
    lib = __import__(rival.split()[0])
    if lib.__name__ == "torch":
        lib.set_num_threads(1)
    result: dict[str, dict[str, float]] = {}
    for size, (count, numbers) in SIZES.items():
        params = [lib.nn.Parameter(lib.randn(numbers)) for _ in range(count)]
        for p in params:
            p.grad = lib.randn(numbers)
        result[size] = {}
        for label, (name, options) in OPTIMIZERS.items():
            opt = getattr(lib.optim, name)(params, lr=1e-6, **options, **RIVALS[rival])
            opt.step()
            result[size][label] = best(opt.step, seconds) * 1e3
    return result


def turn(rival: str, seconds: float) -> dict[str, dict[str, float]]:
    """measure() in a process of its own."""
    out = subprocess.run(
        [sys.executable, "-m", "bench.optimizers", "--measure", rival, "--seconds", str(seconds)],
        env=os.environ | dict.fromkeys(THREADS, "1"), check=True, capture_output=True, text=True,
    )  # fmt: skip
    return json.loads(out.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=3, help="how often each library is run")
    parser.add_argument("--seconds", type=float, default=0.2, help="for each figure, in each turn")
    parser.add_argument("--out", help="write the figures to this JSON file")
    parser.add_argument("--measure", choices=RIVALS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        print(json.dumps(measure(args.measure, args.seconds)))
        return
    turns: dict[str, list[Any]] = {rival: [] for rival in RIVALS}
    for _ in range(args.turns):
        for rival, results in turns.items():
            results.append(turn(rival, args.seconds))
    figures = {
        rival: {
            size: {label: min(r[size][label] for r in results) for label in OPTIMIZERS}
            for size in SIZES
        }
        for rival, results in turns.items()
    }
    print(f"{'milliseconds a step':26}{'torch':>9}{'a loop':>9}{'dtorch':>9}{'ratio':>9}")
    for size in SIZES:
        for label in OPTIMIZERS:
            row = [figures[rival][size][label] for rival in RIVALS]
            cells = "".join(f"{ms:9.2f}" for ms in row)
            print(f"{size:11}{label:15}{cells}{row[0] / row[-1]:8.2f}x")
    if args.out:
        with open(args.out, "w") as f:
            json.dump(figures, f, indent=1)


if __name__ == "__main__":
    main()
