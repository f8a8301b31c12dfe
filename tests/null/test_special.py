"""Special functions, numbers' storage and windows, where the table of samples doesn't reach."""

from __future__ import annotations

import math
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch

import dtorch
from dtorch import special
from dtorch.autograd import gradcheck

DTYPES = ("bool", "uint8", "int64", "float16", "bfloat16", "float32", "float64")
# torch's bfloat16 and float16 kernels round more than once
TOLERANCE = {"float16": 4e-3, "bfloat16": 3e-2, "float32": 1e-5, "float64": 1e-9}


def bessel_j(n: int, x: float) -> float:
    """Bessel's integral: the mean of cos(n t - x sin t), which the trapezoidal rule gives exactly."""
    t = np.arange(200) * (2 * np.pi / 200)
    return float(np.cos(n * t - x * np.sin(t)).mean())


@pytest.mark.parametrize("x", [0.0, 0.3, 5.5, -7.3, 20.0])
def test_bessel_functions_are_bessels_integrals(x: float) -> None:
    t = dtorch.tensor(x, dtype=dtorch.float64)
    assert special.bessel_j0(t).item() == pytest.approx(bessel_j(0, x), abs=1e-14)
    assert special.bessel_j1(t).item() == pytest.approx(bessel_j(1, x), abs=1e-14)


def test_wronskian_of_the_bessel_functions_of_the_second_kind() -> None:
    x = dtorch.linspace(0.5, 20, 40, dtype=dtorch.float64)
    j0, j1 = special.bessel_j0(x), special.bessel_j1(x)
    y0, y1 = special.bessel_y0(x), special.bessel_y1(x)
    np.testing.assert_allclose((j1 * y0 - j0 * y1).numpy(), 2 / (math.pi * x.numpy()), rtol=1e-12)


def test_airy_function_solves_its_equation() -> None:
    x = dtorch.linspace(-3, 3, 13, dtype=dtorch.float64, requires_grad=True)
    y = special.airy_ai(x)
    (first,) = dtorch.autograd.grad(y.sum(), x, create_graph=True)
    (second,) = dtorch.autograd.grad(first.sum(), x)
    np.testing.assert_allclose(second.numpy(), (x * y).detach().numpy(), atol=1e-13)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "name",
    ["erfc", "digamma", "i0", "sinc", "lgamma", "special.ndtr", "special.entr", "special.i1e"],
)
def test_dtypes_of_special_functions(name: str, dtype: str) -> None:
    def run(library: Any) -> Any:
        x = library.tensor([1, 0, 1, 2, 3]).to(getattr(library, dtype))
        out = x
        for part in ["library", *name.split(".")][1:]:
            library = getattr(library, part)
        return library(out)

    ours, theirs = run(dtorch), run(torch)
    assert str(ours.dtype)[7:] == str(theirs.dtype)[6:]
    tolerance = TOLERANCE.get(dtype, 1e-5)
    np.testing.assert_allclose(
        ours.double().numpy(), theirs.double().numpy(), rtol=tolerance, atol=tolerance
    )


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        ("digamma(c)", NotImplementedError, "not implemented for 'ComplexFloat'"),
        ("gcd(f, f)", NotImplementedError, "not implemented for 'Float'"),
        ("bitwise_and(f, f)", NotImplementedError, "not implemented for 'Float'"),
        ("bitwise_not(f)", NotImplementedError, "not implemented for 'Float'"),
        ("bitwise_left_shift(i, 2.5)", NotImplementedError, "not implemented for 'Float'"),
        ("ceil(i == 1)", NotImplementedError, "not implemented for 'Bool'"),
        ("frac(i)", NotImplementedError, "not implemented for 'Long'"),
        ("lt(c, c)", NotImplementedError, "not implemented for 'ComplexFloat'"),
        ("hypot(i, i)", NotImplementedError, "not implemented for 'Long'"),
        ("hypot(f, 2.0)", TypeError, "must be Tensor, not float"),
        ("nn.functional.silu(i)", NotImplementedError, "not implemented for 'Long'"),
        ("frexp(i)", RuntimeError, "only supports floating-point dtypes"),
        ("heaviside(f, i)", RuntimeError, "different dtypes"),
        ("isclose(f, f.double())", RuntimeError, "did not match"),
        ("polygamma(-1, f)", RuntimeError, "does not support negative n"),
        ("polygamma(1.0, f)", TypeError, "must be int, not float"),
        ("mvlgamma(f, 0)", RuntimeError, "greater than or equal to 1"),
        ("positive(i == 1)", RuntimeError, "on a bool tensor is not supported"),
        ("renorm(f, 2, 0, 1.0)", RuntimeError, "needs? at least 2 dimensions"),
        ("Tensor.float_power_(f, 2)", RuntimeError, "result\\s*requires dtype"),
        ("Tensor.__invert__(f)", TypeError, "only implemented on integer and Boolean-type tensors"),
        ("hann_window(-1)", RuntimeError, "requires non-negative window_length"),
        ("hann_window(3, dtype=LIBRARY.int64)", RuntimeError, "expects floating point dtypes"),
        ("hann_window(3.5)", TypeError, "must be int, not float"),
        ("signal.windows.hann(-1)", ValueError, "requires non-negative window length"),
        ("signal.windows.hann(3, dtype=LIBRARY.float16)", ValueError, "expects float32 or float64"),
        ("signal.windows.gaussian(3, std=0)", ValueError, "must be positive"),
        ("signal.windows.general_cosine(3, a=[])", ValueError, "cannot be empty"),
        ("signal.windows.general_cosine(3, a=3)", TypeError, "must be a list"),
    ],
)
def test_wrong_calls_are_refused_as_torch_refuses_them(call: str, error: type, words: str) -> None:
    for library in (dtorch, torch):
        names = {"i": library.tensor([1, 2]), "f": library.tensor([1.0, 2.0]), "LIBRARY": library,
                 "c": library.tensor([1 + 1j])}  # fmt: skip
        with pytest.raises(error, match=words) as caught:
            eval(f"LIBRARY.{call}", names)
        assert type(caught.value) is error


