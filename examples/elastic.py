"""Training that goes on when ranks are killed: the weights are those of a run that nobody disturbed.

    dtorch-run --nproc-per-node 4 --elastic shrink examples/elastic.py --slowly

Then, from another terminal, kill -9 a rank, or stop it (kill -STOP): the others go on within a moment.
With --elastic refill a new one takes its place.  Started in any other way it just trains.  The last
line is the same whatever has happened, and on any number of ranks; docs/elastic.md says why.
"""

import argparse
import hashlib
import time
from pathlib import Path

import dtorch
import dtorch.distributed as dist
from dtorch import nn
from dtorch.distributed import elastic
from dtorch.nn.parallel import DistributedDataParallel
from dtorch.utils.checkpoint_manager import CheckpointManager
from dtorch.utils.data import DataLoader, ShardSampler
from dtorch.vision.datasets import Digits


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--checkpoints", type=Path, help="a folder, for when all ranks are lost")
    parser.add_argument("--slowly", action="store_true", help="sleep 50 ms in each step")
    args = parser.parse_args()
    dist.init_process_group()
    dtorch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Dropout(0.25), nn.Linear(16 * 4 * 4, 10),
    )  # fmt: skip
    ddp = DistributedDataParallel(model, virtual_shards=8)
    optimizer = dtorch.optim.AdamW(ddp.parameters(), lr=2e-3)
    digits = Digits(train=True)
    loader = DataLoader(digits, batch_sampler=ShardSampler(digits, 64, virtual_shards=8))
    every = 50 if args.checkpoints else None
    state = CheckpointManager(
        args.checkpoints or "runs/elastic",
        {"model": ddp, "optimizer": optimizer, "data": loader},
        every,
    )

    def train() -> None:
        while state.step < args.steps:
            for shards in loader:
                losses = []
                optimizer.zero_grad()
                for x, y in ddp.shards(shards):
                    losses.append(nn.functional.cross_entropy(ddp(x), y))
                    losses[-1].backward()
                loss = ddp.mean(losses).item()
                optimizer.step()
                state.advance()
                if state.step % 20 == 0 and dist.get_rank() == 0:
                    print(f"step {state.step}: loss {loss:.4f} on {dist.get_world_size()} ranks")
                if args.slowly:
                    time.sleep(0.05)
                if state.step == args.steps:
                    break

    if args.checkpoints:
        state.load()
    elastic.run(train, state)
    state.close()
    digest = hashlib.sha256()
    for tensor in model.state_dict().values():
        digest.update(tensor.numpy().tobytes())
    if dist.get_rank() == 0:
        print(f"weights {digest.hexdigest()[:16]}", flush=True)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
