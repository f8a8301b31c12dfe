"""Training steps against torch eager: `python -m bench.train [--threads 2] [--only 'ResNet*']`.

Each library runs each model in processes of its own, in turns (A B A B ...), with as many threads; a
step is zero_grad, forward, backward and the optimizer's step, on one fixed batch.  The best turn's
median step counts: wall clock, or with one thread process time, in which others on the machine count
little.  Peak memory is the process's resident maximum less what it had before the model.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import math
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from bench.models import MODELS
from bench.overhead import THREADS


def _memory() -> float:
    """MB resident now."""
    with open("/proc/self/statm") as f:
        return int(f.read().split()[1]) * resource.getpagesize() / 1e6


def measure(library: str, model: str, seconds: float) -> dict[str, float]:
    """{"step": median ms, "first": ms, "memory": MB} of one model in this process."""
    lib = __import__(library)
    lib.manual_seed(0)
    if library == "torch":
        lib.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    clock = time.process_time if os.environ["OMP_NUM_THREADS"] == "1" else time.perf_counter
    before = _memory()
    task = MODELS[model](lib)
    times: list[float] = []
    start = time.perf_counter()
    while len(times) < 5 or time.perf_counter() - start < seconds:
        began = clock()
        task.optimizer.zero_grad()
        loss = task.loss()
        loss.backward()
        task.optimizer.step()
        times.append((clock() - began) * 1e3)
    if not math.isfinite(loss.item()):
        raise ArithmeticError(f"{model}: the loss is {loss.item()}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    return {"step": statistics.median(times[2:]), "first": times[0], "memory": peak - before}


def _turn(library: str, model: str, args: Any) -> dict[str, float]:
    command = [sys.executable, "-m", "bench.train", "--measure", library, "--only", model]
    out = subprocess.run(
        [*command, "--seconds", str(args.seconds)], check=True, stdout=subprocess.PIPE, text=True,
        env=os.environ | dict.fromkeys(THREADS, str(args.threads)),
    )  # fmt: skip
    return json.loads(out.stdout)  # type: ignore[no-any-return]


def compare(model: str, args: Any) -> dict[str, dict[str, float]]:
    """{library: its best turn}"""
    turns: dict[str, list[dict[str, float]]] = {"torch": [], "dtorch": []}
    for _ in range(args.turns):
        for library, results in turns.items():
            results.append(_turn(library, model, args))
    return {
        library: {kind: min(r[kind] for r in results) for kind in results[0]}
        for library, results in turns.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="*", help="which models: a pattern of names")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--turns", type=int, default=2, help="how often each library is run")
    parser.add_argument("--seconds", type=float, default=2.0, help="for each model, in each turn")
    parser.add_argument("--out", type=Path, help="write NAME.json and NAME.md")
    parser.add_argument("--measure", choices=("torch", "dtorch"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        print(json.dumps(measure(args.measure, args.only, args.seconds)))
        return
    lines = [
        "| model | torch ms | dtorch ms | torch / dtorch | memory, torch MB | dtorch MB | first step |",
        "| --- | --: | --: | --: | --: | --: | --: |",
    ]
    print("\n".join(lines))
    results: dict[str, Any] = {}
    for model in fnmatch.filter(MODELS, args.only):
        results[model] = r = compare(model, args)
        t, d = r["torch"], r["dtorch"]
        lines.append(
            f"| {model} | {t['step']:.2f} | {d['step']:.2f} | {t['step'] / d['step']:.2f} | "
            f"{t['memory']:.0f} | {d['memory']:.0f} | {t['first']:.0f} / {d['first']:.0f} ms |"
        )
        print(lines[-1], flush=True)
    ratios = [r["torch"]["step"] / r["dtorch"]["step"] for r in results.values()]
    mean = math.exp(statistics.fmean(map(math.log, ratios)))
    summary = (
        f"Geometric mean {mean:.2f}, least {min(ratios):.2f}; {args.threads} threads, "
        f"{platform.machine()}, Python {platform.python_version()}."
    )
    print(summary)
    if args.out:
        args.out.with_suffix(".json").write_text(json.dumps(results, indent=1) + "\n")
        args.out.with_suffix(".md").write_text("\n".join([*lines, "", summary, ""]))


if __name__ == "__main__":
    main()
