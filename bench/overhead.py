"""What one op costs beside its arithmetic: `python -m bench.overhead [--out file.json]`.

Ops on arrays of 16 elements, one thread, forward alone and forward + backward.  torch and dtorch each
run in a process of their own, in turns (A B A B ...), and the best turn of each counts: the machine's
noise only ever adds.
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

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
CHAIN = 100  # ops in the chain


def cases(lib: Any) -> dict[str, tuple[Callable[[], Any], int]]:
    """name: (a function of leaves that makes one result, how many ops it runs)"""
    x = lib.tensor([0.5] * 16, requires_grad=True)
    y = lib.tensor([1.001] * 16, requires_grad=True)
    m = lib.tensor([[0.1] * 4] * 4, requires_grad=True)

    def chain() -> Any:
        z = x
        for _ in range(CHAIN // 4):
            z = z * y
            z = z + y
            z = z * y
            z = z - y
        return z

    return {
        "add": (lambda: x + y, 1),
        "mul": (lambda: x * y, 1),
        "mul by a number": (lambda: x * 2.0, 1),
        "tanh": (lambda: lib.tanh(x), 1),
        "relu": (lambda: lib.relu(x), 1),
        "matmul 4x4": (lambda: m @ m, 1),
        "view": (lambda: x.view(4, 4), 1),
        "sum": (lambda: x.sum(), 1),
        "index": (lambda: x[3:9], 1),
        f"chain of {CHAIN}": (chain, CHAIN),
    }


def best(run: Callable[[], None], seconds: float) -> float:
    """The shortest time of a call, in seconds, over as many rounds as fit."""
    start, rounds, shortest = time.perf_counter(), 0, float("inf")
    number = 1
    while rounds < 5 or time.perf_counter() - start < seconds:
        before = time.perf_counter()
        for _ in range(number):
            run()
        took = time.perf_counter() - before
        if took < 1e-3:
            number *= 2
            continue
        shortest, rounds = min(shortest, took / number), rounds + 1
    return shortest


def measure(library: str, seconds: float) -> dict[str, dict[str, float]]:
    """Microseconds an op: {case: {"forward": ..., "both": ...}}."""
    lib = __import__(library)
    if library == "torch":
        lib.set_num_threads(1)
    result = {}
    for name, (forward, ops) in cases(lib).items():
        g = lib.ones(tuple(forward().shape))

        def both(forward: Callable[[], Any] = forward, g: Any = g) -> None:
            forward().backward(g)

        result[name] = {
            "forward": best(forward, seconds) / ops * 1e6,
            "both": best(both, seconds) / ops * 1e6,
        }
    return result


def turn(library: str, seconds: float) -> dict[str, dict[str, float]]:
    """measure() in a process of its own."""
    out = subprocess.run(
        [sys.executable, "-m", "bench.overhead", "--measure", library, "--seconds", str(seconds)],
        env=os.environ | dict.fromkeys(THREADS, "1"), check=True, capture_output=True, text=True,
    )  # fmt: skip
    return json.loads(out.stdout)  # type: ignore[no-any-return]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=3, help="how often each library is run")
    parser.add_argument("--seconds", type=float, default=0.1, help="for each figure, in each turn")
    parser.add_argument("--out", help="write the figures to this JSON file")
    parser.add_argument("--measure", choices=("torch", "dtorch"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        print(json.dumps(measure(args.measure, args.seconds)))
        return
    turns: dict[str, list[Any]] = {"torch": [], "dtorch": []}
    for _ in range(args.turns):
        for library, results in turns.items():
            results.append(turn(library, args.seconds))
    figures = {
        library: {
            case: {kind: min(r[case][kind] for r in results) for kind in results[0][case]}
            for case in results[0]
        }
        for library, results in turns.items()
    }
    print(f"{'':18}{'forward, µs an op':^27}{'forward + backward, µs an op':^33}")
    print(f"{'':18}{'torch':>8}{'dtorch':>9}{'ratio':>8}{'torch':>12}{'dtorch':>9}{'ratio':>8}")
    for case, t in figures["torch"].items():
        d = figures["dtorch"][case]
        columns = [
            f"{t[kind]:{width}.2f}{d[kind]:9.2f}{t[kind] / d[kind]:7.2f}x"
            for kind, width in (("forward", 8), ("both", 12))
        ]
        print(f"{case:18}" + "".join(columns))
    if args.out:
        with open(args.out, "w") as f:
            json.dump(figures, f, indent=1)


if __name__ == "__main__":
    main()
