"""Code for GPUs, run where there is none: over a stand-in for CuPy, with two devices.

In float64, mostly: dtorch's own kernels, which are for other dtypes, are tests/null/test_cuda_kernels'.
"""

from __future__ import annotations

import contextlib
import copy
from typing import Any

import numpy as np
import pytest

import dtorch
import dtorch.nn.functional as F
from dtorch import nn
from dtorch.parallel.world import run_local
from tests.fakes import gpus
from tests.null.test_ops import convert, flat, function, plain
from tests.samples import Sample, all_samples

# What CuPy has not, and what dtorch refuses on a GPU, saying so.
MISSING = {"linalg.ldl_factor", "linalg.ldl_factor_ex", "linalg.ldl_solve", "special.airy_ai"}
LEAST_SQUARES = {"linalg.lstsq"}  # by another driver than on the CPU
SAMPLES = [
    pytest.param(name, s, id=f"{name}-{i}")
    for name, samples in all_samples().items()
    for i, s in enumerate(samples)
    if s.reference and name not in MISSING | LEAST_SQUARES
]


@pytest.fixture(scope="module", autouse=True)
def cupy():
    with gpus(2) as module:
        yield module


def placed(x: Any, device: str, leaves: list[Any]) -> Any:
    """Tensors at any depth as leaves on a device."""
    if isinstance(x, dtorch.Tensor):
        there = x.detach().to(device).requires_grad_(x.requires_grad)
        if there.requires_grad:
            leaves.append(there)
        return there
    if type(x) in (list, tuple):
        return type(x)(placed(y, device, leaves) for y in x)
    if isinstance(x, dict):
        return {k: placed(y, device, leaves) for k, y in x.items()}
    return x


def results(name: str, sample: Sample, device: str) -> tuple[list[Any], list[Any]]:
    """The outputs of a call, and the gradients of their sum."""
    leaves: list[Any] = []
    dtorch.manual_seed(0)
    given = convert(dtorch, (sample.args, sample.kwargs), "float64", plain, [])
    args, kwargs = placed(given, device, leaves)
    out = [x for x in flat(function(dtorch, name)(*args, **kwargs)) if isinstance(x, dtorch.Tensor)]
    out = [x.to_dense() if "sparse" in str(x.layout) else x for x in out]
    if leaves:
        assert all(x.device == leaves[0].device for x in out)
    summed = [x for x in out if x.requires_grad] if sample.grad else []
    grads: list[Any] = []
    if summed:
        total = sum(x.abs().sum() if x.is_complex() else x.sum() for x in summed)
        grads = [g for g in dtorch.autograd.grad(total, leaves, allow_unused=True) if g is not None]
    return out, [g.to_dense() if "sparse" in str(g.layout) else g for g in grads]


@pytest.mark.parametrize(("name", "sample"), SAMPLES)
def test_ops_compute_what_the_cpu_does(name, sample):
    for here, there in zip(results(name, sample, "cpu"), results(name, sample, "cuda")):
        assert len(here) == len(there)
        for a, b in zip(here, there):
            np.testing.assert_allclose(
                b.detach().resolve_conj().cpu().numpy(), a.detach().resolve_conj().numpy(),
                rtol=1e-6, atol=1e-8,
            )  # fmt: skip


def network() -> Any:
    dtorch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(64, 10),
    ).double()  # fmt: skip


@pytest.mark.parametrize("optimizer", ["SGD", "Adam", "AdamW", "RMSprop"])
def test_training_on_a_gpu_that_is_not_the_current_one(optimizer):
    x, y, losses = dtorch.randn(5, 1, 8, 8).double(), dtorch.arange(5), []
    for device in ("cpu", "cuda:1"):
        model = copy.deepcopy(network().to(device))
        steps = getattr(dtorch.optim, optimizer)(model.parameters(), lr=1e-2)
        for _ in range(3):
            steps.zero_grad()
            loss = F.cross_entropy(model(x.to(device)), y.to(device))
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            steps.step()
        assert all(p.grad.device == p.device == dtorch.device(device) for p in model.parameters())
        losses.append(loss.item())
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_a_step_does_not_make_the_host_wait(cupy):
    x, y = dtorch.randn(5, 1, 8, 8).double().cuda(), dtorch.arange(5).cuda()
    model = network().cuda()
    optimizer = dtorch.optim.SGD(model.parameters(), lr=1e-2, momentum=0.9)
    for _ in range(2):
        cupy.cuda.waited.clear()
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
    assert not cupy.cuda.waited


