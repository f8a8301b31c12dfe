"""Awkward models, each with its loss on one rank's share of a batch, for test_zoo.py.

A loss is called with the model (bare or wrapped), x: (rows, 8), y: (rows, 4), the step and the rank;
what is to be trained on is the mean of it over the ranks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import dtorch
from dtorch import nn
from dtorch.nn import functional as F
from dtorch.nn.utils import parametrizations
from dtorch.utils.checkpoint import checkpoint

Loss = Callable[[nn.Module, dtorch.Tensor, dtorch.Tensor, int, int], dtorch.Tensor]


def mse(m: nn.Module, x: dtorch.Tensor, y: dtorch.Tensor, step: int, rank: int) -> dtorch.Tensor:
    return F.mse_loss(m(x), y)


class Awkward(NamedTuple):
    """A model and how it is trained."""

    build: Callable[[], nn.Module]
    loss: Loss = mse
    whole: bool = True  # whether the loss of a batch is the mean of those of its shares
    dtype: dtorch.dtype = dtorch.float64
    tolerance: float = 1e-6  # of gradients, relative
    micro: int = 0  # batches that are only accumulated before each that is averaged
    clip: bool = False  # whether gradients are clipped before the step
    alone: Callable[[], nn.Module] | None = None  # the model of one process, if it is another


ZOO: dict[str, Awkward] = {}


def awkward(loss: Loss = mse, **options: Any) -> Callable[[Callable[[], nn.Module]], Any]:
    def register(build: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
        ZOO[build.__name__] = Awkward(build, loss, **options)
        return build

    return register


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 4))


ZOO["plain"] = Awkward(mlp)
ZOO["float16"] = Awkward(mlp, dtype=dtorch.float16, tolerance=2e-2)
ZOO["bfloat16"] = Awkward(mlp, dtype=dtorch.bfloat16, tolerance=2e-1)
ZOO["accumulated"] = Awkward(mlp, micro=2)
ZOO["clipped"] = Awkward(mlp, clip=True)


@awkward()
class tied_weights(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.into, self.out = nn.Linear(8, 8), nn.Linear(8, 8)
        self.out.weight = self.into.weight
        self.last = nn.Linear(8, 4)

    def forward(self, x):
        return self.last(self.out(self.into(x).tanh()))


@awkward()
class one_layer_many_times(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.again, self.last = nn.Linear(8, 8), nn.Linear(8, 4)

    def forward(self, x):
        for _ in range(3):
            x = self.again(x).tanh()
        return self.last(x)


@awkward()
class unused_head(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.trunk, self.head, self.other = nn.Linear(8, 8), nn.Linear(8, 4), nn.Linear(8, 3)

    def forward(self, x):
        x = self.trunk(x)
        return self.head(x)


class Branches(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Linear(8, 8)
        self.branches = nn.ModuleList(nn.Linear(8, 4) for _ in range(5))

    def forward(self, x, i):
        return self.branches[i](self.trunk(x).tanh())


@awkward(lambda m, x, y, step, rank: F.mse_loss(m(x, (step + rank) % 5), y), whole=False)
class a_branch_for_each_rank(Branches):
    pass


@awkward(lambda m, x, y, step, rank: F.mse_loss(m(x, step // 5), y))
class parameters_that_appear_late(Branches):
    pass


@awkward(lambda m, x, y, step, rank: F.mse_loss(m(x, int(rank == 0)), y), whole=False)
class a_branch_of_one_rank(Branches):
    pass


@awkward()
def frozen_layers() -> nn.Module:
    m = nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 4))
    m[2].requires_grad_(False)
    return m


def freezing(m, x, y, step, rank):
    if step == 7:
        for p in list(m.parameters())[:2]:
            p.requires_grad_(False)
    return mse(m, x, y, step, rank)


@awkward(freezing)
def frozen_on_the_way() -> nn.Module:
    return mlp()


class Recurrent(nn.Module):
    def __init__(self, kind: type[nn.Module], **options: Any) -> None:
        super().__init__()
        self.rnn = kind(2, 5, batch_first=True, **options)
        self.last = nn.Linear(10 if options.get("bidirectional") else 5, 4)

    def forward(self, x):
        return self.last(self.rnn(x.reshape(-1, 4, 2))[0][:, -1])


@awkward()
def lstm() -> nn.Module:
    return Recurrent(nn.LSTM, num_layers=2)


@awkward()
def gru_both_ways() -> nn.Module:
    return Recurrent(nn.GRU, bidirectional=True)


class Checkpointed(nn.Module):
    def __init__(self, reentrant: bool) -> None:
        super().__init__()
        self.first, self.middle, self.last = nn.Linear(8, 8), mlp(), nn.Linear(4, 4)
        self.reentrant = reentrant

    def forward(self, x):
        return self.last(checkpoint(self.middle, self.first(x), use_reentrant=self.reentrant))


@awkward()
def checkpointed() -> nn.Module:
    return Checkpointed(False)


@awkward()
def checkpointed_by_a_backward_in_backward() -> nn.Module:
    return Checkpointed(True)


def penalty(m, x, y, step, rank):
    x = x.clone().requires_grad_()
    out = m(x)
    (slope,) = dtorch.autograd.grad(out.sum(), x, create_graph=True)
    return F.mse_loss(out, y) + 0.1 * slope.square().mean()


@awkward(penalty)
def double_backward_penalty() -> nn.Module:
    return mlp()


@awkward(whole=False)
def batch_norm() -> nn.Module:
    return nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 4))


@awkward(alone=batch_norm)
def sync_batch_norm() -> nn.Module:
    return nn.SyncBatchNorm.convert_sync_batchnorm(batch_norm())


def twins(m, x, y, step, rank):
    return (m(x) - m(x.flip(1))).square().mean() + F.mse_loss(m(x * 2), y)


@awkward(twins)
def several_forwards_per_backward() -> nn.Module:
    return mlp()


@awkward()
class transformer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
        self.last = nn.Linear(8, 4)

    def forward(self, x):
        return self.last(self.layer(x.reshape(-1, 1, 8) * dtorch.arange(3).view(3, 1)).mean(1))


@awkward()
def convolution() -> nn.Module:
    return nn.Sequential(
        nn.Unflatten(1, (2, 4)), nn.Conv1d(2, 4, 3, padding=1), nn.GroupNorm(2, 4), nn.ReLU(),
        nn.Flatten(), nn.Linear(16, 4),
    )  # fmt: skip


@awkward()
def parametrized() -> nn.Module:
    m = mlp()
    parametrizations.weight_norm(m[0])
    parametrizations.orthogonal(m[2])
    return m


@awkward(lambda m, x, y, step, rank: F.mse_loss(m(x)["out"][0], y))
class nested_outputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = mlp()

    def forward(self, x):
        return {"out": (self.inner(x), "text", None), "rows": len(x)}


@awkward()
class numbers_and_nothing(nn.Module):
    """A 0-d, an empty and a complex parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = mlp()
        self.scale = nn.Parameter(dtorch.tensor(2.0))
        self.nothing = nn.Parameter(dtorch.zeros(0, 3))
        self.turn = nn.Parameter(dtorch.ones(4, dtype=dtorch.complex128) * 1j)

    def forward(self, x):
        return (self.inner(x) * self.turn).imag * self.scale + self.nothing.sum()


class Square(dtorch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return 2 * x * g


@awkward()
class a_function_of_ones_own(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(8, 8), nn.Linear(8, 4)

    def forward(self, x):
        return self.last(Square.apply(self.first(x)))


@awkward(lambda m, x, y, step, rank: F.mse_loss(m((x * 4).long() % 7), y))
def embedding_with_padding() -> nn.Module:
    return nn.Sequential(nn.Embedding(7, 3, padding_idx=0), nn.Flatten(), nn.Linear(24, 4))
