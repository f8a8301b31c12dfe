"""oneDNN's kernels against torch in double precision, and the memory order of images that they keep."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch

import dtorch
from dtorch.core.backend import onednn

pytestmark = pytest.mark.skipif(not onednn.available(), reason="oneDNN is not installed")

IMAGE = (4, 16, 20, 19)
# name: a function of (F, x, w, b), and the shapes of x, w and b
CASES = {
    "linear": (lambda F, x, w, b: F.linear(x, w, b), (8, 32, 96), (70, 96), (70,)),
    "linear with a strided bias": (
        lambda F, x, w, b: F.linear(x, w, b[::2]), (8, 32, 96), (70, 96), (140,)
    ),
    "matmul of an expanded matrix": (
        lambda F, x, w, b: x.expand(6, 64, 48) @ w.transpose(-1, -2) + b,
        (64, 48), (6, 80, 48), (80,),
    ),
    "matmul": (lambda F, x, w, b: x @ w.transpose(-1, -2) + b, (6, 64, 48), (6, 80, 48), (80,)),
    "softmax": (lambda F, x, w, b: F.softmax(x * w + b, -1), (40, 500), (500,), (500,)),
    "log_softmax": (lambda F, x, w, b: F.log_softmax(x * w + b, -1), (40, 500), (500,), (500,)),
    "relu": (lambda F, x, w, b: F.relu(x * w + b), (90, 500), (500,), (500,)),
    "leaky_relu": (lambda F, x, w, b: F.leaky_relu(x * w + b, 0.3), (90, 500), (500,), (500,)),
    "relu of images": (
        lambda F, x, w, b: F.leaky_relu(F.relu(F.conv2d(x, w, b)) - 0.5), IMAGE, (32, 16, 3, 3), (32,)
    ),
    "gelu": (lambda F, x, w, b: F.gelu(x * w + b), (40, 500), (500,), (500,)),
    "gelu tanh": (
        lambda F, x, w, b: F.gelu(x * w + b, approximate="tanh"), (40, 500), (500,), (500,)
    ),
    "layer_norm": (
        lambda F, x, w, b: F.layer_norm(x, (30, 20), w, b), (9, 5, 30, 20), (30, 20), (30, 20)
    ),
    "layer_norm without weights": (
        lambda F, x, w, b: F.layer_norm(x * w + b, (500,)), (40, 500), (500,), (500,)
    ),
    "conv": (lambda F, x, w, b: F.conv2d(x, w, b, 1, 1), IMAGE, (24, 16, 3, 3), (24,)),
    "conv with steps": (lambda F, x, w, b: F.conv2d(x, w, b, 2, 2), IMAGE, (24, 16, 5, 4), (24,)),
    "dilated conv": (
        lambda F, x, w, b: F.conv2d(x, w, b, 1, 2, 2), IMAGE, (24, 16, 3, 3), (24,)
    ),
    "grouped conv": (
        lambda F, x, w, b: F.conv2d(x, w, b, 1, 1, 1, 4), IMAGE, (24, 4, 3, 3), (24,)
    ),
    "depthwise conv": (
        lambda F, x, w, b: F.conv2d(x, w, b, 2, 1, 1, 16), IMAGE, (16, 1, 3, 3), (16,)
    ),
    "transposed conv": (
        lambda F, x, w, b: F.conv_transpose2d(x, w, b, 3, 1, 1), IMAGE, (16, 8, 4, 4), (8,)
    ),
    "pools": (
        lambda F, x, w, b: F.avg_pool2d(F.max_pool2d(F.conv2d(x, w, b), 3, 2, 1, 1, True), 2, 2, 1),
        IMAGE, (24, 16, 3, 3), (24,),
    ),
    "batch_norm": (
        lambda F, x, w, b: F.batch_norm(F.conv2d(x, w), None, None, b, b, True),
        IMAGE, (24, 16, 3, 3), (24,),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_values_and_gradients_are_torchs(case):
    function, *shapes = CASES[case]
    rng = np.random.default_rng(0)
    values = [rng.standard_normal(s) for s in shapes]
    results = []
    for lib, dtype in ((torch, torch.float64), (dtorch, dtorch.float32)):
        given = [lib.tensor(v, dtype=dtype, requires_grad=True) for v in values]
        y = function(lib.nn.functional, *given)
        weights = np.cos(np.arange(y.numel())).reshape(tuple(y.shape))
        (y * lib.tensor(weights, dtype=dtype)).sum().backward()
        results.append([t.detach().numpy() for t in (y, *(x.grad for x in given))])
    for got, expected in zip(results[1], results[0]):
        assert got.dtype == np.float32
        scale = np.abs(expected).max()
        np.testing.assert_allclose(got, expected, 1e-4, 1e-5 * scale)


def test_relu_keeps_nan():
    x = dtorch.zeros(40001)
    x[:4] = dtorch.tensor([float("nan"), float("inf"), -float("inf"), -1.0])
    expected = dtorch.tensor([float("nan"), float("inf"), 0.0, 0.0])
    dtorch.testing.assert_close(x.relu()[:4], expected, equal_nan=True)


@pytest.mark.parametrize("options", [{}, {"momentum": 0.9}, {"momentum": 0.9, "dampening": 0.5}])
def test_steps_of_large_parameters(options):
    values, grads = np.random.default_rng(0).standard_normal((2, 300, 401))
    results = []
    for lib, dtype in ((torch, torch.float64), (dtorch, dtorch.float32)):
        p = lib.nn.Parameter(lib.tensor(values, dtype=dtype))
        p.grad = lib.tensor(grads, dtype=dtype)
        optimizer = lib.optim.SGD([p], 0.1, **options)
        for _ in range(3):
            optimizer.step()
        results.append(p.detach().numpy())
    np.testing.assert_allclose(results[1], results[0], 1e-5, 1e-6)


def image():
    """What a convolution gives: in memory with its channels last, which nobody is to notice."""
    y = dtorch.nn.functional.conv2d(dtorch.randn(4, 16, 20, 20), dtorch.randn(24, 16, 3, 3))
    assert not y._a.flags.c_contiguous
    return y


@pytest.mark.parametrize(
    "look",
    [
        lambda y: y.stride() == (24 * 324, 324, 18, 1),
        lambda y: y.is_contiguous() and y.contiguous() is y,
        lambda y: y.view(-1)[5] == y[0, 0, 0, 5],
        lambda y: y.numpy().flags.c_contiguous,
        lambda y: y.flatten().data_ptr() == y.data_ptr(),
        lambda y: y.untyped_storage().nbytes() == 4 * y.numel() and y.storage()[1] == y[0, 0, 0, 1],
        lambda y: (y.flatten() == y.as_strided((y.numel(),), (1,))).all(),
    ],
)
def test_images_are_in_c_order_to_who_looks(look):
    assert look(image())


def test_views_and_detached_images_share_memory():
    y = image()
    parts = [y.detach(), y.data, y[1:], y.permute(0, 2, 3, 1), y.flatten(1)]
    y.zero_()
    assert all(not part.any() for part in parts)
    parts[3].fill_(1)
    assert y.all()


def test_pickles_and_copies_of_images():
    import copy
    import pickle

    y = image()
    for other in (copy.deepcopy(y), pickle.loads(pickle.dumps(y)), y.clone()):
        assert other.stride() == y.stride()
        assert dtorch.equal(other, y)


PRODUCT = """
import dtorch
def product():
    x = dtorch.ones(256, 256)
    return (x @ x).sum().item()
