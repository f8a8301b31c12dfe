"""Sentences of different lengths, in several batches a step, and still one exact mean over all tokens.

    python examples/uneven.py
    dtorch-run --nproc-per-node 2 examples/uneven.py

The losses are the same on any number of ranks.  Averaging each rank's mean would not do that: a rank
with few tokens would count as much as one with many.
"""

from pydoc_data.topics import topics

import dtorch
import dtorch.distributed as dist
from dtorch import nn
from dtorch.nn import functional as F
from dtorch.nn.parallel import DistributedDataParallel

PADDING, CONTEXT = 0, 64
BATCH, MICRO = 192, 8  # lines a step, of all ranks; batches that a rank cuts its part into

dist.init_process_group()
rank, world = dist.get_rank(), dist.get_world_size()

# Lines of Python's manual as bytes; each rank has every world-th of them.
lines = [line.encode()[:CONTEXT] for text in topics.values() for line in text.splitlines() if line]


class Model(nn.Module):
    """Bytes so far in, scores of the next one out.  (B, T) int64 -> (B, T, 256)"""

    def __init__(self):
        super().__init__()
        self.token = nn.Embedding(256, 32)
        self.rnn = nn.GRU(32, 64, batch_first=True)
        self.scores = nn.Linear(64, 256)

    def forward(self, x):
        return self.scores(self.rnn(self.token(x))[0])


dtorch.manual_seed(0)
model = DistributedDataParallel(Model())
optimizer = dtorch.optim.Adam(model.parameters(), lr=3e-3)

for step in range(10):
    mine = sorted(lines[step * BATCH : (step + 1) * BATCH][rank::world], key=len)
    optimizer.zero_grad()
    total = dtorch.zeros(2)  # sum of losses, number of tokens
    with model.accumulate(MICRO):  # averages over the ranks once, after the last of them
        for part in range(MICRO):
            rows = [dtorch.tensor(list(line)) for line in mine[part::MICRO]]
            text = nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=PADDING)
            target = text[:, 1:]
            tokens = (target != PADDING).sum()
            scores = model(text[:, :-1])
            loss = F.cross_entropy(scores.transpose(1, 2), target, ignore_index=PADDING)
            model.backward(loss, weight=tokens)  # the count travels with the gradients
            total += dtorch.stack([loss.detach() * tokens, tokens])
    optimizer.step()
    dist.all_reduce(total)
    if rank == 0:
        print(f"step {step}: loss {(total[0] / total[1]).item():.4f} of {int(total[1])} tokens")

dist.destroy_process_group()