def test_data_parallel_over_two_gpus():
    dtorch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)).double()
    x = dtorch.randn(6, 4, dtype=dtorch.float64)
    model(x).pow(2).sum().backward()
    expected = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    model.cuda()
    nn.DataParallel(model, device_ids=[0, 1])(x.cuda()).pow(2).sum().backward()
    for p, g in zip(model.parameters(), expected):
        dtorch.testing.assert_close(p.grad.cpu(), g)


def test_ddp_with_a_gpu_each():
    x = dtorch.randn(6, 4, dtype=dtorch.float64)
    alone = nn.Linear(4, 3).double()
    alone(x).pow(2).mean().backward()

    def rank():
        me = dtorch.distributed.get_rank()
        dtorch.cuda.set_device(me)
        model = nn.parallel.DistributedDataParallel(copy.deepcopy(alone).cuda(), device_ids=[me])
        model.zero_grad()
        model(x[me::2].cuda()).pow(2).mean().backward()
        return [(str(p.grad.device), p.grad.cpu()) for p in model.parameters()]

    for me, grads in enumerate(run_local(rank, 2)):
        for (device, g), p in zip(grads, alone.parameters()):
            assert device == f"cuda:{me}"
            dtorch.testing.assert_close(g, p.grad)


@pytest.mark.parametrize(
    "call",
    [
        lambda i: F.embedding(i, dtorch.ones(4, 2, device="cuda").double()),
        lambda i: F.cross_entropy(dtorch.ones(2, 4, device="cuda").double(), i),
        lambda i: dtorch.ones(4, device="cuda").gather(0, i),
        lambda i: dtorch.ones(4, device="cuda").take(i),
    ],
)
def test_an_index_that_is_too_far_is_told_of_at_the_next_wait(call):
    one, index = dtorch.ones(1, device="cuda"), dtorch.tensor([1, 4], device="cuda")
    with contextlib.suppress(IndexError):  # NumPy's, where CuPy would wrap around
        call(index)
    with pytest.raises(IndexError, match="1 indices or targets were out of range in .* on the GPU"):
        one.item()
    assert one.item() == 1  # it is said once


def test_amp():
    model = nn.Linear(4, 2).cuda()
    optimizer = dtorch.optim.SGD(model.parameters(), lr=0.1)
    scaler = dtorch.amp.GradScaler("cuda", init_scale=8.0)
    before = model.weight.detach().cpu().clone()
    with dtorch.autocast("cuda", dtype=dtorch.float16):
        y = model(dtorch.ones(3, 4, device="cuda"))
    assert y.dtype is dtorch.float16
    scaler.scale(y.float().sum()).backward()
    scaler.step(optimizer)
    scaler.update()
    dtorch.testing.assert_close(model.weight.detach().cpu(), before - 0.1 * 3)


def test_writes_on_another_gpu():
    x = dtorch.zeros(3, 4, device="cuda:1")
    x[1] = 5
    x[:, 0] += 1
    x.add_(1)
    x[x > 6] = 0
    x.index_add_(0, dtorch.tensor([0, 2], device="cuda:1"), dtorch.ones(2, 4, device="cuda:1"))
    x.copy_(x.clone())
    expected = [[3, 2, 2, 2], [0, 6, 6, 6], [3, 2, 2, 2]]
    assert x.tolist() == expected
    assert x[dtorch.tensor([0])].tolist() == expected[:1]  # an index may be on the CPU
    assert copy.deepcopy(x).device == x.to("cuda:0").to("cuda:1").device == x.device


@pytest.mark.parametrize(
    "call",
    [
        lambda: dtorch.ones(2, device="cuda") + dtorch.ones(2),
        lambda: dtorch.ones(2, device="cuda") + dtorch.ones(2, device="cuda:1"),
        lambda: dtorch.ones(2, device="cuda").add_(dtorch.ones(2)),
        lambda: dtorch.ones(2, 2, device="cuda") @ dtorch.ones(2, 2),
        lambda: nn.Linear(2, 2).cuda()(dtorch.ones(1, 2)),
        lambda: dtorch.cat([dtorch.ones(2), dtorch.ones(2, device="cuda")]),
        lambda: F.embedding(dtorch.tensor([0]), dtorch.ones(3, 2, device="cuda")),
        lambda: dtorch.ones(3).gather(0, dtorch.tensor([0], device="cuda")),
        lambda: dtorch.ones(3)[dtorch.tensor([0], device="cuda")],
    ],
)
def test_devices_are_not_mixed(call):
    with pytest.raises(RuntimeError, match="same device"):
        call()
