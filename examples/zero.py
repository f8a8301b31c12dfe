"""An optimizer whose state is spread over the ranks (ZeRO-1), and goes on at another number of ranks.

    dtorch-run --nproc-per-node 2 examples/zero.py --epochs 2
    dtorch-run --nproc-per-node 3 examples/zero.py --epochs 4 --resume

Each rank keeps Adam's two averages for its share of the parameters only; the checkpoint has every
share once, by the name of the parameter, so that any number of ranks finds its own.
"""

import argparse
from pathlib import Path

import dtorch
import dtorch.distributed as dist
import dtorch.distributed.checkpoint as dcp
from dtorch import nn
from dtorch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict
from dtorch.distributed.optim import ZeroRedundancyOptimizer
from dtorch.nn.parallel import DistributedDataParallel
from dtorch.utils.data import DataLoader, DistributedSampler
from dtorch.vision.datasets import Digits

parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
parser.add_argument("--epochs", type=int, default=4)
parser.add_argument("--checkpoint", type=Path, default=Path("runs/zero"))
parser.add_argument("--resume", action="store_true", help="go on from the checkpoint")
options = parser.parse_args()

dist.init_process_group()
rank, world = dist.get_rank(), dist.get_world_size()
dtorch.manual_seed(0)
layers = [nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 128)]
net = nn.Sequential(nn.Flatten(), *layers, nn.ReLU(), nn.Linear(128, 10))
model = DistributedDataParallel(net)
optimizer = ZeroRedundancyOptimizer(model.parameters(), dtorch.optim.Adam, lr=2e-3)
done = 0  # epochs
if options.resume:
    # What to load is said by example: this rank's part of the state, whatever the last job's was.
    model_state, optim_state = get_state_dict(model, optimizer)
    saved = {"model": model_state, "optim": optim_state, "epoch": 0}
    dcp.load(saved, checkpoint_id=options.checkpoint)
    set_state_dict(model, optimizer, model_state_dict=model_state, optim_state_dict=saved["optim"])
    done = saved["epoch"]

data = Digits(train=True)
sampler = DistributedSampler(data)
for epoch in range(done, options.epochs):
    sampler.set_epoch(epoch)
    for images, labels in DataLoader(data, batch_size=48 // world, sampler=sampler):
        loss = nn.functional.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model_state, optim_state = get_state_dict(model, optimizer)
    dcp.save(
        {"model": model_state, "optim": optim_state, "epoch": epoch + 1},
        checkpoint_id=options.checkpoint,
    )
    if rank == 0:
        print(f"epoch {epoch + 1}: loss {loss.item():.4f}")

held = sum(t.nbytes for state in optimizer.optim.state.values() for t in state.values())
print(f"rank {rank} of {world} keeps {held / 1024:.1f} KiB of the optimizer's state")
if rank == 0:
    test = Digits(train=False)
    with dtorch.no_grad():
        images, labels = next(iter(DataLoader(test, batch_size=len(test))))
        print(f"test accuracy {(net(images).argmax(1) == labels).float().mean().item():.4f}")
dist.destroy_process_group()
