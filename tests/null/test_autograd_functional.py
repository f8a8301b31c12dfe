"""autograd.functional and gradcheck: torch's numbers, torch's options, torch's refusals."""

from __future__ import annotations

from typing import Any

import pytest

import dtorch
from dtorch.autograd import Function, gradcheck, gradgradcheck
from tests.both import assert_same

# torch's forward mode and hvp warn of what they do within
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")


def cube(x: Any) -> Any:
    return x**3


def total(x: Any) -> Any:
    return (x**3).sum()


def product(a: Any, b: Any) -> Any:
    return (a * a * b).sum()


def a_and_b(lib: Any) -> tuple[Any, Any]:
    return lib.tensor([1.0, 2.0, 3.0]), lib.tensor([4.0, 5.0, 6.0])


# what is called with F (autograd.functional), the library, and two tensors of three numbers
CASES: dict[str, Any] = {
    "jacobian": lambda F, lib, a, b: F.jacobian(cube, a),
    "of two": lambda F, lib, a, b: F.jacobian(product, (a, b)),
    "two outputs": lambda F, lib, a, b: F.jacobian(lambda x, y: (x * 2, y.sum()), (a, b)),
    "tuples of one": lambda F, lib, a, b: F.jacobian(lambda x: (x,), (a,)),
    "independent": lambda F, lib, a, b: F.jacobian(lambda x: lib.ones(2), a),
    "vectorized": lambda F, lib, a, b: F.jacobian(cube, a, vectorize=True),
    "forward": lambda F, lib, a, b: F.jacobian(
        lambda x, y: (x * y, y.sum()), (a, b), vectorize=True, strategy="forward-mode"
    ),
    "with a graph": lambda F, lib, a, b: lib.autograd.grad(
        F.jacobian(cube, a.requires_grad_(), create_graph=True).sum(), a
    ),
    "hessian": lambda F, lib, a, b: F.hessian(total, a),
    "hessian of two": lambda F, lib, a, b: F.hessian(product, (a, b)),
    "hessian forward over reverse": lambda F, lib, a, b: F.hessian(
        product, (a, b), vectorize=True, outer_jacobian_strategy="forward-mode"
    ),
    "hessian of one element": lambda F, lib, a, b: F.hessian(lambda x: x[:1] ** 2, a),
    "vjp": lambda F, lib, a, b: F.vjp(lambda x, y: (x * y, x + y), (a, b), (b, a)),
    "vjp of a number": lambda F, lib, a, b: F.vjp(total, a),
    "jvp": lambda F, lib, a, b: F.jvp(lambda x, y: (x * y, x + y), (a, b), (b, a)),
    "jvp of a number": lambda F, lib, a, b: F.jvp(cube, a[0]),
    "vhp": lambda F, lib, a, b: F.vhp(product, (a, b), (b, a)),
    "hvp": lambda F, lib, a, b: F.hvp(product, (a, b), (b, a)),
    "hvp of what is linear": lambda F, lib, a, b: F.hvp(lambda x: x.sum(), a, b),
    # errors
    "a list": lambda F, lib, a, b: F.jacobian(cube, [a]),
    "a number": lambda F, lib, a, b: F.jacobian(cube, (a, 1.0)),
    "a number out": lambda F, lib, a, b: F.hessian(lambda x: 1.0, a),
    "a dict out": lambda F, lib, a, b: F.jacobian(lambda x: {"k": x}, a),
    "strict jacobian": lambda F, lib, a, b: F.jacobian(lambda x: lib.ones(2), a, strict=True),
    "strict in part": lambda F, lib, a, b: F.jacobian(lambda x, y: x * 2, (a, b), strict=True),
    "strict and linear": lambda F, lib, a, b: F.jacobian(
        lambda x: x * 2, a, strict=True, create_graph=True
    ),
    "strict hessian": lambda F, lib, a, b: F.hessian(lambda x: x.sum(), a, strict=True),
    "strict vjp": lambda F, lib, a, b: F.vjp(lambda x, y: x * x, (a, b), a, strict=True),
    "strict jvp": lambda F, lib, a, b: F.jvp(lambda x, y: x * x, (a, b), (a, b), strict=True),
    "strict hvp": lambda F, lib, a, b: F.hvp(lambda x: x.sum(), a, b, strict=True),
    "strict vhp": lambda F, lib, a, b: F.vhp(
        lambda x, y: (x * x).sum(), (a, b), (a, b), strict=True
    ),
    "strict and vectorized": lambda F, lib, a, b: F.jacobian(cube, a, strict=True, vectorize=True),
    "an unknown strategy": lambda F, lib, a, b: F.jacobian(cube, a, strategy="sideways"),
    "hessian of a tuple": lambda F, lib, a, b: F.hessian(lambda x: (total(x),), a),
    "hessian of several": lambda F, lib, a, b: F.hessian(cube, a),
    "hvp of several": lambda F, lib, a, b: F.hvp(cube, a, b),
    "no v": lambda F, lib, a, b: F.vjp(cube, a),
    "a short v": lambda F, lib, a, b: F.jvp(cube, a, b[:2]),
    "two for one": lambda F, lib, a, b: F.jvp(cube, a, (b, b)),
    "one for two": lambda F, lib, a, b: F.jvp(product, (a, b), (b,)),
    "v a number": lambda F, lib, a, b: F.vjp(cube, a, 3),
}


