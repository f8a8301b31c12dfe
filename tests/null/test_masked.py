"""dtorch.masked beyond the table of samples: nothing let through, and what is refused."""

from __future__ import annotations

import math

import pytest
import torch

import dtorch
from dtorch import masked

NOTHING = dtorch.zeros(3, dtype=dtorch.bool)


def test_what_is_left_of_nothing() -> None:
    x = dtorch.arange(3.0)
    assert masked.sum(x, mask=NOTHING).item() == 0
    assert masked.prod(x, mask=NOTHING).item() == 1
    assert masked.amax(x, mask=NOTHING).item() == -math.inf
    assert masked.amin(x.int(), mask=NOTHING).item() == 2**31 - 1
    for function in (masked.mean, masked.median, masked.var):
        assert math.isnan(function(x, mask=NOTHING).item())


def test_what_is_masked_out_gets_no_gradient_and_no_nan() -> None:
    x = dtorch.tensor([1.0, math.nan, 3.0], requires_grad=True)
    mask = dtorch.tensor([True, False, True])
    for function in (masked.mean, masked.amax, masked.norm, masked.logsumexp, masked.std):
        (g,) = dtorch.autograd.grad(function(x, mask=mask), x)
        assert g[1].item() == 0
        assert dtorch.isfinite(g).all()


REFUSED = {
    "a mask with more dimensions": lambda lib, x: lib.masked.sum(x, mask=lib.ones(2, 3).bool()),
    "a mask of another shape": lambda lib, x: lib.masked.sum(x, mask=lib.ones(2).bool()),
    "the mean of whole numbers": lambda lib, x: lib.masked.mean(x.int()),
    "the largest of bools": lambda lib, x: lib.masked.amax(x.bool(), mask=x.bool()),
    "no median of whole numbers": lambda lib, x: lib.masked.median(x.int(), mask=x == 5),
    "no such dim": lambda lib, x: lib.masked.softmax(x, 2),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_torch_refuses_is_refused(case: str) -> None:
    call = REFUSED[case]
    with pytest.raises((RuntimeError, IndexError, ValueError)) as expected:
        call(torch, torch.ones(3))
    with pytest.raises(expected.type):
        call(dtorch, dtorch.ones(3))