"""


def _run(code: str, **variables: str) -> str:
    """What a process of its own prints."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PRODUCT + code],
        env=os.environ | variables, capture_output=True, text=True, timeout=100,
    )  # fmt: skip
    return done.stdout + done.stderr


def test_a_forked_child_computes_with_one_thread():
    out = _run(
        "import multiprocessing\ndtorch.set_num_threads(2)\nassert product() == 2.0**24\n"
        "context = multiprocessing.get_context('fork')\nqueue = context.Queue()\n"
        "work = lambda: queue.put((dtorch.get_num_threads(), product()))\n"
        "child = context.Process(target=work)\nchild.start()\n"
        "print(*queue.get(timeout=60))\nchild.join(60)\n"
    )
    assert out == f"1 {2.0**24}\n"


def test_the_number_of_threads_is_that_of_openmp():
    out = _run(
        "import threadpoolctl\ndtorch.set_num_threads(2)\nproduct()\n"
        "pools = threadpoolctl.threadpool_info()\n"
        "print(sorted((p['user_api'], p['num_threads']) for p in pools))\n"
    )
    assert out == "[('blas', 1), ('openmp', 2)]\n"


def test_the_switch():
    assert _run("print(product(), dtorch.core.backend.onednn.load())", DTORCH_ONEDNN="off") == (
        f"{2.0**24} None\n"
    )
    assert "DTORCH_ONEDNN='/nowhere.so' can't be loaded" in _run(
        "product()", DTORCH_ONEDNN="/nowhere.so"
    )


def test_what_only_the_reference_could_compute_is_left_to_numpy():
    x = dtorch.randn(4, 40, 40).transpose(1, 2)[:, ::2, ::2]
    assert onednn.matmul(x._a, x._a.swapaxes(1, 2)) is None
    dtorch.testing.assert_close(x @ x.mT, dtorch.from_numpy(x.numpy() @ x.numpy().swapaxes(1, 2)))
