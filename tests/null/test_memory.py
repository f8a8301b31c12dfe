"""Graphs are freed by reference counts alone, and many backward passes leave nothing behind."""

import gc
import os
import tracemalloc
import weakref
from contextlib import contextmanager

import pytest

import dtorch
from dtorch import nn

PASSES = int(os.environ.get("DTORCH_PASSES", "300"))


@contextmanager
def without_cyclic_gc():
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def step(model, x):
    """One pass over views, in-place writes, hooks, functions of several outputs, and a custom one."""
    h = model(x)
    h.register_hook(lambda g: g * 0.5)
    h.retain_grad()
    first, second = h.chunk(2, 1)
    written = first.clone()
    written[:, 0] = second[:, 1]
    written.t()[1].mul_(2).add_(second.sum(1))
    values, _ = written.sort(1)
    rows = values.unbind(0)
    largest, _ = dtorch.stack(rows).max(1)
    loss = Square.apply(largest).mean() + written.view(-1).exp_().mean()
    loss.backward()
    return loss


class Square(dtorch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return 2 * g * x


def mlp():
    dtorch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.BatchNorm1d(8), nn.Linear(8, 8))


def resident():
    with open("/proc/self/statm") as f:
        return int(f.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.timeout(1200)
def test_many_backward_passes_leave_nothing():
    model, x = mlp(), dtorch.randn(4, 6)
    for _ in range(100):
        step(model, x)
    with without_cyclic_gc():
        for i in range(PASSES):
            if i == PASSES // 2:  # Python's lists of freed tuples are full by then
                before = resident()
            step(model, x)
        assert resident() - before < 2**20
        assert gc.collect() == 0, "objects that refer to each other"
        tracemalloc.start()
        try:
            used = []
            for _ in range(3):
                for _ in range(30):
                    step(model, x)
                used.append(_traced())
            assert used[2] - used[1] < 30 * 200, used  # NumPy and Python keep a few small blocks
        finally:
            tracemalloc.stop()
        assert len(dtorch.core.graph.writes.log) < 100


def _traced():
    gc.collect()  # empties Python's lists of freed tuples
    return tracemalloc.get_traced_memory()[0]


SCENES = {
    "chain": lambda x: (x * 2).tanh().exp().sum(),
    "view": lambda x: x.view(-1)[1:].reshape(1, -1).sum(),
    "written view": lambda x: _written(x).sum(),
    "several outputs": lambda x: sum(p.sum() for p in x.split(1)) + x.max(1)[0].sum(),
    "custom": lambda x: Square.apply(x).sum(),
    "hooked": lambda x: _hooked(x).sum(),
    "matmul": lambda x: (x @ x.mT).softmax(0).sum(),
    "recurrent": lambda x: nn.LSTM(3, 2)(x)[0].sum(),
    "attention": lambda x: nn.functional.scaled_dot_product_attention(x, x, x).sum(),
    "convolution": lambda x: nn.Conv1d(1, 2, 2)(x[:, None]).sum(),
}


def _written(x):
    y = x.clone()
    y[0].mul_(2)
    y.diagonal().add_(1)
    return y


def _hooked(x):
    y = x * 2
    y.retain_grad()
    y.register_hook(lambda g: g + 1)
    y.grad_fn.register_hook(lambda inputs, outputs: None)
    return y


@pytest.mark.parametrize("after", ["backward", "nothing", "create_graph", "error"])
@pytest.mark.parametrize("name", SCENES)
def test_a_graph_is_freed_by_its_last_reference(name, after):
    with without_cyclic_gc():
        x = dtorch.randn(3, 3, requires_grad=True)
        y = SCENES[name](x)
        node, array = weakref.ref(y.grad_fn), weakref.ref(y._a)
        if after == "backward":
            y.backward()
        elif after == "create_graph":
            (g,) = dtorch.autograd.grad(y, x, create_graph=True)
            g.sum().backward() if g.requires_grad else None
            del g
        elif after == "error":
            with pytest.raises(RuntimeError):
                y.backward(dtorch.ones(5))
        x.grad = None
        del y
        assert node() is None
        assert array() is None


def test_views_are_freed_before_their_base():
    with without_cyclic_gc():
        base = dtorch.randn(4, 4, requires_grad=True) * 1
        views = [weakref.ref(base[i % 4]) for i in range(200)]
        assert not any(v() is not None for v in views)
        assert len(base._views) < 70
        view = base[0]
        node = weakref.ref(view.grad_fn)
        base.mul_(2)
        assert node() is None
