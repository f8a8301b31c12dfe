"""What one op costs beside its arithmetic: `python -m bench.overhead [--out file.json]`.

Ops on arrays of 16 elements, one thread, forward alone and forward + backward.  torch and dtorch each
run in a process of their own, in turns (A B A B ...), and the best turn of each counts: the machine's
noise only ever adds.

The aim for the chain is 1.7 µs an op forward and 4 µs with backward on a machine where torch takes
1.8 and 6.0: ratios of 1.06 and 1.5.  On another machine the ratios are what counts.
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
    F, nn = lib.nn.functional, lib.nn
    x = lib.tensor([0.5] * 16, requires_grad=True)
    y = lib.tensor([1.001] * 16, requires_grad=True)
    m = lib.tensor([[0.1] * 4] * 4, requires_grad=True)
    classes = lib.tensor([0, 1, 2, 3])
    linear, lstm, bn, ln = nn.Linear(4, 4), nn.LSTMCell(4, 4), nn.BatchNorm1d(4), nn.LayerNorm(4)

    def chain() -> Any:
        z = x
        for _ in range(CHAIN // 4):
            z = z * y
            z = z + y
            z = z * y
            z = z - y
        return z

    def chain_no_grad() -> Any:
        with lib.no_grad():
            return chain()

    def one_no_grad() -> Any:
        with lib.no_grad():
            return x * y

    return {
        "add": (lambda: x + y, 1),
        "mul": (lambda: x * y, 1),
        "mul by a number": (lambda: x * 2.0, 1),
        "tanh": (lambda: lib.tanh(x), 1),
        "relu": (lambda: lib.relu(x), 1),
        "matmul 4x4": (lambda: m @ m, 1),
        "view": (lambda: x.view(4, 4), 1),
        "transpose": (lambda: m.transpose(0, 1), 1),
        "slice": (lambda: x[3:9], 1),
        "index": (lambda: m[1], 1),
        "sum": (lambda: x.sum(), 1),
        "sum(dim)": (lambda: m.sum(1), 1),
        "mean": (lambda: x.mean(), 1),
        "max(dim)": (lambda: m.max(1)[0], 1),
        "softmax": (lambda: F.softmax(m, 1), 1),
        "cross_entropy": (lambda: F.cross_entropy(m, classes), 1),
        "Linear": (lambda: linear(m), 1),
        "LayerNorm": (lambda: ln(m), 1),
        "BatchNorm1d, training": (lambda: bn(m), 1),
        "LSTMCell": (lambda: lstm(m)[0], 1),
        "no_grad": (one_no_grad, 1),
        f"chain of {CHAIN}": (chain, CHAIN),
        f"chain of {CHAIN}, no_grad": (chain_no_grad, CHAIN),
    }


def best(
    run: Callable[[], Any], seconds: float, clock: Callable[[], float] = time.perf_counter
) -> float:
    """The shortest time of a call by a clock, in seconds, over as many rounds as fit."""
    start, rounds, shortest = time.perf_counter(), 0, float("inf")
    number = 1
    while rounds < 5 or time.perf_counter() - start < seconds:
        before = clock()
        for _ in range(number):
            run()
        took = clock() - before
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
        result[name] = {"forward": best(forward, seconds) / ops * 1e6}
        made = forward()
        if made.requires_grad:
            g = lib.ones(tuple(made.shape))

            def both(forward: Callable[[], Any] = forward, g: Any = g) -> None:
                forward().backward(g)

            result[name]["both"] = best(both, seconds) / ops * 1e6
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
    print(f"{'':22}{'forward, µs an op':^27}{'forward + backward, µs an op':^33}")
    print(f"{'':22}{'torch':>8}{'dtorch':>9}{'ratio':>8}{'torch':>12}{'dtorch':>9}{'ratio':>8}")
    for case, t in figures["torch"].items():
        d = figures["dtorch"][case]
        columns = [
            f"{t[kind]:{width}.2f}{d[kind]:9.2f}{t[kind] / d[kind]:7.2f}x"
            for kind, width in (("forward", 8), ("both", 12))
            if kind in t
        ]
        print(f"{case:22}" + "".join(columns))
    if args.out:
        with open(args.out, "w") as f:
            json.dump(figures, f, indent=1)


if __name__ == "__main__":
    main()
