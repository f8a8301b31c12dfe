"""Stop a data-parallel run anywhere, in the middle of an epoch too, and go on to the same bits.

    dtorch-run --nproc-per-node 2 examples/resume.py --checkpoint runs/a --steps 60
    dtorch-run --nproc-per-node 2 examples/resume.py --checkpoint runs/b --steps 60 --stop-after 25
    dtorch-run --nproc-per-node 2 examples/resume.py --checkpoint runs/b --steps 60

The first run is never disturbed; the second stops, and the third, the same command, goes on.  Both
print the same hash of the weights.  Whatever a run must know to go on is among the manager's parts:
weights, the optimizer's averages, the learning rate's schedule, and what the loader has given out.
"""

import argparse
import hashlib
import sys
from pathlib import Path

import dtorch
import dtorch.distributed as dist
from dtorch import nn
from dtorch.nn.parallel import DistributedDataParallel
from dtorch.optim.lr_scheduler import OneCycleLR
from dtorch.utils.checkpoint_manager import CheckpointManager
from dtorch.utils.data import DataLoader, DistributedSampler
from dtorch.vision.datasets import Digits


def forever(loader: DataLoader, sampler: DistributedSampler):
    """Batches without end; a loader that was restored first gives out what was left of its epoch."""
    while True:
        yield from loader
        sampler.set_epoch(sampler.epoch + 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--checkpoint", type=Path, default=Path("runs/resume"), help="a folder")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--every", type=int, default=10, help="steps from checkpoint to checkpoint")
    parser.add_argument("--stop-after", type=int, help="end after this step, as if killed")
    args = parser.parse_args()
    dist.init_process_group()
    rank, world = dist.get_rank(), dist.get_world_size()
    dtorch.manual_seed(rank)  # dropout differs from rank to rank; DDP sends rank 0's weights to all
    net = nn.Sequential(
        nn.Flatten(), nn.Linear(64, 128), nn.ReLU(), nn.Dropout(0.2), nn.Linear(128, 10)
    )
    model = DistributedDataParallel(net)
    optimizer = dtorch.optim.AdamW(model.parameters(), lr=3e-3)
    scheduler = OneCycleLR(optimizer, max_lr=1e-2, total_steps=args.steps)
    sampler = DistributedSampler(Digits(train=True))
    loader = DataLoader(Digits(train=True), 64 // world, sampler=sampler)

    parts = {"model": net, "optimizer": optimizer, "scheduler": scheduler, "loader": loader}
    with CheckpointManager(args.checkpoint, parts, every=args.every) as checkpoints:
        if checkpoints.load() and rank == 0:  # does nothing where there is no checkpoint
            print(f"goes on after step {checkpoints.step}")
        for images, labels in forever(loader, sampler):
            if checkpoints.step == args.steps:
                break
            loss = nn.functional.cross_entropy(model(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()
            checkpoints.advance()  # saves where it is time to, or where SIGTERM has come
            if checkpoints.step == args.stop_after:
                print(f"rank {rank} stops after step {checkpoints.step}")
                sys.exit()
    if rank == 0:
        test = Digits(train=False)
        images, labels = next(iter(DataLoader(test, len(test))))
        with dtorch.no_grad():
            right = net.eval()(images).argmax(1) == labels
        digest = hashlib.sha256()
        for weights in net.state_dict().values():
            digest.update(weights.numpy().tobytes())
        print(f"weights {digest.hexdigest()[:16]}")
        print(f"test accuracy {right.float().mean().item():.4f}")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
