"""Train a small CNN on handwritten digits, and paint where in them it looks.

    python examples/gradcam.py --out gradcam.png

The picture has a column for each of ten digits: the image, Grad-CAM, Grad-CAM++ and Score-CAM.
"""

import argparse

import dtorch
from dtorch import nn
from dtorch.utils.data import DataLoader
from dtorch.vision import transforms as T
from dtorch.vision.cam import GradCAM, GradCAMPlusPlus, ScoreCAM, overlay
from dtorch.vision.datasets import Digits
from dtorch.vision.utils import save_image


def train(epochs: int) -> nn.Module:
    """A model of images (N, 1, 8, 8), trained; prints its loss."""
    model = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(),
        nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(),  # the layer that is looked at, 8 x 8
        nn.AdaptiveMaxPool2d(2), nn.Flatten(), nn.Linear(128, 10),
    )  # fmt: skip
    optimizer = dtorch.optim.Adam(model.parameters(), lr=3e-3)
    for epoch in range(epochs):
        total = 0.0
        for images, labels in DataLoader(Digits(), batch_size=64, shuffle=True):
            loss = nn.functional.cross_entropy(model(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(images) / len(Digits())
        print(f"epoch {epoch + 1}/{epochs}: loss {total:.3f}")
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--out", default="gradcam.png")
    args = parser.parse_args()
    dtorch.manual_seed(0)
    model = train(args.epochs)
    test = Digits(train=False)
    first = [test.targets.tolist().index(digit) for digit in range(10)]
    images = dtorch.stack([test[i][0] for i in first])
    right = int((model(images).argmax(1) == dtorch.arange(10)).sum())
    print(f"{right} of the ten digits are recognized")

    large = T.Resize(64, T.InterpolationMode.NEAREST)
    tiles = [large(image).expand(3, -1, -1) for image in images]
    for method in (GradCAM, GradCAMPlusPlus, ScoreCAM):
        maps = method(model, model[3])(images)
        shown = [overlay(large(image), large(heat[None])[0]) for image, heat in zip(images, maps)]
        tiles += [T.functional.to_tensor(picture) for picture in shown]
    save_image(tiles, args.out, nrow=10)
    print(f"wrote {args.out}")


if __name__ == "__main__":
    main()
