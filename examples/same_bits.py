"""The same loss and weights, bit for bit, on any number of ranks, also after a stop between.

    python examples/same_bits.py
    dtorch-run --nproc-per-node 2 examples/same_bits.py
    mpirun -n 3 python examples/same_bits.py

all print the same.  With --checkpoint, a run that stopped (--steps) goes on (--resume), on as many
ranks as there are then.  docs/same-bits.md says how it is done.
"""

import argparse
import hashlib
from collections.abc import Callable
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

from char_gpt import GPT

import dtorch
import dtorch.distributed as dist
from dtorch import nn
from dtorch.nn.parallel import DistributedDataParallel
from dtorch.utils.data import DataLoader, Dataset, ShardSampler
from dtorch.vision.datasets import Digits

SHARDS, BATCH = 8, 64  # of a global batch: shards, and samples


class Moved(Dataset):
    """Digits, each moved by up to a pixel at random: what is drawn depends on the shard alone."""

    def __init__(self) -> None:
        self.digits = Digits(train=True)

    def __len__(self) -> int:
        return len(self.digits)

    def __getitem__(self, i: int) -> tuple[dtorch.Tensor, int]:
        image, label = self.digits[i]
        down, right = dtorch.randint(-1, 2, (2,)).tolist()
        return image.roll((down, right), (1, 2)), label


class Text(Dataset):
    """Pieces of Python's manual, and what follows each character.  each: (32,) int64"""

    def __init__(self) -> None:
        text = "\n".join(topics[key] for key in sorted(topics))[:65536]
        self.letters = sorted(set(text))
        number = {c: i for i, c in enumerate(self.letters)}
        self.data = dtorch.tensor([number[c] for c in text])

    def __len__(self) -> int:
        return len(self.data) // 32 - 1

    def __getitem__(self, i: int) -> tuple[dtorch.Tensor, dtorch.Tensor]:
        return self.data[32 * i : 32 * i + 32], self.data[32 * i + 1 : 32 * i + 33]


def mlp() -> tuple[nn.Module, Dataset]:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10)), Moved()


def cnn() -> tuple[nn.Module, Dataset]:
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Dropout(0.25), nn.Linear(16 * 4 * 4, 10),
    ), Moved()  # fmt: skip


def gpt() -> tuple[nn.Module, Dataset]:
    text = Text()
    return GPT(len(text.letters), context=32, width=48, heads=4, layers=2), text


MODELS: dict[str, Callable[[], tuple[nn.Module, Dataset]]] = {"mlp": mlp, "cnn": cnn, "gpt": gpt}


def train(name: str, steps: int, saved: dict[str, Any] | None = None) -> tuple[list[str], str, Any]:
    """Train a model to a number of steps, from the start or from a state that this returned.

    Returns the loss of each step, as a hexadecimal number, a hash of the model and the state.
    """
    dtorch.manual_seed(0)
    model, data = MODELS[name]()
    ddp = DistributedDataParallel(model, virtual_shards=SHARDS)
    optimizer = dtorch.optim.AdamW(ddp.parameters(), lr=2e-3)
    loader = DataLoader(data, batch_sampler=ShardSampler(data, BATCH, SHARDS))
    parts = {"model": ddp, "optimizer": optimizer, "data": loader}
    if saved is not None:
        for key, part in parts.items():
            part.load_state_dict(saved[key])

    told: list[str] = []
    while ddp.virtual_shards.step < steps:
        for shards in loader:
            losses = []
            optimizer.zero_grad()
            for x, y in ddp.shards(shards):
                loss = nn.functional.cross_entropy(ddp(x).flatten(0, -2), y.flatten())
                loss.backward()
                losses.append(loss)
            optimizer.step()
            told.append(ddp.mean(losses).item().hex())
            if ddp.virtual_shards.step == steps:
                break
    digest = hashlib.sha256()
    for tensor in model.state_dict().values():
        digest.update(tensor.numpy().tobytes())
    return told, digest.hexdigest()[:16], {key: part.state_dict() for key, part in parts.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", choices=MODELS, default="cnn")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--checkpoint", type=Path, help="save here at the end")
    parser.add_argument("--resume", type=Path, help="go on from a checkpoint")
    parser.add_argument("--backend", help="shm, mpi or local; the best that is there if not given")
    args = parser.parse_args()
    dist.init_process_group(args.backend)
    saved = dtorch.load(args.resume) if args.resume else None
    losses, weights, state = train(args.model, args.steps, saved)
    if dist.get_rank() == 0:
        for step, loss in enumerate(losses, args.steps - len(losses) + 1):
            print(f"step {step:3}: loss {loss} = {float.fromhex(loss):.4f}")
        print(f"weights {weights}")
        if args.checkpoint:
            dtorch.save(state, args.checkpoint)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
