"""Single ops over sizes, forward and with backward: `python -m bench.ops [--only 'conv*']`.

torch and dtorch run in processes of their own, in turns (A B A B ...), with one thread; each figure is
the least process time of many calls, so that others on the machine count little.  Beside the ratio
stands what dtorch's forward comes to on this machine: of products and convolutions the part of the
rate of a large matrix product, of the rest that of the bandwidth of a copy of 64 MB (bytes that must be
read and written, once each; more than 1 is what the caches give).
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bench.overhead import THREADS, best

SIZES = (1 << 10, 1 << 14, 1 << 17, 1 << 20)  # elements of the largest input


class Case(NamedTuple):
    run: Callable[[], Any]
    moved: int = 0  # bytes of inputs and outputs
    flops: int = 0


def cases(lib: Any, n: int) -> dict[str, Case]:
    """{name: an op on about n elements, on inputs that require a gradient}"""
    F = lib.nn.functional
    lib.manual_seed(0)

    def leaf(*shape: int) -> Any:
        return lib.randn(*shape).requires_grad_()

    rows, width = max(n // 256, 1), min(n, 256)
    x, y, bias = leaf(rows, width), leaf(rows, width), leaf(width)
    classes, picked = lib.randint(0, width, (rows,)), lib.randint(0, rows, (rows,))
    made = {
        "add": Case(lambda: x + y, 12 * n),
        "mul": Case(lambda: x * y, 12 * n),
        "add a row": Case(lambda: x + bias, 8 * n),
        "exp": Case(lambda: x.exp(), 8 * n),
        "tanh": Case(lambda: x.tanh(), 8 * n),
        "sigmoid": Case(lambda: x.sigmoid(), 8 * n),
        "relu": Case(lambda: F.relu(x), 8 * n),
        "leaky_relu": Case(lambda: F.leaky_relu(x), 8 * n),
        "gelu": Case(lambda: F.gelu(x), 8 * n),
        "silu": Case(lambda: F.silu(x), 8 * n),
        "softplus": Case(lambda: F.softplus(x), 8 * n),
        "dropout": Case(lambda: F.dropout(x), 8 * n),
        "sum": Case(lambda: x.sum(), 4 * n),
        "mean of rows": Case(lambda: x.mean(1), 4 * n),
        "softmax": Case(lambda: F.softmax(x, 1), 8 * n),
        "layer_norm": Case(lambda: F.layer_norm(x, (width,), bias, bias), 8 * n),
        "cross_entropy": Case(lambda: F.cross_entropy(x, classes), 4 * n),
        "transpose, copy": Case(lambda: x.t().contiguous(), 8 * n),
        "cat": Case(lambda: lib.cat([x, y]), 16 * n),
        "embedding": Case(lambda: F.embedding(picked, x), 8 * n),
    }  # fmt: skip
    side = int(n**0.5)
    a, b = leaf(side, side), leaf(side, side)
    made["linear"] = Case(lambda: F.linear(a, b), flops=2 * side**3)
    heads = [leaf(1, max(n // 4096, 1), 64, 64) if n > 4096 else leaf(1, 1, 16, 64) for _ in "qkv"]
    _, h, t, e = heads[0].shape
    made["attention"] = Case(
        lambda: F.scaled_dot_product_attention(*heads, is_causal=True), flops=4 * h * t * t * e
    )
    channels, size = (16, 8) if n <= 1 << 10 else (32, 16)
    images = leaf(max(n // (channels * size * size), 1), channels, size, size)
    w, scale = leaf(channels, channels, 3, 3), leaf(channels)
    count = images.numel()
    made["conv2d 3x3"] = Case(
        lambda: F.conv2d(images, w, padding=1), flops=2 * count * channels * 9
    )
    made["batch_norm"] = Case(
        lambda: F.batch_norm(images, None, None, scale, scale, True), 8 * count
    )
    made["max_pool2d"] = Case(lambda: F.max_pool2d(images, 2), 5 * count)
    return made


def least(run: Callable[[], Any], seconds: float) -> float:
    """The least process time of a call, in seconds."""
    return best(run, seconds, time.process_time)


def machine() -> dict[str, float]:
    """The rates of a copy in GB/s (read and written) and of a matrix product in GFLOP/s."""
    import dtorch

    source, m = np.ones(1 << 24, np.float32), dtorch.randn(1024, 1024)
    target = np.empty_like(source)
    return {
        "copy": 2 * source.nbytes / least(lambda: np.copyto(target, source), 0.5) / 1e9,
        "product": 2 * 1024**3 / least(lambda: m @ m, 0.5) / 1e9,
    }


def measure(library: str, only: str, seconds: float) -> dict[str, dict[str, float]]:
    """{"op, size": {"forward": us, "both": us, and what it moves and computes}}"""
    lib = __import__(library)
    if library == "torch":
        lib.set_num_threads(1)
    result = {}
    for n in SIZES:
        for name, case in cases(lib, n).items():
            if not fnmatch.fnmatch(name, only):
                continue
            g = lib.ones(tuple(case.run().shape))

            def both(run: Callable[[], Any] = case.run, g: Any = g) -> None:
                run().backward(g)

            result[f"{name}, {n}"] = {
                "forward": least(case.run, seconds) * 1e6, "both": least(both, seconds) * 1e6,
                "moved": case.moved, "flops": case.flops,
            }  # fmt: skip
    return result


def _turn(*arguments: str) -> Any:
    """What this module prints as JSON in a process of its own."""
    out = subprocess.run(
        [sys.executable, "-m", "bench.ops", *arguments], check=True, stdout=subprocess.PIPE,
        text=True, env=os.environ | dict.fromkeys(THREADS, "1"),
    )  # fmt: skip
    return json.loads(out.stdout)


def rate(r: dict[str, float], of: dict[str, float]) -> float:
    """What a forward pass comes to, as a part of the machine's rate."""
    done, most = (r["flops"], of["product"]) if r["flops"] else (r["moved"], of["copy"])
    return done / r["forward"] / 1e3 / most


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="*", help="which ops: a pattern of names")
    parser.add_argument("--turns", type=int, default=2, help="how often each library is run")
    parser.add_argument("--seconds", type=float, default=0.05, help="for each figure, in each turn")
    parser.add_argument("--out", type=Path, help="write NAME.json and NAME.md")
    parser.add_argument("--measure", choices=("torch", "dtorch", "machine"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        of_ops = args.measure != "machine"
        print(json.dumps(measure(args.measure, args.only, args.seconds) if of_ops else machine()))
        return
    options = ["--only", args.only, "--seconds", str(args.seconds)]
    turns: dict[str, list[Any]] = {"torch": [], "dtorch": []}
    for _ in range(args.turns):
        for library, results in turns.items():
            results.append(_turn("--measure", library, *options))
    figures: dict[str, Any] = {
        library: {
            case: {kind: min(r[case][kind] for r in results) for kind in r0}
            for case, r0 in results[0].items()
        }
        for library, results in turns.items()
    }
    figures["machine"] = limits = _turn("--measure", "machine")
    lines = [
        "| op, elements | torch µs | dtorch µs | ratio | + backward, torch | dtorch | ratio | rate |",
        "| --- | --: | --: | --: | --: | --: | --: | --: |",
    ]
    for case, t in figures["torch"].items():
        d = figures["dtorch"][case]
        cells = [
            f"{t[kind]:.1f} | {d[kind]:.1f} | {t[kind] / d[kind]:.2f}"
            for kind in ("forward", "both")
        ]
        lines.append(f"| {case} | {' | '.join(cells)} | {rate(d, limits):.2f} |")
    summary = (
        f"Ratios are torch / dtorch: above 1 dtorch is faster.  One thread, {platform.machine()}, "
        f"Python {platform.python_version()}.  Rates are parts of "
        f"{limits['copy']:.1f} GB/s (a copy) and of {limits['product']:.0f} GFLOP/s "
        "(a product of 1024 x 1024 matrices)."
    )
    text = "\n".join([*lines, "", summary])
    print(text)
    if args.out:
        args.out.with_suffix(".json").write_text(json.dumps(figures, indent=1) + "\n")
        args.out.with_suffix(".md").write_text(text + "\n")


if __name__ == "__main__":
    main()
