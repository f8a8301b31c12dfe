"""Two networks against each other (DCGAN): one draws digits, the other tells them from real ones.

    python examples/dcgan.py --out dcgan.png

Losses of a GAN say little: each is measured by an opponent that changes.  So it also prints how far
the mean of the drawn images is from the mean of the real ones (0 to 1 a pixel).
"""

import argparse

import dtorch
import dtorch.nn.functional as F
from dtorch import nn
from dtorch.utils.data import DataLoader
from dtorch.vision.datasets import Digits

NOISE = 16  # numbers that an image is drawn from


def make_generator() -> nn.Module:
    """(N, NOISE, 1, 1) to images (N, 1, 8, 8), in 0 to 1."""
    return nn.Sequential(
        nn.ConvTranspose2d(NOISE, 64, 2, bias=False), nn.BatchNorm2d(64), nn.ReLU(),  # 2 x 2
        nn.ConvTranspose2d(64, 32, 4, 2, 1, bias=False), nn.BatchNorm2d(32), nn.ReLU(),  # 4 x 4
        nn.ConvTranspose2d(32, 1, 4, 2, 1), nn.Sigmoid(),  # 8 x 8
    )  # fmt: skip


def make_discriminator() -> nn.Module:
    """Images to (N, 1): how real they look, as a logit."""
    return nn.Sequential(
        nn.Conv2d(1, 32, 4, 2, 1), nn.LeakyReLU(0.2),  # 4 x 4
        nn.Conv2d(32, 64, 4, 2, 1, bias=False), nn.BatchNorm2d(64), nn.LeakyReLU(0.2),  # 2 x 2
        nn.Conv2d(64, 1, 2), nn.Flatten(),
    )  # fmt: skip


def init_weights(module: nn.Module) -> None:
    """As the paper has it: N(0, 0.02) for convolutions, N(1, 0.02) for normalizations."""
    if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)


def says(logits, real: bool):
    """The loss of a discriminator's word where the truth is `real`."""
    return F.binary_cross_entropy_with_logits(logits, dtorch.full_like(logits, float(real)))


@dtorch.no_grad()
def distance(generator, images) -> float:
    """The mean over pixels of |mean drawn image - mean real image|."""
    drawn = generator(dtorch.randn(512, NOISE, 1, 1))
    return (drawn.mean(0) - images.mean(0)).abs().mean().item()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--out", help="where to write a picture of 64 drawn digits")
    args = parser.parse_args()
    dtorch.manual_seed(0)
    generator, discriminator = make_generator().apply(init_weights), make_discriminator()
    discriminator.apply(init_weights)
    betas = (0.5, 0.999)
    optimizer_g = dtorch.optim.Adam(generator.parameters(), lr=args.lr, betas=betas)
    optimizer_d = dtorch.optim.Adam(discriminator.parameters(), lr=args.lr, betas=betas)

    data = Digits(train=True)
    everything = next(iter(DataLoader(data, len(data))))[0]
    print(f"untrained: the mean image is {distance(generator, everything):.3f} off")
    for epoch in range(args.epochs):
        for real, _ in DataLoader(data, 64, shuffle=True, drop_last=True):
            drawn = generator(dtorch.randn(len(real), NOISE, 1, 1))
            # The discriminator learns from images alone: detach() keeps the generator out of it.
            loss_d = says(discriminator(real), True) + says(discriminator(drawn.detach()), False)
            optimizer_d.zero_grad()
            loss_d.backward()
            optimizer_d.step()
            # The generator wants its images to pass for real ones.
            loss_g = says(discriminator(drawn), True)
            optimizer_g.zero_grad()
            loss_g.backward()
            optimizer_g.step()
        print(
            f"epoch {epoch + 1}/{args.epochs}: D {loss_d.item():.3f}, G {loss_g.item():.3f}, "
            f"the mean image is {distance(generator, everything):.3f} off"
        )
    if args.out:
        from dtorch.vision.utils import save_image  # needs pillow

        with dtorch.no_grad():
            save_image(generator(dtorch.randn(64, NOISE, 1, 1)), args.out, nrow=8)
        print(f"wrote {args.out}")


if __name__ == "__main__":
    main()
