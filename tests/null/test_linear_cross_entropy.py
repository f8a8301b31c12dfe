"""linear_cross_entropy in chunks of rows, its loss module, and products of groups of matrices."""

import warnings

import numpy as np
import pytest
import torch

import dtorch
from dtorch.nn import functional as F
from tests.both import assert_same

R = np.random.default_rng(0)
X, W, B = R.standard_normal((7, 4)), R.standard_normal((5, 4)), R.standard_normal(5)
T = np.array([0, 4, -100, 2, 2, 1, 3])
WEIGHT = R.uniform(0.5, 2, 5)


def run(lib, options, **kwargs):
    x, w, b = (lib.tensor(a, requires_grad=True) for a in (X, W, B))
    if options is not None:
        options = lib.nn.LinearCrossEntropyOptions(**options)
    kwargs = {k: lib.tensor(v) if k == "weight" else v for k, v in kwargs.items()}
    loss = lib.nn.functional.linear_cross_entropy(
        x, w, lib.tensor(T), linear_bias=b, options=options, **kwargs
    )
    (
        loss * lib.arange(1.0, 1 + loss.numel(), dtype=lib.float64).reshape(loss.shape)
    ).sum().backward()
    return [t.detach().numpy() for t in (loss, x.grad, w.grad, b.grad)]


@pytest.mark.parametrize(
    "options", [{}, {"batch_chunk_size": 3}, {"chunking_method": "aspect_ratio:4"}]
)
@pytest.mark.parametrize("kwargs", [
    {}, {"reduction": "sum", "weight": WEIGHT}, {"weight": WEIGHT}, {"reduction": "none"},
])  # fmt: skip
def test_chunks_give_the_same(options, kwargs):
    for ours, plain, theirs in zip(
        run(dtorch, options, **kwargs), run(dtorch, None, **kwargs), run(torch, options, **kwargs)
    ):
        np.testing.assert_allclose(ours, plain, 1e-10, 1e-12)
        np.testing.assert_allclose(ours, theirs, 1e-10, 1e-12)


def test_half_precision_is_accumulated_in_single():
    x, w = (dtorch.tensor(a).bfloat16() for a in (R.standard_normal((64, 8)), W.repeat(2, 1)))
    t, options = dtorch.zeros(64, dtype=dtorch.int64), dtorch.nn.LinearCrossEntropyOptions()
    loss = F.linear_cross_entropy(x, w, t, options=options)
    exact = F.linear_cross_entropy(x.float(), w.float(), t)
    assert loss.dtype is dtorch.bfloat16
    assert abs(loss.item() - exact.item()) < 0.01 * exact.item()


def test_backward_can_be_repeated_and_differentiated():
    x = dtorch.tensor(X, requires_grad=True)
    options = dtorch.nn.LinearCrossEntropyOptions(batch_chunk_size=2)
    loss = F.linear_cross_entropy(x, dtorch.tensor(W), dtorch.tensor(T), options=options)
    for _ in range(2):
        (g,) = dtorch.autograd.grad(loss, x, create_graph=True)
    assert dtorch.autograd.grad(g.square().sum(), x)[0].abs().sum().item() > 0


WRONG = [
    {"acc_policy": "no"}, {"chunking_method": "no"}, {"chunking_method": "aspect_ratio:0"},
    {"batch_chunk_size": 0}, {"acc_dtype": "int64"}, {"batch_chunk_size": 3,
     "chunking_method": "aspect_ratio"},
]  # fmt: skip


@pytest.mark.parametrize("options", WRONG, ids=str)
def test_wrong_options(options):
    def program(lib, log):
        given = {k: lib.int64 if v == "int64" else v for k, v in options.items()}
        made = lib.nn.LinearCrossEntropyOptions(**given)
        x, w = lib.tensor(X), lib.tensor(W)
        return lib.nn.functional.linear_cross_entropy(x, w, lib.tensor(T), options=made)

    assert_same(program)


def test_options_that_cannot_be_used_are_warned_of():
    def program(lib, log):
        options = lib.nn.LinearCrossEntropyOptions()
        m = lib.nn.LinearCrossEntropyLoss(4, 5, out_features=(2,), options=options).double()
        m.linear.weight.data.fill_(0.5)
        log.append(sorted(m.state_dict()))
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            loss = m(lib.tensor(X), lib.zeros(7, 2, dtype=lib.int64))
        log.append([str(w.message)[:50] for w in seen])
        return loss

    assert_same(program)


def test_groups_of_products():
    rows, experts = dtorch.tensor(X), dtorch.tensor(R.standard_normal((2, 4, 3)))
    out = F.grouped_mm(rows, experts, offs=dtorch.tensor([2, 7], dtype=dtorch.int32))
    expected = np.concatenate([X[:2] @ experts[0].numpy(), X[2:] @ experts[1].numpy()])
    np.testing.assert_allclose(out.numpy(), expected)
    for offs, error in (
        (None, "Have to provide offsets"),
        (dtorch.tensor([2, 6], dtype=dtorch.int32), "ascend to the size"),
        (dtorch.tensor([2, 7]), "1D and int32"),
    ):
        with pytest.raises(RuntimeError, match=error):
            F.grouped_mm(rows, experts, offs=offs)
