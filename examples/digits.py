"""A CNN learns handwritten digits, data-parallel: the same script on one rank or on many.

    python examples/digits.py
    dtorch-run --nproc-per-node 2 examples/digits.py
    mpirun -n 2 python examples/digits.py

It saves a checkpoint after each epoch; --resume goes on from the newest.  SIGTERM lets it finish
the epoch, save it and end.
"""

import argparse
import hashlib
from pathlib import Path

from tqdm import tqdm

import dtorch
import dtorch.distributed as dist
from dtorch import nn
from dtorch.nn.parallel import DistributedDataParallel
from dtorch.optim.lr_scheduler import CosineAnnealingLR
from dtorch.utils.checkpoint_manager import CheckpointManager
from dtorch.utils.data import DataLoader, DistributedSampler
from dtorch.vision.datasets import Digits


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--batch-size", type=int, default=64, help="of all ranks together")
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--checkpoint", type=Path, default=Path("runs/digits"), help="a folder")
    parser.add_argument("--resume", action="store_true", help="go on from the newest one")
    return parser.parse_args()


def make_model() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(),
        nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(),
        nn.MaxPool2d(2),  # (N, 64, 4, 4)
        nn.Flatten(), nn.Dropout(0.25), nn.Linear(64 * 4 * 4, 10),
    )  # fmt: skip


def train_epoch(model, loader, optimizer, title: str) -> float:
    """One pass over this rank's share; the mean loss over all ranks."""
    model.train()
    total, steps = dtorch.zeros(()), 0
    for images, labels in tqdm(loader, title, leave=False, disable=None if rank() == 0 else True):
        loss = nn.functional.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.detach()
        steps += 1
    dist.all_reduce(total)
    return total.item() / (steps * dist.get_world_size())


@dtorch.no_grad()
def accuracy(model, dataset) -> float:
    """The share of the images that the model gets right; each rank looks at every n-th one."""
    model.eval()
    mine = range(rank(), len(dataset), dist.get_world_size())
    images = dtorch.stack([dataset[i][0] for i in mine])
    labels = dtorch.tensor([dataset[i][1] for i in mine])
    correct = (model(images).argmax(1) == labels).sum()
    dist.all_reduce(correct)
    return correct.item() / len(dataset)


def fingerprint(model) -> str:
    """A hash of all weights: ranks that agree bit for bit have the same one."""
    digest = hashlib.sha256()
    for tensor in model.state_dict().values():
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()[:16]


def rank() -> int:
    return dist.get_rank()


def main() -> None:
    args = parse()
    dist.init_process_group()
    dtorch.manual_seed(args.seed)
    model = DistributedDataParallel(make_model())
    optimizer = dtorch.optim.AdamW(model.parameters(), lr=args.lr, weight_decay=0.01)
    scheduler = CosineAnnealingLR(optimizer, T_max=args.epochs)
    dtorch.manual_seed(args.seed + 1 + rank())  # dropout differs from rank to rank

    train, test = Digits(train=True), Digits(train=False)
    sampler = DistributedSampler(train, seed=args.seed)
    loader = DataLoader(train, args.batch_size // dist.get_world_size(), sampler=sampler)

    parts = {"model": model.module, "optimizer": optimizer, "scheduler": scheduler}
    checkpoints = CheckpointManager(args.checkpoint, parts, every=1)  # its steps are epochs here
    if args.resume:
        checkpoints.load()

    correct = accuracy(model, test)
    for epoch in range(checkpoints.step, args.epochs):
        sampler.set_epoch(epoch)
        loss = train_epoch(model, loader, optimizer, f"epoch {epoch + 1}")
        scheduler.step()
        correct = accuracy(model, test)
        if rank() == 0:
            print(
                f"epoch {epoch + 1:2}/{args.epochs}: loss {loss:.4f}, test accuracy {correct:.4f}"
            )
        checkpoints.advance()
    checkpoints.close()

    prints: list[str] = [""] * dist.get_world_size()
    dist.all_gather_object(prints, fingerprint(model.module))
    if rank() == 0:
        same = "equal on all ranks" if len(set(prints)) == 1 else f"RANKS DIFFER: {prints}"
        print(f"weights {prints[0]}, {same} (world size {dist.get_world_size()})")
        print(f"test accuracy {correct:.4f}")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
