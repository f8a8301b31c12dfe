"""A ResNet for small images (He et al., 2015): CIFAR-10, MNIST, or the digits that come along.

    python examples/resnet.py
    python examples/resnet.py --dataset cifar10 --data ~/data --blocks 3 --epochs 160
    dtorch-run --nproc-per-node 2 examples/resnet.py --dataset mnist --data ~/data

--blocks n makes the paper's ResNet of 6n + 2 layers: 3 is ResNet-20, which has 0.27 million
parameters.  CIFAR-10 and MNIST are read from --data in their published formats.
"""

import argparse

import dtorch
import dtorch.distributed as dist
import dtorch.nn.functional as F
from dtorch import nn
from dtorch.nn.parallel import DistributedDataParallel
from dtorch.optim.lr_scheduler import OneCycleLR
from dtorch.utils.data import DataLoader, DistributedSampler
from dtorch.vision import transforms as T
from dtorch.vision.datasets import CIFAR10, MNIST, Digits


class Block(nn.Module):
    """x + f(x); where the image halves, x is subsampled and padded with channels of zeros."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.stride, self.more = stride, outputs - inputs

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.stride > 1:
            x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.more))
        return F.relu(x + y)


def make_model(channels: int, blocks: int) -> nn.Module:
    layers = [nn.Conv2d(channels, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
    for inputs, outputs, stride in ((16, 16, 1), (16, 32, 2), (32, 64, 2)):
        layers.append(Block(inputs, outputs, stride))
        layers += [Block(outputs, outputs, 1) for _ in range(blocks - 1)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


def datasets(name: str, folder: str):
    """To learn from and to test with: images (channels, height, width) in 0 to 1, and labels."""
    if name == "digits":
        return Digits(train=True), Digits(train=False)
    kind = {"cifar10": CIFAR10, "mnist": MNIST}[name]
    augment = [T.RandomCrop(32, padding=4), T.RandomHorizontalFlip()] if name == "cifar10" else []
    return (
        kind(folder, train=True, transform=T.Compose([*augment, T.ToTensor()])),
        kind(folder, train=False, transform=T.ToTensor()),
    )


@dtorch.no_grad()
def accuracy(model, dataset) -> float:
    """Each rank looks at every n-th batch."""
    model.eval()
    right = dtorch.zeros(())
    for i, (images, labels) in enumerate(DataLoader(dataset, 256)):
        if i % dist.get_world_size() == dist.get_rank():
            right += (model(images).argmax(1) == labels).sum()
    dist.all_reduce(right)
    return right.item() / len(dataset)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--dataset", choices=["digits", "mnist", "cifar10"], default="digits")
    parser.add_argument("--data", default="data", help="the folder of the published files")
    parser.add_argument("--blocks", type=int, default=1, help="6n + 2 layers")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch-size", type=int, default=128, help="of all ranks together")
    parser.add_argument("--lr", type=float, default=0.2)
    args = parser.parse_args()
    dist.init_process_group()
    rank, world = dist.get_rank(), dist.get_world_size()
    dtorch.manual_seed(0)
    train, test = datasets(args.dataset, args.data)
    net = make_model(len(train[0][0]), args.blocks)
    model = DistributedDataParallel(net)
    sampler = DistributedSampler(train)
    loader = DataLoader(train, args.batch_size // world, sampler=sampler)
    optimizer = dtorch.optim.SGD(
        model.parameters(), lr=args.lr, momentum=0.9, weight_decay=1e-4, nesterov=True
    )
    scheduler = OneCycleLR(optimizer, args.lr, total_steps=args.epochs * len(loader))
    if rank == 0:
        print(f"{6 * args.blocks + 2} layers, {sum(p.numel() for p in net.parameters())} numbers")
    for epoch in range(args.epochs):
        sampler.set_epoch(epoch)
        model.train()
        for images, labels in loader:
            loss = F.cross_entropy(model(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()
        right = accuracy(net, test)
        if rank == 0:
            print(f"epoch {epoch + 1}/{args.epochs}: loss {loss.item():.4f}, accuracy {right:.4f}")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
