"""nn.functional where the table of samples does not reach: state, flags, weights, wrong calls."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import dtorch
from dtorch.nn import functional as F
from tests.samples import arr, ints

G = torch.nn.functional


def both(name: str, *args: Any, **kwargs: Any) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Value and gradient in the first argument alone, of dtorch and of torch."""
    results = []
    for library in (dtorch, torch):

        def tensors(x: Any, library: Any = library) -> Any:
            return library.from_numpy(x.copy()) if isinstance(x, np.ndarray) else x

        x, *rest = map(tensors, args)
        x.requires_grad_()
        named = {k: tensors(v) for k, v in kwargs.items()}
        y = getattr(library.nn.functional, name)(x, *rest, **named)
        y.sum().backward()
        results.append([y.detach().numpy(), x.grad.numpy()])
    return results[0], results[1]


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize(
    ("name", "args", "kwargs"),
    [
        ("cross_entropy", (arr(4, 5), ints(4, high=5)), {"weight": arr(5, low=0.2)}),
        ("cross_entropy", (arr(4, 5), ints(4, high=5)),
         {"weight": arr(5, low=0.2), "label_smoothing": 0.2, "ignore_index": 2}),
        ("cross_entropy", (arr(2, 3, 4), arr(2, 3, 4, low=0.1)), {"weight": arr(3, low=0.2)}),
        ("nll_loss", (arr(2, 3, 4), ints(2, 4, high=3)),
         {"weight": arr(3, low=0.2), "ignore_index": 1}),
        ("binary_cross_entropy", (arr(6, low=0.1, high=0.9), arr(6, low=0, high=1, seed=1)),
         {"weight": arr(6, low=0.2)}),
        ("binary_cross_entropy_with_logits", (arr(3, 4), arr(3, 4, low=0, high=1, seed=1)),
         {"weight": arr(3, 4, low=0.2), "pos_weight": arr(4, low=0.2)}),
    ],
)  # fmt: skip
def test_class_weights(name: str, args: Any, kwargs: Any, reduction: str) -> None:
    for mine, theirs in zip(*both(name, *args, **kwargs, reduction=reduction)):
        np.testing.assert_allclose(mine, theirs, rtol=1e-9, atol=1e-12)


def test_weights_have_a_second_derivative_around_them() -> None:
    t, w = dtorch.tensor(ints(4, high=5)), dtorch.tensor(arr(5, low=0.2))
    x = dtorch.tensor(arr(4, 5)).requires_grad_()
    assert dtorch.autograd.gradgradcheck(
        lambda x: F.cross_entropy(x, t, w, label_smoothing=0.1, ignore_index=1), (x,)
    )


def test_hardsigmoid() -> None:
    for mine, theirs in zip(*both("hardsigmoid", arr(3, 5, low=-8, high=8))):
        np.testing.assert_allclose(mine, theirs, rtol=1e-7, atol=1e-9)  # torch's 1 / 6 is float32


@pytest.mark.parametrize(("n", "size", "out"), [(2, (7, 6), (3, 4)), (3, (5, 6, 5), (2, 3, 2))])
def test_fractional_pooling_of_given_samples(n: int, size: Any, out: Any) -> None:
    samples = arr(2, 3, n, low=0, high=1, seed=1)
    name = f"fractional_max_pool{n}d"
    for mine, theirs in zip(*both(name, arr(2, 3, *size), 2, out, _random_samples=samples)):
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("training", [True, False])
def test_batch_norm_moves_its_running_statistics(training: bool) -> None:
    states = []
    for library in (dtorch, torch):
        x = library.from_numpy(arr(5, 3, 4))
        mean, var = library.from_numpy(arr(3, seed=1)), library.from_numpy(arr(3, low=0.5, seed=2))
        y = library.nn.functional.batch_norm(x, mean, var, training=training, momentum=0.3)
        states.append([t.numpy() for t in (y, mean, var)])
    for mine, theirs in zip(*states):
        np.testing.assert_allclose(mine, theirs, rtol=1e-12)


def test_a_refused_batch_leaves_running_statistics_alone() -> None:
    mean, var = dtorch.zeros(3), dtorch.ones(3)
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        F.batch_norm(dtorch.ones(1, 3), mean, var, training=True)
    assert mean.tolist() == [0, 0, 0]
    assert var.tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    "name", ["relu", "relu6", "elu", "selu", "celu", "leaky_relu", "hardtanh", "silu", "mish",
             "hardswish", "hardsigmoid"],
)  # fmt: skip
def test_in_place_forms(name: str) -> None:
    x = dtorch.tensor(arr(3, 4))
    expected = getattr(F, name)(x)
    y = getattr(F, name)(x, inplace=True)
    assert y is x
    assert dtorch.equal(x, expected)


