"""Bad input: the error says what was expected, what came, and the way out; nothing is changed."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import torch

import dtorch


def a() -> Any:
    return dtorch.ones(2, 3)


# name: (call, type, words that must be in the message)
CASES: dict[str, tuple[Any, type[Exception], tuple[str, ...]]] = {
    "broadcasting": (
        lambda: a() + dtorch.ones(4),
        RuntimeError,
        ("size of tensor a (3)", "tensor b (4)", "dimension 1"),
    ),
    "matmul": (lambda: a() @ dtorch.ones(4, 2), RuntimeError, ("2x3", "4x2")),
    "view": (lambda: a().view(4), RuntimeError, ("[4]", "6")),
    "view of strided memory": (lambda: a().t().view(6), RuntimeError, ("reshape",)),
    "dim": (lambda: a().sum(dim=2), IndexError, ("[-2, 1]", "got 2")),
    "index": (lambda: a()[5], IndexError, ("index 5", "dimension 0", "size 2")),
    "too many indices": (lambda: a()[0, 0, 0], IndexError, ("too many indices", "dimension 2")),
    "float index": (lambda: a()[0.5], IndexError, ("slices", "float")),
    "cat": (lambda: dtorch.cat([a(), dtorch.ones(2, 4)]), RuntimeError, ("must match", "3", "4")),
    "isclose": (lambda: dtorch.isclose(a(), a(), atol=-1), RuntimeError, ("atol", "-1")),
    "roll of a number": (lambda: dtorch.tensor(1.0).roll(1, 0), IndexError, ("no dimensions",)),
    "narrow from a bool": (
        lambda: a().narrow(0, dtorch.tensor(True), 1),
        RuntimeError,
        ("0-dim integral",),
    ),
    "complex value": (
        lambda: a().masked_fill(a() > 0, dtorch.tensor(1j)),
        RuntimeError,
        ("float32", "1j"),
    ),
    "empty sequence": (
        lambda: dtorch.nn.LSTM(3, 4)(dtorch.ones(0, 2, 3)),
        RuntimeError,
        ("sequence length", "larger than 0"),
    ),
    "item": (lambda: a().item(), RuntimeError, ("6 elements",)),
    "truth": (lambda: bool(a()), RuntimeError, ("ambiguous",)),
    "iteration over a number": (lambda: list(dtorch.tensor(1.0)), TypeError, ("0-d",)),
    "integers have no gradients": (
        lambda: dtorch.tensor([1], requires_grad=True),
        RuntimeError,
        ("floating point", "int64"),
    ),
    "raw array": (lambda: dtorch.exp(np.ones(2)), TypeError, ("numpy.ndarray", "from_numpy")),
    "raw array as operand": (lambda: a() + np.ones(3), TypeError, ("numpy.ndarray", "from_numpy")),
    "NumPy function of a tensor": (lambda: np.exp(a()), TypeError, ("__array_ufunc__",)),
    "array of strings": (
        lambda: dtorch.from_numpy(np.array(["a"])),
        TypeError,
        ("supported types",),
    ),
    "not a number": (lambda: dtorch.tensor("a"), TypeError, ("str",)),
    "ragged": (lambda: dtorch.tensor([[1.0], [2.0, 3.0]]), ValueError, ("length",)),
    "numpy() with history": (lambda: a().requires_grad_().numpy(), RuntimeError, ("detach",)),
    "bool minus": (
        lambda: dtorch.tensor([True]) - dtorch.tensor([True]),
        RuntimeError,
        ("logical_not",),
    ),
    "device name": (lambda: dtorch.device("gpu"), RuntimeError, ("cpu, cuda", "gpu")),
    "second backward": (lambda: _twice(), RuntimeError, ("retain_graph=True",)),
    "stale value": (
        lambda: _stale(),
        RuntimeError,
        ("modified by an inplace operation", "MulBackward0", "clone()"),
    ),
    "leaf in place": (lambda: a().requires_grad_().add_(1), RuntimeError, ("leaf Variable",)),
    "out= with history": (
        lambda: dtorch.add(a().requires_grad_(), 1, out=a()),
        RuntimeError,
        ("out=",),
    ),
    "unknown name": (lambda: dtorch.no_such_function, AttributeError, ("no_such_function",)),
    "numpy.finfo of an integer": (lambda: dtorch.finfo(dtorch.int8), TypeError, ("iinfo",)),
}


def _twice() -> None:
    x = dtorch.ones(2, requires_grad=True)
    y = (x * x).sum()
    y.backward()
    y.backward()


def _stale() -> None:
    x = dtorch.ones(2, requires_grad=True)
    h = x * 1
    y = (h * h).sum()
    h.add_(1)
    y.backward()


@pytest.mark.parametrize("name", CASES)
def test_the_message_says_what_was_wrong(name: str) -> None:
    call, kind, words = CASES[name]
    with pytest.raises(kind) as caught:
        call()
    for word in words:
        assert word in str(caught.value), f"{word!r} is not in: {caught.value}"


def test_a_refused_write_changes_nothing() -> None:
    x, kept = dtorch.ones(2, 3), dtorch.ones(2, 3)
    for bad in (dtorch.ones(4), dtorch.ones(2, 2, 3)):
        with pytest.raises(RuntimeError):
            x.add_(bad)
        with pytest.raises(RuntimeError):
            x.copy_(bad)
    assert x.equal(kept)
    assert x._version == 0


def test_cuda_where_there_is_none() -> None:
    if dtorch.cuda.is_available():
        assert dtorch.ones(1, device="cuda").device.type == "cuda"
        return
    for call in (
        lambda: dtorch.ones(1, device="cuda"),
        lambda: a().cuda(),
        lambda: a().to("cuda:0"),
    ):
        with pytest.raises(RuntimeError, match="CUDA is not available.*is_available"):
            call()


INTEGERS = {
    "//": lambda T, x: x // 0,
    "%": lambda T, x: x % 0,
    "fmod": lambda T, x: x.fmod(0),
    "floor": lambda T, x: x.div(0, rounding_mode="floor"),
    "trunc": lambda T, x: x.div(0, rounding_mode="trunc"),
    "by a tensor": lambda T, x: x // T.tensor([1, 0]),
    "remainder by a tensor": lambda T, x: x % T.tensor([1, 0]),
    "of a number": lambda T, x: 7 // T.tensor([1, 0]),
    "unsigned": lambda T, x: T.tensor([5, 2], dtype=T.uint8) // 0,
    "in place": lambda T, x: x.clone().floor_divide_(0),
    "bools, truncated": lambda T, x: (x > 0).div(x > 0, rounding_mode="trunc"),
    "empty": lambda T, x: x[:0] // 0,
    "float": lambda T, x: x // 0.0,
    "power": lambda T, x: x**-1,
    "power in place": lambda T, x: x.clone().pow_(-1),
    "power of an empty one": lambda T, x: T.pow(x[:0], -1),
    "unsigned power": lambda T, x: T.tensor([5, 2], dtype=T.uint8) ** -1,
    "power of bools": lambda T, x: (x > 0) ** -1,
    "exponents": lambda T, x: x ** T.tensor([-1, -2]),
    "exponent": lambda T, x: x ** T.tensor(-1),
    "of a number to exponents": lambda T, x: (-1) ** T.tensor([-1, -2]),
    "float exponent": lambda T, x: x**-1.0,
}


@pytest.mark.parametrize("name", INTEGERS)
def test_integers_that_are_divided_by_zero_or_inverted(name: str) -> None:
    _as_torch(INTEGERS[name], lambda T: T.tensor([5, -2]))


def _as_torch(call: Any, make: Any) -> None:
    """call(library, make(library)) gives the same values and dtype, or is refused with torch's text.

    The text of what isn't implemented, or refused because of bools, may differ.
    """
    try:
        wanted = call(torch, make(torch))
    except RuntimeError as error:
        own = type(error) is RuntimeError and "bool" not in str(error).lower()
        with pytest.raises(RuntimeError, match=re.escape(str(error)) if own else None):
            call(dtorch, make(dtorch))
    else:
        result = call(dtorch, make(dtorch))
        assert str(result.dtype)[1:] == str(wanted.dtype)
        np.testing.assert_allclose(result.numpy(), wanted.numpy(), rtol=1e-6)


LOSSES = (
    "binary_cross_entropy", "binary_cross_entropy_with_logits", "l1_loss", "mse_loss",
    "smooth_l1_loss", "huber_loss", "kl_div",
)  # fmt: skip
KINDS = ("float", "long", "bool")


@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.filterwarnings("ignore:reduction")
def test_losses_of_integers(loss: str, reduction: str) -> None:
    for kinds in [(a, b) for a in KINDS for b in KINDS]:
        _as_torch(
            lambda T, xs: getattr(T.nn.functional, loss)(*xs, reduction=reduction),
            lambda T, kinds=kinds: [getattr(T.tensor([0.0, 1.0]), kind)() for kind in kinds],
        )