@pytest.mark.parametrize("name", CASES)
def test_functional_is_torchs(name: str) -> None:
    assert_same(
        lambda lib, log: CASES[name](lib.autograd.functional, lib, *a_and_b(lib)), letters=70
    )


# ---- gradcheck -------------------------------------------------------------------------------


def doubles(*values: float) -> Any:
    return dtorch.tensor(values, dtype=dtorch.float64, requires_grad=True)


def smooth(x: Any, y: Any) -> Any:
    return (x * y).exp(), x.sum()


OPTIONS: list[dict[str, Any]] = [
    {"check_undefined_grad": False},
    {"check_grad_dtypes": True, "check_batched_grad": True, "masked": False},
    {"fast_mode": True},
    {"check_forward_ad": True, "check_batched_forward_grad": True},
    {"check_forward_ad": True, "check_backward_ad": False},
    {"check_forward_ad": True, "fast_mode": True},
]


@pytest.mark.parametrize("options", OPTIONS)
def test_gradcheck_takes_torchs_options(options: dict[str, Any]) -> None:
    assert gradcheck(smooth, (doubles(1, 2, 3), doubles(0.5, 0.2, 0.3)), **options)


def test_gradgradcheck_takes_torchs_options() -> None:
    inputs = doubles(1, 2), doubles(0.5, 0.2)
    assert gradgradcheck(smooth, inputs, check_fwd_over_rev=True, gen_non_contig_grad_outputs=True)
    z = dtorch.tensor([1 + 2j, 3 - 1j], dtype=dtorch.complex128, requires_grad=True)
    assert gradcheck(lambda z: z * z.conj() * 1j, z, check_forward_ad=True)


class WrongTwice(Function):
    """x**2 with half its gradient."""

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        return g * ctx.saved_tensors[0]


@pytest.mark.parametrize("options", OPTIONS)
def test_gradcheck_finds_half_a_gradient(options: dict[str, Any]) -> None:
    with pytest.raises(
        RuntimeError, match="Jacobian mismatch for output 0 with respect to input 0"
    ):
        gradcheck(WrongTwice.apply, doubles(1, 2), **options)
    assert not gradcheck(WrongTwice.apply, doubles(1, 2), raise_exception=False, **options)


@pytest.mark.parametrize(
    "options",
    [
        {"check_backward_ad": False},
        {"check_batched_forward_grad": True},
        {"check_forward_ad": True, "check_backward_ad": False},
        {"check_forward_ad": True, "check_backward_ad": False, "check_batched_grad": True},
    ],
)
def test_options_that_contradict_each_other(options: dict[str, Any]) -> None:
    def program(lib: Any, log: list[Any]) -> Any:
        x = lib.ones(2, dtype=lib.float64, requires_grad=True)
        return lib.autograd.gradcheck(lambda t: t * 2, (x,), **options)

    assert_same(program, letters=200)
