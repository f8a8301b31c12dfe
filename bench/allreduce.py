"""What an all-reduce of float32 takes on two ranks: `python -m bench.allreduce [--out file]`.

dtorch over common memory (of tensors that lie in it, as gradients do, and of ordinary ones) and over
MPI, against torch's gloo.  Each has processes of its own, which take turns.  Each time the ranks
first write their tensors, as a backward does: so that each has its own numbers in its cache.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from bench.ranks import Contender, answer, save, settle

SIZES = [1 << k for k in range(12, 29, 2)]  # bytes: 4 KB to 256 MB
CONTENDERS = ("shm in place", "shm", "mpi", "gloo")
TURNS = 7


def join(contender: str) -> tuple[Any, Callable[[int], Any]]:
    """The contender's module, its group being made, and a function: elements -> zeros."""
    if contender == "gloo":
        import torch
        import torch.distributed as dist

        torch.set_num_threads(1)
        dist.init_process_group("gloo")
        return dist, torch.zeros

    import dtorch
    import dtorch.distributed as ours
    from dtorch.core.tensor import wrap

    ours.init_process_group("mpi" if contender == "mpi" else "shm")
    if contender == "shm in place":
        like = dtorch.zeros(1)._a
        return ours, lambda n: wrap(ours.GroupMember.WORLD.zeros(n, like))
    return ours, dtorch.zeros


def serve(contender: str, at: str, priority: bool) -> None:
    """On each rank: answer (bytes, rounds) with the seconds that each all-reduce has taken."""
    dist, zeros = join(contender)
    settle(priority)

    def measure(size: int, rounds: int) -> list[float]:
        x = zeros(size // 4)
        times = []
        for _ in range(rounds + 1):
            x.fill_(1.0)
            dist.barrier()
            start = time.perf_counter()
            dist.all_reduce(x)
            times.append(time.perf_counter() - start)
        assert x[-1].item() == dist.get_world_size()
        return times[1:]  # the first one has to find its memory

    answer(at, dist.get_rank(), measure)
    dist.destroy_process_group()


def compare(priority: bool) -> dict[str, dict[int, list[float]]]:
    """Seconds: {contender: {bytes: [shortest, median of all]}}."""
    times: dict[str, dict[int, list[float]]] = {name: {} for name in CONTENDERS}
    with ExitStack() as stack:
        contenders = [
            stack.enter_context(Contender("bench.allreduce", name, priority)) for name in CONTENDERS
        ]
        for size in SIZES:
            rounds = max(1, min(50, (1 << 26) // size))
            for _ in range(TURNS):
                for contender in contenders:
                    times[contender.name].setdefault(size, []).extend(contender.ask(size, rounds))
    return {
        name: {size: [min(t), statistics.median(t)] for size, t in by_size.items()}
        for name, by_size in times.items()
    }


def table(times: dict[str, dict[int, list[float]]]) -> str:
    """In Markdown: the shortest, since what disturbs only ever adds; how many times as fast as gloo."""
    lines = [
        "| bytes | " + " | ".join(CONTENDERS) + " |",
        "|" + "---:|" * (1 + len(CONTENDERS)),
    ]
    for size in SIZES:
        gloo = times["gloo"][size][0]
        cells = [f"{times[n][size][0] * 1e6:,.0f} us ({gloo / times[n][size][0]:.1f}x)"
                 for n in CONTENDERS]  # fmt: skip
        lines.append(f"| {size >> 10:,} KB | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, help="write OUT.json and OUT.md")
    parser.add_argument("--priority", action="store_true", help="before other programs (as root)")
    parser.add_argument("--contender", choices=CONTENDERS, help=argparse.SUPPRESS)
    parser.add_argument("--at", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.contender:
        serve(options.contender, options.at, options.priority)
        return
    times = compare(options.priority)
    print(table(times))
    if options.out:
        save(options.out, times, table(times), options.priority)


if __name__ == "__main__":
    main()
