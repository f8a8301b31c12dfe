"""A small GPT learns to write Python's own reference manual, character by character.

    python examples/char_gpt.py --steps 300
    dtorch-run --nproc-per-node 2 examples/char_gpt.py

The text is pydoc_data.topics, which comes with Python: no download.
"""

import argparse
import math
import time
from pydoc_data.topics import topics

import dtorch
import dtorch.distributed as dist
from dtorch import nn
from dtorch.nn import functional as F
from dtorch.nn.parallel import DistributedDataParallel


class Block(nn.Module):
    """Pre-norm transformer block: causal self-attention, then an MLP.  x: (B, T, C) -> the same."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, x):
        B, T, C = x.shape
        # q, k, v: (B, heads, T, C / heads)
        q, k, v = (
            part.view(B, T, self.heads, C // self.heads).transpose(1, 2)
            for part in self.qkv(self.norm1(x)).split(C, dim=2)
        )
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(y.transpose(1, 2).reshape(B, T, C))
        return x + self.mlp(self.norm2(x))


class GPT(nn.Module):
    """Characters so far in, scores of the next one out.  (B, T) int64 -> (B, T, vocabulary)"""

    def __init__(self, vocabulary: int, context: int, width: int, heads: int, layers: int) -> None:
        super().__init__()
        self.token = nn.Embedding(vocabulary, width)
        self.position = nn.Embedding(context, width)
        self.blocks = nn.Sequential(*[Block(width, heads) for _ in range(layers)])
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, vocabulary, bias=False)
        for m in self.modules():
            if isinstance(m, nn.Embedding):
                nn.init.normal_(m.weight, std=0.02)

    def forward(self, tokens):
        x = self.token(tokens) + self.position(dtorch.arange(tokens.shape[1]))
        return self.head(self.norm(self.blocks(x)))


def batch(data, size: int, context: int):
    """`size` random pieces of the text, and the same one character on.  each: (size, context)"""
    starts = dtorch.randint(0, len(data) - context, (size,)).tolist()
    x = dtorch.stack([data[i : i + context] for i in starts])
    y = dtorch.stack([data[i + 1 : i + context + 1] for i in starts])
    return x, y


@dtorch.no_grad()
def write(model, start, length: int, context: int):
    """`length` more characters, drawn one by one.  start: (1, n) int64"""
    tokens = start
    for _ in range(length):
        scores = model(tokens[:, -context:])[:, -1]
        tokens = dtorch.cat([tokens, dtorch.multinomial(scores.softmax(-1), 1)], dim=1)
    return tokens


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--batch-size", type=int, default=32, help="of all ranks together")
    parser.add_argument("--context", type=int, default=64)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--layers", type=int, default=3)
    parser.add_argument("--lr", type=float, default=1.5e-3)
    parser.add_argument("--sample", type=int, default=200, help="characters to write at the end")
    args = parser.parse_args()

    dist.init_process_group()
    rank, world = dist.get_rank(), dist.get_world_size()
    text = "\n".join(topics[key] for key in sorted(topics))
    letters = sorted(set(text))
    number = {c: i for i, c in enumerate(letters)}
    data = dtorch.tensor([number[c] for c in text])
    if rank == 0:
        print(
            f"{len(text)} characters, {len(letters)} different: ln = {math.log(len(letters)):.3f}"
        )

    dtorch.manual_seed(0)
    model = DistributedDataParallel(GPT(len(letters), args.context, args.width, 4, args.layers))
    optimizer = dtorch.optim.AdamW(model.parameters(), lr=args.lr, betas=(0.9, 0.95))
    dtorch.manual_seed(1 + rank)  # each rank reads other pieces

    began = time.perf_counter()
    recent: list[float] = []
    for step in range(1, args.steps + 1):
        for group in optimizer.param_groups:  # warm up, then decay to a tenth along a cosine
            cosine = 0.55 + 0.45 * math.cos(math.pi * step / args.steps)
            group["lr"] = args.lr * min(step / 20, cosine)
        x, y = batch(data, args.batch_size // world, args.context)
        loss = F.cross_entropy(model(x).flatten(0, 1), y.flatten())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        recent = [*recent[-19:], loss.item()]
        if rank == 0 and (step == 1 or step % 20 == 0):
            each = (time.perf_counter() - began) / step
            mean = sum(recent) / len(recent)
            last = f"mean of the last {len(recent)}"
            print(f"step {step:4}: loss {mean:.3f} ({last}), {each * 1e3:.0f} ms a step")
    if rank == 0 and args.sample:
        start = dtorch.tensor([[number["\n"]]])
        written = write(model.module, start, args.sample, args.context)
        print("".join(letters[i] for i in written[0].tolist()))
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
