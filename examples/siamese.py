"""A siamese network: are two images of the same digit?  One network looks at both.

    python examples/siamese.py
    dtorch-run --nproc-per-node 2 examples/siamese.py

It learns distances, not classes (contrastive loss, Hadsell, Chopra, LeCun 2006): images of one digit
are drawn together, others are pushed apart until MARGIN lies between them.
"""

import argparse

import dtorch
import dtorch.distributed as dist
import dtorch.nn.functional as F
from dtorch import nn
from dtorch.nn.parallel import DistributedDataParallel
from dtorch.utils.data import DataLoader, Dataset, DistributedSampler
from dtorch.vision.datasets import Digits

MARGIN = 1.0


class Pairs(Dataset):
    """(image, image, whether they show the same digit), half of them the same."""

    def __init__(self, digits: Digits, seed: int = 0) -> None:
        self.digits = digits
        generator = dtorch.Generator().manual_seed(seed)
        by_digit = [dtorch.nonzero(digits.targets == d).flatten() for d in range(10)]
        self.partners = []
        for i, digit in enumerate(digits.targets.tolist()):
            if i % 2:  # a different digit
                digit = (digit + 1 + dtorch.randint(9, (), generator=generator).item()) % 10
            choice = dtorch.randint(len(by_digit[digit]), (), generator=generator).item()
            self.partners.append(by_digit[digit][choice].item())

    def __len__(self) -> int:
        return len(self.digits)

    def __getitem__(self, i: int):
        return self.digits[i][0], self.digits[self.partners[i]][0], float(i % 2 == 0)


class Siamese(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(16 * 4 * 4, 64), nn.ReLU(), nn.Linear(64, 16),
        )  # fmt: skip

    def forward(self, left, right):
        """Distances (N,) between the embeddings of images (N, 1, 8, 8)."""
        return F.pairwise_distance(self.embed(left), self.embed(right))


def contrastive(distance, same):
    apart = F.relu(MARGIN - distance)
    return (same * distance**2 + (1 - same) * apart**2).mean()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--lr", type=float, default=3e-3)
    args = parser.parse_args()
    dist.init_process_group()
    rank, world = dist.get_rank(), dist.get_world_size()
    dtorch.manual_seed(0)
    model = DistributedDataParallel(Siamese())
    optimizer = dtorch.optim.Adam(model.parameters(), lr=args.lr)
    digits = Digits(train=True)
    for epoch in range(args.epochs):
        pairs = Pairs(digits, seed=epoch)  # each epoch has other pairs, the same on all ranks
        sampler = DistributedSampler(pairs)
        sampler.set_epoch(epoch)
        for left, right, same in DataLoader(pairs, 64 // world, sampler=sampler):
            loss = contrastive(model(left, right), same.float())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        if rank == 0:
            print(f"epoch {epoch + 1}/{args.epochs}: loss {loss.item():.4f}")
    if rank == 0:
        test = Pairs(Digits(train=False))
        left, right, same = next(iter(DataLoader(test, len(test))))
        with dtorch.no_grad():
            near = model.module(left, right) < MARGIN / 2
        print(f"{(near == same.bool()).float().mean().item():.4f} of unseen pairs are told right")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
