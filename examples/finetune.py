"""Fine-tune a published model: its file is loaded, its head replaced, the rest kept as it is.

    python examples/finetune.py --weights resnet18-f37072fd.pth

The file is one of torchvision's (https://download.pytorch.org/models/), as it was published:
dtorch reads PyTorch's format, and dtorch.vision's models have torchvision's names of weights.
Without --weights the features are random ones, which is what to compare with.
"""

import argparse
from pathlib import Path

import dtorch
from dtorch import nn
from dtorch.utils.data import DataLoader, TensorDataset
from dtorch.vision import models
from dtorch.vision.datasets import Digits

MEAN, STD = 0.45, 0.225  # what the published weights expect of pixels, about


def as_photos(digits: Digits, size: int):
    """Grey 8 x 8 images as normalized (N, 3, size, size), with their labels."""
    images, labels = next(iter(DataLoader(digits, len(digits))))
    large = nn.functional.interpolate(images, size=size, mode="bilinear")
    return ((large - MEAN) / STD).expand(-1, 3, -1, -1), labels


@dtorch.no_grad()
def features_of(model: nn.Module, images, batch_size: int = 64):
    """What the head will see, (N, features): the rest of the model is frozen, so once is enough."""
    model.eval()  # batch norm uses its published statistics
    return dtorch.cat([model(batch) for batch in images.split(batch_size)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--weights", type=Path, help="a published file for resnet18")
    parser.add_argument("--images", type=int, default=1000, help="how many to learn from")
    parser.add_argument("--size", type=int, default=64, help="of an image, in pixels")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--out", type=Path, help="where to save the new model's state_dict")
    args = parser.parse_args()
    dtorch.manual_seed(0)
    model = models.resnet18()
    if args.weights:
        state = dtorch.load(args.weights)  # weights only: no code in a file is run
        model.load_state_dict(state)  # strict: a name or a shape that differs is an error
        print(f"loaded {len(state)} tensors from {args.weights.name}")
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    head = nn.Linear(model.fc.in_features, 10)
    model.fc = nn.Identity()

    images, labels = as_photos(Digits(train=True), args.size)
    known = TensorDataset(features_of(model, images[: args.images]), labels[: args.images])
    optimizer = dtorch.optim.Adam(head.parameters(), lr=3e-3)
    for epoch in range(args.epochs):
        for x, y in DataLoader(known, 32, shuffle=True):
            loss = nn.functional.cross_entropy(head(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        if (epoch + 1) % 5 == 0:
            print(f"epoch {epoch + 1}/{args.epochs}: loss {loss.item():.4f}")

    images, labels = as_photos(Digits(train=False), args.size)
    with dtorch.no_grad():
        right = head(features_of(model, images)).argmax(1) == labels
    print(f"test accuracy {right.float().mean().item():.4f}")
    model.fc = head
    if args.out:
        dtorch.save(model.state_dict(), args.out)
        print(f"wrote {args.out}")


if __name__ == "__main__":
    main()
