"""Ranks that talk once in 20 steps: DiLoCo, for machines with a slow network between them.

    dtorch-run --nproc-per-node 2 examples/diloco.py

Each rank trains its own copy with Adam.  Every 20 steps the ranks average how far they have come, and
take one outer step of SGD with Nesterov momentum from where they began; a twentieth of what
averaging gradients would send.
"""

import argparse

import dtorch
import dtorch.distributed as dist
from dtorch import nn
from dtorch.distributed.algorithms.model_averaging.averagers import DiLoCo
from dtorch.distributed.optim import PostLocalSGDOptimizer
from dtorch.utils.data import DataLoader, DistributedSampler
from dtorch.vision.datasets import Digits

parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
parser.add_argument("--epochs", type=int, default=10)
parser.add_argument("--period", type=int, default=20, help="inner steps to one outer step")
options = parser.parse_args()

dist.init_process_group()
rank = dist.get_rank()
# No DistributedDataParallel: gradients stay where they are.
model = nn.Sequential(nn.Flatten(), nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))
outer = DiLoCo(model.parameters(), options.period)  # all ranks begin with rank 0's parameters
inner = dtorch.optim.Adam(model.parameters(), lr=2e-3)
optimizer = PostLocalSGDOptimizer(inner, outer)

data = Digits(train=True)
sampler = DistributedSampler(data)
for epoch in range(options.epochs):
    sampler.set_epoch(epoch)
    for images, labels in DataLoader(data, batch_size=16, sampler=sampler):
        loss = nn.functional.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()  # and every 20th time, the outer step

# The model is where the last outer step has led to; what ranks did since then is their own.
for p, start in zip(model.parameters(), outer.start):
    p.data.copy_(start)
if rank == 0:
    test = Digits(train=False)
    with dtorch.no_grad():
        images, labels = next(iter(DataLoader(test, batch_size=len(test))))
        accuracy = (model(images).argmax(1) == labels).float().mean().item()
    print(f"{outer.step} steps, {outer.step // options.period} exchanges")
    print(f"test accuracy {accuracy:.4f}")
dist.destroy_process_group()
