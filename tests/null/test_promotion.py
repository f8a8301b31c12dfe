"""Result dtypes are torch's: every pair of dtypes, tensors with and without dimensions, numbers."""

from __future__ import annotations

import operator
from itertools import product
from typing import Any

import pytest
import torch

import dtorch

DTYPES = [
    "bool",
    "uint8",
    "int8",
    "int16",
    "int32",
    "int64",
    "float16",
    "bfloat16",
    "float32",
    "float64",
    "complex64",
    "complex128",
]
NUMBERS = [True, 2, 2.5, 1.5 + 2j]
OPERATORS = {"+": operator.add, "*": operator.mul, "/": operator.truediv, "==": operator.eq}


def operand(library: Any, what: Any) -> Any:
    """A tensor for (dtype, shape), a number for itself."""
    if not isinstance(what, tuple):
        return what
    dtype, shape = what
    return library.ones(shape, dtype=getattr(library, dtype))


def name(x: Any) -> str:
    return str(x.dtype).split(".")[1]


@pytest.mark.parametrize("symbol", OPERATORS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_operators(symbol: str, dtype: str) -> None:
    apply = OPERATORS[symbol]
    others: list[Any] = [(d, s) for d, s in product(DTYPES, [(2,), ()])] + NUMBERS
    for shape, other in product([(2,), ()], others):
        pairs = [((dtype, shape), other), (other, (dtype, shape))]
        for left, right in pairs:
            mine = apply(operand(dtorch, left), operand(dtorch, right))
            if torch.result_type(operand(torch, left), operand(torch, right)) == torch.complex32:
                # dtorch has no complex32
                assert name(mine) == ("bool" if symbol == "==" else "complex64")
                continue
            theirs = apply(operand(torch, left), operand(torch, right))
            assert name(mine) == name(theirs), f"{left} {symbol} {right}"


@pytest.mark.parametrize("dtype", DTYPES)
def test_result_type_and_promote_types(dtype: str) -> None:
    for other in DTYPES:
        a, b = getattr(dtorch, dtype), getattr(dtorch, other)
        c, d = getattr(torch, dtype), getattr(torch, other)
        assert str(dtorch.promote_types(a, b))[1:] == str(torch.promote_types(c, d))
        assert dtorch.can_cast(a, b) == torch.can_cast(c, d)
    for number in NUMBERS:
        mine = dtorch.result_type(operand(dtorch, (dtype, (2,))), number)
        theirs = torch.result_type(operand(torch, (dtype, (2,))), number)
        assert str(mine)[1:] == str(theirs).replace("complex32", "complex64")


@pytest.mark.parametrize("dtype", DTYPES)
def test_functions_of_one_tensor(dtype: str) -> None:
    for function in ("exp", "sqrt", "sum", "abs", "square", "sign"):
        if (dtype[:4], function) in {("comp", "sign"), ("bool", "abs")}:  # torch has none either
            continue
        mine = getattr(dtorch, function)(operand(dtorch, (dtype, (2,))))
        theirs = getattr(torch, function)(operand(torch, (dtype, (2,))))
        assert name(mine) == name(theirs), function


def test_in_place_keeps_the_dtype_or_refuses() -> None:
    for a, b in product(DTYPES, DTYPES):
        outcomes = []
        for library in (dtorch, torch):
            x = operand(library, (a, (2,)))
            try:
                x += operand(library, (b, (2,)))
            except RuntimeError:
                outcomes.append("refused")
            else:
                outcomes.append(name(x))
        assert outcomes[0] == outcomes[1], f"{a} += {b}"


def test_default_dtype() -> None:
    try:
        for library in (dtorch, torch):
            library.set_default_dtype(library.float64)
        assert name(dtorch.tensor([1.0])) == name(torch.tensor([1.0])) == "float64"
        assert name(dtorch.tensor([1]) / 2) == name(torch.tensor([1]) / 2) == "float64"
        assert name(dtorch.tensor([1j])) == name(torch.tensor([1j])) == "complex128"
    finally:
        for library in (dtorch, torch):
            library.set_default_dtype(library.float32)
    with pytest.raises(TypeError, match="floating-point"):
        dtorch.set_default_dtype(dtorch.int64)


def test_limits() -> None:
    for dtype in ("float16", "bfloat16", "float32", "float64"):
        mine, theirs = dtorch.finfo(getattr(dtorch, dtype)), torch.finfo(getattr(torch, dtype))
        for field in ("bits", "eps", "min", "max", "tiny", "smallest_normal", "resolution"):
            assert getattr(mine, field) == getattr(theirs, field), field
    for dtype in ("uint8", "int8", "int16", "int32", "int64"):
        a, b = dtorch.iinfo(getattr(dtorch, dtype)), torch.iinfo(getattr(torch, dtype))
        assert (a.bits, a.min, a.max, a.dtype) == (b.bits, b.min, b.max, b.dtype)
    with pytest.raises(TypeError):
        dtorch.finfo(dtorch.int64)
    with pytest.raises(TypeError):
        dtorch.iinfo(dtorch.float32)


UNSIGNED = [
    "a * 2", "a + 1.5", "a == 2", "a.sum()", "a.prod()", "a.to(torch.uint32) + a", "a / 2",
    "a + torch.tensor([1], dtype=torch.int32)", "torch.result_type(a, 2)", "a.type()",
    "torch.promote_types(torch.uint16, torch.float32)", "a.sort().values", "a[1:]", "a.unique()",
    "torch.promote_types(torch.uint64, torch.bool)", "torch.iinfo(a.dtype)", "a.float().mean()",
    "torch.zeros(3, dtype=torch.uint64)", "torch.cat([a, a])", "a.tolist()", "a.view(torch.int16)",
    "torch.tensor([1.0, 2.0]).to(torch.uint64)", "a[0].item()", "a.long()",
]  # fmt: skip


@pytest.mark.parametrize("expression", UNSIGNED)
def test_wide_unsigned_integers(expression):
    def outcome(lib):
        a = lib.tensor([1, 2, 300], dtype=lib.uint16)
        try:
            return str(eval(expression, {"torch": lib, "a": a})).replace("dtorch.", "torch.")
        except RuntimeError as error:
            return str(error)[:60]

    assert outcome(dtorch) == outcome(torch)