def test_an_argument_without_a_derivative_says_so() -> None:
    a = dtorch.tensor([1.0, 2.0], requires_grad=True)
    with pytest.raises(NotImplementedError, match="derivative for 'igamma: input'"):
        special.gammainc(a, dtorch.ones(2)).sum().backward()


def test_shifts_by_more_bits_than_there_are() -> None:
    for count in (-1, 8, 64):
        for value in (5, -5):
            a, b = dtorch.tensor([value]), torch.tensor([value])
            assert (a << count).tolist() == (b << count).tolist()
            assert (a >> count).tolist() == (b >> count).tolist()
    x = dtorch.tensor([1, 2])
    same = x
    x <<= 2
    x >>= 1
    assert x is same
    assert x.tolist() == [2, 4]
    assert (1 << x).tolist() == [4, 16]


def test_ldexp_of_the_largest_exponents() -> None:
    x = dtorch.tensor([2.0**-100, 2.0**100], requires_grad=True)
    y = dtorch.ldexp(x, dtorch.tensor([200, -200]))
    assert y.tolist() == [2.0**100, 2.0**-100]
    (g,) = dtorch.autograd.grad(y, x, dtorch.tensor([2.0**-100, 1.0]))
    assert g.tolist() == [2.0**100, 0.0]


def test_positive_is_the_tensor_itself() -> None:
    x = dtorch.ones(2)
    assert +x is x
    assert dtorch.positive(x) is x


@pytest.mark.parametrize(
    "name", ["chebyshev_polynomial_t", "hermite_polynomial_h", "legendre_polynomial_p"]
)
def test_polynomials_of_each_degree_have_their_own_derivative(name: str) -> None:
    x = dtorch.tensor([0.3, 1e30, -0.7], dtype=dtorch.float64, requires_grad=True)
    n = dtorch.tensor([6, 1, -1])
    y = getattr(special, name)(x, n)
    (g,) = dtorch.autograd.grad(y.sum(), x)
    assert np.isfinite(g.numpy()).all()  # the degree 6 of 1e30 would overflow in a product
    assert y[2] == g[2] == 0
    assert gradcheck(lambda t: getattr(special, name)(t, 6), (x[:1].detach().requires_grad_(),))


def test_windows_are_leaves_of_the_asked_dtype() -> None:
    w = dtorch.hann_window(5, dtype=dtorch.float64, requires_grad=True)
    assert w.dtype is dtorch.float64
    assert w.requires_grad
    assert w.is_leaf
    assert dtorch.hamming_window(4, dtype=dtorch.bfloat16).dtype is dtorch.bfloat16


def test_scipy_is_imported_by_the_first_call_only() -> None:
    code = (
        "import sys, dtorch, dtorch.special, dtorch.signal\n"
        "assert not any(m.split('.')[0] == 'scipy' for m in sys.modules)\n"
        "dtorch.special.i0(dtorch.ones(1))\n"
        "assert 'scipy.special' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.parametrize(
    ("name", "second"),
    [("fmod", "other"), ("xlogy", "other"), ("gcd", "other"), ("pow", "exponent"),
     ("clamp_min", "min"), ("float_power", "exponent"), ("heaviside", "values")],
)  # fmt: skip
def test_operands_have_torchs_names(name: str, second: str) -> None:
    values = [4, 6] if name == "gcd" else [4.0, 6.0]
    x = dtorch.tensor(values)
    expected = getattr(torch, name)(input=torch.tensor(values), **{second: torch.tensor(values)})
    assert getattr(dtorch, name)(input=x, **{second: x}).tolist() == expected.tolist()
    assert getattr(x, name)(**{second: x}).tolist() == expected.tolist()


def test_tails_and_nan_are_torchs() -> None:
    values = [-20.0, -60.0, 60.0, math.nan, math.inf, -0.0]
    for name in ("sigmoid", "sign", "nn.functional.silu"):
        ours, theirs = dtorch, torch
        for part in name.split("."):
            ours, theirs = getattr(ours, part), getattr(theirs, part)
        expected = theirs(torch.tensor(values)).numpy()
        np.testing.assert_allclose(ours(dtorch.tensor(values)).numpy(), expected, rtol=1e-6)
    assert special.airy_ai(dtorch.tensor(1e30)).item() == 0
    small = dtorch.tensor(1e-5 + 0j, dtype=dtorch.complex64)
    assert small.log1p().item() == pytest.approx(9.99995e-6, rel=1e-6)
