"""What a job would say when something goes wrong: a training, rehearsed with one fault after the other.

    python examples/rehearsal.py

Three ranks run as threads of this process, one at a time, in an order drawn from a seed; no MPI, no
GPU, and no waiting for deadlines.  A whole script is rehearsed by dtorch-run: see docs/rehearsal.md.
"""

import argparse

import dtorch
import dtorch.distributed as dist
from dtorch import nn
from dtorch.nn.parallel import DistributedDataParallel

FAULTS = [
    "", "delay:1@step2=5", "delay:1@step2=90", "kill:2@step3", "drop:0@all_reduce#4",
    "corrupt:1@step2", "mismatch:1@barrier#2", "mismatch:0@all_reduce#3=change",
]  # fmt: skip


def train() -> list[list[float]]:
    """Four steps of a small model on this rank's share of random data; the weights."""
    dtorch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 1))
    ddp = DistributedDataParallel(model)
    optimizer = dtorch.optim.AdamW(ddp.parameters())
    data = dtorch.Generator(seed=dist.get_rank())
    for _ in range(4):
        optimizer.zero_grad()
        ddp(dtorch.randn(32, 8, generator=data)).square().mean().backward()
        optimizer.step()
        dist.barrier()
    return [p.flatten().tolist() for p in model.parameters()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seed", type=int, default=0, help="the order of events")
    seed = parser.parse_args().seed
    undisturbed = dist.run_local(train, 3)
    for fault in FAULTS:
        try:
            weights = dist.run_local(train, 3, rehearsal=dist.Rehearsal(seed, fault))
            told = "the same weights" if weights == undisturbed else "OTHER WEIGHTS"
        except RuntimeError as error:
            told = "\n    ".join(f"{type(error).__name__}: {error}".splitlines()[:3])
        print(f"{fault or 'no fault'}:\n    {told}")


if __name__ == "__main__":
    main()
