"""Virtual shards: `python -m bench.invariance`, whether bits are equal; `--cost`, what that takes.

The first trains the models of examples/same_bits.py alone (with as many BLAS threads as there are
cores), on 2, 3, 4 and 8 ranks as threads, on 2 and 3 as processes over common memory and over MPI,
and stopped on 4 ranks and gone on with on 2.  It prints a hash of all losses and one of the model
for each, and fails where they are not all the same.

The second compares a step over a batch cut into V shards, on one rank with one over the whole batch,
and on two with one of ordinary DDP: the least time on a core of many, in turns, on one BLAS thread.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

from bench.ranks import REPO, Contender, answer, settle

sys.path.insert(0, str(REPO / "examples"))

MODELS = ("mlp", "cnn", "gpt")
STOP = 0.4  # of the steps

# ---- proof ---------------------------------------------------------------------------------------


def told(losses: list[str], weights: str) -> str:
    """A hash of the losses' bits, and that of the model."""
    return f"{hashlib.sha256(' '.join(losses).encode()).hexdigest()[:16]} {weights}"


def threads(model: str, steps: int, ranks: int) -> str:
    import same_bits

    import dtorch.distributed as dist

    results = dist.run_local(same_bits.train, ranks, model, steps, timeout=600)
    assert len({(*losses, weights) for losses, weights, _ in results}) == 1, "ranks differ"
    return told(*results[0][:2])


def stopped(model: str, steps: int) -> str:
    import same_bits

    import dtorch.distributed as dist

    before = int(STOP * steps)
    head, _, state = dist.run_local(same_bits.train, 4, model, before, timeout=600)[0]
    tail, weights, _ = dist.run_local(same_bits.train, 2, model, steps, state, timeout=600)[0]
    return told(head + tail, weights)


def script(starter: list[str], *arguments: object) -> tuple[list[str], str]:
    """What examples/same_bits.py prints, by any starter; BLAS has as many threads as that allows."""
    env = {k: v for k, v in os.environ.items() if not k.endswith("NUM_THREADS")}
    env["PYTHONPATH"] = f"{REPO}:{REPO / 'launcher'}"
    argv = [*starter, str(REPO / "examples/same_bits.py"), *map(str, arguments)]
    done = subprocess.run(argv, env=env, text=True, capture_output=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(argv)} failed:\n{done.stdout}{done.stderr}")
    return re.findall(r"loss (\S+)", done.stdout), re.findall(r"weights (\w+)", done.stdout)[0]


def processes(model: str, steps: int, ranks: int, backend: str) -> str:
    starter = [sys.executable]
    if ranks > 1:
        starter += ["-m", "dtorch_run", "--nproc-per-node", str(ranks)]
    return told(*script(starter, "--model", model, "--steps", steps, "--backend", backend))


def stopped_processes(model: str, steps: int) -> str:
    """3 ranks over common memory, then alone, from the file that they leave."""
    before = int(STOP * steps)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "checkpoint"
        start = [sys.executable, "-m", "dtorch_run", "--nproc-per-node", "3"]
        head, _ = script(start, "--model", model, "--steps", before, "--checkpoint", file)
        start = [sys.executable]
        tail, weights = script(start, "--model", model, "--steps", steps, "--resume", file)
    return told(head + tail, weights)


def proof(steps: int) -> int:
    runs: dict[str, Callable[[str], str]] = {
        "alone": lambda m: processes(m, steps, 1, "local"),
        **{f"{n} threads": lambda m, n=n: threads(m, steps, n) for n in (1, 2, 3, 4, 8)},
        **{
            f"{n} processes, {b}": lambda m, n=n, b=b: processes(m, steps, n, b)
            for b in ("shm", "mpi")
            for n in (2, 3)
        },
        "4 threads, then 2": lambda m: stopped(m, steps),
        "3 processes, then 1": lambda m: stopped_processes(m, steps),
    }
    different = 0
    for model in MODELS:
        first = ""
        for name, run in runs.items():
            now = run(model)
            first = first or now
            different += now != first
            print(f"{model}, {steps} steps, {name:<20} {now} {'same' if now == first else 'OTHER'}")
    print(f"{different} of {len(runs) * len(MODELS)} runs have other bits")
    return different


# ---- cost ----------------------------------------------------------------------------------------

COUNTS = (1, 2, 4, 8, 16)  # virtual shards
TASKS = (("mlp", 64), ("mlp", 1024), ("cnn", 64), ("cnn", 512), ("gpt", 64))
ROUNDS = 30