def test_dropout_scales_what_it_keeps() -> None:
    dtorch.manual_seed(1)
    x = dtorch.ones(400, 50).requires_grad_()
    y = F.dropout(x, 0.25)
    y.sum().backward()
    assert set(np.unique(y.detach().numpy())) == {0.0, np.float32(1 / 0.75)}
    assert abs(float((y == 0).float().mean()) - 0.25) < 0.02
    assert dtorch.equal(x.grad, y.detach())
    assert F.dropout(x, 0.25, training=False) is x


def test_whole_channels_are_dropped() -> None:
    dtorch.manual_seed(1)
    y = F.dropout2d(dtorch.ones(8, 16, 3, 3), 0.5).numpy().reshape(8, 16, 9)
    assert (y == y[:, :, :1]).all()
    assert 0 < (y == 0).mean() < 1


def test_ctc_through_log_softmax_is_torchs() -> None:
    targets, lengths, sizes = ints(3, 4, high=4) + 1, np.array([9, 8, 6]), np.array([4, 2, 3])
    got = []
    for library in (dtorch, torch):
        x = library.from_numpy(arr(9, 3, 6)).requires_grad_()
        loss = library.nn.functional.ctc_loss(
            library.nn.functional.log_softmax(x, 2),
            *map(library.from_numpy, (targets, lengths, sizes)),
        )
        loss.backward()
        got.append([loss.item(), x.grad.numpy()])
    np.testing.assert_allclose(got[0][0], got[1][0], rtol=1e-9)
    np.testing.assert_allclose(got[0][1], got[1][1], rtol=1e-7, atol=1e-10)


X, SQUARE = dtorch.zeros(2, 4, 5, 5), dtorch.zeros(3, 4, 3, 3)
LOGITS = dtorch.zeros(2, 3)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: F.conv2d(X, dtorch.zeros(3, 3, 3, 3)), RuntimeError, "3 channels, but got 4"),
        (lambda: F.conv2d(X, dtorch.zeros(3, 4, 9, 9)), RuntimeError, "can't be greater"),
        (lambda: F.conv2d(X, SQUARE, stride=2, padding="same"), RuntimeError, "strided"),
        (lambda: F.conv2d(X, SQUARE.double()), RuntimeError, "should be the same"),
        (lambda: F.linear(X, dtorch.zeros(3, 4)), RuntimeError, r"\(40x5 and 4x3\)"),
        (lambda: F.max_pool2d(X, 2, padding=2), RuntimeError, "half of effective kernel size"),
        (lambda: F.layer_norm(X, (4,)), RuntimeError, r"Given normalized_shape=\[4\]"),
        (lambda: F.group_norm(X, 3), RuntimeError, "divisible by num_groups"),
        (lambda: F.cross_entropy(LOGITS, dtorch.tensor([0, 3])), IndexError, "out of bounds"),
        (lambda: F.cross_entropy(LOGITS, dtorch.tensor([0])), ValueError, "batch_size"),
        (lambda: F.mse_loss(X, X, reduction="avg"), ValueError, "not a valid value for reduction"),
        (lambda: F.dropout(X, 1.5), ValueError, "between 0 and 1"),
        (lambda: F.pad(X, (1, 2, 3)), RuntimeError, "divisible by 2"),
        (lambda: F.pad(X, (5, 0), mode="reflect"), NotImplementedError, "non-constant padding"),
        (lambda: F.interpolate(X), ValueError, "size or scale_factor"),
        (lambda: F.glu(X, 2), RuntimeError, "must be even"),
        (lambda: F.relu(np.zeros(3)), TypeError, "Tensor"),
        (lambda: F.gelu(X, approximate="erf"), RuntimeError, "none or tanh"),
    ],
)  # fmt: skip
def test_wrong_calls_say_what_is_wrong(call: Any, error: Any, words: str) -> None:
    with pytest.raises(error, match=words):
        call()


@pytest.mark.parametrize("shape", [(0, 3), (0, 3, 4), (2, 3, 0)])
def test_an_empty_batch_leaves_the_running_statistics(shape: tuple[int, ...]) -> None:
    mean, var = dtorch.ones(3), dtorch.full((3,), 2.0)
    x, w = dtorch.zeros(shape, requires_grad=True), dtorch.ones(3, requires_grad=True)
    F.batch_norm(x, mean, var, w, training=True).sum().backward()
    assert mean.tolist() == [1, 1, 1]
    assert var.tolist() == [2, 2, 2]
    assert w.grad.tolist() == [0, 0, 0]
    assert tuple(x.grad.shape) == shape


def test_classes_are_whole_numbers_in_half_precision_too() -> None:
    x, classes = np.ones((3, 4), np.float16), [0, 1, 3]
    for name in ("cross_entropy", "nll_loss"):
        expected = getattr(G, name)(torch.from_numpy(x), torch.tensor(classes))
        got = getattr(F, name)(dtorch.from_numpy(x), dtorch.tensor(classes))
        assert got.dtype is dtorch.float16
        assert got.item() == expected.item()
