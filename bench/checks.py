"""What the checks cost a step of DistributedDataParallel on two ranks: `python -m bench.checks`.

With them, each collective finds its call site, is compared between the ranks and goes into the
flight record; without, none of that is done.  Steps with and without alternate on the same model in
the same processes.  Two figures: the median of the ratios of neighbours, and the ratio of the lower
quartiles, which a busy machine disturbs less.  (Who waits for whom costs nothing until it is asked.)
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any
from unittest import mock

from bench.ddp import mlp
from bench.ranks import Contender, answer, settle

CONTENDERS = ("shm", "mpi")
TASKS = {  # the widths of an MLP's layers
    "one all_reduce of 30 numbers": (),
    "MLP, 0.1M": (64, 256, 256, 32),
    "MLP, 1.6M": (256, 1024, 1024, 256),
    "MLP, 11.5M": (1024, 2048, 2048, 2048, 512),
}
ROWS = 64


def prepare(widths: tuple[int, ...]) -> Callable[[], None]:
    import dtorch
    from dtorch import nn

    if not widths:
        few = dtorch.zeros(30)
        return lambda: dtorch.distributed.all_reduce(few)
    dtorch.manual_seed(0)
    model = nn.parallel.DistributedDataParallel(mlp(dtorch, *widths))
    optimizer = dtorch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
    x, y = dtorch.randn(ROWS, widths[0]), dtorch.randint(0, widths[-1], (ROWS,))

    def step() -> None:
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()

    return step


def unchecked() -> ExitStack:
    """While it is open nothing is found out, compared or recorded."""
    from dtorch.distributed import GroupMember
    from dtorch.parallel import callsite, group
    from dtorch.parallel.flight import Entry

    class Unwritten(Entry):
        def end(self, state: str) -> None:
            pass

    world = GroupMember.WORLD
    site = callsite.here()
    entry = Unwritten("world", world.ranks, world.record("barrier"))
    world._seq -= 1  # that was none

    def nowhere() -> Any:  # not a Mock, which would take longer than the real ones
        return site

    def forget(*_: Any) -> Entry:
        return entry

    stack = ExitStack()
    stack.enter_context(mock.patch.object(group, "here", nowhere))
    stack.enter_context(mock.patch.object(world, "_comparison", None))
    stack.enter_context(mock.patch.object(world.flight, "record", forget))
    return stack


def serve(contender: str, at: str, priority: bool) -> None:
    """On each rank: answer (task, pairs) with the seconds of each pair, with checks and without."""
    import dtorch.distributed as dist

    dist.init_process_group(contender)
    settle(priority)

    def timed(step: Callable[[], None]) -> float:
        dist.barrier()
        start = time.perf_counter()
        step()
        return time.perf_counter() - start

    def measure(task: str, pairs: int) -> list[list[float]]:
        step = prepare(TASKS[task])
        for _ in range(5):
            step()
        result = []
        for i in range(pairs):
            took = {}
            for checks in (True, False) if i % 2 else (False, True):
                dist.barrier()
                with ExitStack() if checks else unchecked():
                    took[checks] = timed(step)
            result.append([took[True], took[False]])
        return result

    answer(at, dist.get_rank(), measure)
    dist.destroy_process_group()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=200, help="of steps, with checks and without")
    parser.add_argument("--priority", action="store_true", help="before other programs (as root)")
    parser.add_argument("--contender", choices=CONTENDERS, help=argparse.SUPPRESS)
    parser.add_argument("--at", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.contender:
        serve(options.contender, options.at, options.priority)
        return
    print(
        "| model | over | with checks, ms | without, ms | median of ratios | of lower quartiles |"
    )
    print("|---|---|---:|---:|---:|---:|")
    for name in CONTENDERS:
        with Contender("bench.checks", name, options.priority) as contender:
            for task in TASKS:
                pairs: Any = contender.ask(task, options.pairs)
                on, off = zip(*pairs)
                medians = [1e3 * statistics.median(times) for times in (on, off)]
                ratio = statistics.median(a / b for a, b in pairs)
                quiet = statistics.quantiles(on)[0] / statistics.quantiles(off)[0]
                print(
                    f"| {task} | {name} | {medians[0]:.3f} | {medians[1]:.3f} | {ratio:.3f} | "
                    f"{quiet:.3f} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
