"""Our CUDA kernels, run on the CPU, against torch in double precision; and compiled by NVRTC."""

import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import dtorch
from dtorch.core import op as ops
from dtorch.core.backend import cuda_kernels
from dtorch.core.ops import cuda as table
from dtorch.core.ops.random import keep_mask
from dtorch.core.ops.windows import Geometry, out_size
from dtorch.core.random import Generator
from tests import cuda_emulator, nvrtc

F = torch.nn.functional
TOLERANCE = {"float32": 2e-5, "float16": 3e-3, "bfloat16": 2e-2}
TYPES = list(cuda_kernels.TYPES)


@pytest.fixture(scope="module")
def xp(tmp_path_factory):
    if shutil.which("g++") is None:
        pytest.skip("there is no g++ to compile the kernels for the CPU")
    xp = cuda_emulator.backend(tmp_path_factory.mktemp("kernels"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(table, "of", lambda *arrays: xp)
        yield xp


@pytest.fixture(params=TYPES, ids=str)
def dtype(request):
    return request.param


def values(*shape, dtype, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def exact(a, grad=True):
    return torch.tensor(a.astype("float64"), requires_grad=grad)


def close(got, want, dtype, name=""):
    want = want.detach().numpy()
    assert (got.dtype, got.shape) == (dtype, want.shape), name
    worst = np.abs(got.astype("float64") - want).max() / max(1.0, np.abs(want).max())
    assert worst < TOLERANCE[dtype.name], (name, worst)


def fused(name):
    return ops.REGISTRY[name].fused["cuda"]


def rule(name):
    return ops.REGISTRY[name].fast_rules["cuda"][0]


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_softmax(xp, dtype, name):
    x, g = values(7, 3, 301, dtype=dtype), values(7, 3, 301, dtype=dtype, seed=1)
    y = fused(f"_{name}")(xp, x, dim=2)
    t = exact(x)
    want = getattr(F, name)(t, -1)
    close(y, want, dtype)
    want.backward(exact(g))
    close(rule(f"_{name}")(g, y, None, 2), t.grad, dtype)
    assert fused(f"_{name}")(xp, x, dim=0) is None
    x[0, 0, 5] = np.nan
    assert np.isnan(fused(f"_{name}")(xp, x, dim=2)[0, 0]).all()


@pytest.mark.parametrize("name", ["gelu", "gelu_tanh", "silu"])
def test_activations(xp, dtype, name):
    x, g = values(5, 70, dtype=dtype) * 3, values(5, 70, dtype=dtype, seed=1)
    full = name if name == "silu" else f"_{name}"
    functions = {"gelu_tanh": lambda t: F.gelu(t, approximate="tanh")}
    t = exact(x)
    want = functions.get(name, getattr(F, name, None))(t)
    want.backward(exact(g))
    close(fused(full)(xp, x), want, dtype)
    close(rule(full)(g, None, x), t.grad, dtype)


def _geometry(kind, x):
    n, c = x.shape[:2]
    k = x[0].size
    return {
        "layer": {"view": (n, k), "dims": (1,), "affine": (1, k), "center": True},
        "rms": {"view": (n, k), "dims": (1,), "affine": (1, k), "center": False},
        "group": {
            "view": (n, 2, c // 2, k // c), "dims": (2, 3), "affine": (1, 2, c // 2, 1), "center": True
        },
        "instance": {"view": (n, c, k // c), "dims": (2,), "affine": (1, c, 1), "center": True},
        "batch": {"view": (n, c, k // c), "dims": (0, 2), "affine": (1, c, 1), "center": True},
    }[kind]  # fmt: skip


NORMS = {
    "layer": lambda x, w, b: F.layer_norm(x, x.shape[1:], w.view(x.shape[1:]), b.view(x.shape[1:])),
    "rms": lambda x, w, b: (
        F.rms_norm(x, x.shape[1:], w.view(x.shape[1:]), 1e-5) + b.view(x.shape[1:])
    ),
    "group": lambda x, w, b: F.group_norm(x, 2, w, b),
    "instance": lambda x, w, b: F.instance_norm(x, None, None, w, b),
    "batch": lambda x, w, b: F.batch_norm(x, None, None, w, b, True),
}


@pytest.mark.parametrize("kind", NORMS)
@pytest.mark.parametrize("weights", ["same", "float32", "none"])
def test_norms(xp, dtype, kind, weights):
    x, g = values(40, 6, 5, 3, dtype=dtype) + 1, values(40, 6, 5, 3, dtype=dtype, seed=1)
    p = _geometry(kind, x) | {"eps": 1e-5}
    w = b = None
    size, wtype = np.prod(p["affine"]), dtype if weights == "same" else np.dtype("float32")
    if weights != "none":
        w, b = (values(size, dtype=wtype, seed=s) for s in (2, 3))
    tx = exact(x)
    tw, tb = (exact(np.full(size, k, "float64") if a is None else a) for a, k in ((w, 1), (b, 0)))
    want = NORMS[kind](tx, tw, tb)
    want.backward(exact(g))
    y, mean, var = fused("_normalized")(xp, x, w, b, **p)
    close(y, want, dtype, "forward")
    needs = (True, w is not None, b is not None)
    grads = fused("_normalized_grad")(xp, g, x, w, b, mean, var, needs=needs, **p)
    close(grads[0], tx.grad, dtype, "x")
    if w is not None:
        assert grads[1].dtype == wtype
        close(grads[1].astype(dtype), tw.grad, dtype, "w")
        close(grads[2].astype(dtype), tb.grad, dtype, "b")


@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
def test_cross_entropy(xp, dtype, reduction):
    x, target = values(9, 113, dtype=dtype), np.arange(9) * 12
    target[3] = -100
    p = {"shape": (9, 113, 1), "ignore_index": -100, "reduction": reduction, "smoothing": 0.0}
    loss, lse = fused("_cross_entropy")(xp, x, target, None, **p)
    t = exact(x)
    want = F.cross_entropy(t, torch.tensor(target), reduction=reduction)
    close(np.asarray(loss), want, dtype)
    g = values(*want.shape, dtype=dtype, seed=1)
    want.backward(exact(np.asarray(g)))
    grad = fused("_cross_entropy_grad")(xp, np.asarray(g), x, lse, target, None, **p)
    close(grad, t.grad, dtype)
    assert xp.bad()[0] == 0
    target[5] = 113
    fused("_cross_entropy")(xp, x, target, None, **p)
    assert xp.bad()[0] == 1
    xp.bad()[0] = 0


@pytest.mark.parametrize("by_frequency", [False, True])
def test_embedding(xp, dtype, by_frequency):
    w, index = values(11, 70, dtype=dtype), np.array([[3, 0, 10, 3], [7, 3, 0, 2]], "int32")
    y = fused("_embedding")(xp, w, indices=index)
    t = exact(w)
    want = F.embedding(torch.tensor(index), t, 2, scale_grad_by_freq=by_frequency)
    close(y, want, dtype)
    g = values(*y.shape, dtype=dtype, seed=1)
    want.backward(exact(g))
    got = fused("_embedding_add")(
        xp, g, indices=index, shape=(11, 70), padding_idx=2, by_frequency=by_frequency
    )
    close(got, t.grad, dtype)
    index[0, 0], index[1, 1] = -1, 11
    y = fused("_embedding")(xp, w, indices=index)
    assert xp.bad()[0] == 2
    assert np.isnan(y[0, 0].astype("float32")).all()
    xp.bad()[0] = 0


@pytest.mark.parametrize("case", [
    ((9, 8), (3, 2), (2, 2), (1, 0), (1, 2)), ((8, 8), (2, 2), (2, 2), (0, 0), (1, 1)),
    ((11,), (3,), (1,), (1,), (2,)),
])  # fmt: skip
def test_pooling(xp, dtype, case):
    size, kernel, stride, padding, dilation = case
    geo = Geometry(size, kernel, out_size(*case), stride, padding, dilation)
    x, g = values(2, 3, *size, dtype=dtype), values(2, 3, *geo.out, dtype=dtype, seed=1)
    t, n = exact(x), len(size)
    want = getattr(F, f"max_pool{n}d")(t, kernel, stride, padding, dilation)
    want.backward(exact(g))
    close(fused("_max_pool")(xp, x, geo=geo), want, dtype)
    where = fused("_max_position")(xp, x, None, geo=geo)
    close(fused("_max_pool_add")(xp, g, where, geo=geo), t.grad, dtype)
    if max(dilation) == 1:
        t, count = exact(x), int(np.prod(kernel))
        want = getattr(F, f"avg_pool{n}d")(t, kernel, stride, padding)
        want.backward(exact(g))
        close(fused("_avg_pool")(xp, x, geo=geo, counts=count), want, dtype)
        close(fused("_avg_pool_add")(xp, g, geo=geo, counts=count), t.grad, dtype)


@pytest.mark.parametrize("reverse", [False, True])
def test_lstm(xp, dtype, reverse):
    steps, n, size, inner = 3, 2, 4, 5
    x, h0, c0 = (values(*s, dtype=dtype) for s in ((steps, n, size), (n, inner), (n, inner)))
    w_ih, w_hh = (
        values(4 * inner, k, dtype=dtype, seed=2) * dtype.type(0.3) for k in (size, inner)
    )
    weights = w_ih, w_hh, values(4 * inner, dtype=dtype), values(4 * inner, dtype=dtype)
    given = [exact(a) for a in (x, h0, c0, *weights)]
    tx, h, c, *ws = given
    module = torch.nn.LSTM(size, inner, dtype=torch.float64)
    names = ["weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"]
    flipped = tx.flip(0) if reverse else tx
    y, _ = torch.func.functional_call(module, dict(zip(names, ws)), (flipped, (h[None], c[None])))
    want = y.flip(0) if reverse else y
    hs, cs, gates = fused("_lstm")(xp, x, h0, c0, *weights, reverse=reverse)
    close(hs, want, dtype)
    g = values(*hs.shape, dtype=dtype, seed=1)
    want.backward(exact(g))
    grads = fused("_lstm_grad")(
        xp, g, None, hs, cs, gates, x, h0, c0, w_ih, w_hh, needs=(True,) * 7, reverse=reverse
    )
    for got, t in zip(grads, given):
        close(got, t.grad, dtype)


@pytest.mark.parametrize("p", [0.0, 0.3, 1.0])
def test_the_gpu_draws_the_masks_that_the_cpu_draws(xp, p):
    here, there = Generator(seed=2**63 + 7), Generator(seed=2**63 + 7)
    for shape in ((3, 5), (1,), (8,), (1003,)):
        want = keep_mask(shape, p, generator=here)
        assert np.array_equal(keep_mask(shape, p, xp, there), want)
    assert here.get_state().tolist() == there.get_state().tolist()


def test_what_kernels_do_not_take_is_left_to_the_op(xp):
    assert cuda_kernels.softmax(xp, np.zeros((2, 3)), False) is None  # float64
    assert cuda_kernels.softmax(xp, np.zeros((0, 3), "float32"), False) is None
    assert cuda_kernels.embedding(xp, np.zeros((2, 3)), np.zeros(1, "int64")) is None
    assert dtorch.nn.functional.silu(dtorch.tensor([1 + 1j])).dtype == dtorch.complex64


def test_what_cupy_is_given():
    calls, made = [], []

    def module(code, options, name_expressions):
        made.append(name_expressions)
        functions = {n: lambda *given: calls.append(given) for n in name_expressions}
        return SimpleNamespace(get_function=functions.__getitem__)

    cp = SimpleNamespace(
        RawModule=module, zeros=np.zeros, cuda=SimpleNamespace(get_device_id=lambda: 0)
    )
    launch = cuda_kernels.Launcher(cp)
    x = np.zeros(3, "float32")
    for _ in range(2):
        launch("softmax<float, true>", (2, 3), 64, x, None, 5, 0.5)
    grid, block, arguments = calls[1]
    assert (grid, block) == ((2, 3), (64,))
    assert arguments[0] is x
    assert arguments[1:] == (0, 5, np.float32(0.5))
    assert [type(a) for a in arguments[1:]] == [int, int, np.float32]
    assert made == [tuple(cuda_kernels.names())]
    launch.check()
    launch.bad()[0] += 2
    with pytest.raises(IndexError, match="2 indices or targets were out of range"):
        launch.check()
    launch.check()  # it is said once


@pytest.mark.parametrize("arch", [75, 80, 90, 100])
def test_nvrtc_compiles_every_kernel(arch):
    reason = nvrtc.why_not()
    if reason is not None:
        pytest.skip(reason)
    binary, found = nvrtc.compiled(cuda_kernels.source(), cuda_kernels.names(), arch)
    assert binary[:4] == b"\x7fELF"
    assert len(found) == len(set(found)) == len(cuda_kernels.names())
