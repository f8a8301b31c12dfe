"""Complex tensors: parts that share memory, and their history through in-place writes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import dtorch


def leaf(library: Any, *shape: int, complex: bool = False) -> Any:
    rng = np.random.default_rng(len(shape))
    a = rng.standard_normal(shape)
    if complex:
        a = a + 1j * rng.standard_normal(shape)
    return library.tensor(a.tolist(), dtype=getattr(library, str(a.dtype)), requires_grad=True)


def write_to_real(lib):
    z, x = leaf(lib, 2, 3, complex=True), leaf(lib, 3)
    y = z * 2
    imag = y.imag
    y.real.mul_(x)
    return [z, x], [y, imag, y.real]


def write_to_both(lib):
    z, x = leaf(lib, 2, 3, complex=True), leaf(lib, 3)
    y = z * 2
    real, imag = y.real, y.imag
    imag.copy_(x.expand(2, 3))
    y.mul_(1 + 2j)
    return [z, x], [y, real, imag]


def write_to_a_complex_view(lib):
    x, w = leaf(lib, 3, 2), leaf(lib, 3, complex=True)
    y = x * 3
    c = lib.view_as_complex(y)
    c.mul_(w)
    c[1] = w[0]
    y[:, 0].mul_(2)
    return [x, w], [y, c]


def write_to_part_of_a_part(lib):
    z, x = leaf(lib, 4, 3, complex=True), leaf(lib, 2, 2)
    y = (z * 2).t()
    v = y[1:, ::2].real
    v.mul_(x)
    return [z, x], [y, v]


def set_the_parts(lib):
    z = leaf(lib, 3, complex=True)
    y = z * 1
    y.real = y.imag
    y.imag = (y * 1).abs()
    return [z], [y]


def there_and_back(lib):
    z = leaf(lib, 3, complex=True)
    y = z * 1
    pairs = lib.view_as_real(y)
    again = lib.view_as_complex(pairs)
    again.mul_(z)
    return [z], [y, pairs, again]


WRITES = [write_to_real, write_to_both, write_to_a_complex_view, write_to_part_of_a_part,
          set_the_parts, there_and_back]  # fmt: skip


def derivatives(lib: Any, write: Any) -> list[Any]:
    """The values, gradients and second gradients of what a write leaves behind."""

    def square(t: Any) -> Any:
        t = lib.view_as_real(t) if t.is_complex() else t
        return (t * t * lib.cos(lib.arange(t.numel(), dtype=t.dtype)).reshape(t.shape)).sum()

    leaves, results = write(lib)
    found = list(results)
    for y in results:
        first = lib.autograd.grad(square(y), leaves, create_graph=True, allow_unused=True)
        first = [g for g in first if g is not None]
        total = sum(map(square, first))
        second = lib.autograd.grad(total, leaves, allow_unused=True, retain_graph=True)
        found += [*first, *(g for g in second if g is not None)]
    return [t.detach().resolve_conj().numpy() for t in found]


@pytest.mark.parametrize("write", WRITES)
def test_writes_to_parts_are_torchs(write: Any) -> None:
    got, expected = derivatives(dtorch, write), derivatives(torch, write)
    assert len(got) == len(expected)
    for a, b in zip(got, expected):
        np.testing.assert_allclose(a, b, atol=1e-12)


def test_parts_share_memory() -> None:
    z = dtorch.tensor([1 + 2j, 3j])
    z.real = 5
    z.imag[1] = 7
    dtorch.view_as_real(z)[0, 1] = -1
    assert z.tolist() == [5 - 1j, 5 + 7j]
    assert (z.imag.stride(), z.imag.storage_offset()) == ((2,), 1)
    x = dtorch.tensor([1.0])
    assert all(same is x for same in (x.real, x.conj(), dtorch.resolve_conj(x)))
    assert not any((z.conj().is_conj(), dtorch.is_neg(z)))


@pytest.mark.parametrize(
    "call",
    [
        lambda lib, x: x.imag,
        lambda lib, x: lib.view_as_real(x),
        lambda lib, x: lib.view_as_complex(x),
        lambda lib, x: lib.view_as_complex(lib.ones(2, 3).t()),
        lambda lib, x: lib.view_as_complex(lib.ones(3, 3)[:, :2]),
        lambda lib, x: lib.view_as_complex(lib.ones(7)[1:3]),
        lambda lib, x: lib.view_as_complex(lib.tensor(1.0)),
        lambda lib, x: lib.complex(x, x[:2]),
        lambda lib, x: lib.complex(x, 1.0),
    ],
)
def test_errors_are_torchs(call: Any) -> None:
    with pytest.raises((RuntimeError, TypeError)) as expected:
        call(torch, torch.ones(3))
    with pytest.raises(expected.type) as got:
        call(dtorch, dtorch.ones(3))
    assert str(expected.value).split("\n")[0].split(" (")[0] in str(got.value).replace(" (pos", "")


def test_what_has_no_complex_numbers_of_halves_says_so() -> None:
    half = dtorch.ones(2, 2, dtype=dtorch.float16)
    for refused in (half.chalf, lambda: dtorch.view_as_complex(half)):
        with pytest.raises(RuntimeError, match="complex32|float and double"):
            refused()


@pytest.mark.parametrize(
    "call",
    [
        lambda lib, z: lib.amax(z),
        lambda lib, z: lib.max(z, 0),
        lambda lib, z: lib.argmin(z),
        lambda lib, z: lib.sort(z),
        lambda lib, z: lib.topk(z, 1),
        lambda lib, z: lib.median(z),
        lambda lib, z: lib.cummax(z, 0),
        lambda lib, z: lib.softmax(z, 0),
        lambda lib, z: lib.clamp(z, 0),
        lambda lib, z: z < z,
        lambda lib, z: lib.nn.functional.max_pool1d(z[None], 2),
    ],
)
def test_complex_numbers_have_no_order(call: Any) -> None:
    for library in (torch, dtorch):
        with pytest.raises(RuntimeError):
            call(library, library.tensor([1 + 1j, 2j]))


def test_second_derivatives_of_a_fused_op_are_torchs() -> None:
    def second(lib: Any) -> Any:
        z = leaf(lib, 2, 3, complex=True)
        y = lib.nn.functional.rms_norm(z, (3,))
        (g,) = lib.autograd.grad((y * y).abs().sum(), z, create_graph=True)
        return lib.autograd.grad(g.abs().sum(), z)[0].resolve_conj().numpy()

    np.testing.assert_allclose(second(dtorch), second(torch), atol=1e-9)
