"""A variational autoencoder of handwritten digits: images as draws from a few Gaussian numbers.

    python examples/vae.py --out vae.png
    dtorch-run --nproc-per-node 2 examples/vae.py

What it minimizes is the negative ELBO, in nats an image: how badly an image is foretold from its
code, plus what the code itself costs, KL(q(z|x) || N(0, 1)).  Beside it stands what the best model
without a code reaches, one that foretells the mean image for every image.
"""

import argparse

import dtorch
import dtorch.distributed as dist
import dtorch.nn.functional as F
from dtorch import nn
from dtorch.nn.parallel import DistributedDataParallel
from dtorch.utils.data import DataLoader, DistributedSampler
from dtorch.vision.datasets import Digits


class VAE(nn.Module):
    def __init__(self, pixels: int = 64, hidden: int = 128, code: int = 8) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Flatten(), nn.Linear(pixels, hidden), nn.ReLU(), nn.Linear(hidden, 2 * code)
        )
        self.decoder = nn.Sequential(nn.Linear(code, hidden), nn.ReLU(), nn.Linear(hidden, pixels))

    def forward(self, images):
        """The mean negative ELBO of images (N, 1, 8, 8), a number."""
        mean, log_var = self.encoder(images).chunk(2, dim=1)  # (N, code) each
        # z = mean + std * noise: the draw does not depend on the parameters, so gradients pass.
        z = mean + (log_var / 2).exp() * dtorch.randn_like(mean)
        logits = self.decoder(z)
        foretold = F.binary_cross_entropy_with_logits(logits, images.flatten(1), reduction="sum")
        kl = 0.5 * (mean**2 + log_var.exp() - 1 - log_var).sum()
        return (foretold + kl) / len(images)


def constant_model(train, test) -> float:
    """The negative ELBO on `test` of foretelling the mean image of `train`; there is no code."""
    mean = train.flatten(1).mean(0).expand(len(test), -1)
    return (F.binary_cross_entropy(mean, test.flatten(1), reduction="sum") / len(test)).item()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--out", help="where to write a picture of 64 drawn digits")
    args = parser.parse_args()
    dist.init_process_group()
    rank, world = dist.get_rank(), dist.get_world_size()
    dtorch.manual_seed(0)
    model = DistributedDataParallel(VAE())
    optimizer = dtorch.optim.Adam(model.parameters(), lr=args.lr)
    dtorch.manual_seed(1 + rank)  # each rank draws its own noise

    data = Digits(train=True)
    sampler = DistributedSampler(data)
    everything = [next(iter(DataLoader(d, len(d))))[0] for d in (data, Digits(train=False))]
    for epoch in range(args.epochs):
        sampler.set_epoch(epoch)
        for images, _ in DataLoader(data, 64 // world, sampler=sampler):
            loss = model(images)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        if rank == 0:
            with dtorch.no_grad():
                print(f"epoch {epoch + 1}/{args.epochs}: -ELBO {model.module(everything[1]):.2f}")
    if rank == 0:
        print(f"the mean image for all: -ELBO {constant_model(*everything):.2f}")
        if args.out:
            from dtorch.vision.utils import save_image  # needs pillow

            with dtorch.no_grad():
                drawn = model.module.decoder(dtorch.randn(64, 8)).sigmoid()
            save_image(drawn.view(64, 1, 8, 8), args.out, nrow=8)
            print(f"wrote {args.out}")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