def step_of(model: str, batch: int, count: int | None) -> Callable[[], None]:
    """A step over this rank's share of a batch: in so many shards, or by ordinary DDP."""
    from same_bits import MODELS as MAKE

    import dtorch
    import dtorch.distributed as dist
    from dtorch import nn
    from dtorch.utils.data import default_collate

    dtorch.manual_seed(0)
    module, data = MAKE[model]()
    if model == "mlp":
        module = nn.Sequential(
            nn.Flatten(), nn.Linear(64, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(),
            nn.Linear(512, 10),
        )  # fmt: skip
    ddp = nn.parallel.DistributedDataParallel(module, virtual_shards=count)
    optimizer = dtorch.optim.SGD(ddp.parameters(), lr=1e-3, momentum=0.9)
    mine = 1 if count is None else len(ddp.virtual_shards.mine(ddp.process_group))
    rows = batch // dist.get_world_size() // mine
    batches = [default_collate([data[i] for i in range(rows)]) for _ in range(mine)]

    def step() -> None:
        optimizer.zero_grad()
        for x, y in batches if count is None else ddp.shards(batches):
            loss = nn.functional.cross_entropy(ddp(x).flatten(0, -2), y.flatten())
            loss.backward()
        optimizer.step()

    return step


def seconds(step: Callable[[], None]) -> float:
    """Of this process's time on a core: what other programs take of it doesn't count."""
    start = time.process_time()
    step()
    return time.process_time() - start


def peak(step: Callable[[], None]) -> float:
    """MiB that arrays take at most, on top of what is there."""
    tracemalloc.start()
    step()
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return most / 2**20


def cost_alone() -> None:
    import dtorch
    import dtorch.distributed as dist

    dtorch.set_num_threads(1)
    dist.init_process_group("local")
    print("one rank: a step in V shards, against one over the whole batch (and the peak of memory)")
    print(f"{'':<16}{'whole':>20}" + "".join(f"{f'V={v}':>19}" for v in COUNTS))
    for model, batch in TASKS:
        steps = [step_of(model, batch, v) for v in (None, *COUNTS)]
        times: list[list[float]] = [[] for _ in steps]
        for _ in range(ROUNDS):
            for step, took in zip(steps, times):
                took.append(seconds(step))
        whole, *cut = map(min, times)
        memory = [peak(step) for step in steps]
        cells = [f"{whole * 1e3:9.2f} ms {memory[0]:5.1f} MB"]
        cells += [f"{t / whole:7.2f}x {m:6.1f} MB" for t, m in zip(cut, memory[1:])]
        print(f"{model} {batch:>5}      " + "  ".join(cells))
    dist.destroy_process_group()


def cost_on_two() -> None:
    print("\ntwo ranks over common memory: a step in V shards, against ordinary DDP's")
    print(f"{'':<16}{'DDP':>10}" + "".join(f"{f'V={v}':>10}" for v in COUNTS[1:]))
    with Contender("bench.invariance", "shards") as ranks:
        for model, batch in TASKS:
            plain, *cut = ranks.ask(model, batch)
            cells = [f"{plain * 1e3:7.2f} ms", *(f"{t / plain:9.2f}x" for t in cut)]
            print(f"{model} {batch:>5}      " + "".join(cells))


def measure_on_two(model: str, batch: int) -> list[float]:
    """On each rank: the shortest step of ordinary DDP, and of V = 2, 4 ..."""
    import dtorch.distributed as dist

    steps = [step_of(model, batch, v) for v in (None, *COUNTS[1:])]
    times: list[list[float]] = [[] for _ in steps]
    for _ in range(ROUNDS):
        for step, took in zip(steps, times):
            dist.barrier()
            took.append(seconds(step))
    return [min(took) for took in times]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--cost", action="store_true", help="what it takes, instead")
    parser.add_argument("--contender", help=argparse.SUPPRESS)
    parser.add_argument("--at", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.contender:
        import dtorch.distributed as dist

        dist.init_process_group("shm")
        settle(priority=False)
        answer(options.at, dist.get_rank(), measure_on_two)
        dist.destroy_process_group()
        return 0
    if options.cost:
        cost_alone()
        cost_on_two()
        return 0
    return 1 if proof(options.steps) else 0


if __name__ == "__main__":
    sys.exit(main())
